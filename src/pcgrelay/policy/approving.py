"""The rule by which a change of the policy is taken: pure. What it refuses has a name of a closed list.

What widens needs as many signatures as [approvals] says, of different people with different keys, none of whom proposed
it; they are judged at the moment of taking, by the signers that held before the change. What narrows or is neutral
needs none: nobody has to find a second person to close a door.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from pcgrelay.policy.change import NARROWS, WIDENS, Act, Change, Head, make_act, time_shown
from pcgrelay.policy.signatures import Bad, Good, Verified
from pcgrelay.policy.signed_text import Line, plain
from pcgrelay.policy.signers import Signer, short_names

CLOCK_MOST = timedelta(minutes=5)  # by so much the clock of who made a text may be ahead of the node's
# In a sentence, up to the next line of the change or its end.
_PEOPLE = re.compile(r"(approvals\.(?:signers:|roles)) .*?(?=; |\. |\.$|$)", re.ASCII)
_OWNER = re.compile(r"((?:^|: |\.)owner) .*", re.ASCII)


class Reason(StrEnum):
    """Why a change or an act is not taken. A metric and the log name it."""

    NO_CHANGE = "no-change"  # something widens, and no text says so
    TEXT = "text"  # it is not in the form of its kind
    NODE = "node"
    BEFORE = "before"
    AFTER = "after"
    LINES = "lines"  # it does not say what the file changes
    ACT = "act"  # it is about something else
    DATE = "date"
    EARLY = "early"  # it was made in the future
    SIGNATURES = "signatures"
    USED = "used"  # a change is taken once, and an act carried out once
    HELD = "held"
    STATE = "state"  # the approved copy cannot be read or kept
    TOOL = "tool"  # ssh-keygen
    NOT_DONE = "not-done"  # an act was approved, and refused for another reason


@dataclass(frozen=True, slots=True)
class Refused:
    """Why it is not taken."""

    reason: Reason
    sentence: str  # with its full stop
    unnamed: str = ""  # the same for the status, which names nobody, where the sentence does


@dataclass(frozen=True, slots=True)
class Taken:
    """That it is taken, and by whom it was approved; nobody, where nothing widens."""

    approved: tuple[Good, ...] = ()
    by: str = ""
    change: str = ""

    @property
    def approvers(self) -> tuple[str, ...]:
        """Who approved it."""
        return tuple(each.principal for each in self.approved)


@dataclass(frozen=True, slots=True)
class Role:
    """A role of [approvals] roles, and who has it."""

    name: str
    persons: tuple[str, ...]

    def is_among(self, good: Iterable[Good]) -> bool:
        """Whether one of its people has signed. Whoever proposed it may be the one: it is their word that counts."""
        return any(each.principal in self.persons for each in good)

    @property
    def missing(self) -> str:
        """The sentence about the signature that is missing."""
        who = ", ".join(self.persons)
        ask = "one of: " if len(self.persons) > 1 else ""
        return f'Nobody who has the role "{plain(self.name)}" has signed it. Ask {ask}{who}.'


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds before the change."""

    node: str  # dotted name
    realm: str
    needs: int
    signers: tuple[Signer, ...]  # who may be asked: those whose keys are not revoked
    holds: bool = False
    held: tuple[str, ...] = ()  # principals who hold this very text
    used: str = ""  # why this very text is not good again, as what is said of it


@dataclass(frozen=True, slots=True)
class Proposed:
    """What the file would change, as the node itself finds it."""

    before: str  # digest that holds; "" if nothing was approved yet
    after: str
    lines: tuple[Line, ...] = field(default=())

    @property
    def widens(self) -> bool:
        """Whether anything widens."""
        return any(line.kind == WIDENS for line in self.lines)


def judge_change(
    proposed: Proposed, rules: Rules, change: Change | None, verified: Verified, now: datetime, namespace: str
) -> Taken | Refused:
    """Whether what a file changes is taken."""
    if not proposed.widens and proposed.before:
        return Taken()
    if change is None:
        return Refused(Reason.NO_CHANGE, unapproved(proposed.lines) + _hurry(proposed))
    if refused := _about(proposed, change) or _head(change.head, rules, now):
        return refused
    if rules.used:
        # The policy went back to where it begins, so its digests fit again; those who signed it were asked for once.
        return Refused(
            Reason.USED,
            f"The change {change.head.change} {rules.used}. Write it again with: pcgrelay plan",
        )
    if rules.holds and rules.held:
        return Refused(
            Reason.HELD,
            f"It is held by {_listed(rules.held)}, who alone can lift that: pcgrelay hold --lift.",
            "It is held by a signer, who alone can lift that: pcgrelay hold --lift.",
        )
    return _counted(change.head, rules, verified, now, namespace)


def judge_act(
    act: Act,
    wanted: tuple[str, str],
    rules: Rules,
    verified: Verified,
    now: datetime,
    namespace: str,
    role: Role | None = None,
) -> Taken | Refused:
    """Whether an act is allowed.

    wanted: its name, and the text that says what is done. role: one of whose people has to sign too.
    """
    about = make_act(act.head, *wanted)
    if (act.act, act.sha256) != (about.act, about.sha256):
        return Refused(Reason.ACT, "The approved text is about something else than what is to be done now.")
    if act.lines != about.lines:
        # People read the lines, and nobody computes a digest.
        return Refused(
            Reason.LINES,
            "The approved text carries the SHA-256 of what is to be done now, and shows something else. "
            "Write it again with: pcgrelay plan",
        )
    if refused := _head(act.head, rules, now):
        return refused
    answer = _counted(act.head, rules, verified, now, namespace)
    if role is None or role.is_among(verified.good):
        return answer
    others = f"{answer.sentence} " if isinstance(answer, Refused) else ""
    return Refused(Reason.SIGNATURES, f"{others}{role.missing}")


def judge_hold(
    act: Act, change_sha256: str, rules: Rules, verified: Verified, now: datetime
) -> tuple[str, ...] | Refused:
    """Who holds a change, or lifts that: any signer for themselves, be it their own proposal."""
    if act.act not in ("hold", "lift") or act.sha256 != change_sha256:
        return Refused(Reason.ACT, "The text is about another change.")
    if refused := _head(act.head, rules, now):
        return refused
    who = tuple(each.principal for each in verified.good if each.principal == act.head.by)
    return who or Refused(Reason.SIGNATURES, f"It is not signed by {act.head.by} who holds it.{_flaws(verified.bad)}")


def unapproved(lines: Iterable[Line]) -> str:
    """The sentence about changes that nobody approved."""
    return f"{changes_words(lines)} Write the text for them with: pcgrelay plan"


def changes_words(lines: Iterable[Line]) -> str:
    """What widens, in a sentence that begins with It."""
    widening = [without_owner(line.sentence) for line in lines if line.kind == WIDENS]
    shown = "; ".join(widening[:3]) + (f"; and {len(widening) - 3} more" if len(widening) > 3 else "")
    return f"It has changes that nobody approved: {shown}."


def _hurry(proposed: Proposed) -> str:
    """What helps somebody who has to close a door now, in a file in which another one is to be opened."""
    if not proposed.before or all(line.kind != NARROWS for line in proposed.lines):
        return ""
    return ". To take now what narrows, put the rest back as it was approved: pcgrelay undo --edits"


def without_owner(sentence: str) -> str:
    """Return what a line of a change says without the owner of a rule: in the log and the status no rule names one."""
    return _OWNER.sub(r"\1 (not shown here)", sentence)


def without_people(sentence: str) -> str:
    """Return what a sentence about changes says without signers, and without who has a role."""
    return _PEOPLE.sub(r"\1 (not shown here)", sentence)


def _about(proposed: Proposed, change: Change) -> Refused | None:
    """What is wrong with what a change is about."""
    if change.before != proposed.before:
        held = proposed.before[:12] or "none"
        return Refused(
            Reason.BEFORE,
            f"{changes_words(proposed.lines)} The text of a change that is there begins from the policy "
            f"{change.before[:12] or 'none'}, and {held} holds; it was taken already, or another was taken before it. "
            f"Write it again with: pcgrelay plan{_hurry(proposed)}",
        )
    if change.after != proposed.after:
        return Refused(
            Reason.AFTER,
            f"The change leads to the policy {change.after[:12]}, and the files are {proposed.after[:12]}: they were "
            f"edited since. Put them back, or write it again with: pcgrelay plan{_hurry(proposed)}",
        )
    if change.lines != proposed.lines:
        untold = [line for line in proposed.lines if line not in change.lines]
        odd = next(iter([*untold, *(line for line in change.lines if line not in proposed.lines)]), None)
        shown = f" ({odd.kind} {without_owner(odd.sentence)})" if odd else ""
        return Refused(
            Reason.LINES,
            f"The change does not say what the files change{shown}. Write it again with: pcgrelay plan",
        )
    return None


def _head(head: Head, rules: Rules, now: datetime) -> Refused | None:
    """What is wrong with what a text says of itself."""
    if (head.node, head.realm) != (rules.node, rules.realm):
        return Refused(Reason.NODE, f"It is for {head.node} of the realm {head.realm}, and this is {rules.node}.")
    if now >= head.until:
        return Refused(
            Reason.DATE, f"It was to be taken before {time_shown(head.until)}. Write it again with: pcgrelay plan"
        )
    if head.made > now + CLOCK_MOST:
        return Refused(Reason.EARLY, f"It was made at {time_shown(head.made)}, which is to come; check the clocks.")
    return None


def _counted(head: Head, rules: Rules, verified: Verified, now: datetime, namespace: str) -> Taken | Refused:
    """Count the signatures: each person once, each key once, and not who proposed it."""
    counted: list[Good] = []
    for good in verified.good:
        is_new = all(good.principal != each.principal and good.fingerprint != each.fingerprint for each in counted)
        if is_new and good.principal != head.by:
            counted.append(good)
    if len(counted) >= rules.needs:
        return Taken(tuple(counted), head.by, head.change)
    noun = "signature" if rules.needs == 1 else "signatures"
    return Refused(
        Reason.SIGNATURES,
        who_is_missing(head.by, rules, counted, now, namespace) + _flaws(verified.bad),
        f"It needs {rules.needs} {noun} of others than who proposed it; has {len(counted)}.",
    )


def who_is_missing(by: str, rules: Rules, counted: Sequence[Good], now: datetime, namespace: str) -> str:
    """The sentence about signatures that are missing, and whom to ask."""
    has = [each.principal for each in counted]
    able = dict.fromkeys(
        each.principal for each in rules.signers if each.is_valid(now) and namespace in each.namespaces
    )
    ask = [each for each in able if each not in has and each != by]
    name = short_names(list(dict.fromkeys([by, *has, *ask])))
    noun = "signature" if rules.needs == 1 else "signatures"
    had = f"{len(has)} ({', '.join(name[each] for each in has)})" if has else "none"
    sentence = f"It needs {rules.needs} {noun} of others than {name[by]}; has {had}."
    if len(ask) + len(has) < rules.needs:
        return f"{sentence} Only {len(ask)} more may sign: too few are left; see docs/approvals.md, lost keys."
    return f"{sentence} Ask {'one of: ' if len(ask) > 1 else ''}{', '.join(name[each] for each in ask)}."


def _flaws(bad: Sequence[Bad]) -> str:
    return "".join(f" {each.sentence[:1].upper()}{each.sentence[1:]}." for each in bad[:3])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
