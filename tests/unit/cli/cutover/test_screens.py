"""What is shown of cut-overs: whole screens, as the design has them, for wide and narrow terminals."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pcgrelay.admin.cutover_answers import CutoverDecision, CutoverStatus
from pcgrelay.cli.cutover.screen import screen
from tests.support.cutover_examples import ARRIVED, BACK, CJX, GATEWAY, LATE, NOW, PSNP, SOAKING


def shown(status: CutoverStatus, width: int = 120) -> list[str]:
    lines = [line.plain.rstrip() for line in screen(status, width, NOW)]
    assert max(map(len, lines)) <= width
    return lines


def test_a_cut_over_that_soaks() -> None:
    assert (
        "\n".join(shown(SOAKING))
        == """\
custody@kent.police.example   cjx -> gateway      step 3 of 5, soaking 18 of 30 min      CR-1042, j.smith

  gateway  25 %  ################                                   412 streams, 692 shadows, 3 failed
  cjx      75 %  ################################################ 1,239 streams, 692 shadows, 4 failed

                    cjx  gateway  allowed  judged
  set-ups             -        -       30  good    412 set-ups
  failures       0.21 %   0.27 %     +1 %  good    at most 0.7 % (95 %)
  set-up time   11.9 ms  13.0 ms    +5 ms  good    p < 0.001
  first answer  4.20 ms  4.30 ms    +5 ms  good    p < 0.001
  rate                -        -    -10 %  open    too little bulk to judge (6 and 19 streams)
  odds of a worse gateway: 1.4 to 1 (falls back at 1,000)
  led on before anybody noticed: 3, each within 312 ms
The soak of step 3 goes on for 12 min; then 50 % if nothing speaks against it.
Next step 50 % at 14:12 UTC, if it stays so. Done about 2020-02-11, 49 days before the deadline.
Falls back to cjx (in support to 2020-01-31), then psnp-b (in support to 2020-12-31).
Left on cjx: 88 streams, the oldest 6 days."""
    )


def test_a_cut_over_that_soaks_on_a_narrow_terminal() -> None:
    assert (
        "\n".join(shown(SOAKING, 80))
        == """\
custody@kent.police.example   cjx -> gateway
  step 3 of 5, soaking 18 of 30 min   CR-1042, j.smith

  gateway  25 %  ######                 412 streams, 692 shadows, 3 failed
  cjx      75 %  #################### 1,239 streams, 692 shadows, 4 failed

                    cjx  gateway  allowed  judged
  set-ups             -        -       30  good
  failures       0.21 %   0.27 %     +1 %  good
  set-up time   11.9 ms  13.0 ms    +5 ms  good
  first answer  4.20 ms  4.30 ms    +5 ms  good
  rate                -        -    -10 %  open
      too little bulk to judge (6 and 19 streams)
  odds of a worse gateway: 1.4 to 1 (falls back at 1,000)
  led on before anybody noticed: 3, each within 312 ms
The soak of step 3 goes on for 12 min; then 50 % if nothing speaks against it.
Next step 50 % at 14:12 UTC, if it stays so.
Done about 2020-02-11, 49 days before the deadline.
Falls back to cjx (in support to 2020-01-31), then psnp-b (in support to
2020-12-31).
Left on cjx: 88 streams, the oldest 6 days."""
    )


def test_a_cut_over_that_fell_back() -> None:
    assert (
        "\n".join(shown(BACK))
        == """\
custody@kent.police.example   cjx -> gateway      BACK on cjx since 13:30:07 UTC      CR-1042, j.smith
  why           1 set-up and 9 of 9 shadow pairs failed on gateway alone: 1,147 to 1.
  lost          0 connections; 1 led on to another outlet, each within 312 ms
  live          97 streams stay on gateway
  again         when it is mended: pcgrelay cutover start FILE --again

Decided lately
  13:30:07 UTC  1 set-up and 9 of 9 shadow pairs failed on gateway alone: 1,147 to 1."""
    )
    asked_for = CutoverDecision(
        at="2019-12-22T13:30:07.211Z",
        what="fell_back",
        sentence="Fell back by root.",
        phase="back",
        step=3,
        by="root (j.smith)",
        reason="INC-77",
    )
    lines = shown(replace(BACK, alarmed=False, decisions=(asked_for,), outlets=()))
    assert "  why           Fell back by root." in lines
    assert "  2019-12-22 13:30:07 UTC  Fell back by root. (root (j.smith), INC-77)" in lines
    assert lines[3] == "  again         when it is mended: pcgrelay cutover start FILE --again"


def test_a_cut_over_that_arrived_has_its_old_outlet_as_the_last_resort() -> None:
    lines = shown(ARRIVED)
    assert lines[0].endswith("ARRIVED since 2019-12-11 13:00:00 UTC      CR-1042, j.smith")
    assert lines[-2:] == [
        "The old outlet has been quiet for 12 of 35 days.",
        "Falls back to cjx (in support to 2020-01-31). Left on cjx: no stream.",
    ]


@pytest.mark.parametrize(
    ("status", "stage"),
    [
        (replace(SOAKING, soaked_s=1_900.0), "step 3 of 5, soak of 30 min is over"),
        (replace(SOAKING, soak_s=20.0, soaked_s=7.5), "step 3 of 5, soaking 7 of 20 s"),
        (replace(SOAKING, soak_s=86_400.0, soaked_s=7_205.0), "step 3 of 5, soaking 2 of 24 h"),
        (replace(SOAKING, held=True), "step 3 of 5, HELD: gateway is away, its share is 0 for now"),
        (replace(SOAKING, phase="paused"), "step 3 of 5, PAUSED since 13:24:00 UTC"),
        (replace(ARRIVED, held=True), "ARRIVED since 2019-12-11 13:00:00 UTC, HELD: gateway is away"),
        (replace(ARRIVED, phase="quiet"), "QUIET since 2019-12-11 13:00:00 UTC"),
        (replace(ARRIVED, phase="retired"), "RETIRED since 2019-12-11 13:00:00 UTC"),
        (LATE, "planned: nothing has moved"),
        (replace(SOAKING, phase="lost"), "LOST: its state cannot be read, and nothing steps forward"),
        (
            replace(SOAKING, nowhere=True),
            "A FALL-BACK IS WANTED, AND THERE IS NOWHERE TO GO (soaking, step 3 of 5)",
        ),
    ],
)
def test_each_state_has_its_words(status: CutoverStatus, stage: str) -> None:
    assert f"      {stage}      " in shown(status, 160)[0]


def test_what_is_wrong_is_told() -> None:
    away = replace(GATEWAY, well=False, reason="no edge with the service can be reached")
    status = replace(
        SOAKING,
        outlets=(away, replace(CJX, supported=False), replace(PSNP, well=False)),
        troubles=(
            "x fell back to cjx; see pcgrelay cutover why x.",
            "The state could not be written: no space is left.",
        ),
        lost=2,
        late=True,
        done="",
    )
    lines = shown(status)
    assert "    away: no edge with the service can be reached" in lines
    assert "    away: it cannot carry a stream now" in lines
    assert "  refused, because no outlet was left: 2" in lines
    assert any(line.endswith("LATE: the deadline is past; when it is done cannot be foreseen.") for line in lines)
    assert any("There is NOTHING TO FALL BACK TO" in line for line in lines)
    assert not any("fell back to" in line for line in lines)
    assert lines[-1] == "! The state could not be written: no space is left."
    late = replace(SOAKING, late=True, days_left=-6, done="2020-04-06T10:00:00Z")
    assert any("LATE: done about 2020-04-06, 6 days after the deadline." in line for line in shown(late))


def test_hardly_anything_is_known_and_it_is_shown_all_the_same() -> None:
    lines = shown(CutoverStatus(service="x@y.example", phase="soaking"), 60)
    assert lines[0] == "x@y.example    ->       step 0 of 0, soak of 0 s is over"
    for phase in ("back", "arrived", "lost", "retired", "planned", "paused", "of a later version"):
        assert shown(CutoverStatus(service="x@y.example", phase=phase), 60)
