"""Answers about days of quiet and retirement. Other tools read this JSON: fields are only added. Times are UTC."""

from __future__ import annotations

from msgspec import Struct

QUIET_PATH = "/v1/quiet"
RETIRE_PATH = "/v1/retire"


class QuietOutlet(Struct, frozen=True, kw_only=True):
    """One direct outlet of an import, whether or not its service is being moved; or a listener, or callers."""

    service: str
    outlet: str  # or "at ADDRESS", a further listener of an import; or "from ORGANISATION", callers of an export
    listener: str = ""  # its name in status: also-1, also-2, ...
    bearer: str = ""
    configured: bool = True  # false: the configuration has it no more, and its days are kept
    days: int = 0  # of quiet in a row, up to yesterday
    since: str = ""  # the first of them
    coverage: float | None = None  # how much of them was looked at, 0 to 1
    why: str = ""  # what ended the row
    used: str = ""  # when anything last used it, to the second; "": never, as far as is known
    used_connections: int = 0  # on that day
    streams: int = 0  # that are open now
    records: int = 0  # days that are recorded
    phase: str = ""  # of the cut-over that moves its service away from it
    quiet_of: int = 0  # so many days its plan asks for
    retired: str = ""  # when; then days, since, coverage and used are those of that moment
    retired_by: str = ""


class QuietStatement(Struct, frozen=True, kw_only=True):
    """What somebody else says to have seen of a network."""

    bearer: str
    observer: str
    since: str
    until: str
    transferred_bytes: int
    at: str
    by: str = ""
    reason: str = ""


class QuietAnswer(Struct, frozen=True, kw_only=True):
    """The answer to GET and POST /v1/quiet."""

    node: str = ""
    today: str = ""
    kept: bool = False  # the records outlast the process
    outlets: tuple[QuietOutlet, ...] = ()
    services: tuple[str, ...] = ()  # that are imported
    bearers: tuple[str, ...] = ()  # that links, listeners for links and outlets name
    linked: tuple[str, ...] = ()  # of these, the ones that links of the gateway itself go over
    statements: tuple[QuietStatement, ...] = ()
    noted: bool = False  # by this request
    reason: str = ""  # why it was refused
    exit_code: int = 0


class RetireAnswer(Struct, frozen=True, kw_only=True):
    """The answer to GET and POST /v1/retire?service=...&outlet=..."""

    service: str
    outlet: str = ""
    bearer: str = ""
    node: str = ""
    retired: str = ""  # when
    changed: bool = False  # by this request
    ready: bool = False  # it can be retired, and nothing was done
    days: int = 0  # of quiet before it
    since: str = ""
    coverage: float | None = None
    used: str = ""
    report: str = ""  # the folder that the command has written
    warnings: tuple[str, ...] = ()
    reason: str = ""  # why it was refused
    exit_code: int = 0
