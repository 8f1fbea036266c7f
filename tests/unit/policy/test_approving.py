"""The rule by which a change is taken, without ssh-keygen: what widens has the signatures, or it is not in force.

For five people and four changes every case is tried. What must hold is written here a second time, as sets.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pcgrelay.model import NodeId
from pcgrelay.policy.approving import (
    Proposed,
    Reason,
    Refused,
    Rules,
    Taken,
    judge_act,
    judge_change,
    judge_hold,
)
from pcgrelay.policy.change import NARROWS, NEUTRAL, WIDENS, Change, make_act, make_head
from pcgrelay.policy.signatures import CHANGE_NAMESPACE, PLAN_NAMESPACE, Bad, Flaw, Good, Verified
from pcgrelay.policy.signed_text import Line
from pcgrelay.policy.signers import Signer

NODE = NodeId(realm="police.example", organisation="kent.police.example", name="kent-1")
NOW = datetime(2026, 11, 4, tzinfo=UTC)
PEOPLE = tuple(f"{name}@kent.police.example" for name in ("j.smith", "a.jones", "b.khan", "c.lee", "d.wood"))
SIGNERS = tuple(Signer(name, "ssh-ed25519", f"SHA256:{name}", (CHANGE_NAMESPACE,)) for name in PEOPLE)
RULES = Rules(NODE.dotted, NODE.realm, 2, SIGNERS)
FIRST, SECOND = "01" * 32, "02" * 32
ALLOW = (Line(WIDENS, "export custody: allow essex.police.example added"),)
REMOVED = (Line(NARROWS, "export pnd: removed"),)


def head(by: str = PEOPLE[0], made: datetime = NOW - timedelta(days=1)):  # type: ignore[no-untyped-def]
    return make_head(NODE, by, made, "CR-1042", "Joint operation")


def signed(*people: str) -> Verified:
    return Verified(tuple(Good(name, f"SHA256:{name}") for name in people))


def judge(
    lines: tuple[Line, ...] = ALLOW, people: tuple[str, ...] = PEOPLE[1:3], *, rules: Rules = RULES,
    now: datetime = NOW,
    change: Change | None = None, verified: Verified | None = None,
) -> Taken | Refused:  # fmt: skip
    proposed = Proposed(FIRST, SECOND, lines)
    text = change or Change(head(), FIRST, SECOND, lines)
    return judge_change(proposed, rules, text, verified or signed(*people), now, CHANGE_NAMESPACE)


def reason(answer: object) -> Reason:
    assert isinstance(answer, Refused), answer
    assert answer.sentence.endswith((".", "plan", "--lift", "--edits")), answer.sentence
    return answer.reason


def test_two_others_approve_what_widens() -> None:
    answer = judge()
    assert isinstance(answer, Taken)
    assert answer.approvers == PEOPLE[1:3]
    assert answer.by == PEOPLE[0]


def test_what_narrows_or_is_neutral_needs_nobody() -> None:
    for lines in (REMOVED, (Line(NEUTRAL, "log.level debug"),), ()):
        for rules in (RULES, Rules(NODE.dotted, NODE.realm, 9, ())):
            answer = judge_change(Proposed(FIRST, SECOND, lines), rules, None, Verified(), NOW, CHANGE_NAMESPACE)
            assert answer == Taken()


def test_the_first_policy_needs_signatures_whatever_is_in_it() -> None:
    first = Proposed("", SECOND, REMOVED)
    assert reason(judge_change(first, RULES, None, Verified(), NOW, CHANGE_NAMESPACE)) is Reason.NO_CHANGE


def test_who_is_missing_is_said_as_in_the_handbook() -> None:
    answer = judge(people=PEOPLE[1:2], rules=Rules(NODE.dotted, NODE.realm, 2, SIGNERS[:4]))
    assert isinstance(answer, Refused)
    assert answer.sentence == (
        "It needs 2 signatures of others than j.smith; has 1 (a.jones). Ask one of: b.khan, c.lee."
    )
    alone = judge(people=(), rules=Rules(NODE.dotted, NODE.realm, 2, SIGNERS[:2]))
    assert isinstance(alone, Refused)
    assert "too few are left" in alone.sentence


@pytest.mark.parametrize(
    ("wanted", "change"),
    [
        (Reason.BEFORE, Change(head(), "03" * 32, SECOND, ALLOW)),
        (Reason.BEFORE, Change(head(), "", SECOND, ALLOW)),
        (Reason.AFTER, Change(head(), FIRST, "03" * 32, ALLOW)),
        (Reason.LINES, Change(head(), FIRST, SECOND, REMOVED)),
        (Reason.LINES, Change(head(), FIRST, SECOND, (*ALLOW, *REMOVED))),
        (Reason.DATE, Change(head(made=NOW - timedelta(days=3)), FIRST, SECOND, ALLOW)),
        (Reason.EARLY, Change(head(made=NOW + timedelta(minutes=6)), FIRST, SECOND, ALLOW)),
        (
            Reason.NODE,
            Change(
                make_head(NodeId("police.example", "kent.police.example", "kent-2"), PEOPLE[0], NOW, "CR-1", "why"),
                FIRST, SECOND, ALLOW,
            ),
        ),
        (
            Reason.NODE,
            Change(
                make_head(NodeId("other.example", "kent.police.example", "kent-1"), PEOPLE[0], NOW, "CR-1", "why"),
                FIRST, SECOND, ALLOW,
            ),
        ),
    ],
)  # fmt: skip
def test_a_change_that_is_not_about_this_is_refused(wanted: Reason, change: Change) -> None:
    assert reason(judge(change=change)) is wanted


def test_the_last_moment_is_the_one_before_the_date() -> None:
    change = Change(head(), FIRST, SECOND, ALLOW)
    assert isinstance(judge(change=change, now=change.head.until - timedelta(seconds=1)), Taken)
    assert reason(judge(change=change, now=change.head.until)) is Reason.DATE


def test_one_key_or_one_person_counts_once() -> None:
    smith, jones = PEOPLE[0], PEOPLE[1]
    same_key = Verified((Good(jones, "SHA256:one"), Good(PEOPLE[2], "SHA256:one")))
    assert reason(judge(verified=same_key)) is Reason.SIGNATURES
    same_person = Verified((Good(jones, "SHA256:one"), Good(jones, "SHA256:two")))
    assert reason(judge(verified=same_person)) is Reason.SIGNATURES
    assert reason(judge(people=(smith, jones))) is Reason.SIGNATURES


def test_flaws_of_signatures_are_said() -> None:
    flawed = Verified((Good(PEOPLE[1], "SHA256:one"),), (Bad(PEOPLE[2], Flaw.EXPIRED),))
    answer = judge(verified=flawed)
    assert isinstance(answer, Refused)
    assert "The signature of b.khan@kent.police.example does not count: the key has expired." in answer.sentence


def test_a_held_change_waits() -> None:
    held = Rules(NODE.dotted, NODE.realm, 2, SIGNERS, holds=True, held=(PEOPLE[4],))
    assert reason(judge(rules=held)) is Reason.HELD
    assert isinstance(judge(REMOVED, (), rules=held), Taken)
    off = Rules(NODE.dotted, NODE.realm, 2, SIGNERS, holds=False, held=(PEOPLE[4],))
    assert isinstance(judge(rules=off), Taken)


def test_who_holds_signs_alone_and_for_themselves() -> None:
    act = make_act(head(by=PEOPLE[4]), "hold", "text")
    assert judge_hold(act, act.sha256, RULES, signed(PEOPLE[4]), NOW) == (PEOPLE[4],)
    assert reason(judge_hold(act, act.sha256, RULES, signed(PEOPLE[3]), NOW)) is Reason.SIGNATURES
    assert reason(judge_hold(act, "0" * 64, RULES, signed(PEOPLE[4]), NOW)) is Reason.ACT


def test_an_act_is_for_what_it_says() -> None:
    text = "cjx/custody@kent.police.example"
    act = make_act(head(), "retire", text)
    wanted = ("retire", text)
    assert isinstance(judge_act(act, wanted, RULES, signed(*PEOPLE[1:3]), NOW, CHANGE_NAMESPACE), Taken)
    for other in (("start", text), ("retire", f"{text} ")):
        answer = judge_act(act, other, RULES, signed(*PEOPLE[1:3]), NOW, CHANGE_NAMESPACE)
        assert reason(answer) is Reason.ACT
    one = judge_act(act, wanted, RULES, signed(PEOPLE[1]), NOW, CHANGE_NAMESPACE)
    assert reason(one) is Reason.SIGNATURES
    late = judge_act(act, wanted, RULES, signed(*PEOPLE[1:3]), act.head.until, CHANGE_NAMESPACE)
    assert reason(late) is Reason.DATE


def test_an_act_shows_what_it_is_for() -> None:
    """A digest says nothing to whoever reads; the lines of another plan would be what they sign for."""
    text = 'service = "custody"\nsteps = [100]\n'
    act = make_act(head(), "start", text)
    for lines in ((), act.lines[:1], (*act.lines, act.lines[0]), make_act(head(), "start", "steps = [1]").lines):
        answer = judge_act(replace(act, lines=lines), ("start", text), RULES, signed(*PEOPLE[1:3]), NOW, PLAN_NAMESPACE)
        assert reason(answer) is Reason.LINES
    assert isinstance(judge_act(act, ("start", text), RULES, signed(*PEOPLE[1:3]), NOW, PLAN_NAMESPACE), Taken)


# --- every case of five people and four changes --------------------------------------------------------------------


def subsets(of: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return itertools.chain.from_iterable(itertools.combinations(of, size) for size in range(len(of) + 1))


@pytest.mark.parametrize("needs", [1, 2, 3])
def test_nothing_widens_without_the_signatures_in_any_order_of_four_changes(needs: int) -> None:
    """Four files, of which each allows a set of three callers; from any, to any, with each set of signatures.

    A policy is a number of three bits: bit n allows caller n. Widening is a bit that was not set.
    """
    rules = Rules(NODE.dotted, NODE.realm, needs, SIGNERS)
    policies = (0b001, 0b011, 0b101, 0b110)
    digests = {policy: f"{policy:064x}" for policy in (0, *policies)}
    seen = taken = 0
    for holds, target, written in itertools.product((0, *policies), policies, (0, *policies)):
        widening = [n for n in range(3) if target >> n & 1 and not holds >> n & 1]
        narrowing = [n for n in range(3) if holds >> n & 1 and not target >> n & 1]
        lines = tuple(Line(WIDENS, f"caller {n} added") for n in widening)
        lines += tuple(Line(NARROWS, f"caller {n} removed") for n in narrowing)
        proposed = Proposed(digests[holds], digests[target], lines)
        for by, people in itertools.product(PEOPLE, subsets(PEOPLE)):
            change = Change(head(by=by), digests[written], digests[target], lines or ALLOW)
            answer = judge_change(proposed, rules, change, signed(*people), NOW, CHANGE_NAMESPACE)
            others = set(people) - {by}
            is_allowed = not widening or (len(others) >= needs and written == holds)
            assert isinstance(answer, Taken) == is_allowed, (holds, target, written, by, people, answer)
            seen += 1
            taken += is_allowed
    assert seen == 5 * 4 * 5 * 5 * 32
    assert 0 < taken < seen


def test_four_changes_that_cross_are_taken_one_after_the_other_or_not_at_all() -> None:
    """Four changes are written from one policy; whichever is taken first, the three others are too late."""
    for order in itertools.permutations(range(1, 5)):
        holds = FIRST
        for number in order:
            after = f"{number:064x}"
            change = Change(head(), FIRST, after, ALLOW)
            proposed = Proposed(holds, after, ALLOW)
            answer = judge_change(proposed, RULES, change, signed(*PEOPLE[1:3]), NOW, CHANGE_NAMESPACE)
            if holds == FIRST:
                assert isinstance(answer, Taken)
                holds = after
            else:
                assert reason(answer) is Reason.BEFORE
