"""The course of the demonstration when it moves the service itself, by the commands that a person types."""

from __future__ import annotations

import time

from msgspec import structs

from pcgrelay.admin.answers import RELOAD_PATH, ReloadAnswer
from pcgrelay.admin.client import ask
from pcgrelay.admin.cutover_answers import CutoverStatus, Rehearsal
from pcgrelay.admin.quiet_answers import RetireAnswer
from pcgrelay.demo.cutover.applications import Caller
from pcgrelay.demo.cutover.drawing import kept_text
from pcgrelay.demo.cutover.measured import Fault, Measured, Quiet, Rehearsed
from pcgrelay.demo.cutover.operator import Operator
from pcgrelay.demo.cutover.pace import EXPECTED, FAULT_AT, HELLO, WHOLE, Pace, edited
from pcgrelay.demo.cutover.realm import FULL_SERVICE, OLD, MovingRealm, deadline
from pcgrelay.demo.cutover.telling import Telling
from pcgrelay.demo.cutover.traffic import Traffic
from pcgrelay.demo.cutover.watch import Watch
from pcgrelay.errors import RunError
from pcgrelay.output import count, milliseconds, percent_exact

PLAN = "custody.plan.toml"
STEP_S = 60.0  # far more than a step takes: then something is wrong
WELL_S = 30.0
LEFT_S = 10.0
REHEARSED_AGAIN = 10
RELOAD_S = 20.0
RULE_CODE = 6


class Course:
    """From the rehearsal to the end of the old network's use."""

    def __init__(
        self,
        telling: Telling,
        realm: MovingRealm,
        traffic: Traffic,
        caller: Caller,
        operator: Operator,
        watch: Watch,
        pace: Pace,
    ) -> None:
        self._telling, self._realm, self._traffic, self._caller = telling, realm, traffic, caller
        self._operator, self._watch, self._pace = operator, watch, pace
        self.found = Measured()

    def go(self) -> None:
        """All of it."""
        self._rehearse()
        self._plan()
        self._start()
        self._until_share(FAULT_AT)
        self._break()
        self._mend()
        self._start("--again")
        self.found = structs.replace(self.found, began_again=1)
        self._until_arrived()
        self._leave()

    # --- before ---------------------------------------------------------------------------------------------------

    def _rehearse(self) -> None:
        each = self._pace.rehearsed
        self._telling.command(f"cutover rehearse custody --count {each}")
        done = self._rehearsal(each)
        if done.old is None or done.new is None:
            raise RunError(f"The rehearsal came to nothing: {done.reason or done.sentence}")
        old, new = done.old, done.new
        self.found = structs.replace(
            self.found,
            rehearsed=Rehearsed(
                each=each, old_ms=old.setup_median_ms, new_ms=new.setup_median_ms, could_begin=done.can_begin
            ),
        )
        self._telling.say(
            f"{new.up} of {new.tried} set up over the gateway in {milliseconds(new.setup_median_ms)} ({new.suite}), "
            f"{old.up} of {old.tried} over {OLD} in {milliseconds(old.setup_median_ms)} (no encryption). "
            f"{done.sentence}"
        )
        if not done.can_begin:
            raise RunError(f"The rehearsal says that it should not begin: {done.sentence}")

    def _rehearsal(self, each: int) -> Rehearsal:
        words = ("cutover", "rehearse", FULL_SERVICE, "--count", str(each), "--send", HELLO, "--expect", EXPECTED)
        return self._operator.told(self._realm.met, Rehearsal, *words, good=(0, RULE_CODE))

    def _plan(self) -> None:
        pace = self._pace
        words = ["--from", OLD, "--deadline", f"{deadline()}", "--soak", f"{pace.soak_s}s"]
        words += ["--steps", pace.steps_text] if pace.steps != WHOLE.steps else []
        self._telling.command(f"cutover plan custody {' '.join(words)} > {PLAN}")
        text = self._operator.run(self._realm.met, "cutover", "plan", FULL_SERVICE, *words).out
        (self._realm.folder / PLAN).write_text(edited(text))
        self._telling.say(
            f"Steps of {pace.steps_text.replace(',', ', ')} %, at least {pace.soak_s} s each; it falls back to {OLD}. "
            "Soaks and margins are edited to those of a demonstration."
        )

    # --- steps ----------------------------------------------------------------------------------------------------

    def _start(self, *options: str) -> None:
        self._telling.command(" ".join(["cutover start", PLAN, *options]))
        self._operator.run(self._realm.met, "cutover", "start", PLAN, *options)
        self._look()

    def _until_share(self, percent: float) -> None:
        def is_there() -> bool:
            told = self._look()
            self._refuse_trouble(told)
            return told.share == percent and told.phase == "soaking"

        self._operator.until(f"The step of {percent_exact(percent)}", STEP_S, is_there)

    def _until_arrived(self) -> None:
        def is_there() -> bool:
            told = self._look()
            self._refuse_trouble(told)
            return told.phase == "arrived"

        self._operator.until("The arrival", STEP_S * len(self._pace.steps), is_there)
        self.found = structs.replace(self.found, arrived=True)

    def _refuse_trouble(self, told: CutoverStatus) -> None:
        """RunError: it is not on its way any more."""
        if told.phase not in ("soaking", "arrived"):
            raise RunError(f"The cut-over is {told.phase}, and nobody asked for it: {told.why}")

    def _look(self) -> CutoverStatus:
        self._traffic.refuse_ended()
        return self._watch.look()

    # --- the fault ------------------------------------------------------------------------------------------------

    def _break(self) -> None:
        time.sleep(self._pace.fault_after_s)
        self._refuse_trouble(self._look())
        self._realm.lead_kent_to(self._realm.closed_port)
        broke_s, failed = time.monotonic(), self._caller.failed
        self._watch.mark("a fault", None)
        self._telling.say(
            "A FAULT: by a mistake in its file, Kent's edge leads to a port on which nobody listens.", "bold yellow"
        )
        self._telling.command("reload -c kent-1.toml")
        self._reload_kent()
        self._operator.until("The fall-back", STEP_S, lambda: self._look().phase == "back")
        back_s = self._watch.moments[-1].at_s
        time.sleep(self._pace.back_for_s)
        told = self._look()
        decision = next(each for each in reversed(told.decisions) if each.what == "fell_back")
        seen = [each for each in list(self._caller.seen) if each.began_s >= broke_s]
        fault = Fault(
            at_s=round(broke_s - self._telling.began_s, 1),
            back_after_s=round(max(0.0, back_s - broke_s), 3),
            began=sum(each.began_s < back_s for each in seen),
            failed=self._caller.failed - failed,
            moved=told.moved,
            waited_ms=told.waited_ms,
            why=decision.sentence,
        )
        self.found = structs.replace(self.found, fault=fault)
        self._telling.say(
            f"By itself, {fault.back_after_s:.2f} s after the fault. Of {count(len(seen))} connections since then "
            f"{_number(fault.failed)} failed: {count(fault.moved)} were led on to {OLD} before anything was sent, "
            f"{kept_text(fault.waited_ms)}."
        )

    def _reload_kent(self) -> None:
        # Asked directly: a command would take as long as the step.
        answer = ask(self._realm.kent.admin, "POST", RELOAD_PATH, ReloadAnswer, RELOAD_S)
        if not answer.ok:
            raise RunError(f"Kent's edge refused its file: {answer.reason}")

    def _mend(self) -> None:
        self._realm.lead_kent_to(self._realm.database_port)
        self._telling.command("reload -c kent-1.toml")
        self._reload_kent()
        self._operator.until("The end of the fault", WELL_S, self._is_well)
        self._telling.command(f"cutover rehearse custody --count {REHEARSED_AGAIN}")
        done = self._rehearsal(REHEARSED_AGAIN)
        if done.new is None or not done.can_begin:
            raise RunError(f"The fault is mended, and the rehearsal still fails: {done.reason or done.sentence}")
        self._telling.say(
            f"Kent has mended its file, and {done.new.up} of {done.new.tried} set-ups over the gateway succeed again."
        )

    def _is_well(self) -> bool:
        return all(outlet.well for outlet in self._look().outlets)

    # --- afterwards -----------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        """The connections that were kept over the old network end, as those of applications do; then it is quiet."""
        left = self._operator.cutover(self._realm.met).left_on_old
        self._traffic.hang_up()
        self._operator.until(
            f"The end of the last stream on {OLD}",
            LEFT_S,
            lambda: self._operator.cutover(self._realm.met).left_on_old == 0,
        )
        self._telling.say(
            f"{left} connections were kept over {OLD} all the time. Their applications end them now and connect again, "
            "over the gateway."
        )
        self._telling.command(f"retire {OLD}/custody --check")
        answer = self._operator.told(self._realm.met, RetireAnswer, "retire", f"{OLD}/{FULL_SERVICE}", "--check",
                                     good=(0, RULE_CODE))  # fmt: skip
        told = self._operator.cutover(self._realm.met)
        old = next((each for each in self._operator.outlets(self._realm.met).outlets if each.name == OLD), None)
        used = old.used if old else ""
        quiet = Quiet(
            used=used,
            used_s=round(self._watch.second_of(used), 1) if used else None,
            left=told.left_on_old,
            days_wanted=told.quiet_of,
            refused="" if answer.ready else answer.reason,
        )
        self.found = structs.replace(
            self.found, quiet=quiet, lost=told.lost, moved=told.moved, waited_ms=told.waited_ms
        )
        self._telling.say(f"Not yet: {quiet.refused}" if quiet.refused else f"{OLD} can be retired.")


def _number(count_of: int) -> str:
    return count(count_of) if count_of else "none"
