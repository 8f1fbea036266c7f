"""Tiles: their names are those of C2SP tlog-tiles, and whatever is written leads to the tree of the records."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pcgrelay.audit.tiles import TileMissing, TileReader, TileWriter, entries_path, read_tile, tile_head, tile_path
from pcgrelay.audit.tree import (
    RightEdge,
    TreeRefused,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from tests.support.machines import examples

LEAVES = [leaf_hash(b"record %d" % number) for number in range(70_000)]


def edge_of(size: int) -> RightEdge:
    edge = RightEdge()
    edge.extend(LEAVES[:size])
    return edge


def test_paths_are_those_of_the_specification() -> None:
    # https://c2sp.org/tlog-tiles, section "Merkle Tree".
    assert tile_path(0, 1_234_067) == "0/x001/x234/067"
    assert tile_path(2, 0, 1) == "2/000.p/1"
    assert entries_path(5) == "entries/005"
    assert entries_path(1_000, 7) == "entries/x001/000.p/7"


def test_a_tree_of_70000_has_the_tiles_of_the_specification(tmp_path: Path) -> None:
    # https://c2sp.org/tlog-tiles, section "Partial Tiles": 273 full and one of 112; one full and one of 17; one of 1.
    TileWriter(tmp_path).append(LEAVES)
    sizes = {
        level: sorted(path.stat().st_size // 32 for path in (tmp_path / "tile" / level).rglob("*") if path.is_file())
        for level in ("0", "1", "2")
    }
    assert sizes == {"0": [112, *[256] * 273], "1": [17, 256], "2": [1]}
    assert sorted(path.name for path in (tmp_path / "tile").iterdir()) == ["0", "1", "2"]
    reader = TileReader(tmp_path, 70_000)
    assert reader.edge(70_000).root() == edge_of(70_000).root()
    root = edge_of(70_000).root()
    for index in (0, 255, 256, 65_535, 65_536, 69_999):
        verify_inclusion(LEAVES[index], index, 70_000, inclusion_proof(index, 70_000, reader.hash_at), root)
    for old in (1, 256, 257, 65_536, 69_888, 69_999):
        proof = consistency_proof(old, 70_000, reader.hash_at)
        verify_consistency(old, edge_of(old).root(), 70_000, root, proof)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=examples(40))
@given(
    parts=st.lists(st.integers(0, 700), min_size=1, max_size=8), back=st.integers(0, 300), junk=st.binary(max_size=90)
)
def test_appended_in_any_parts_and_gone_on_from_any_size(
    tmp_path_factory: pytest.TempPathFactory, parts: list[int], back: int, junk: bytes
) -> None:
    folder = tmp_path_factory.mktemp("log")
    writer, size = TileWriter(folder), 0
    for part in parts:
        writer.append(LEAVES[size : size + part])
        size += part
        assert writer.edge().heads == edge_of(size).heads
    # A process stopped: what it wrote last is not known, and the next one goes on from an earlier size.
    known = max(0, size - back)
    for path in (folder / "tile").rglob("*"):
        if path.is_file() and path.stat().st_size < 8_192:
            with path.open("ab") as sink:
                sink.write(junk)
    again = TileWriter(folder, known)
    assert again.edge().root() == edge_of(known).root()
    again.append(LEAVES[known : known + 600])
    reader = TileReader(folder, known + 600)
    assert reader.edge(known + 600).root() == again.edge().root() == edge_of(known + 600).root()
    tiles = [read_tile(folder / "tile", 0, index) for index in range(-(-reader.size // 256) + 1)]
    assert b"".join(tiles) == b"".join(LEAVES[: known + 600])


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    TileWriter(tmp_path).append(LEAVES[:300])
    assert TileWriter(tmp_path, 300).size == 300
    with pytest.raises(TileMissing, match="0/001"):
        TileWriter(tmp_path, 301)
    with pytest.raises(TileMissing):
        TileReader(tmp_path, 1 << 40).edge(1 << 40)
    with pytest.raises(TreeRefused):
        TileReader(tmp_path, 300).hash_at(0, 300)
    with pytest.raises(TreeRefused):
        TileReader(tmp_path, 1 << 63)
    with pytest.raises(TreeRefused):
        tile_head(LEAVES[:3])
