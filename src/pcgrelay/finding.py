"""What one check of a node has found: how grave it is, where it is to be mended, and how."""

from __future__ import annotations

from msgspec import Struct

OK, WARNING, ERROR = "ok", "warning", "error"


class Finding(Struct, frozen=True, kw_only=True):
    """The result of one check."""

    level: str  # ok, warning, error
    where: str  # key of the configuration
    sentence: str
    mend: str = ""
    permission: bool = False  # the user or a file's mode is wrong, not the configuration
    passing: bool = False  # it may succeed at the next start without a correction
    starts: bool = False  # an error that a node starts with nevertheless
    dates: bool = False  # a date is wrong or near: the node still starts, and new files or a correct clock solve it


def good(where: str, sentence: str) -> Finding:
    """What is as it should be."""
    return Finding(level=OK, where=where, sentence=sentence)


def bad(where: str, sentence: str, mend: str = "", *, permission: bool = False, passing: bool = False) -> Finding:
    """An error: of the configuration, unless it is one of permission or may pass."""
    return Finding(level=ERROR, where=where, sentence=sentence, mend=mend, permission=permission, passing=passing)


def doubtful(where: str, sentence: str, mend: str) -> Finding:
    """A warning, and what to do about it."""
    return Finding(level=WARNING, where=where, sentence=sentence, mend=mend)


def of_dates(level: str, where: str, sentence: str, mend: str) -> Finding:
    """A finding of that level about a date."""
    return Finding(level=level, where=where, sentence=sentence, mend=mend, dates=True)
