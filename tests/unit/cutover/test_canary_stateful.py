"""Whatever happens to a cut-over: never forward without a write, never above the step, back within one tick."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pcgrelay.cutover.alarm import Pair, judge_alarm
from pcgrelay.cutover.canary import Answer, Facts, Now, settle, tick
from pcgrelay.cutover.histogram import Histogram
from pcgrelay.cutover.odds import Failures
from pcgrelay.cutover.phases import UNDER_WAY, Event, Phase, Progress, after_restart, decode_progress, encode_progress
from pcgrelay.cutover.plan import parse_plan
from pcgrelay.cutover.requests import Request
from pcgrelay.cutover.samples import Outlet, Samples
from tests.support.machines import examples

PLAN = parse_plan(
    """[cutover]
service = "custody@kent.police.example"
from = "cjx"
back = ["cjx", "psnp-b"]
steps = [5, 50, 100]
soak = "10s"
deadline = 2020-03-31
freeze = ["2019-11-11"]
[gate]
streams = 0
""",
    Path("custody.plan.toml"),
)[0]
START = datetime(2019, 11, 8, 9, 0, tzinfo=UTC)
ENDS = {"cjx": date(2019, 11, 10), "psnp-b": None}

requests = st.one_of(
    st.none(),
    st.builds(
        Request, st.sampled_from(list(Event)), is_approved=st.booleans(),
        waived=st.sampled_from([frozenset(), frozenset({"enough", "failures", "tail", "setup", "answer"})]),
    ),
)  # fmt: skip
often_well = st.sampled_from([frozenset({"gateway", "cjx", "psnp-b"})] * 4 + [
    frozenset({"gateway"}), frozenset({"cjx"}), frozenset({"psnp-b"}), frozenset(), frozenset({"gateway", "psnp-b"}),
])  # fmt: skip
failures = st.one_of(
    st.just(Failures(0, 0, 0.5)), st.builds(Failures, st.integers(0, 4), st.integers(0, 4), st.floats(0, 1))
)


def grown(name: str, setups: int, bucket: int) -> Outlet:
    if not setups:
        return Outlet(name)
    return Outlet(name, Samples(setups, 0, Histogram(((bucket, setups),)), Histogram(((90, setups),))))


def allowed(written: Progress) -> float:
    """The greatest share of the new outlet that what was written allows."""
    if written.phase in {Phase.PLANNED, Phase.BACK}:
        return 0.0
    return PLAN.steps[written.step] if written.phase in {Phase.SOAKING, Phase.PAUSED} else 100.0


class CutOver(RuleBasedStateMachine):
    """A node that runs one cut-over, with a disk that fails, and a process that is killed."""

    @initialize()
    def begin(self) -> None:
        self.now = Now(START, 1_000.0)
        self.new, self.old = Outlet("gateway"), Outlet("cjx")
        self.disk = encode_progress(Progress())
        self.unwritten = False
        self.answer = tick(PLAN, Progress(), Facts(self.new, self.old), self.now)

    @rule(
        seconds=st.sampled_from([0.25, 0.25, 1.0, 6.0, 10.0]),
        jump=st.sampled_from([0.0] * 9 + [-7_200.0, 86_400.0]),
        setups=st.sampled_from([0, 3, 100, 600]),
        is_slow=st.sampled_from([False] * 5 + [True]),
        well=often_well,
        setup_failures=failures,
        later=failures,
        pairs=st.lists(st.builds(Pair, st.booleans(), st.booleans()), max_size=12),
        back_succeeds=st.sampled_from([True, False, None]),
        is_unacknowledged=st.sampled_from([False] * 4 + [True]),
        request=requests,
        is_quiet=st.booleans(),
        stray=st.sampled_from([None, None, "a stray connection"]),
        writes=st.sampled_from([True, True, True, False]),
    )
    def look(
        self, seconds: float, jump: float, setups: int, is_slow: bool, well: frozenset[str], setup_failures: Failures,
        later: Failures, pairs: list[Pair], back_succeeds: bool | None, is_unacknowledged: bool,
        request: Request | None, is_quiet: bool, stray: str | None, writes: bool,
    ) -> None:  # fmt: skip
        self.now = Now(self.now.wall + timedelta(seconds=seconds + jump), self.now.monotonic_s + seconds)
        self.new += grown("gateway", setups, 170 if is_slow else 120)
        self.old += grown("cjx", setups, 120)
        facts = Facts(
            self.new, self.old, well, ENDS, setup_failures, (1, 2, 3), later, (4, 5, 6), tuple(pairs),
            back_succeeds, is_unacknowledged, is_quiet=is_quiet, stray=stray, request=request,
        )  # fmt: skip
        before, answer = self.answer, tick(PLAN, self.answer.progress, facts, self.now)
        self.check_tick(before, answer, facts)
        self.answer = settle(before, answer, was_written=writes)
        if writes:
            self.disk = encode_progress(self.answer.progress)

    @rule(seconds=st.integers(10, 13), writes=st.booleans())
    def soak(self, seconds: int, writes: bool) -> None:
        """A good time, so that steps forward are reached."""
        for _ in range(seconds):
            self.look(
                1.0, 0.0, 600, False, frozenset({"gateway", "cjx", "psnp-b"}), Failures(0, 0, 0.5), Failures(0, 0, 0.5),
                [], True, False, None, False, None, writes,
            )  # fmt: skip

    @rule()
    def start(self) -> None:
        """Often enough."""
        request = Request(Event.START, is_approved=True)
        self.look(
            0.25, 0.0, 0, False, frozenset({"gateway", "cjx", "psnp-b"}), Failures(0, 0, 0.5), Failures(0, 0, 0.5),
            [], True, False, request, False, None, True,
        )  # fmt: skip

    @rule()
    def die(self) -> None:
        facts = Facts(self.new, self.old, frozenset({"gateway", "cjx"}))
        self.answer = tick(PLAN, after_restart(decode_progress(self.disk)), facts, self.now)

    def check_tick(self, before: Answer, answer: Answer, facts: Facts) -> None:
        phase, share = answer.progress.phase, answer.shares["gateway"]
        today = self.now.wall.date()
        has_back = any(name in facts.well and (ENDS[name] is None or today <= ENDS[name]) for name in PLAN.back)
        # More than was approved before is forward, and only that waits for the disk.
        if share > allowed(before.progress):
            assert answer.is_forward
        # What is in force grows without a write only back to the step that was written.
        if before.progress.phase in UNDER_WAY and has_back:
            if "gateway" not in facts.well and phase in {Phase.SOAKING, Phase.PAUSED}:
                assert share == 0
            if judge_alarm(answer.progress.evidence.facts, "gateway", "cjx").is_raised and "gateway" in facts.well:
                assert share == 0
            if facts.request is not None and facts.request.event is Event.FALL_BACK:
                assert phase is Phase.BACK
                assert share == 0
        if phase is Phase.BACK and before.progress.phase is not Phase.BACK:
            assert has_back

    @invariant()
    def shares_are_whole(self) -> None:
        if hasattr(self, "answer"):
            assert sum(self.answer.shares.values()) == 100
            assert all(0 <= share <= 100 for share in self.answer.shares.values())

    @invariant()
    def it_is_never_further_than_what_was_written(self) -> None:
        if hasattr(self, "answer"):
            assert self.answer.shares["gateway"] <= allowed(decode_progress(self.disk))

    @invariant()
    def nothing_that_is_written_names_a_client(self) -> None:
        if hasattr(self, "answer"):
            assert decode_progress(self.disk).evidence.setup_clients == frozenset()


CutOver.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
TestCutOver = CutOver.TestCase
