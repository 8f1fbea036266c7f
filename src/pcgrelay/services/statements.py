"""Statements of others about a network: who looked at it from when to when, and how many bytes they saw.

A node sees only what passes it. That an application still uses an old address without the edge is seen by a router of
the old network alone; what its people say is kept as what it is: a statement.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

from msgspec import Struct, structs

from pcgrelay.cutover.quiet import RECORDS_MOST
from pcgrelay.errors import RunError, UsageProblem
from pcgrelay.model import check_label

STATEMENTS_MOST = 1_000
TEXT_MOST = 200
BYTES_MOST = 2**63 - 1


class Statement(Struct, frozen=True, kw_only=True):
    """What somebody says to have seen."""

    bearer: str
    observer: str  # what looked, as "CJX router GW-3, tcp/5432"
    since: date  # both days whole
    until: date
    transferred: int  # bytes
    at: str  # when it was noted, wall time, UTC
    uid: int  # by whom, as the kernel named it
    by: str = ""  # as they named themselves
    reason: str = ""


class StatementsState(Struct, frozen=True, kw_only=True):
    """What is in the file."""

    statements: tuple[Statement, ...] = ()  # in the order in which they were noted

    def with_statement(self, statement: Statement, today: date) -> StatementsState:
        """Return it with one more; those that ended more than 400 days ago go. RunError: there are too many."""
        oldest = today - timedelta(days=RECORDS_MOST)
        kept = tuple(each for each in self.statements if each.until > oldest)
        if len(kept) >= STATEMENTS_MOST:
            raise RunError(
                f"{STATEMENTS_MOST} statements are noted, which is the most; one may cover several weeks, and those "
                f"that ended more than {RECORDS_MOST} days ago make room."
            )
        return structs.replace(self, statements=(*kept, statement))


def checked_text(name: str, text: str, *, needed: bool = False) -> str:
    """Return a text without blanks around it. UsageProblem: it is empty, too long, or has what nobody sees."""
    text = text.strip()
    if needed and not text:
        raise UsageProblem(f"{name} is empty; write who or what looked, as: CJX router GW-3, tcp/5432")
    if len(text) > TEXT_MOST:
        raise UsageProblem(f"{name} has {len(text)} characters, and {TEXT_MOST} is the most; write fewer.")
    if not text.isprintable():
        raise UsageProblem(f"{name} has a character in it that cannot be seen; remove it.")
    return text


def checked_days(since: str, until: str, today: date) -> tuple[date, date]:
    """Return the days of a statement. UsageProblem: they are none, or lie ahead."""
    first, last = _day("--from", since), _day("--to", until)
    if last < first:
        raise UsageProblem(f"--to {last} is before --from {first}; write the earlier day first.")
    if last > today:
        raise UsageProblem(f"--to {last} lies ahead (today is {today}); nobody has seen that day yet.")
    return first, last


def checked_bytes(text: str) -> int:
    """Return a number of bytes. UsageProblem: it is none."""
    if text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= BYTES_MOST:
        return int(text)
    raise UsageProblem(f'--bytes "{text[:40]}" is no number of bytes; write digits alone, as 0.')


def checked_bearer(text: str, known: Iterable[str]) -> str:
    """Return the name of a network. UsageProblem: this node knows none of that name."""
    names = sorted(set(known))
    try:
        check_label(text, "bearer")
    except ValueError as error:
        raise UsageProblem(f"{error}.") from None
    if text not in names:
        there = f"there are: {', '.join(names)}" if names else "there are none"
        raise UsageProblem(f"{text} is no bearer of this node's configuration; {there}.")
    return text


def _day(name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageProblem(f'{name} "{text[:40]}" is no date; write it as 2020-02-25.') from None
