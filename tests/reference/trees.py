"""Merkle trees and their proofs, by the recursive definitions of RFC 6962 (2.1) and RFC 9162 (2.1), slowly."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

Hash = bytes


def leaf(record: bytes) -> Hash:
    return hashlib.sha256(b"\x00" + record).digest()


def root(leaves: Sequence[Hash]) -> Hash:
    """MTH of RFC 6962, over hashes of leaves."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + root(leaves[:k]) + root(leaves[k:])).digest()


def split(n: int) -> int:
    """The largest power of two that is smaller than n."""
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def inclusion(m: int, leaves: Sequence[Hash]) -> list[Hash]:
    """PATH of RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*inclusion(m, leaves[:k]), root(leaves[k:])]
    return [*inclusion(m - k, leaves[k:]), root(leaves[:k])]


def consistency(m: int, leaves: Sequence[Hash]) -> list[Hash]:
    """PROOF of RFC 6962, section 2.1.2."""
    return [] if m in (0, len(leaves)) else _subproof(m, leaves, True)


def _subproof(m: int, leaves: Sequence[Hash], is_old_tree: bool) -> list[Hash]:
    if m == len(leaves):
        return [] if is_old_tree else [root(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*_subproof(m, leaves[:k], is_old_tree), root(leaves[k:])]
    return [*_subproof(m - k, leaves[k:], False), root(leaves[:k])]


def proves_inclusion(leaf_hash: Hash, m: int, size: int, proof: Sequence[Hash], head: Hash) -> bool:
    """Walk from the root down as PATH does, and up again: no counting of bits as in RFC 9162."""
    sides = []
    start, end = 0, size
    while end - start > 1:
        middle = start + split(end - start)
        sides.append(m < middle)
        start, end = (start, middle) if m < middle else (middle, end)
    if not 0 <= m < size or len(sides) != len(proof):
        return False
    node = leaf_hash
    for is_left, other in zip(reversed(sides), proof, strict=True):
        node = hashlib.sha256(b"\x01" + (node + other if is_left else other + node)).digest()
    return node == head


def proves_consistency(old: int, old_root: Hash, new: int, new_root: Hash, proof: Sequence[Hash]) -> bool:
    """Rebuild both roots by the recursion of SUBPROOF."""
    if old == 0:
        return not proof and old_root == root([])
    if old == new:
        return not proof and old_root == new_root
    if not 0 < old < new:
        return False
    rest = list(proof)
    try:
        found = _rebuilt(old, new, old_root, True, rest)
    except IndexError:
        return False
    return not rest and found == (old_root, new_root)


def _rebuilt(m: int, n: int, old_root: Hash, is_old_tree: bool, rest: list[Hash]) -> tuple[Hash, Hash]:
    """The roots of the first m and of all n leaves; takes hashes off the end of what is left of the proof."""
    if m == n:
        node = old_root if is_old_tree else rest.pop()
        return node, node
    k = split(n)
    other = rest.pop()
    if m <= k:
        old, new = _rebuilt(m, k, old_root, is_old_tree, rest)
        return old, hashlib.sha256(b"\x01" + new + other).digest()
    old, new = _rebuilt(m - k, n - k, old_root, False, rest)
    return hashlib.sha256(b"\x01" + other + old).digest(), hashlib.sha256(b"\x01" + other + new).digest()
