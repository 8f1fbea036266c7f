"""What a judge says of facts: the outcome, what was seen, what was expected, and what mends it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

PASSED, FAILED, BROKEN, TOLD, NOT_HERE = "passed", "failed", "broken", "told", "not here"
OUTCOMES = (PASSED, FAILED, BROKEN, TOLD, NOT_HERE)
# What counts as a failure: a test that could not run has shown nothing.
BAD = (FAILED, BROKEN)
NAMED_MOST = 5  # of many faults, so many are named


class Judgement(Struct, frozen=True, kw_only=True):
    """The answer of a judge. Each text is one phrase without a full stop, and has no address of an application."""

    outcome: str  # of OUTCOMES
    observed: str
    expected: str
    cure: str = ""  # what mends it, if that is more exact than the control's


def passed(observed: str, expected: str) -> Judgement:
    """What is as it should be."""
    return Judgement(outcome=PASSED, observed=observed, expected=expected)


def failed(observed: str, expected: str, cure: str = "") -> Judgement:
    """What is not as it should be. cure: if it is more exact than the control's."""
    return Judgement(outcome=FAILED, observed=observed, expected=expected, cure=cure)


def not_here(observed: str, expected: str) -> Judgement:
    """What the control is about does not exist at this node."""
    return Judgement(outcome=NOT_HERE, observed=observed, expected=expected)


def asked(observed: str, expected: str) -> Judgement:
    """What only a person can know. observed: why, and what was seen nevertheless."""
    return Judgement(outcome=TOLD, observed=observed, expected=expected)


def judge_all(faults: Iterable[str], good: str, expected: str, cure: str = "") -> Judgement:
    """Passed with the words `good` if there is no fault, else failed with the first ones."""
    found = list(faults)
    return failed(listed(found), expected, cure) if found else passed(good, expected)


def listed(words: Sequence[str], most: int = NAMED_MOST) -> str:
    """The first of many, and how many more there are."""
    more = f"; and {len(words) - most} more" if len(words) > most else ""
    return "; ".join(words[:most]) + more


class NotHereError(Exception):
    """Raised by a reader: what the control is about does not exist at this node. The message says why."""


class AskedError(Exception):
    """Raised by a reader: here only a person can answer the control's question. The message says why."""
