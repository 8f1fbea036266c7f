"""The report of the demonstration: written by the command, and looked at as a reader would who trusts nobody."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from pcgrelay.demo.cutover.measured import Paper
from pcgrelay.demo.cutover.operator import Operator
from pcgrelay.demo.cutover.realm import ADDRESSES, FULL_SERVICE, KENT, OLD, MovingRealm
from pcgrelay.demo.nodes import HUB
from pcgrelay.errors import PermissionProblem, RunError
from pcgrelay.files import reason_of

SUMS = "SHA256SUMS"
PUBLISHED = ("part1.md", "part1.html")
REPLAY_CHANGED = 8


class _Verdict(Struct, frozen=True):
    same: bool


class _Replayed(Struct, frozen=True):
    verdicts: tuple[_Verdict, ...]


def refuse_folder(folder: Path) -> None:
    """RunError or PermissionProblem: no report can be written there, which is better known before than after."""
    if folder.is_symlink() or folder.exists():
        raise RunError(f"{folder}: this is there already and is never overwritten; name another folder with --out.")
    if not folder.parent.is_dir():
        raise RunError(f"{folder}: the folder {folder.parent} does not exist; create it first.")
    probe = folder.with_name(f".{folder.name}.probe")
    try:
        probe.mkdir(0o700)
        probe.rmdir()
    except PermissionError:
        raise PermissionProblem(f"{folder}: this user may not write here; name another folder with --out.") from None
    except OSError as error:
        raise RunError(f"{folder}: no folder can be made here ({reason_of(error)}).") from None


def written(operator: Operator, realm: MovingRealm, folder: Path) -> Paper:
    """Have the report written, and look at it."""
    operator.run(realm.met, "cutover", "report", FULL_SERVICE, "--out", str(folder.absolute()))
    replayed = operator.told_of(_Replayed, "cutover", "replay", str(folder.absolute()), good=(0, REPLAY_CHANGED))
    names = names_of(realm)
    try:
        sums = (folder / SUMS).read_text().splitlines()
        files = sorted(path.name for path in folder.iterdir())
        right = sorted(sums) == sorted(_sum(folder / name) for name in files if name != SUMS)
        published = [(folder / name).read_text() for name in PUBLISHED]
    except OSError as error:
        raise RunError(f"{folder}: the report cannot be read again ({reason_of(error)}).") from None
    return Paper(
        folder=str(folder),
        files=tuple(files),
        sums_right=right,
        names_found=tuple(found_in(published, names)),
        names_sought=len(names),
        verdicts=len(replayed.verdicts),
        verdicts_same=sum(each.same for each in replayed.verdicts),
    )


def names_of(realm: MovingRealm) -> list[str]:
    """What must not be published of this realm."""
    organisations = [*sorted(realm.doors), KENT, HUB]
    return [*organisations, *(node.name for node in realm.nodes), OLD, *ADDRESSES.values(), str(realm.folder)]


def found_in(texts: Sequence[str], names: Sequence[str]) -> list[str]:
    """Those of the names that stand in one of the texts, however they are written."""
    return [name for name in names if any(name.casefold() in text.casefold() for text in texts)]


def _sum(path: Path) -> str:
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}"
