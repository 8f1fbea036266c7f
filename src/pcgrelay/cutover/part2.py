"""Part 2 of a report: outlets, networks, addresses, decisions one by one, and the evidence. Not published (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from pcgrelay.cutover.alarm import Alarm
from pcgrelay.cutover.histogram import Histogram
from pcgrelay.cutover.judge import AnyVerdict
from pcgrelay.cutover.plan import Plan
from pcgrelay.cutover.report_facts import DrillFacts, OutletFacts, ReportFacts
from pcgrelay.cutover.report_words import share_text


class OutletRow(Struct, frozen=True, kw_only=True):
    """One outlet, as it is shown."""

    name: str
    role: str
    where: str
    bearer: str
    marking: str
    support: str
    connections: str
    shadows: str
    failures: str
    setup: str
    answer: str
    moved: str


class DecisionRow(Struct, frozen=True, kw_only=True):
    """One decision, as it is shown."""

    at: str
    what: str
    shares: str
    sentence: str
    who: str
    reason: str
    evidence: str


class DrillRow(Struct, frozen=True, kw_only=True):
    """One drill of the back-up, as it is shown."""

    on: str
    what: str
    outcome: str
    streams: str
    lost: str


class Part2(Struct, frozen=True, kw_only=True):
    """All that is restricted."""

    facts: ReportFacts
    plan: Plan
    outlets: tuple[OutletRow, ...]
    decisions: tuple[DecisionRow, ...]
    drills: tuple[DrillRow, ...]


def part2_of(facts: ReportFacts) -> Part2:
    """The restricted part."""
    plan = facts.plan
    return Part2(
        facts=facts,
        plan=plan,
        outlets=tuple(_outlet(plan, each) for each in facts.outlets),
        decisions=tuple(_decisions(facts)),
        drills=tuple(map(_drill, facts.drills)),
    )


def _outlet(plan: Plan, outlet: OutletFacts) -> OutletRow:
    role = {plan.new: "new", plan.old: "old"}.get(outlet.name, "back-up" if outlet.name in plan.back else "other")
    sums, counts = outlet.sums, outlet.counts
    tried = sums.tried if sums else 0
    kinds = sums.kinds if sums else ()
    return OutletRow(
        name=outlet.name,
        role=role,
        where=", ".join(outlet.addresses) or ("the gateway's relays" if outlet.kind == "gateway" else "-"),
        bearer=outlet.bearer or "-",
        marking=outlet.marking or "-",
        support=f"to {outlet.supported_until}" if outlet.supported_until else "no end is known",
        connections=f"{counts.setups:,}",
        shadows=f"{counts.shadows:,}",
        failures=f"{sums.failed:,} of {tried:,} ({share_text(sums.failed / tried)})" if sums and tried else "-",
        setup=_times([each.setup for each in kinds]),
        answer=_times([each.answer for each in kinds]),
        moved=f"{counts.moved:,}",
    )


def _times(histograms: list[Histogram]) -> str:
    total = sum(histograms, Histogram())
    median, slow = total.quantile(0.5), total.quantile(0.95)
    if median is None or slow is None:
        return "-"
    return f"{median / 1_000:.1f} ms, 19 of 20 within {slow / 1_000:.1f} ms"


def _decisions(facts: ReportFacts) -> Iterator[DecisionRow]:
    for decision in facts.decisions:
        shares = ", ".join(f"{name} {share:g} %" for name, share in sorted(decision.shares.items()) if share)
        who = "the node" if decision.uid is None else f"uid {decision.uid}"
        yield DecisionRow(
            at=decision.at,
            what=decision.what.replace("_", " "),
            shares=shares,
            sentence=decision.sentence,
            who=f"{who}, as {decision.by}" if decision.by else who,
            reason=decision.reason,
            evidence=_evidence(decision.verdict),
        )


def _drill(drill: DrillFacts) -> DrillRow:
    share = f", {drill.share:g} % of new connections" if drill.share else ""
    seconds = f" for {drill.lasted_s:.0f} s" if drill.lasted_s >= 0.5 else ""
    result = drill.result or ("passed" if drill.passed else "not passed")
    return DrillRow(
        on=drill.on.isoformat(),
        what=f"{drill.outlet or drill.kind}{share}{seconds}",
        outcome=f"{result}: {drill.sentence}" if drill.sentence else result,
        streams=f"{drill.streams:,}",
        lost=f"{drill.lost:,}",
    )


def _evidence(verdict: AnyVerdict | None) -> str:
    if verdict is None:
        return ""
    if isinstance(verdict, Alarm):
        alone = sum(pair.new_failed and not pair.old_failed for pair in verdict.facts.pairs)
        return (
            f"odds {verdict.odds:,.0f} to 1; {alone} of {len(verdict.facts.pairs)} pairs failed on {verdict.new} alone"
        )
    findings = "; ".join(f"{each.question} {each.outcome.value}: {each.sentence}" for each in verdict.findings)
    return f"{verdict.outcome.value}. {findings}"
