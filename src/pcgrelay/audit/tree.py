"""The Merkle tree of RFC 6962, section 2.1, and its proofs as RFC 9162, section 2.1, computes and verifies them.

A leaf is the hash of a record; it says nothing of where the record is kept. All that is known of a tree of n leaves is
at most 64 hashes, its right edge: the heads of the perfect trees that n is made of. For a proof the heads of perfect
trees inside are read from tiles, through a HashReader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from pcgrelay.errors import ProofProblem

HASH_BYTES = 32
SIZE_MOST = (1 << 63) - 1  # C2SP names times and sizes of at most 63 bits
PROOF_MOST = 63  # hashes in a proof, for any size up to SIZE_MOST (C2SP tlog-witness has the same limit)
EMPTY_ROOT = sha256(b"").digest()

# (level, index): the head of the perfect tree over the leaves index << level up to (index + 1) << level.
HashReader = Callable[[int, int], bytes]


class TreeRefused(ProofProblem):
    """A proof does not hold, or numbers of leaves cannot be."""


def leaf_hash(line: bytes) -> bytes:
    """The hash of a record; line is its bytes without the newline."""
    return sha256(b"\0" + line).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two trees that stand side by side."""
    return sha256(b"\1" + left + right).digest()


class RightEdge:
    """A tree that grows by leaves, kept as the heads of its perfect trees, the largest first."""

    def __init__(self, size: int = 0, heads: Sequence[bytes] = ()) -> None:
        """heads: as `heads` gives them. TreeRefused: they are not those of a tree of that size."""
        check_size(size)
        if len(heads) != size.bit_count() or any(len(head) != HASH_BYTES for head in heads):
            raise TreeRefused(
                f"A tree of {size} leaves has {size.bit_count()} heads of {HASH_BYTES} bytes at its edge."
            )
        self._size = size
        self._heads = list(heads)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    @property
    def heads(self) -> tuple[bytes, ...]:
        """The heads of the perfect trees, the largest first."""
        return tuple(self._heads)

    def append(self, leaf: bytes) -> None:
        """Add a leaf, by its hash."""
        size, heads = self._size, self._heads
        self._size += 1
        while size & 1:
            leaf = sha256(b"\1" + heads.pop() + leaf).digest()
            size >>= 1
        heads.append(leaf)

    def append_tree(self, level: int, head: bytes) -> None:
        """Add a perfect tree of 1 << level leaves by its head. TreeRefused: the size is no multiple of that."""
        if self._size & ((1 << level) - 1):
            raise TreeRefused(f"A tree of level {level} does not begin at leaf {self._size}.")
        above = self._size >> level
        self._size += 1 << level
        while above & 1:
            head = sha256(b"\1" + self._heads.pop() + head).digest()
            above >>= 1
        self._heads.append(head)

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaves, by their hashes."""
        for leaf in leaves:
            self.append(leaf)

    def root(self) -> bytes:
        """The hash of the whole tree."""
        if not self._heads:
            return EMPTY_ROOT
        head = self._heads[-1]
        for left in reversed(self._heads[:-1]):
            head = node_hash(left, head)
        return head

    def copy(self) -> RightEdge:
        """The same tree, to be grown by itself."""
        return RightEdge(self._size, self._heads)


def root_of(size: int, read: HashReader) -> bytes:
    """The root of the first size leaves."""
    check_size(size)
    return _range_hash(0, size, read) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, read: HashReader) -> list[bytes]:
    """The hashes that prove that a leaf is in the tree of the first size leaves (RFC 9162, 2.1.3.1)."""
    check_size(size)
    if not 0 <= index < size:
        raise TreeRefused(f"A tree of {size} leaves has no leaf {index}.")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_range_hash(middle, end, read))
            end = middle
        else:
            proof.append(_range_hash(start, middle, read))
            start = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, read: HashReader) -> list[bytes]:
    """The hashes that prove that the tree of new leaves begins with that of old (RFC 9162, 2.1.4.1).

    Nothing is needed if the old tree is empty or the same.
    """
    check_size(new)
    if not 0 <= old <= new:
        raise TreeRefused(f"A tree of {new} leaves has no beginning of {old}.")
    if old in (0, new):
        return []
    proof: list[bytes] = []
    start, end = 0, new
    is_known = True  # the verifier has the head of start..end: it is the old tree itself
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(_range_hash(middle, end, read))
            end = middle
        else:
            proof.append(_range_hash(start, middle, read))
            start = middle
            is_known = False
    if not is_known:
        proof.append(_range_hash(start, end, read))
    return proof[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """TreeRefused: the proof does not lead from this leaf to the root (RFC 9162, 2.1.3.2)."""
    check_size(size)
    if not 0 <= index < size:
        raise TreeRefused(f"A tree of {size} leaves has no leaf {index}.")
    _check_hashes(proof, leaf, root)
    head, node, last = leaf, index, size - 1
    for each in proof:
        if last == 0:
            raise TreeRefused("The proof of inclusion is longer than its tree is high.")
        if node & 1 or node == last:
            head = node_hash(each, head)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            head = node_hash(head, each)
        node, last = node >> 1, last >> 1
    if last or head != root:
        raise TreeRefused(f"The proof does not lead from this record, as number {index}, to the root that was signed.")


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """TreeRefused: the tree of new leaves is not shown to begin with the old one (RFC 9162, 2.1.4.2)."""
    check_size(new)
    if not 0 <= old <= new:
        raise TreeRefused(f"A tree of {new} leaves has no beginning of {old}.")
    _check_hashes(proof, old_root, new_root)
    if old in (0, new):
        _verify_without_proof(old, old_root, new, new_root, proof)
        return
    hashes = list(proof)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)  # the old tree is perfect, so its root is the first node
    if not hashes:
        raise TreeRefused("The proof of consistency is empty.")
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old_head = new_head = hashes[0]
    for each in hashes[1:]:
        if last == 0:
            raise TreeRefused("The proof of consistency is longer than its tree is high.")
        if node & 1 or node == last:
            old_head, new_head = node_hash(each, old_head), node_hash(each, new_head)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new_head = node_hash(new_head, each)
        node, last = node >> 1, last >> 1
    if last or old_head != old_root or new_head != new_root:
        raise TreeRefused(f"The tree of {new} records is not shown to begin with the {old} that were signed before.")


def check_size(size: int) -> None:
    """TreeRefused: no tree can have this size."""
    if not 0 <= size <= SIZE_MOST:
        raise TreeRefused("A tree has 0 to 2^63 - 1 leaves.")


def _verify_without_proof(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    if proof:
        raise TreeRefused("An empty tree, or the same one, needs no proof of consistency, and there is one.")
    if (old == 0 and old_root != EMPTY_ROOT) or (new == 0 and new_root != EMPTY_ROOT):
        raise TreeRefused("The root of an empty tree is the hash of nothing, and this is another.")
    if old == new and old_root != new_root:
        raise TreeRefused(f"Two trees of {new} records have different roots.")


def _check_hashes(proof: Sequence[bytes], *others: bytes) -> None:
    if len(proof) > PROOF_MOST:
        raise TreeRefused(f"A proof has at most {PROOF_MOST} hashes.")
    if any(len(each) != HASH_BYTES for each in (*proof, *others)):
        raise TreeRefused(f"Each hash of a proof has {HASH_BYTES} bytes.")


def _split(width: int) -> int:
    """The largest power of two below width."""
    return 1 << ((width - 1).bit_length() - 1)


def _range_hash(start: int, end: int, read: HashReader) -> bytes:
    """The head over the leaves from start to end; start is a multiple of the least power of two not below the width."""
    heads = []
    while start < end:
        level = (end - start).bit_length() - 1
        heads.append(read(level, start >> level))
        start += 1 << level
    head = heads.pop()
    while heads:
        head = node_hash(heads.pop(), head)
    return head
