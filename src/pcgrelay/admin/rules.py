"""Rules that have ended or soon will, for the status of a node and its troubles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date

from msgspec import Struct

SENTENCES_MOST = 8


class RuleStatus(Struct, frozen=True, kw_only=True):
    """A rule whose last day is near or over."""

    rule: str
    until: date  # its last day
    days: int  # that are left, the present one included; 0: it has ended


def rule_sentences(rules: Iterable[RuleStatus]) -> Iterator[str]:
    """Yield a sentence for each last day, the nearest first; at most 8."""
    by_day: dict[tuple[date, int], list[str]] = defaultdict(list)
    for each in rules:
        by_day[each.until, each.days].append(each.rule)
    days = sorted(by_day.items())
    for (until, left), names in days[:SENTENCES_MOST]:
        who = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1:,} more rules"
        many = len(names) > 1
        if left:
            when = "today" if left == 1 else f"in {left} days"
            yield f"{who} {'end' if many else 'ends'} {when}, on {until} (UTC)."
        else:
            yield f"{who} ended on {until} (UTC) and {'allow' if many else 'allows'} nothing any more."
    if further := sum(len(names) for _, names in days[SENTENCES_MOST:]):
        yield f"{further:,} more rules have ended or will within 30 days."
