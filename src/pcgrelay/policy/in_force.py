"""What of a configuration is in force at a time: a rule whose last day is over allows nothing (pure).

The rules stay in the configuration that was written. What runs is the configuration without those that have ended, so
that an end is applied as a reload is.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec import Struct, structs

from pcgrelay.config import GATEWAY, Config, ImportSettings, Paper, PolicySettings
from pcgrelay.policy.placement import RULE_TABLES

ONE_DAY = timedelta(days=1)


class NamedRule(Struct, frozen=True, kw_only=True):
    """A rule that has an end."""

    name: str  # for people: "export custody"
    paper: Paper
    end: datetime  # the first moment at which it allows nothing


def ending_rules(config: Config) -> Iterator[NamedRule]:
    """Yield the rules of a configuration that have an end."""
    found = [("policy members and relays", config.policy.paper)]
    for table in RULE_TABLES:
        found += [(f"{table.name} {table.title(entry)}", entry.paper) for entry in table.entries(config)]
    for name, paper in found:
        if paper is not None and paper.end is not None:
            yield NamedRule(name=name, paper=paper, end=paper.end)


def days_left(rule: NamedRule, now: datetime) -> int:
    """Return how many days a rule still has, the present one included; 0 or less: it has ended."""
    return -((now - rule.end) // ONE_DAY)


def ending_too_late(config: Config, now: datetime) -> Iterator[NamedRule]:
    """Yield the rules that end later than [approvals] most_days lets them."""
    if config.approvals is not None:
        most = config.approvals.most_days + 1  # the present day counts
        yield from (rule for rule in ending_rules(config) if days_left(rule, now) > most)


def late_words(rule: NamedRule, most_days: int, now: datetime) -> str:
    """Return the sentence about a rule that ends too late."""
    ahead = days_left(rule, now) - 1
    return f"{rule.name} ends on {rule.paper.until}, which is {ahead} days ahead; {most_days} is the most."


def has_ended(paper: Paper | None, now: datetime) -> bool:
    """Return whether a rule with that paper allows nothing any more."""
    return paper is not None and paper.end is not None and now >= paper.end


def in_force(config: Config, now: datetime) -> Config:
    """Return what is left of a configuration; the same object if all of it is in force.

    An export stays, so that rules keep their numbers: `policy.rules` grants nothing of one that has ended.
    """
    if not any(now >= rule.end for rule in ending_rules(config)):
        return config
    directs = tuple(direct for direct in config.directs if not has_ended(direct.paper, now))
    left = structs.replace(config, directs=directs)
    return structs.replace(
        left,
        policy=_policy(config.policy, now),
        listens=tuple(listen for listen in config.listens if not has_ended(listen.paper, now)),
        links=tuple(link for link in config.links if not has_ended(link.paper, now)),
        exports=tuple(
            structs.replace(export, also=()) if has_ended(export.paper, now) else export for export in config.exports
        ),
        imports=tuple(_import(left, entry) for entry in config.imports if not has_ended(entry.paper, now)),
    )


def _policy(policy: PolicySettings, now: datetime) -> PolicySettings:
    if not has_ended(policy.paper, now):
        return policy
    # What was not written does not end: without a list of relays no rule named any.
    return structs.replace(
        policy,
        members=(),
        relays=None if policy.relays is None else (),
        clearances=None if policy.clearances is None else (),
        transit=None if policy.transit is None else (),
    )


def _import(left: Config, entry: ImportSettings) -> ImportSettings:
    """An import whose configured outlet has ended is for the gateway; with no other outlet nothing is exercised."""
    directs = left.directs_of(entry.service)
    if entry.outlet != GATEWAY and all(direct.name != entry.outlet for direct in directs):
        entry = structs.replace(entry, outlet=GATEWAY)
    return entry if directs or not entry.exercise else structs.replace(entry, exercise=0.0)
