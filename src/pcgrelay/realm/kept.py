"""The bundle that a node keeps in its folder of state, so that an older one is refused after a restart too."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from pcgrelay.errors import PcgrelayError
from pcgrelay.state.file import StateFile

NAME = "bundle.json"
KIND, VERSION = "pcgrelay bundle", 1


class KeptBundle(Struct, frozen=True, kw_only=True):
    """What is in the file."""

    data: bytes  # as it travels
    source: str = ""  # the neighbour that brought it; empty: the file of the configuration


def bundle_file(folder: Path) -> StateFile[KeptBundle]:
    """Return the file of a folder of state."""
    return StateFile(folder / NAME, KIND, VERSION, KeptBundle)


def read_kept(folder: Path | None) -> KeptBundle | None:
    """Return what a folder of state has, without a lock on it; None: nothing that can be read."""
    if folder is None:
        return None
    try:
        return bundle_file(folder).read()[1]
    except PcgrelayError:
        return None
