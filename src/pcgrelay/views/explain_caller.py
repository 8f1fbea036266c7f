"""Answers of `pcgrelay explain SERVICE --from ORGANISATION`: whether an export would let that organisation in now.

The same tables decide as for an OPEN (`rx_open` in _core/edge/records, `limits_of_export` in _core/edge/limits), and in
their order: the allow list and clearances first, then what may be open. Nothing is connected to.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from datetime import datetime

from msgspec import structs

from pcgrelay.admin.answers import CallerCheck, ExplainAnswer
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.node import Node
from pcgrelay.log.events import time_text
from pcgrelay.model import Priority, organisation_number
from pcgrelay.net.descriptors import descriptors_of_streams, raise_descriptor_limit
from pcgrelay.policy.clearances import NAMES
from pcgrelay.policy.in_force import has_ended
from pcgrelay.policy.rules import Rule
from pcgrelay.services.descriptors import streams_most
from pcgrelay.services.services import Exported

ALIKE = 0.9  # a slip of the pen: names of organisations mostly end alike


def caller_explained(
    node: Node, edge: EdgeRole, number: int, exported: Exported, general: ExplainAnswer, organisation: str
) -> ExplainAnswer:
    """Return the explanation of an export, for one organisation. general: that for everybody."""
    rule = edge.services.rules[number]
    checks = [_allowed(rule, organisation, node.clock.wall())]
    checks += _cleared(node, rule, organisation)
    if all(check.passed for check in checks):
        checks += [_served(node, edge, exported, general, rule), *_limited(node, exported, organisation)]
    failed = next((check for check in checks if not check.passed), None)
    if failed is None:
        verdict = f"A new stream of {organisation} would be let in now."
    else:
        verdict = f"A new stream of {organisation} would be refused now ({failed.cause}): {failed.state}."
    return structs.replace(
        general,
        open=failed is None,
        verdict=verdict,
        caller=organisation,
        checks=tuple(checks),
        sessions=tuple(
            shown for shown, session in zip(general.sessions, edge.sessions, strict=True)
            if session.key.edge.organisation == organisation
        ),
    )  # fmt: skip


def _allowed(rule: Rule, organisation: str, now: datetime) -> CallerCheck:
    terms = rule.terms_of(organisation)
    until = "" if terms is None or terms.until is None else time_text(terms.until)
    why = "" if terms is None else ", ".join(filter(None, (terms.reason, terms.reference)))
    passed = rule.allows(organisation, now)
    if organisation not in rule.allow:
        near = difflib.get_close_matches(organisation, rule.allow, n=1, cutoff=ALIKE)
        state = f"the rule does not name it{f'; the nearest that it names: {near[0]}' if near else ''}"
    elif has_ended(rule.paper, now):
        assert rule.paper is not None
        state = f"the rule ended {rule.paper.until}"
    elif not passed:
        state = f"its entry ended at {until}"
    else:
        last = "" if rule.paper is None or rule.paper.until is None else f"{rule.paper.until}"
        state = f"until {until or last}" if until or last else "without an end"
    return CallerCheck(name="allow", state=state, passed=passed, cause="" if passed else "not-allowed", detail=why)


def _cleared(node: Node, rule: Rule, organisation: str) -> list[CallerCheck]:
    """Whether the organisation is of the realm and cleared for the service; nothing where neither is said."""
    if not node.config.policy.realm.has(organisation):
        state = "it is no member by the realm's bundle"
        return [CallerCheck(name="realm", state=state, passed=False, cause="not-allowed")]
    clearances = node.local.clearances
    if clearances.organisations is None:
        return []
    cleared = clearances.of_organisation(organisation)
    passed = rule.marking <= cleared
    state = f"cleared for {NAMES[cleared]}, this service is {NAMES[rule.marking]}"
    cause = "" if passed else "not-allowed"
    return [CallerCheck(name="clearance", state=state if passed else f"it is {state}", passed=passed, cause=cause)]


def _served(node: Node, edge: EdgeRole, exported: Exported, general: ExplainAnswer, rule: Rule) -> CallerCheck:
    """Whether the service is there for anybody."""
    failure, target = exported.target.failure, exported.target
    cause = ""
    if node.draining:
        cause = "draining"
    elif edge.tables.refusal_of(exported):
        cause = "unknown-service"
    elif failure is not None:
        cause = failure.cause
    elif not target.addresses:
        cause = "target-unresolved"
    if cause:
        return CallerCheck(name="service", state=general.verdict.rstrip("."), passed=False, cause=cause)
    most = f"in sessions of priority {rule.priority.title} at most" if rule.priority < max(Priority) else ""
    return CallerCheck(name="service", state=general.health, passed=True, detail=most)


def _limited(node: Node, exported: Exported, organisation: str) -> Iterator[CallerCheck]:
    """What may be open. New streams in a second are told and not foreseen: how many come then is not known."""
    limits, mine = exported.settings.limits, organisation_number(organisation)
    most = streams_most(limits.streams, descriptors_of_streams(raise_descriptor_limit()))
    streams = [row for row in node.plane.export_streams() if row.organisation == mine]
    own = sum(row.streams for row in streams if row.export == exported.number)
    policy = node.config.policy
    # In the order of the core: what it has used up itself comes first.
    if policy.organisation_streams:
        everything = sum(row.streams for row in streams)
        yield _limit(
            "policy.max_streams_per_organisation", everything, policy.organisation_streams, "organisation-limit"
        )
    if policy.organisation_new_per_second:
        state = f"{policy.organisation_new_per_second:,} in a second"
        yield CallerCheck(name="policy.new_streams_per_second", state=state, passed=True)
    yield _limit("max_streams_per_organisation", own, limits.per_organisation, "organisation-limit")
    yield _limit("max_streams", node.plane.services()["exports"].get(exported.number, 0), most, "limit")
    if limits.new_per_second:
        state = f"{limits.new_per_second:,} in a second"
        yield CallerCheck(name="new_streams_per_second", state=state, passed=True)


def _limit(name: str, is_open: int, most: int, cause: str) -> CallerCheck:
    if not most:
        return CallerCheck(name=name, state=f"no limit; {is_open:,} open", passed=True)
    passed = is_open < most
    return CallerCheck(name=name, state=f"{is_open:,} of {most:,} open", passed=passed, cause="" if passed else cause)
