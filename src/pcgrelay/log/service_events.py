"""What is logged of imports and of the targets of exports."""

from __future__ import annotations

from typing import ClassVar

from pcgrelay.log.events import Record


class ImportUp(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "import.up"
    service: str
    exporters: tuple[str, ...]
    suppressed: int = 0  # of other imports, in the same second


class ImportDown(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "import.down"
    LEVEL: ClassVar[str] = "warning"
    service: str
    exporters: tuple[str, ...]  # those that served it last
    suppressed: int = 0


class ImportUnavailable(Record, frozen=True, kw_only=True):
    """An import cannot be served. Logged when the node is no longer starting, and again for each new cause."""

    EVENT: ClassVar[str] = "import.unavailable"
    LEVEL: ClassVar[str] = "warning"
    service: str
    cause: str  # of services.import_causes
    detail: str
    nearest: str = ""  # the offered service that was probably meant
    suppressed: int = 0


class ImportMoved(Record, frozen=True, kw_only=True):
    """New streams go to other edges than before."""

    EVENT: ClassVar[str] = "import.moved"
    LEVEL: ClassVar[str] = "warning"
    service: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    suppressed: int = 0


class TargetUnresolved(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "target.unresolved"
    LEVEL: ClassVar[str] = "warning"
    service: str
    cause: str


class TargetFailing(Record, frozen=True, kw_only=True):
    """The target of an export does not answer; the service is withdrawn until it does."""

    EVENT: ClassVar[str] = "target.failing"
    LEVEL: ClassVar[str] = "warning"
    service: str
    cause: str = ""  # of services.target_causes
    detail: str = ""  # with the address of the target, which is this organisation's own


class TargetWell(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "target.well"
    service: str


class RuleEnded(Record, frozen=True, kw_only=True):
    """An entry of `allow` has run out: what it allowed ends."""

    EVENT: ClassVar[str] = "rule.ended"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    service: str
    organisation: str
    until: str
    reason: str = ""
    reference: str = ""
