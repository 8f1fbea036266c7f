"""Outlets that are retired: what was proven when that happened, kept for as long as anybody may ask."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from pcgrelay.config import Config
from pcgrelay.state.file import Found, StateFile

NAME = "retired.json"
KIND, VERSION = "pcgrelay retired outlets", 1
RETIRED_MOST = 2_048


class RetiredOutlet(Struct, frozen=True, kw_only=True):
    """One outlet that takes no streams any more, and the proof for it."""

    service: str
    outlet: str
    bearer: str
    at: str  # wall time, UTC
    days: int = 0  # of quiet before it
    since: str = ""  # the first of them
    coverage: float | None = None
    used: str = ""  # when anything last used it, to the second
    used_connections: int = 0  # on that day
    uid: int = 0  # who asked, as the kernel named them
    by: str = ""
    reason: str = ""


class RetiredState(Struct, frozen=True, kw_only=True):
    """What is in the file."""

    outlets: tuple[RetiredOutlet, ...] = ()

    def find(self, service: str, outlet: str) -> RetiredOutlet | None:
        """Return the record of an outlet that is retired."""
        return next((each for each in self.outlets if (each.service, each.outlet) == (service, outlet)), None)

    def with_outlet(self, retired: RetiredOutlet) -> RetiredState:
        """Return it with one more; the latest 2,048 are kept."""
        others = tuple(
            each for each in self.outlets if (each.service, each.outlet) != (retired.service, retired.outlet)
        )
        return RetiredState(outlets=(*others, retired)[-RETIRED_MOST:])


def retired_file(folder: Path) -> StateFile[RetiredState]:
    return StateFile(folder / NAME, KIND, VERSION, RetiredState)


def read_retired(folder: Path | None) -> RetiredState:
    """Return what a folder of state says, without a lock on it; nothing if that cannot be read."""
    if folder is None:
        return RetiredState()
    try:
        found, state = retired_file(folder).read()
    except OSError:
        return RetiredState()
    return state if state is not None and found is not Found.LOST else RetiredState()


def still_named(config: Config, outlets: Iterable[RetiredOutlet]) -> list[tuple[int, RetiredOutlet]]:
    """Return which [[direct]] tables of a configuration name a retired outlet, by their place in the file."""
    known = {(each.service, each.outlet): each for each in outlets}
    found = []
    for index, direct in enumerate(config.directs):
        retired = known.get((str(direct.service), direct.name))
        if retired is not None:
            found.append((index, retired))
    return found


def still_named_words(index: int, retired: RetiredOutlet) -> str:
    """Say that a [[direct]] table names a retired outlet, without a full stop."""
    return (
        f"direct[{index + 1}]: {retired.outlet} of {retired.service} is retired since {retired.at[:10]}; "
        "remove this table, and outlet where [[import]] names it"
    )
