"""Two packs, compared: what got better and worse since."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from pcgrelay.assure.judgement import BAD, PASSED
from pcgrelay.assure.pack import RESULTS, Results
from pcgrelay.errors import ConfigError
from pcgrelay.files import read_bounded

RESULTS_LIMIT_BYTES = 16 << 20
BETTER, WORSE, OTHER = "better", "worse", "other"


class Change(Struct, frozen=True, kw_only=True):
    """A control whose outcome is another one."""

    id: str
    title: str
    before: str  # an outcome, or: not in the profile
    after: str
    kind: str  # better, worse, other
    observed: str


def read_results(folder: Path) -> Results:
    """Read the results of a pack. ConfigError: there are none, or they are not such."""
    path = folder / RESULTS
    data = read_bounded(path, "pack's results", RESULTS_LIMIT_BYTES)
    try:
        return msgspec.json.decode(data, type=Results)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: these are no results of a pack ({error}); name the folder of one.") from None


def compare(before: Results, after: Results) -> Iterator[Change]:
    """Yield each control whose outcome changed, in the order of the later pack, then those that are gone."""
    absent = "not in the profile"
    then = {each.id: each for each in before.results}
    now = {each.id: each for each in after.results}
    for id, each in {**now, **{id: each for id, each in then.items() if id not in now}}.items():
        old = then[id].outcome if id in then else absent
        new = now[id].outcome if id in now else absent
        if old != new:
            yield Change(
                id=id,
                title=each.title,
                before=old,
                after=new,
                kind=_kind(old, new),
                observed=each.observed if id in now else "",
            )


def _kind(old: str, new: str) -> str:
    if new in BAD:
        # What could not run before and fails now is no worse, and no better.
        return OTHER if old in BAD else WORSE
    if new == PASSED:
        return BETTER
    return BETTER if old in BAD else WORSE if old == PASSED else OTHER
