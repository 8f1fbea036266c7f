"""The Merkle tree against the definition of RFC 6962, section 2.1, and against published vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.audit.tree import (
    EMPTY_ROOT,
    PROOF_MOST,
    RightEdge,
    TreeRefused,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# github.com/google/certificate-transparency, python/ct/crypto/merkle_test.py and cpp/merkletree/merkle_tree_test.cc:
# the tree over these eight leaves, and its root after each.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def mth(leaves: Sequence[bytes]) -> bytes:
    """The definition, word for word; leaves are hashes."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(mth(leaves[:k]), mth(leaves[k:]))


def reader(leaves: Sequence[bytes]) -> Callable[[int, int], bytes]:
    def read(level: int, index: int) -> bytes:
        part = leaves[index << level : (index + 1) << level]
        assert len(part) == 1 << level, "a proof needs perfect trees alone"
        return mth(part)

    return read


def hashes(count: int) -> list[bytes]:
    return [leaf_hash(b"record %d" % number) for number in range(count)]


def test_published_roots() -> None:
    edge = RightEdge()
    assert edge.root() == EMPTY_ROOT
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        edge.append(leaf_hash(leaf))
        assert edge.root().hex() == root


def test_every_proof_of_every_small_tree_holds_and_no_other() -> None:
    leaves = hashes(34)
    read = reader(leaves)
    for size in range(1, len(leaves) + 1):
        root = mth(leaves[:size])
        assert root_of(size, read) == root
        for index in range(size):
            proof = inclusion_proof(index, size, read)
            verify_inclusion(leaves[index], index, size, proof, root)
            for wrong in (index - 1, index + 1):
                with pytest.raises(TreeRefused):
                    verify_inclusion(leaves[index], wrong, size, proof, root)
        for old in range(size + 1):
            proof = consistency_proof(old, size, read)
            verify_consistency(old, mth(leaves[:old]), size, root, proof)
            if 0 < old < size:
                with pytest.raises(TreeRefused):
                    verify_consistency(old, root, size, root, proof)


@given(size=st.integers(1, 300), data=st.data())
def test_a_proof_with_one_bit_or_one_hash_changed_is_refused(size: int, data: st.DataObject) -> None:
    leaves = hashes(size)
    root, read = mth(leaves), reader(leaves)
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    inclusion, consistency = inclusion_proof(index, size, read), consistency_proof(old, size, read)
    for proof, verify in (
        (inclusion, lambda proof: verify_inclusion(leaves[index], index, size, proof, root)),
        (consistency, lambda proof: verify_consistency(old, mth(leaves[:old]), size, root, proof)),
    ):
        verify(proof)
        for wrong in spoilt(proof, data):
            with pytest.raises(TreeRefused):
                verify(wrong)


def spoilt(proof: list[bytes], data: st.DataObject) -> list[list[bytes]]:
    wrong = [[*proof, bytes(32)], [bytes(32), *proof], [bytes(32)] * (PROOF_MOST + 1), [*proof, b"short"]]
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        bit = data.draw(st.integers(0, 255))
        flipped = (int.from_bytes(proof[at]) ^ 1 << bit).to_bytes(32)
        wrong += [proof[:-1], proof[1:], [*proof[:at], flipped, *proof[at + 1 :]]]
    return wrong


@given(size=st.integers(0, 600))
def test_the_right_edge_is_rebuilt_and_goes_on(size: int) -> None:
    leaves = hashes(size + 3)
    edge = RightEdge()
    edge.extend(leaves[:size])
    again = RightEdge(edge.size, edge.heads)
    copy = edge.copy()
    again.extend(leaves[size:])
    assert again.root() == mth(leaves)
    assert copy.root() == edge.root() == mth(leaves[:size])


def test_sizes_that_cannot_be_are_refused() -> None:
    leaf = bytes(32)
    for size in (-1, 1 << 63, 1 << 80):
        with pytest.raises(TreeRefused):
            verify_inclusion(leaf, 0, size, [], leaf)
        with pytest.raises(TreeRefused):
            verify_consistency(0, EMPTY_ROOT, size, leaf, [])
        with pytest.raises(TreeRefused):
            RightEdge(size)
    with pytest.raises(TreeRefused):
        verify_inclusion(leaf, 5, 5, [], leaf)
    with pytest.raises(TreeRefused):
        verify_consistency(6, leaf, 5, leaf, [])
    with pytest.raises(TreeRefused):
        RightEdge(3, [leaf])
    with pytest.raises(TreeRefused):
        inclusion_proof(5, 5, reader([]))
    with pytest.raises(TreeRefused):
        consistency_proof(6, 5, reader([]))


def test_equal_and_empty_trees_have_no_proof() -> None:
    root = leaf_hash(b"")
    verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    verify_consistency(0, EMPTY_ROOT, 1, root, [])
    verify_consistency(1, root, 1, root, [])
    for old, old_root, new, new_root, proof in (
        (1, root, 1, bytes(32), []),
        (0, root, 1, root, []),
        (0, EMPTY_ROOT, 0, root, []),
        (1, root, 1, root, [root]),
        (0, EMPTY_ROOT, 1, root, [root]),
        (1, root, 2, root, []),
        (3, root, 4, root, []),
    ):
        with pytest.raises(TreeRefused):
            verify_consistency(old, old_root, new, new_root, proof)


def test_a_size_of_40_bits_costs_a_proof_and_no_more() -> None:
    proof = [bytes(32)] * 40
    with pytest.raises(TreeRefused):
        verify_inclusion(bytes(32), 12_345, 1 << 40, proof, bytes(32))
    with pytest.raises(TreeRefused):
        verify_consistency(12_345, bytes(32), 1 << 40, bytes(32), proof)
