"""The lines of the log about cut-overs: one for each decision. None of them names a client."""

from __future__ import annotations

from typing import ClassVar

from pcgrelay.log.events import Record


class CutoverRecord(Record, frozen=True, kw_only=True):
    """What is told with each decision."""

    AUDIT: ClassVar[bool] = True

    service: str
    phase: str  # after it
    step: int  # 1 is the first
    shares: dict[str, float]  # in percent by outlet, after it
    sentence: str
    uid: int | None = None  # who asked, as the kernel names them; nothing: the node itself
    by: str = ""  # as they name themselves
    reason: str = ""


class CutoverStarted(CutoverRecord, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "cutover.started"


class CutoverStepped(CutoverRecord, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "cutover.stepped"


class CutoverArrived(CutoverRecord, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "cutover.arrived"


class CutoverHeld(CutoverRecord, frozen=True, kw_only=True):
    """The new outlet is away, and has no share for now; or the clock jumped."""

    EVENT: ClassVar[str] = "cutover.held"
    LEVEL: ClassVar[str] = "warning"


class CutoverReleased(CutoverRecord, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "cutover.released"


class CutoverFellBack(CutoverRecord, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "cutover.fell_back"
    LEVEL: ClassVar[str] = "error"


class CutoverNowhere(CutoverRecord, frozen=True, kw_only=True):
    """A fall-back is wanted, and nothing it could go to is well and in support."""

    EVENT: ClassVar[str] = "cutover.nowhere"
    LEVEL: ClassVar[str] = "error"


class CutoverPaused(CutoverRecord, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "cutover.paused"


class CutoverResumed(CutoverRecord, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "cutover.resumed"


class CutoverRefused(CutoverRecord, frozen=True, kw_only=True):
    """A request, or a step forward, that was not carried out."""

    EVENT: ClassVar[str] = "cutover.refused"
    LEVEL: ClassVar[str] = "warning"


class CutoverQuiet(CutoverRecord, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "cutover.quiet"


class CutoverStray(CutoverRecord, frozen=True, kw_only=True):
    """Something used the old outlet: the days of quiet begin again."""

    EVENT: ClassVar[str] = "cutover.stray"
    LEVEL: ClassVar[str] = "warning"


class CutoverRetired(CutoverRecord, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "cutover.retired"


class CutoverNudged(Record, frozen=True, kw_only=True):
    """Streams that are left on an outlet are closed from now on, a few a minute; or no more."""

    EVENT: ClassVar[str] = "cutover.nudged"
    AUDIT: ClassVar[bool] = True
    service: str
    outlet: str
    per_minute: float  # 0: it has ended
    idle_s: float
    hard: bool
    uid: int | None = None
    by: str = ""
    reason: str = ""


class CutoverAdvised(Record, frozen=True, kw_only=True):
    """A role that the plan asks has given its advice, or has withdrawn it."""

    EVENT: ClassVar[str] = "cutover.advised"
    AUDIT: ClassVar[bool] = True
    service: str
    role: str
    on: str  # when it was given
    withdrawn: bool
    uid: int | None = None
    by: str = ""
    reason: str = ""


class CutoverReported(Record, frozen=True, kw_only=True):
    """Somebody has asked for what a report of a cut-over is made from."""

    EVENT: ClassVar[str] = "cutover.reported"
    AUDIT: ClassVar[bool] = True
    service: str
    uid: int | None = None


DECISIONS: dict[str, type[CutoverRecord]] = {
    kind.EVENT.removeprefix("cutover."): kind for kind in CutoverRecord.__subclasses__()
}
