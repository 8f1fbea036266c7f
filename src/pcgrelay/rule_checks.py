"""What `check` says of the ends of rules: which have run out or soon will, and which end later than they may."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pcgrelay.admin.rules import RuleStatus, rule_sentences
from pcgrelay.config import Config, ExportSettings
from pcgrelay.finding import ERROR, WARNING, Finding, of_dates
from pcgrelay.identity.dates import ENDING_MOST
from pcgrelay.policy.in_force import days_left, ending_rules, ending_too_late, late_words


def rule_findings(config: Config, now: datetime) -> Iterator[Finding]:
    """Yield what there is to say of the ends of rules, and of single entries of `allow`."""
    yield from _ends(config, now)
    for number, export in enumerate(config.exports, 1):
        yield from _terms(number, export, now)


def _ends(config: Config, now: datetime) -> Iterator[Finding]:
    """Rules that have ended or soon will, by their last days; and those that end later than they may."""
    near = [
        RuleStatus(rule=rule.name, until=rule.paper.until, days=max(days_left(rule, now), 0))
        for rule in ending_rules(config)
        if rule.paper.until is not None and days_left(rule, now) <= ENDING_MOST.days
    ]
    for sentence in rule_sentences(near):
        yield of_dates(WARNING, "until", sentence, "Write a later until if that is decided, or remove the rule.")
    if config.approvals is None:
        return
    for rule in ending_too_late(config, now):
        sentence = late_words(rule, config.approvals.most_days, now)
        yield of_dates(ERROR, "until", sentence, "Write an earlier day, or raise most_days of [approvals].")


def _terms(number: int, export: ExportSettings, now: datetime) -> Iterator[Finding]:
    """Entries of `allow` that have run out or soon will. They have no beginning, so no share of a life counts."""
    for terms in export.terms:
        if terms.until is None or now < terms.until - ENDING_MOST:
            continue
        ended = terms.has_ended(now)
        about = f" ({terms.reference})" if terms.reference else ""
        what = "ran out" if ended else "ends"
        sentence = (
            f"{terms.organisation} may use {export.service}{about}: that {what} on {terms.until:%Y-%m-%d %H:%M} UTC."
        )
        mend = "Remove the entry, or write a later end if that is decided."
        yield of_dates(WARNING, f"export[{number}].allow", sentence, mend)
