"""The lines of the log about drills."""

from __future__ import annotations

from typing import ClassVar

from pcgrelay.log.events import Record


class DrillBegun(Record, frozen=True, kw_only=True):
    """A drill has begun: what follows is done on purpose."""

    EVENT: ClassVar[str] = "drill.begun"
    AUDIT: ClassVar[bool] = True
    id: str
    kind: str
    subject: str
    lasts_s: float
    auto: bool  # the node began it by itself
    even_so: bool  # although something might be lost
    sentence: str  # what it touches
    uid: int | None = None  # who asked, as the kernel names them at the admin socket
    by: str = ""  # as they name themselves
    reason: str = ""


class DrillEnded(Record, frozen=True, kw_only=True):
    """All is as it was before the drill."""

    EVENT: ClassVar[str] = "drill.ended"
    AUDIT: ClassVar[bool] = True
    id: str
    kind: str
    subject: str
    result: str  # passed, failed, stopped, broken
    sentence: str
    took_s: float


class DrillRefused(Record, frozen=True, kw_only=True):
    """A drill that the node was to begin by itself did not begin."""

    EVENT: ClassVar[str] = "drill.refused"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    kind: str
    subject: str
    reason: str
