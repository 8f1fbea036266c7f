"""The search for secrets: none that the data plane took is found, and one that is kept is."""

from __future__ import annotations

import os
from pathlib import Path

from pcgrelay.assure.parameters import Parameters
from pcgrelay.assure.readers.memory import CHUNK_BYTES, search, search_secrets
from pcgrelay.assure.scene import Scene
from pcgrelay.config import load
from tests.support.evidence_examples import CONFIG


async def test_what_the_data_plane_took_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "kent-1.toml"
    path.write_text(CONFIG)
    folder = tmp_path / "scene"
    folder.mkdir()
    found = await search_secrets(Scene(load(path), Parameters(), folder))
    assert found.found == 0
    assert found.control_found >= 1
    assert found.searched_bytes > 10 << 20


def test_what_is_there_is_found_across_chunks() -> None:
    wanted = os.urandom(32)
    space = bytearray(3 * CHUNK_BYTES)
    for at in (0, CHUNK_BYTES - 16, 2 * CHUNK_BYTES - 1, 3 * CHUNK_BYTES - 32):
        space[at : at + 32] = wanted
    found, searched = search(os.getpid(), [wanted, os.urandom(32)])
    assert found[0] >= 5
    assert searched > 3 * CHUNK_BYTES
    del space
