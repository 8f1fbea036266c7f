"""The gate: three outcomes of each question, what is still needed, looks that spend, verdicts computed again."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcgrelay.cutover.gate import (
    ALPHA_BAD,
    ALPHA_GOOD,
    ALPHA_RECENT,
    LOOKS_MOST,
    GateFacts,
    Looks,
    Verdict,
    judge_gate,
    preview,
)
from pcgrelay.cutover.histogram import Histogram, from_values
from pcgrelay.cutover.judge import decode_verdict, encode_verdict, replay
from pcgrelay.cutover.margin import Margin
from pcgrelay.cutover.questions import Finding, Levels, Outcome, ask_broken
from pcgrelay.cutover.samples import Limits, Outlet, Samples

FIRST = Levels(0.025, 0.0025)


def times(n: int, around_us: float, seed: int = 0) -> Histogram:
    chance = Random(seed)
    return from_values(around_us * chance.lognormvariate(0, 0.2) for _ in range(n))


def outlet(
    name: str, n: int, setup_us: float = 12_000, failed: int = 0, answer_us: float = 4_000, **more: object
) -> Outlet:
    seed = len(name)
    real = Samples(n, failed, times(n - failed, setup_us, seed), times(n - failed, answer_us, seed + 1))
    return Outlet(name, real, **more)  # type: ignore[arg-type]


def judged(new: Outlet, old: Outlet, levels: Levels = FIRST, limits: Limits = Limits(), **more: bool) -> Verdict:  # noqa: B008
    verdict = judge_gate(GateFacts(new, old, limits, levels, **more))
    assert replay(verdict) == verdict
    assert decode_verdict(encode_verdict(verdict)) == verdict
    assert verdict.sentence.endswith(".")
    return verdict


def finding(verdict: Verdict, question: str) -> Finding:
    return next(each for each in verdict.findings if each.question == question)


def test_equal_outlets_open_the_gate() -> None:
    verdict = judged(outlet("gateway", 500), outlet("cjx", 500))
    assert verdict.outcome is Outcome.GOOD
    assert verdict.sentence == "gateway is not worse than cjx by more than the margins."
    assert {each.outcome for each in verdict.findings} == {Outcome.GOOD}
    assert finding(verdict, "rate").sentence == "too little bulk to judge (0 and 0 streams)"


def test_too_few_are_open_and_say_how_many_more() -> None:
    verdict = judged(outlet("gateway", 10), outlet("cjx", 500))
    assert verdict.outcome is Outcome.OPEN
    assert finding(verdict, "enough").needed == 20
    assert finding(verdict, "setup").sentence == "10 and 500 on cjx, of 20 on each that are wanted"
    assert verdict.needed is not None
    assert 300 < verdict.needed < 400  # none of so many: below 1 %
    assert verdict.sentence.startswith(f"Opens after about {verdict.needed} more set-ups on gateway: ")


@pytest.mark.parametrize(("failed", "outcome"), [(0, Outcome.GOOD), (8, Outcome.OPEN), (60, Outcome.BAD)])
def test_failures(failed: int, outcome: Outcome) -> None:
    verdict = judged(outlet("gateway", 500, failed=failed), outlet("cjx", 500, failed=1))
    assert finding(verdict, "failures").outcome is outcome
    assert verdict.outcome is outcome


def test_failures_that_do_not_become_good_are_said_to() -> None:
    verdict = judged(outlet("gateway", 500, failed=8), outlet("cjx", 500))
    assert verdict.needed is None
    assert verdict.sentence.startswith("Does not open as it is: failures: 8 of 500 fail")


def test_an_old_outlet_that_fails_itself_is_the_measure() -> None:
    verdict = judged(outlet("gateway", 2_000, failed=100), outlet("cjx", 20_000, failed=1_000))
    assert finding(verdict, "failures").outcome is Outcome.OPEN
    limits = Limits(failures=Margin(0.02))
    assert finding(judged(outlet("gateway", 2_000, failed=100), outlet("cjx", 20_000, failed=1_000), limits=limits), "failures").outcome is Outcome.GOOD  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("setup_us", "outcome"),
    [(12_000, Outcome.GOOD), (17_500, Outcome.OPEN), (30_000, Outcome.BAD), (62_000, Outcome.BAD)],
)
def test_setup_times(setup_us: float, outcome: Outcome) -> None:
    verdict = judged(outlet("gateway", 400, setup_us), outlet("cjx", 400))
    assert finding(verdict, "setup").outcome is outcome
    assert finding(verdict, "answer").outcome is Outcome.GOOD


def test_first_answers() -> None:
    verdict = judged(outlet("gateway", 400, answer_us=20_000), outlet("cjx", 400))
    assert verdict.outcome is Outcome.BAD
    assert "first answer: worse than allowed, p < 0.001" in verdict.sentence


@pytest.mark.parametrize(("rate", "outcome"), [(20_000, Outcome.GOOD), (18_000, Outcome.OPEN), (2_000, Outcome.BAD)])
def test_rates(rate: float, outcome: Outcome) -> None:
    def with_bulk(name: str, each: float, seed: int) -> Outlet:
        some = outlet(name, 400)
        return Outlet(name, some.real + Samples(rate=times(200, each, seed)))

    verdict = judged(with_bulk("gateway", rate, 1), with_bulk("cjx", 20_000, 2))
    assert finding(verdict, "rate").outcome is outcome


def test_a_few_very_slow_ones_are_seen_though_ranks_do_not() -> None:
    slow = from_values([250_000] * 40)
    new = Outlet("gateway", outlet("gateway", 960).real + Samples(40, 0, slow, times(40, 4_000)))
    verdict = judged(new, outlet("cjx", 1_000))
    assert finding(verdict, "setup").outcome is Outcome.GOOD
    assert finding(verdict, "tail").outcome is Outcome.BAD
    assert finding(verdict, "tail").sentence.startswith("40 of 1,000 take longer than ")


def test_shadows_are_compared_with_shadows() -> None:
    """Real set-ups are slow and shadows quick, alike on both outlets, which have other parts of each."""
    quick, slow = 8_000, 30_000
    new = outlet("gateway", 1_500, slow, shadow=outlet("s", 200, quick).real)
    old = outlet("cjx", 200, slow, shadow=outlet("t", 1_500, quick).real)
    assert judged(new, old).outcome is Outcome.GOOD


def test_the_last_setups_alone_are_looked_at_for_slowness() -> None:
    levels = Levels(0.0, Looks().recent_level)
    verdict = judged(outlet("gateway", 64, 62_000), outlet("cjx", 200), levels, is_recent=True)
    assert verdict.outcome is Outcome.BAD
    assert [each.question for each in verdict.findings] == ["setup", "answer", "rate"]
    well = judged(outlet("gateway", 64), outlet("cjx", 200), levels, is_recent=True)
    assert well.outcome is Outcome.OPEN
    assert well.sentence == "Nothing speaks against the last set-ups on gateway."


def test_a_verdict_that_somebody_changed_comes_out_otherwise() -> None:
    verdict = judged(outlet("gateway", 500, failed=8), outlet("cjx", 500))
    data = encode_verdict(verdict).replace(b'"outcome":"open"', b'"outcome":"good"')
    changed = decode_verdict(data)
    assert replay(changed) != changed


# --- looks ---------------------------------------------------------------------------------------------------------


def test_all_looks_together_spend_no_more_than_the_level() -> None:
    looks, good, bad, recent = Looks(), 0.0, 0.0, 0.0
    for _ in range(1_000):
        good, bad, recent = good + looks.good_level, bad + looks.bad_level, recent + looks.recent_level
        looks = looks.after_good(1).after_bad(1).after_recent()
    assert 0.99 * ALPHA_GOOD < good <= ALPHA_GOOD
    assert 0.99 * ALPHA_BAD < bad <= ALPHA_BAD
    assert 0.99 * ALPHA_RECENT < recent <= ALPHA_RECENT
    assert looks.good > LOOKS_MOST
    assert looks.good_level == looks.bad_level == 0.0


def test_looks_come_at_doubling_numbers_of_setups() -> None:
    limits = Limits()
    many, old = outlet("gateway", 500), outlet("cjx", 500)
    looks = Looks()
    assert looks.good_due(many, old, limits)
    looks = looks.after_good(500)
    assert (looks.good_next, looks.good_level) == (1_000, ALPHA_GOOD / 4)
    assert not looks.good_due(outlet("gateway", 999), old, limits)
    assert looks.good_due(outlet("gateway", 1_000), old, limits)
    assert [Looks().bad_due(n) for n in (63, 64)] == [False, True]
    assert looks.after_bad(64).bad_next == 128


def test_a_look_that_cannot_succeed_is_not_taken() -> None:
    """None of 369 is below 1 % at the level of the first look; of fewer, nothing could be shown."""
    old, limits = outlet("cjx", 500), Limits()
    assert [Looks().good_due(outlet("gateway", n), old, limits) for n in (367, 368)] == [False, True]
    assert not Looks().good_due(outlet("gateway", 500), old, Limits(streams=501))


def test_a_recent_look_wants_both_outlets() -> None:
    assert Looks().recent_due(64, 20)
    assert not Looks().recent_due(63, 20)
    assert not Looks().recent_due(64, 19)


def test_a_preview_spends_nothing_and_counts_to_the_next_look() -> None:
    new, old = outlet("gateway", 500), outlet("cjx", 500)
    assert preview(new, old, Limits(), Looks()).outcome is Outcome.GOOD
    later = preview(new, old, Limits(), Looks().after_good(450))
    assert later.needed == 400
    assert later.sentence == "Nothing speaks against gateway; the next look is after about 400 more set-ups on it."
    assert replay(later).outcome is later.outcome


samples = st.builds(
    Samples,
    st.integers(0, 2_000),
    st.integers(0, 50),
    *[st.lists(st.integers(64, 10**6), max_size=60).map(from_values)] * 3,
).map(lambda each: Samples(max(each.tried, each.failed), each.failed, each.setup, each.answer, each.rate))
outlets = st.builds(Outlet, st.sampled_from(["gateway", "cjx"]), samples, samples)
levels = st.builds(Levels, st.sampled_from([0.0, 0.025, 1e-9]), st.sampled_from([0.0, 0.0025, 1e-9]))


@settings(deadline=None)
@given(outlets, outlets, levels, st.booleans())
def test_every_verdict_is_computed_again(new: Outlet, old: Outlet, some: Levels, is_recent: bool) -> None:
    verdict = judged(new, old, some, is_recent=is_recent)
    for each in verdict.findings:
        assert each.needed == 0 or each.outcome is Outcome.OPEN
        assert each.needed is None or each.needed >= 0
        assert each.sentence
    if some.bad == 0:
        assert verdict.outcome is not Outcome.BAD
    if is_recent and some.good == 0 and new.setups:
        assert verdict.outcome is not Outcome.GOOD or not any(each.question == "setup" for each in verdict.findings)


@pytest.mark.parametrize(
    ("new", "old", "outcome"),
    [
        ((0, 500), (0, 500), Outcome.GOOD),
        ((2, 20), (0, 500), Outcome.GOOD),  # too few to say anything
        ((5, 100), (25, 500), Outcome.GOOD),  # as many as on the old outlet
        ((4, 200), (0, 500), Outcome.OPEN),
        ((25, 500), (0, 500), Outcome.BAD),
        ((25, 500), (0, 0), Outcome.OPEN),  # nothing to compare with
    ],
)
def test_streams_that_break_keep_the_gate_shut_or_lead_back(
    new: tuple[int, int], old: tuple[int, int], outcome: Outcome
) -> None:
    outlets = [
        Outlet(name, real=Samples(total, 0, Histogram(((64, total),)) if total else Histogram(), broken=broken))
        for name, (broken, total) in (("gateway", new), ("cjx", old))
    ]
    found = ask_broken(outlets[0], outlets[1], Limits(), Levels(0.025, 0.0025))
    assert found.outcome is outcome
    assert found.question == "broken"
