"""Facts of a cut-over as a report is made from: one that went well after a return, with verdicts that were computed."""

from __future__ import annotations

from datetime import date
from functools import cache

from msgspec import structs

from pcgrelay.cutover.alarm import AlarmFacts, Evidence, Pair, judge_alarm
from pcgrelay.cutover.gate import GateFacts, judge_gate
from pcgrelay.cutover.histogram import Histogram, from_values
from pcgrelay.cutover.odds import Failures
from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.questions import Levels
from pcgrelay.cutover.report_facts import (
    AdviceFacts,
    DrillFacts,
    OutletFacts,
    QuietFacts,
    ReportFacts,
    StatementFacts,
)
from pcgrelay.cutover.samples import Limits, Outlet, Samples
from pcgrelay.cutover.state import Counts, KeptDecision, digest_of

PLAN = """\
[cutover]
service = "custody@kent.police.example"
from = "cjx"
back = ["cjx", "psnp-b"]
steps = [1, 25, 100]
deadline = 2020-03-31
change = "CR-1042"
owner = "j.smith@met.police.example"

[report]
title = "Custody records: transition to the Police Cloud Gateway"
part2 = "OFFICIAL-SENSITIVE [OPERATIONAL]"
exempt = ["FOIA s.31 Law Enforcement", "FOIA s.43 Commercial Interests"]
advice = ["information assurance", "service owner", "finance"]
"""


def times(median_us: int, number: int) -> Histogram:
    """Times around a median, spread evenly by a fifth to both sides."""
    return from_values(median_us * (0.8 + 0.4 * each / number) for each in range(number))


def samples(setup_us: int, answer_us: int, number: int, failed: int = 0) -> Samples:
    return Samples(number + failed, failed, times(setup_us, number), times(answer_us, number))


def outlets() -> tuple[Outlet, Outlet]:
    """New and old."""
    new = Outlet("gateway", samples(13_000, 4_300, 412, 1), samples(13_000, 4_300, 692, 2))
    old = Outlet("cjx", samples(11_900, 4_200, 1_239, 2), samples(11_900, 4_200, 692, 2))
    return new, old


def alarm() -> AlarmFacts:
    evidence = Evidence().after_setups(Failures(1, 0, 0.25), [1])
    for _ in range(9):
        evidence = evidence.after_pair(Pair(True, False))
    return evidence.facts


@cache
def reported() -> ReportFacts:
    """The facts."""
    new, old = outlets()
    good = judge_gate(GateFacts(new, old, Limits(), Levels(0.025, 0.0)))
    raised = judge_alarm(alarm(), "gateway", "cjx")
    assert (good.outcome.value, raised.is_raised) == ("good", True)

    def decision(at: str, what: str, phase: Phase, step: int, share: float, **more: object) -> KeptDecision:
        made = KeptDecision(
            at=at, what=what, sentence=f"It has {what}.", phase=phase, step=step,
            shares={"gateway": share, "cjx": 100 - share},
        )  # fmt: skip
        return structs.replace(made, **more)

    decisions = (
        decision("2020-02-03T09:00:00.000Z", "started", Phase.SOAKING, 0, 1, uid=1000, by="j.smith", reason="CR-1042"),
        decision("2020-02-04T09:30:00.000Z", "stepped", Phase.SOAKING, 1, 25, verdict=good, sentence=good.sentence),
        decision("2020-02-05T13:52:07.211Z", "fell_back", Phase.BACK, 1, 0, verdict=raised, sentence=raised.sentence),
        decision("2020-02-05T15:52:00.000Z", "started", Phase.SOAKING, 0, 1, uid=1000, by="j.smith", reason="mended"),
        decision("2020-02-06T09:30:00.000Z", "stepped", Phase.SOAKING, 1, 25, verdict=good, sentence=good.sentence),
        decision("2020-02-11T10:00:00.000Z", "arrived", Phase.ARRIVED, 2, 100, verdict=good, sentence=good.sentence),
        decision("2020-03-31T08:00:00.000Z", "retired", Phase.RETIRED, 2, 100, uid=1000, by="j.smith"),
    )
    return ReportFacts(
        written="2020-03-31T09:00:00Z",
        node="met-1",
        organisation="met.police.example",
        service="custody@kent.police.example",
        plan_text=PLAN,
        plan_sha256=digest_of(PLAN),
        phase=Phase.RETIRED,
        step=2,
        began="2020-02-03T09:00:00.000Z",
        since="2020-03-31T08:00:00.000Z",
        arrived="2020-02-11T10:00:00.000Z",
        retired="2020-03-31T08:00:00.000Z",
        waited_ms=300,
        outlets=(
            OutletFacts(name="gateway", kind="gateway", sums=new, counts=Counts(setups=412, failures=1, moved=4)),
            OutletFacts(
                name="cjx",
                kind="direct",
                bearer="cjx-net",
                marking="OFFICIAL",
                supported_until=date(2020, 1, 31),
                addresses=("10.20.30.40:5432",),
                sums=old,
                counts=Counts(setups=1_239, shadows=692),
            ),
            OutletFacts(name="psnp-b", kind="direct", bearer="psnp", addresses=("[2001:db8::5]:5432",)),
        ),
        decisions=decisions,
        quiet=QuietFacts(days=35, since=date(2020, 2, 25), coverage=0.9998, last_use="2020-02-24T17:03:12Z"),
        statements=(
            StatementFacts(
                bearer="cjx-net",
                observer="router GW-3, tcp/5432",
                since=date(2020, 2, 25),
                until=date(2020, 3, 30),
                transferred=0,
                at="2020-03-31T08:30:00Z",
                by="network team",
            ),
        ),
        drills=(
            DrillFacts(on=date(2020, 2, 6), kind="backup", passed=True),
            DrillFacts(on=date(2020, 3, 5), kind="backup", passed=True),
        ),
        advice=(
            AdviceFacts(role="information assurance", on=date(2020, 1, 30), by="a.jones@met.police.example"),
            AdviceFacts(role="Service owner", on=date(2020, 1, 30), by="j.smith@met.police.example"),
        ),
        names=("kent-1", "relay-1", "psn-core"),
    )
