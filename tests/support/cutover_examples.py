"""Cut-overs as the design of the commands shows them, for the tests of what is printed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from pcgrelay.admin.answers import OutletAnswer
from pcgrelay.admin.cutover_answers import (
    CutoverDecision,
    CutoverFinding,
    CutoverList,
    CutoverOutlet,
    CutoverPoint,
    CutoverStatus,
    Rehearsal,
    RehearsedOutlet,
)
from pcgrelay.admin.status import OutletStatus

NOW = datetime(2019, 12, 23, 13, 42, tzinfo=UTC)
CUSTODY = "custody@kent.police.example"
GATEWAY = CutoverOutlet(
    name="gateway",
    role="new",
    share=25.0,
    marking="OFFICIAL-SENSITIVE",
    setups=412,
    shadows=692,
    failed=3,
    failure_share=0.0027,
    setup_median_ms=13.0,
    setup_p95_ms=15.9,
    answer_median_ms=4.3,
    rate_count=19,
    streams_active=97,
    suite="AES-256-GCM, X25519MLKEM768",
)
CJX = CutoverOutlet(
    name="cjx",
    role="old",
    share=75.0,
    bearer="cjx",
    marking="OFFICIAL",
    supported_until="2020-01-31",
    setups=1_239,
    shadows=692,
    failed=4,
    failure_share=0.0021,
    setup_median_ms=11.9,
    setup_p95_ms=14.2,
    answer_median_ms=4.2,
    rate_count=6,
    streams_active=88,
    oldest_s=6 * 86_400 + 3_600.0,
)
PSNP = CutoverOutlet(name="psnp-b", role="back", bearer="psnp-b", supported_until="2020-12-31")
FINDINGS = (
    CutoverFinding(question="enough", title="set-ups", outcome="good", sentence="412 set-ups", allowed="30"),
    CutoverFinding(
        question="failures", title="failures", outcome="good", sentence="at most 0.7 % (95 %)", allowed="+1 %"
    ),
    CutoverFinding(question="setup", title="set-up time", outcome="good", sentence="p < 0.001", allowed="+5 ms"),
    CutoverFinding(question="answer", title="first answer", outcome="good", sentence="p < 0.001", allowed="+5 ms"),
    CutoverFinding(
        question="rate",
        title="rate",
        outcome="open",
        sentence="too little bulk to judge (6 and 19 streams)",
        allowed="-10 %",
    ),
)
SOAKING = CutoverStatus(
    service=CUSTODY,
    phase="soaking",
    why="The soak of step 3 goes on for 12 min; then 50 % if nothing speaks against it.",
    old="cjx",
    new="gateway",
    back=("cjx", "psnp-b"),
    step=3,
    steps=(1, 5, 25, 50, 100),
    share=25.0,
    since="2019-12-23T13:24:00.000Z",
    began="2019-12-23T09:00:00.000Z",
    soaked_s=18 * 60 + 20,
    soak_s=1_800,
    change="CR-1042",
    owner="j.smith@met.police.example",
    deadline="2020-03-31",
    outlets=(GATEWAY, CJX, PSNP),
    findings=FINDINGS,
    verdict="gateway is not worse than cjx by more than the margins.",
    odds=1.4,
    moved=3,
    waited_ms=312,
    next_step="2019-12-23T14:12:00.000Z",
    done="2020-02-11T10:00:00.000Z",
    days_left=49,
    left_on_old=88,
    oldest_s=6 * 86_400 + 3_600.0,
)
FELL_BACK = CutoverDecision(
    at="2019-12-23T13:30:07.211Z",
    what="fell_back",
    sentence="1 set-up and 9 of 9 shadow pairs failed on gateway alone: 1,147 to 1.",
    phase="back",
    step=3,
    shares={"cjx": 100.0},
    verdict=True,
)
BACK = replace(
    SOAKING,
    phase="back",
    why="It fell back by itself; it begins again when somebody starts it.",
    share=0.0,
    since="2019-12-23T13:30:07.211Z",
    fell_back="2019-12-23T13:30:07.211Z",
    back_on="cjx",
    alarmed=True,
    odds=1_147.0,
    moved=1,
    next_step="",
    done="",
    days_left=None,
    outlets=(replace(GATEWAY, share=0.0), replace(CJX, share=100.0), PSNP),
    decisions=(FELL_BACK,),
)
ARRIVED = replace(
    SOAKING,
    service="pnd@hub.example",
    phase="arrived",
    why="The old outlet has been quiet for 12 of 35 days.",
    step=5,
    share=100.0,
    since="2019-12-11T13:00:00.000Z",
    done="2019-12-11T13:00:00.000Z",
    quiet_days=12,
    quiet_of=35,
    left_on_old=0,
    oldest_s=None,
    outlets=(replace(GATEWAY, share=100.0), replace(CJX, share=0.0, streams_active=0)),
)
LATE = replace(
    SOAKING,
    service="ppu@gmp.police.example",
    phase="planned",
    step=0,
    share=0.0,
    since="",
    began="",
    done="2020-04-06T10:00:00.000Z",
    days_left=-6,
    late=True,
    odds=1.0,
    troubles=("unapproved",),
)
ALL = CutoverList(
    cutovers=(SOAKING, ARRIVED, replace(BACK, service="ident@surrey.police.example"), LATE),
    imports=("vdb@met.police.example",),
)
REHEARSED = Rehearsal(
    service=CUSTODY,
    took_s=12.4,
    old=RehearsedOutlet(
        name="cjx",
        tried=100,
        up=100,
        outcomes={"up": 100},
        setup_median_ms=11.8,
        setup_p95_ms=14.2,
        answer_median_ms=4.1,
        answers=100,
        bearer="cjx",
        marking="OFFICIAL",
        supported_until="2020-01-31",
    ),
    new=RehearsedOutlet(
        name="gateway",
        tried=100,
        up=100,
        outcomes={"up": 100},
        setup_median_ms=13.1,
        setup_p95_ms=15.9,
        answer_median_ms=4.4,
        answers=100,
        marking="OFFICIAL-SENSITIVE",
        suite="AES-256-GCM",
        group="X25519MLKEM768",
    ),
    findings=(
        CutoverFinding(
            question="failures", title="failures", outcome="good", sentence="at most 3 % may fail more often (95 %)"
        ),
        CutoverFinding(question="setup", title="set-up time", outcome="good", sentence="", allowed="+5 ms"),
        CutoverFinding(question="answer", title="first answer", outcome="good", sentence="", allowed="+5 ms"),
    ),
    can_begin=True,
    sentence="It can begin.",
)

PLAN = """[cutover]
service = "custody@kent.police.example"
from = "cjx"
back = ["cjx"]
deadline = 2020-03-31
"""
OUTLETS = OutletAnswer(
    service=CUSTODY,
    serving=True,
    configured="cjx",
    outlets=(
        OutletStatus(name="gateway", kind="gateway", state="ready", share=0.0),
        OutletStatus(name="cjx", kind="direct", state="ready", share=1.0, bearer="cjx", marking="OFFICIAL"),
    ),
)


def day_of_points() -> tuple[CutoverPoint, ...]:
    """A day in five-minute points: it steps, falls back for two hours, and goes on; for an hour no node ran."""
    found = []
    for number in range(288):
        if 60 <= number < 72:
            continue
        share = 5.0 if number < 150 else 25.0 if number < 170 else 0.0 if number < 194 else 25.0
        wave = (number * 37 % 11) / 10
        times = {"gateway": 12.6 + wave, "cjx": 11.5 + wave} if share else {"cjx": 11.5 + wave}
        found.append(
            CutoverPoint(
                at=(NOW - timedelta(minutes=5 * (287 - number))).strftime("%Y-%m-%dT%H:%M:00Z"),
                shares={"gateway": share, "cjx": 100 - share},
                setups={name: round(60 * part / 100) for name, part in (("gateway", share), ("cjx", 100 - share))},
                failures={"gateway": 4} if number == 169 else {"cjx": 1} if number % 90 == 7 else {},
                median_ms=times,
                p95_ms={name: value * 1.3 for name, value in times.items()},
            )
        )
    return tuple(found)


def decision_of(at: str, what: str, sentence: str, **more: str) -> CutoverDecision:
    return CutoverDecision(at=at, what=what, sentence=sentence, phase="soaking", step=3, **more)


WHOLE_DAY = replace(
    SOAKING,
    marking="OFFICIAL-SENSITIVE",
    points=day_of_points(),
    quiet_of=35,
    not_quiet="0 of 35 days are quiet: it is in use",
    decisions=(
        decision_of("2019-12-23T02:12:00.000Z", "stepped", "25 % take gateway: it is not worse than cjx."),
        FELL_BACK,
        decision_of(
            "2019-12-23T05:50:00.000Z", "started", "1 % take gateway.", by="operator (j.smith)", reason="INC-77"
        ),
    ),
)
WHOLE_DAY = replace(
    WHOLE_DAY,
    decisions=(WHOLE_DAY.decisions[0], replace(FELL_BACK, at="2019-12-23T03:52:07.211Z"), *WHOLE_DAY.decisions[2:]),
)
