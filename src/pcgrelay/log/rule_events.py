"""What is logged of the last days of rules. Owners of rules are persons, and never logged."""

from __future__ import annotations

from typing import ClassVar

from pcgrelay.log.events import Record


class RuleExpired(Record, frozen=True, kw_only=True):
    """The last day of a rule is over: what it allowed has ended."""

    EVENT: ClassVar[str] = "rule.expired"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    rule: str
    until: str  # its last day
    reason: str = ""
    change: str = ""


class RuleReturned(Record, frozen=True, kw_only=True):
    """A rule that had ended is in force again, because the clock was set back."""

    EVENT: ClassVar[str] = "rule.returned"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    rule: str
    until: str


class RuleEnding(Record, frozen=True, kw_only=True):
    """Rules have so many days left: logged at 30, 14, 7 and 1."""

    EVENT: ClassVar[str] = "rule.ending"
    LEVEL: ClassVar[str] = "warning"
    until: str
    days: int  # that are left, the last one included
    rules: tuple[str, ...]  # the first of them
    further: int = 0  # how many more


class RuleUnreturned(Record, frozen=True, kw_only=True):
    """A rule is in force again after the clock was set back, and what it needs cannot be opened; it is tried again."""

    EVENT: ClassVar[str] = "rule.unreturned"
    LEVEL: ClassVar[str] = "warning"
    reason: str
