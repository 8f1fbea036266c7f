"""The lines of the log about outlets of imports, and about the files in which their shares are kept."""

from __future__ import annotations

from typing import ClassVar

from pcgrelay.log.events import Record


class OutletShares(Record, frozen=True, kw_only=True):
    """Somebody has moved new streams of an import between its outlets."""

    EVENT: ClassVar[str] = "outlet.shares"
    AUDIT: ClassVar[bool] = True
    service: str
    before: dict[str, float]  # in percent, by outlet
    after: dict[str, float]
    uid: int  # who asked, as the kernel names them at the admin socket
    by: str = ""  # as they name themselves
    reason: str = ""
    written: bool = True  # it outlasts the process already


class OutletFailing(Record, frozen=True, kw_only=True):
    """An outlet takes no streams, or fails to set them up; they are led on to another one."""

    EVENT: ClassVar[str] = "outlet.failing"
    LEVEL: ClassVar[str] = "warning"
    service: str
    outlet: str
    reason: str
    share_percent: float


class OutletWell(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "outlet.well"
    service: str
    outlet: str
    away_ms: int


class QuietEnded(Record, frozen=True, kw_only=True):
    """An outlet that was quiet for some days is used again."""

    EVENT: ClassVar[str] = "quiet.ended"
    AUDIT: ClassVar[bool] = True
    service: str
    outlet: str
    days: int


class QuietDoubtful(Record, frozen=True, kw_only=True):
    """The wall clock jumped: these days count as not looked at."""

    EVENT: ClassVar[str] = "quiet.doubtful"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    days: tuple[str, ...]
    seconds: int  # by so much, forward or back


class QuietNoted(Record, frozen=True, kw_only=True):
    """Somebody has noted what others saw of a network."""

    EVENT: ClassVar[str] = "quiet.noted"
    AUDIT: ClassVar[bool] = True
    bearer: str
    observer: str
    since: str
    until: str
    transferred_bytes: int
    uid: int  # who noted it, as the kernel names them at the admin socket
    by: str = ""  # as they name themselves
    reason: str = ""


class StateUnreadable(Record, frozen=True, kw_only=True):
    """A file of state cannot be read: the one before it holds, or nothing is known any more."""

    EVENT: ClassVar[str] = "state.unreadable"
    LEVEL: ClassVar[str] = "error"
    AUDIT: ClassVar[bool] = True
    file: str
    lost: bool


class StateUnwritten(Record, frozen=True, kw_only=True):
    """A file of state cannot be written; it is tried again each second."""

    EVENT: ClassVar[str] = "state.unwritten"
    LEVEL: ClassVar[str] = "error"
    AUDIT: ClassVar[bool] = True
    reason: str
