"""What was approved at a node: what holds, what comes into force, and which acts are allowed.

Without [approvals], and without an approved copy in the state folder, it allows everything and keeps nothing. What
blocks, files and ssh-keygen, runs in a thread; callers hold the node's identity lock, so one thing is judged at a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC
from itertools import islice
from pathlib import Path
from typing import ParamSpec, TypeVar

from msgspec import structs

from pcgrelay import __version__
from pcgrelay.admin.status import ApprovalsStatus
from pcgrelay.clock import Clock
from pcgrelay.errors import ConfigError, PcgrelayError, RuleProblem, RunError
from pcgrelay.gateway.actor import Actor
from pcgrelay.log.approval_events import (
    ApprovalActed,
    ApprovalRefused,
    PolicyFirst,
    PolicyHeld,
    PolicyInForce,
    PolicyRefused,
    PolicyRehashed,
    PolicyTaken,
    PolicyUnapproved,
)
from pcgrelay.log.writer import Log
from pcgrelay.policy.acts import ACTS, act_path, namespace_of
from pcgrelay.policy.approving import Reason, Refused, Role, Rules, Taken, judge_act, judge_hold, without_owner
from pcgrelay.policy.change import NARROWS, NEUTRAL, WIDENS, Act, parse_act, time_shown
from pcgrelay.policy.gate import ApprovalProblem, Decision, Policy, decide, propose, read_paper, read_policy, verify_by
from pcgrelay.policy.signatures import HOLD_NAMESPACE
from pcgrelay.policy.signed_text import Misspelt
from pcgrelay.policy.used import UsedTexts
from pcgrelay.state.approved import HOLDS_MOST, Approved, ApprovedStore, Pointer, Signed, Used

P = ParamSpec("P")
T = TypeVar("T")

LINES_MOST = 32  # of a change, in one line of the log
SHORT = 12  # hex digits of a digest, where people read it


@dataclass(frozen=True, slots=True)
class Start:
    """What a node starts with, decided before it has its state folder."""

    held: Policy | None = None  # what was approved last
    kept: Approved | None = None
    before: Approved | None = None  # what was approved before that
    decision: Decision | None = None  # other files, which come into force with the start
    refused: ApprovalProblem | None = None  # why the files do not, and the approved copy serves


@dataclass(slots=True)
class Approvals:
    """The approvals of one node."""

    log: Log
    clock: Clock
    held: Policy | None = None
    kept: Approved | None = None
    before: Approved | None = (
        None  # for a way back; in memory, as `kept` is, for whoever looks must not wait for a disk
    )
    unapproved: str = ""  # what the files have that nobody approved, since the start
    unwritten: str = ""  # why what is in force could not be kept
    refused: Counter[str] = field(default_factory=Counter)
    pending: dict[str, str] = field(default_factory=dict)  # by act: the text of what was refused last
    taken: UsedTexts = field(default_factory=UsedTexts)  # changes; more than is kept while it is unwritten
    # Held by the thread that judges a text and notes that it is used: two requests with one text are judged in turn.
    using: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_active(self) -> bool:
        """Whether changes and acts have to be approved."""
        return self.held is not None

    @property
    def digest(self) -> str:
        """Of the policy that holds, 64 hex digits; nothing without approvals."""
        return "" if self.held is None else self.held.digest

    def status(self) -> ApprovalsStatus:
        """What the status shows of them."""
        return ApprovalsStatus(
            active=self.is_active,
            policy=self.digest,
            unapproved=self.unapproved,
            older=self.kept is not None and self.kept.is_older,
            unwritten=self.unwritten,
            taken="" if self.kept is None else self.kept.pointer.taken,
            change="" if self.kept is None else self.kept.pointer.change,
        )

    def in_force(self) -> PolicyInForce | None:
        """What holds, and who had signed it; nothing: nobody had to, or what is in force is not kept."""
        pointer = None if self.kept is None else self.kept.pointer
        if self.held is None or pointer is None or pointer.digest != self.digest:
            return None
        said = pointer.signed or pointer
        return PolicyInForce(
            holds=self.digest, taken=said.taken, by=said.by, change=said.change, approved=said.approved
        )

    # -- the configuration -------------------------------------------------------------------------------------

    def restore(self, start: Start) -> None:
        """Know what holds before the node begins; `begin` keeps what comes into force with the start."""
        self.held, self.kept, self.before = start.held, start.kept, start.before
        self.taken = UsedTexts() if start.kept is None else taken_changes(start.kept)
        self._tell_digest()

    async def begin(self, start: Start, *, must_keep: bool) -> None:
        """Keep what a start has decided, and say so; the state folder is this process's now.

        must_keep: a first policy that cannot be written is refused (PcgrelayError).
        """
        if start.decision is not None:
            try:
                await self.keep(start.decision, None)
            except PcgrelayError as error:
                if start.decision.is_first and must_keep:
                    raise
                self.taken = self._with_change(start.decision)
                self._keep_in_memory(start.decision, str(error))
                self.held = start.decision.policy
                self._tell_digest()
            return
        if self.held is not None and self.kept is not None and self.kept.pointer.digest != self.held.digest:
            await self._rehash(self.kept, self.held)
        if start.refused is not None:
            self.unapproved = start.refused.unnamed
            self._count(start.refused.reason)
            await self.log.keep(
                PolicyUnapproved(reason=start.refused.reason.value, sentence=str(start.refused), holds=self.digest)
            )

    def judge(self, path: Path, change: Path | None = None) -> Decision | None:
        """Read and judge the files as they are now; nothing: there are no approvals. Blocks.

        ApprovalProblem: not taken. PcgrelayError: a file is refused, or ssh-keygen does not run.
        """
        fresh = read_policy(path)
        if self.held is None and not fresh.is_approved:
            return None
        store = self._store(fresh)
        # Who holds a change is nothing to a door that is closed, so a file of holds that is damaged keeps none open.
        is_asked = store is not None and self._may_hold() and propose(self.held, fresh).widens
        holds = store.used().holds if store is not None and is_asked else {}
        return decide(self.held, fresh, self.clock.wall(), change=change, holds=holds, used=self.taken)

    async def keep(self, decision: Decision, uid: int | None) -> None:
        """Keep what is about to come into force, and say so. PcgrelayError: it cannot be kept; nothing has changed.

        What only narrows comes into force though it cannot be kept: a disk that is full keeps no door open, and the
        next start finds the files and narrows again.
        """
        taken = self._with_change(decision)
        if self.kept is None or self.unwritten or self._differs(decision.policy):
            store = self._store(decision.policy)
            if store is None:
                raise RunError("There is no state folder to keep the approved policy in.")
            files, pointer = decision.to_keep(), self._pointer(decision, taken)
            try:
                self.kept, self.before = await asyncio.to_thread(lambda: (store.write(files, pointer), store.before()))
                self.unwritten = ""
            except PcgrelayError as error:
                if decision.proposed.widens or decision.is_first:
                    raise
                self._keep_in_memory(decision, str(error))
        self.taken = taken
        before, self.held = self.digest, decision.policy
        self.unapproved = ""
        self._tell_digest()
        if decision.is_first or decision.proposed.lines:
            kind = PolicyFirst if decision.is_first else PolicyTaken
            told = decision.taken
            await self.log.keep(
                kind(
                    before=before,
                    after=self.digest,
                    widens=decision.count(WIDENS),
                    narrows=decision.count(NARROWS),
                    neutral=decision.count(NEUTRAL),
                    lines=_told(decision),
                    by=told.by,
                    change=told.change,
                    approved=told.approvers,
                    keys=tuple(each.fingerprint for each in told.approved),
                    uid=uid,
                )
            )

    async def refuse(self, problem: ApprovalProblem, uid: int | None) -> None:
        """Note that files were not taken."""
        self._count(problem.reason)
        await self.log.keep(PolicyRefused(reason=problem.reason.value, sentence=str(problem), uid=uid))

    # -- acts --------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def acting(self, act: str, text: str, actor: Actor, role: str = "") -> AsyncIterator[ApprovalActed | None]:
        """Carry out an act that widens, if it is approved, inside of `async with`. RuleProblem: it is not.

        text: says what is done; the signed text is about it. role: one of whose people has to have signed too, if
        [approvals] says who has it. What is carried out uses its text up before it begins, so that nothing is done
        twice; if it is refused inside for another reason (PcgrelayError), nothing was done, and the text is good again.
        Without approvals the user that the kernel names at the admin socket is enough.

        The context has the record of who approved it; nothing without approvals.
        """
        if self.held is None:
            yield None
            return
        sha256, acted = await self._allow(self.held, act, text, actor, role)
        try:
            yield acted
        except PcgrelayError as error:
            await self._give_back(self.held, act, sha256, str(error), actor)
            raise

    async def _allow(self, held: Policy, act: str, text: str, actor: Actor, role: str) -> tuple[str, ApprovalActed]:
        """Return the SHA-256 of the text by which an act is approved, and its record. RuleProblem: not approved."""
        try:
            allowed, paper = await asyncio.to_thread(self._in_turn, self._judged_act, held, act, text, role)
        except ApprovalProblem as problem:
            self.pending[act] = text
            sentence = f"{problem} The text to sign: pcgrelay plan --act {ACTS[act].option} -c {held.config.path}"
            await self._refuse_act(act, problem.reason, str(problem), actor)
            raise RuleProblem(sentence) from None
        except PcgrelayError as error:
            await self._refuse_act(act, Reason.TOOL, str(error), actor)
            raise RuleProblem(str(error)) from None
        self.pending.pop(act, None)
        acted = ApprovalActed(
            act=act,
            sha256=_sha256(text),
            by=allowed.by,
            change=allowed.change,
            approved=allowed.approvers,
            keys=tuple(each.fingerprint for each in allowed.approved),
            uid=actor.uid,
        )
        await self.log.keep(acted)
        return paper, acted

    async def _refuse_act(self, act: str, reason: Reason, sentence: str, actor: Actor) -> None:
        self._count(reason)
        await self.log.keep(ApprovalRefused(act=act, reason=reason.value, sentence=sentence, uid=actor.uid))

    async def _give_back(self, held: Policy, act: str, paper: str, why: str, actor: Actor) -> None:
        """Let the text of an act that was not carried out be used again; if that cannot be kept, it is used up."""

        def forget() -> None:
            if (store := self._store(held)) is None:
                return
            with self.using:
                used = store.used()
                store.keep_used(_with_acts(used, _acts(used).without(paper)))

        with suppress(PcgrelayError):
            await asyncio.to_thread(forget)
        await self._refuse_act(act, Reason.NOT_DONE, f"It was approved, and was not carried out: {why}", actor)

    def _judged_act(self, held: Policy, act: str, text: str, role: str) -> tuple[Taken, str]:
        """Judge an act by the text beside the configuration, and note that it is used. ApprovalProblem: not allowed."""
        store = self._store(held)
        if store is None:
            raise RunError("There is no state folder, so nothing can be approved.")
        where, has_role = act_path(held.config.path, act), _role(held, role)
        paper = read_paper(where)
        if paper is None:
            giver = "" if has_role is None else f" {has_role.missing}"
            raise ApprovalProblem(Reason.NO_CHANGE, f"With [approvals], {act} needs a text that others signed.{giver}")
        parsed = _parsed_act(paper.data, where)
        used, now = store.used(), self.clock.wall()
        if why := _acts(used).why_not(paper.sha256, parsed.head.until):
            raise ApprovalProblem(Reason.USED, f"{where} {why}. Write it again with: pcgrelay plan")
        namespace = namespace_of(act)
        verified = verify_by(held, paper.data, paper.signatures, namespace, now)
        answer = judge_act(parsed, (act, text), _rules(held), verified, now, namespace, has_role)
        if isinstance(answer, Refused):
            raise ApprovalProblem(answer.reason, answer.sentence)
        store.keep_used(_with_acts(used, _acts(used).using(paper.sha256, parsed.head.until, now)))
        return answer, paper.sha256

    # -- holds -------------------------------------------------------------------------------------------------

    async def hold(self, change: Path, text: Path, uid: int) -> tuple[str, ...]:
        """Hold a change by a text that one signer signed, or let it go; return who holds it now.

        PcgrelayError: it is refused.
        """
        if self.held is None or not self._may_hold():
            raise ConfigError("Nobody may hold a change here; [approvals] holds = true allows it.")
        try:
            act, sha256, holders = await asyncio.to_thread(self._in_turn, self._held, self.held, change, text)
        except ApprovalProblem as problem:
            await self.refuse(problem, uid)
            raise
        await self.log.keep(
            PolicyHeld(sha256=sha256, by=act.head.by, lifted=act.act == "lift", reason=act.head.reason, uid=uid)
        )
        return holders

    def _held(self, held: Policy, change: Path, text: Path) -> tuple[Act, str, tuple[str, ...]]:
        store = self._store(held)
        paper, hold = read_paper(change), read_paper(text)
        if store is None or paper is None or hold is None:
            raise ConfigError(f"{change if paper is None else text}: there is no such text.")
        act, now = _parsed_act(hold.data, text), self.clock.wall()
        verified = verify_by(held, hold.data, hold.signatures, HOLD_NAMESPACE, now)
        answer = judge_hold(act, paper.sha256, _rules(held), verified, now)
        if isinstance(answer, Refused):
            raise ApprovalProblem(answer.reason, answer.sentence)
        used = store.used()
        if why := _acts(used).why_not(hold.sha256, act.head.until):
            raise ApprovalProblem(Reason.USED, f"{text} {why}; write it again.")
        others = tuple(each for each in used.holds.get(paper.sha256, ()) if each not in answer)
        holders = others if act.act == "lift" else (*others, *answer)
        holds = {key: names for key, names in used.holds.items() if key != paper.sha256}
        if len(holds) >= HOLDS_MOST:
            raise RunError("There are too many changes that are held; lift some of them.")
        if holders:
            holds[paper.sha256] = holders
        acts = _acts(used).using(hold.sha256, act.head.until, now)
        store.keep_used(_with_acts(structs.replace(used, holds=holds), acts))
        return act, paper.sha256, holders

    # -- parts -------------------------------------------------------------------------------------------------

    def _in_turn(self, judge: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        with self.using:
            return judge(*arguments, **named)

    def _count(self, reason: Reason) -> None:
        self.refused[f"approval_{reason.value.replace('-', '_')}"] += 1

    def _may_hold(self) -> bool:
        return self.held is not None and self.held.config.approvals is not None and self.held.config.approvals.holds

    def _store(self, policy: Policy) -> ApprovedStore | None:
        state = (self.held or policy).config.node.state
        return None if state is None else ApprovedStore(state)

    def _differs(self, policy: Policy) -> bool:
        kept = self.kept
        return kept is None or any(kept.files.get(name) != data for name, data in policy.to_keep().items())

    def _keep_in_memory(self, decision: Decision, why: str) -> None:
        """Know what holds, though the folder has it not: what it has is what was before."""
        if not self.unwritten:
            self.before = self.kept
        files, pointer = decision.to_keep(), self._pointer(decision, self.taken)
        self.kept = Approved(path=decision.policy.config.path, pointer=pointer, files=files)
        self.unwritten = why

    def _with_change(self, decision: Decision) -> UsedTexts:
        """The changes that were taken, with this one. RunError: there are too many."""
        paper, head = decision.paper, decision.head
        if paper is None or head is None:
            return self.taken
        return self.taken.using(paper.sha256, head.until, self.clock.wall())

    def _pointer(self, decision: Decision, taken: UsedTexts) -> Pointer:
        told, now = decision.taken, time_shown(self.clock.wall().astimezone(UTC))
        signed = None if self.kept is None else _signed(self.kept.pointer)
        if told.approvers:
            signed = Signed(approved=told.approvers, taken=now, by=told.by, change=told.change)
        return Pointer(
            folder="",
            digest=decision.policy.digest,
            version=__version__,
            files={},
            taken=now,
            by=told.by,
            change=told.change,
            approved=told.approvers,
            is_first=decision.is_first,
            signed=signed,
            changes=dict(taken.texts),
            forgotten=taken.forgotten,
        )

    async def _rehash(self, kept: Approved, held: Policy) -> None:
        before = kept.pointer.digest
        store = self._store(held)
        if store is None:
            return
        try:
            self.kept = await asyncio.to_thread(store.rehash, kept, held.digest, __version__)
        except PcgrelayError as error:
            self.unwritten = str(error)
        await self.log.keep(PolicyRehashed(before=before, after=held.digest, version=__version__))

    def _tell_digest(self) -> None:
        self.log.policy = self.digest[:SHORT]


def _signed(pointer: Pointer) -> Signed | None:
    """Who signed last, as a pointer says it."""
    if pointer.signed is None and pointer.approved:
        return Signed(approved=pointer.approved, taken=pointer.taken, by=pointer.by, change=pointer.change)
    return pointer.signed


def _told(decision: Decision) -> tuple[str, ...]:
    """The lines of a change as the log has them: without the owners of rules, who are people, and not too many."""
    lines = (f"{line.kind} {without_owner(line.sentence)}" for line in decision.proposed.lines)
    return tuple(islice(lines, LINES_MOST))


def _rules(held: Policy) -> Rules:
    approvals, node = held.config.approvals, held.config.node.id
    assert approvals is not None
    return Rules(node.dotted, node.realm, approvals.needs, held.able, holds=approvals.holds)


def _role(held: Policy, name: str) -> Role | None:
    """The role of that name with its people; nothing: [approvals] does not say who has it."""
    approvals = held.config.approvals
    assert approvals is not None
    found = [each for role, persons in approvals.roles if role.casefold() == name.casefold() for each in persons]
    return Role(name, tuple(dict.fromkeys(found))) if found else None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _parsed_act(data: bytes, where: Path) -> Act:
    try:
        return parse_act(data)
    except Misspelt as error:
        raise ApprovalProblem(Reason.TEXT, f"{where} is no act ({error.name}): {error}.") from None


def taken_changes(kept: Approved) -> UsedTexts:
    """The changes that were taken, as an approved copy has them."""
    return UsedTexts(kept.pointer.changes, kept.pointer.forgotten)


def _acts(used: Used) -> UsedTexts:
    return UsedTexts(used.acts, used.forgotten)


def _with_acts(used: Used, acts: UsedTexts) -> Used:
    return structs.replace(used, acts=dict(acts.texts), forgotten=acts.forgotten)
