"""Whatever stands in the body of a cut-over's file, it is refused, or a whole node can go on with it: its shares add up
to 100 and are of its plan's outlets, a look can be taken, and all of it can be kept and read again. Its verdicts can be
computed again, as an assurer does with those of a report."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pcgrelay.cutover.alarm import Evidence, Pair, judge_alarm
from pcgrelay.cutover.canary import Facts, Now, standing_shares, tick
from pcgrelay.cutover.fitting import fits
from pcgrelay.cutover.gate import GateFacts, judge_gate
from pcgrelay.cutover.histogram import from_counts
from pcgrelay.cutover.judge import replay
from pcgrelay.cutover.odds import Failures
from pcgrelay.cutover.phases import Phase, Progress, after_restart, after_upgrade
from pcgrelay.cutover.plan import parse_plan
from pcgrelay.cutover.questions import Levels
from pcgrelay.cutover.samples import Limits, Outlet, Samples
from pcgrelay.cutover.state import Counts, CutoverState, KeptDecision, digest_of
from pcgrelay.errors import ConfigError

PLAN = """
[cutover]
service = "custody@kent.police.example"
from = "cjx"
back = ["cjx"]
deadline = 2150-01-01
"""
NOW = Now(datetime(2030, 1, 1, tzinfo=UTC), 1_000.0)


EVIDENCE = Evidence().after_setups(Failures(3, 1, 0.5), (1, 2)).after_pair(Pair(True, False))
TIMES = from_counts({100: 40, 120: 5})
VERDICTS = (
    judge_alarm(EVIDENCE.facts, "gateway", "cjx"),
    judge_gate(
        GateFacts(
            Outlet("gateway", Samples(100, 1, TIMES, TIMES, TIMES, 1), Samples(9, 1, TIMES)),
            Outlet("cjx", Samples(50, 0, TIMES, TIMES, TIMES), Samples(7, 0)),
            Limits(),
            Levels(0.01, 0.001),
        )
    ),
)


def seed(phase: Phase, step: int) -> bytes:
    figures = Outlet("gateway", Samples(100, 1), Samples(7, 0)), Outlet("cjx", Samples(50, 0), Samples(7, 0))
    progress = Progress(phase, step, 12.0, evidence=EVIDENCE, origin=figures, base=figures, seen=figures)
    decisions = [
        KeptDecision(
            at="2030-01-01T00:00:00.000Z",
            what="started",
            sentence="Started.",
            phase=phase,
            step=step,
            shares={"gateway": 1.0, "cjx": 99.0},
            uid=0,
            verdict=verdict,
        )
        for verdict in VERDICTS
    ]
    return msgspec.json.encode(
        CutoverState(
            service="custody@kent.police.example",
            plan_text=PLAN,
            plan_sha256=digest_of(PLAN),
            progress=progress,
            sums={each.name: each for each in figures},
            counts={"gateway": Counts(setups=99, moved=1)},
            decisions=tuple(decisions),
        )
    )


SEEDS = [seed(phase, step) for phase in Phase for step in (0, 4)]
FIELDS = (*Progress.__struct_fields__, *CutoverState.__struct_fields__)
WORDS = [
    *(word.encode() for word in 'null true -1 5 1e308 1e999 [] {} "gateway" "cjx" [[0,1]] 99999999999999999'.split()),
    *(f'"{phase.value}"'.encode() for phase in Phase),
    *(f'"{name}":'.encode() for name in FIELDS),
]


def run(data: bytes) -> object:
    try:
        state = msgspec.json.decode(data, type=CutoverState)
        plan, _ = parse_plan(state.plan_text, Path("plan"))
    except (msgspec.DecodeError, UnicodeDecodeError, ConfigError, ValueError, RecursionError) as error:
        return type(error).__name__, str(error)[:40]
    if not fits(plan, state):
        return "it does not fit"
    for decision in state.decisions:
        if decision.verdict is not None:
            replay(decision.verdict)
    for progress in (after_restart(state.progress), after_upgrade(state.progress)):
        shares = standing_shares(plan, progress)
        assert sum(shares.values()) == 100, shares
        assert set(shares) == {plan.new, plan.old, *plan.back}, shares
        facts = Facts(
            new=state.sums.get(plan.new, Outlet(plan.new)),
            old=state.sums.get(plan.old, Outlet(plan.old)),
            well=frozenset({plan.new, plan.old}),
        )
        answer = tick(plan, progress, facts, NOW)
        assert sum(answer.shares.values()) == 100, answer.shares
        assert msgspec.json.decode(msgspec.json.encode(after_upgrade(answer.progress)), type=Progress)
    return "a state", state.progress.phase, state.progress.step


if __name__ == "__main__":
    from tests.fuzz.mutation import main

    sys.exit(main(SEEDS, WORDS, run))
