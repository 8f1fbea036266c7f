"""The sessions of an edge with other edges.

    ASKING -> HANDSHAKE -> STARTING -> UP <-> STALLED -> CLOSED

For each edge that exports a service imported here, a keeper task sets up a session ahead of the first stream: one
attempt at a time, with back-off, without end. A session that the other edge opened serves as well. When both edges
begin at once, the one with the lesser name decides which set-up goes on (`pending`), so that one session results.

`recovery` handles a lost path, `migration` moves sessions off a link, `renewer` renews them.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pcgrelay.clock import Clock
from pcgrelay.dataplane import events
from pcgrelay.dataplane.api import DataPlaneRefused, SessionPlane
from pcgrelay.handover.records import SessionHandover
from pcgrelay.identity.exporter import wipe_secret
from pcgrelay.identity.handshake import CAP_LEAST_BYTES, CAP_MOST_BYTES, HandshakeResult
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.identity.renewal import Schedule
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.link.link import Link
from pcgrelay.log.events import Emit, Failure, SessionDown, SessionFailed
from pcgrelay.log.events import HandshakeRefused as HandshakeRefusedRecord
from pcgrelay.messages import Code, PathOpen, code_name
from pcgrelay.model import NodeId, organisation_number
from pcgrelay.net.backoff import Retries, Retry
from pcgrelay.path.asking import NO_ANSWER, wait_answer, wait_event
from pcgrelay.path.edge import EdgePaths, PathEnd, PathRefused
from pcgrelay.reasons import MARKING
from pcgrelay.session.api import SessionObserver
from pcgrelay.session.handshake import SessionHandshake, told
from pcgrelay.session.migration import PathMigration
from pcgrelay.session.pending import GLARE, PendingSessions, glare_refusal, setup_refusal
from pcgrelay.session.recovery import ChooseLink, PathRecovery
from pcgrelay.session.renewer import Renewer
from pcgrelay.session.session import Key, Session, State, up_record

# How long a keeper waits for a set-up that another edge seems to have begun, before it begins its own.
GIVE_WAY_S = 2.0
LEAVE = "leave"
# Failures after which another path, or the same once more, may succeed: they do not shorten an application's wait.
NOBODYS_FAULT = ("path_lost", NO_ANSWER)
NO_ROUTE = "no_route"  # this edge itself has no usable link


class Sessions:
    """All sessions of an edge. It also answers the paths that other edges open (`Answerer` of path.edge)."""

    def __init__(
        self,
        local: LocalIdentity,
        plane: SessionPlane,
        observer: SessionObserver,
        choose: ChooseLink,
        cap_for: Callable[[int], int],
        emit: Emit,
        clock: Clock,
    ) -> None:
        self.paths: EdgePaths
        self.refused: Counter[str] = Counter()
        self.failures: Counter[Key] = Counter()
        self.causes: dict[Key, str] = {}  # cause of the last failure
        self._local = local
        self._me = local.config.node.id
        self._plane = plane
        self._observer = observer
        self._choose = choose
        self._cap_for = cap_for
        self._emit = emit
        self._clock = clock
        self._by_id: dict[bytes, Session] = {}
        self._by_number: dict[int, Session] = {}
        self._keepers: dict[Key, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._retries: Retries[Key] = Retries(clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending = PendingSessions(random.SystemRandom().random)
        self._next_number = 0
        self._recovery = PathRecovery(self, plane, local, observer, choose, emit, clock)
        self.migration = PathMigration(self, self._recovery, choose, clock)
        self._renewer = Renewer(self, plane, local, emit, clock)

    def attach(self, paths: EdgePaths) -> None:
        """Set the path ends. They refer to this object, so they can only be made after it."""
        self.paths = self._renewer.paths = paths
        self._recovery.attach(paths)

    # -- requests ----------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Session]:
        return iter(self._by_id.values())

    def by_number(self, number: int) -> Session | None:
        """The session with this number in the core, or None."""
        return self._by_number.get(number)

    def with_key(self, key: Key) -> list[Session]:
        """The sessions with this key: those that are UP first, then by age."""
        found = [session for session in self._by_id.values() if session.key == key]
        return sorted(found, key=lambda session: (session.state is not State.UP, session.began_ms))

    def want(self, keys: set[Key]) -> None:
        """Keep sessions for these keys, and only these, from now on. Existing sessions stay."""
        for key in set(self._keepers) - keys:
            self._keepers.pop(key)[0].cancel()
            self.failures.pop(key, None)
            self.causes.pop(key, None)
        self._retries.keep(keys)
        for key in keys - set(self._keepers):
            look = asyncio.Event()
            self._keepers[key] = (self.spawn(self._keep(key, look, self._retries.of(key)), "keeper"), look)

    def kick(self, key: Key | None = None) -> None:
        """Retry before the end of the back-off, within the bounds of `Retry`: for this key, or for all."""
        for each, (_, look) in self._keepers.items():
            if key is None or each == key:
                self._retries.of(each).kick()
                look.set()
        for session in self._by_id.values():
            if key is None or session.key == key:
                self._recovery.kick(session)

    def _look(self, key: Key) -> None:
        """Wake a keeper because a session came or went. This does not shorten its back-off."""
        if key in self._keepers:
            self._keepers[key][1].set()

    def judge(self, refusal: Callable[[Session], str | None]) -> None:
        """Close the sessions for which refusal returns a reason: policy or trust no longer allows them."""
        for session in list(self._by_id.values()):
            if session.chain and (word := refusal(session)):
                self.count(word)
                self.close(session, Code.REFUSED, word)

    def renew(self) -> None:
        """Renew the sessions that are due, and close those past their hard age; called once a second."""
        self._renewer.renew(list(self._by_id.values()))

    def to_handover(self) -> tuple[tuple[SessionHandover, ...], int]:
        """Return the hand-over records of the sessions in UP or STALLED, and the last number that was given."""
        living = (session for session in self._by_id.values() if session.state in (State.UP, State.STALLED))
        return tuple(session.to_handover() for session in living), self._next_number

    def restore(self, handovers: Sequence[SessionHandover], last: int, links: Mapping[int, Link]) -> None:
        """Restore the sessions of the previous process, which the core has already. links: by number."""
        self._next_number = last
        for handover in handovers:
            session = Session.restored(handover)
            self._by_id[session.id] = session
            self._by_number[session.number] = session
            with suppress(DataPlaneRefused):
                self._plane.session_name(session.number, id_head=session.id_head, caller=session.caller)
            link = links.get(handover.path.link) if handover.path else None
            if link is not None and handover.path is not None:
                self._recovery.path_restored(session, self.paths.restore(link, session.id, handover.path))
            elif session.state is State.UP:
                # Its path was lost during the hand-over.
                session.state = State.STALLED
                session.stalled_ms = self._clock.monotonic_ms()
            if session.state is State.STALLED:
                self._recovery.mend(session)

    def drop_unknown(self, numbers: Iterable[int]) -> None:
        """Close the sessions that only the core has: their set-up was not complete at the hand-over."""
        for number in set(numbers) - set(self._by_number):
            with suppress(DataPlaneRefused):
                self._plane.session_close(number, Code.UNREACHABLE)

    async def stop(self, code: int) -> None:
        """Close all sessions with this code and end all tasks."""
        self.want(set())
        for session in list(self._by_id.values()):
            self.close(session, code, "stopped")
        if migration := [task for task in self._tasks if task.get_name() == LEAVE]:
            await asyncio.wait(migration)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- what the core reports ---------------------------------------------------------------------------------

    def handlers(self) -> events.Handlers:
        """Return the handlers of the core's events, by type of event."""
        return {
            events.SessionUp: self.core_up,
            events.SessionStalled: self.core_stalled,
            events.SessionResumed: self.core_resumed,
            events.SessionMoved: self.core_moved,
            events.SessionDown: self.core_down,
            **self._renewer.handlers(self._by_number),
        }

    def core_up(self, event: events.SessionUp) -> None:
        """Handle SessionUp: every flow is confirmed in both directions."""
        session = self._by_number.get(event.session)
        if session is None or session.state is not State.STARTING:
            return
        session.state = State.UP
        self.failures.pop(session.key, None)
        self.causes.pop(session.key, None)
        self._emit(up_record(session, self._clock.monotonic_ms()))
        session.changed.set()
        self._look(session.key)
        self._observer.sessions_changed(session.key)
        self._recovery.started(session)
        if session.path is None or session.unresumed:
            # The path was lost just before the event.
            self._recovery.stalled(session, code_name(Code.UNREACHABLE))

    def core_stalled(self, event: events.SessionStalled) -> None:
        """Handle SessionStalled: a flow lost its lane or its path. Events of an earlier path are ignored."""
        session = self._by_number.get(event.session)
        if session is not None and (session.path is None or session.path.in_label == event.in_label):
            self._recovery.flow_stalled(session, event.flow, event.code)

    def core_resumed(self, event: events.SessionResumed) -> None:
        """Handle SessionResumed: a flow goes on."""
        if session := self._by_number.get(event.session):
            self._recovery.resumed(session, event.flow)

    def core_moved(self, event: events.SessionMoved) -> None:
        """Handle SessionMoved: the far edge uses the candidate path to which this edge gave the label."""
        if session := self._by_number.get(event.session):
            self._recovery.candidates.moved(session, event.in_label)

    def core_down(self, event: events.SessionDown) -> None:
        """Handle SessionDown: the core has closed the session."""
        if session := self._by_number.get(event.session):
            self._gone(session, event.code, event.reason, event.remote)

    # -- setting up --------------------------------------------------------------------------------------------

    async def _keep(self, key: Key, look: asyncio.Event, retry: Retry) -> None:
        tried: list[Link] = []
        has_given_way = False
        while True:
            look.clear()
            living = self.with_key(key)
            if any(session.initiator or session.number for session in living):
                await look.wait()
                continue
            if living and not has_given_way:
                # Its peer's identity is not proved yet. It gets some time, but a name alone cannot prevent a session.
                has_given_way = True
                await wait_event(look, GIVE_WAY_S)
                continue
            if not retry.may_begin():
                await retry.due()
                continue
            has_given_way = False
            before = retry.attempts
            retry.begun()
            try:
                await self._establish(key, tried, before)
                continue
            except PathRefused as refused:
                # Glare is no failure: the other edge's own attempt is under way. Nor is a first attempt that found no
                # usable link: a neighbour sends its entries before its lanes are up.
                early = before == 0 and refused.reason == NO_ROUTE and refused.by == self._me.uri
                if refused.reason != GLARE and not early:
                    self._failed(key, refused.reason, str(refused), refused.by, before)
            except Exception as error:
                # Catch everything: nothing restarts a keeper that has ended. Glare is no failure here either.
                if not any(session.number for session in self.with_key(key)):
                    self._failed(key, *told(error), "", before)
            retry.failed()

    async def _establish(self, key: Key, tried: list[Link], attempt: int) -> None:
        """Make one attempt, over another link than the last if there is one. It leaves a session in UP, or raises."""
        link = self._choose(key, tried.pop() if tried else None)
        if link is None:
            reason = MARKING if self._recovery.is_barred(key) else NO_ROUTE
            raise PathRefused(Code.UNREACHABLE, reason, self._me.uri)
        tried.append(link)
        session = self._added(os.urandom(16), key, initiator=True)
        flows = min(self._local.config.node.lanes, link.lanes)
        try:
            async with asyncio.timeout(self._deadline_s):
                session.path = self.paths.open(
                    link,
                    session.id,
                    key.edge,
                    marking=key.marking,
                    priority=key.priority,
                    flows=flows,
                    cap=min(self._cap_for(flows), link.cap),
                    resume=False,
                )
                await wait_answer(session.path, attempt, lambda: self._choose(key, link) not in (link, None))
                carried = self._carried(session, session.path)
                carried.start()
                await carried.done
                await self._started(session)
        except BaseException as error:
            if isinstance(error, PathRefused):
                self._observer.path_refused(key, link, error.reason)
            self.close(session, Code.TIMEOUT, "setup_failed", quiet=True)
            raise

    async def _answer(self, session: Session, end: PathEnd) -> None:
        """Run the responder's side of one attempt."""
        word, cause = "", ""
        try:
            async with asyncio.timeout(self._deadline_s):
                try:
                    carried = self._carried(session, end)
                    self.paths.accept_told(end)
                    await carried.done
                finally:
                    self._pending.leave(end.link.number, session.key.edge)
                await self._started(session)
        except Exception as error:
            word, cause = told(error)
        finally:
            if session.state not in (State.UP, State.STALLED):
                self.close(session, Code.TIMEOUT, "setup_failed", quiet=True)
        if word not in ("", GLARE):
            self.count(word)
            self._emit(
                HandshakeRefusedRecord(purpose="session", reason=word, cause=cause, peer=session.key.edge.dotted)
            )

    def _carried(self, session: Session, end: PathEnd) -> SessionHandshake:
        session.state = State.HANDSHAKE
        return SessionHandshake(
            self.paths,
            end,
            self._local.context,
            self._local.session_parameters(session.id, end.marking, end.priority, end.flows, end.cap),
            lambda peer: None if peer == session.key.edge else "unexpected_identity",
            lambda established: self._ready(session, end, established),
        )

    def _ready(self, session: Session, end: PathEnd, established: HandshakeResult) -> None:
        """Give the secret to the core before anything else is sent. Raises HandshakeRefused or DataPlaneRefused."""
        # Trust and clearances may have changed since the handshake began.
        word = self._local.standing_refusal(established.chain, established.suite, established.group)
        if not word and not self._observer.may_carry(session, end):
            word = MARKING
        word = word or glare_refusal(self, self._me, session)
        if word:
            wipe_secret(established.secret)
            raise HandshakeRefused(word, "What the handshake began with holds no longer.")
        session.chain, session.features = established.chain, established.features
        session.keyed_ms = self._clock.monotonic_ms()
        session.schedule = Schedule(session.keyed_ms)
        session.number = self._next_number = self._next_number + 1
        session.flows, session.cap = established.flows, established.cap
        session.suite, session.group, session.tls_suite = established.suite, established.group, established.tls_suite
        self._by_number[session.number] = session
        self._plane.session_add(
            session.number,
            secret=established.secret,
            binding=established.binding,
            suite=established.suite,
            initiator=session.initiator,
            flows=session.flows,
            cap=session.cap,
            marking=session.key.marking,
            priority=session.key.priority,
            organisation=organisation_number(session.key.edge.organisation),
            id_head=session.id_head,
            caller=session.caller,
            ack_bytes=session.ack_bytes,
        )
        session.state = State.STARTING
        # The core must know what the peer may open before the peer can open anything.
        self._observer.session_added(session)
        end.on_closed = lambda code: self._recovery.path_closed(session, end, code)
        self.path_taken(session, end)
        self._recovery.lead(session, end)

    def path_taken(self, session: Session, end: PathEnd) -> None:
        """Note that a session that has keys uses this path from now on."""
        end.stands = True
        self._renewer.listen(session, end)

    async def _started(self, session: Session) -> None:
        while session.state is State.STARTING:
            session.changed.clear()
            await session.changed.wait()
        if session.state is State.CLOSED:
            raise HandshakeRefused("closed", "The session was closed before its keys were confirmed.")

    def path_asked(self, link: Link, asked: PathOpen, source: NodeId) -> None:
        """Handle a PATH_OPEN of another edge: for a new session, or for a new path of one."""
        if not 1 <= asked.marking <= 3 or asked.priority > 2:
            self.paths.refuse(link, asked, Code.VIOLATION, "malformed")
            return
        if not self._local.clearances.clears(asked.marking, link.bearer, asked.via):
            self.paths.refuse(link, asked, Code.REFUSED, MARKING)
            return
        if asked.resume:
            self._recovery.candidates.asked(self._by_id.get(asked.session), link, asked, source)
            return
        key = Key(source, asked.marking, asked.priority)
        if word := setup_refusal(self._by_id, self._pending, self._me, link.number, asked.session, key):
            self.paths.refuse(link, asked, Code.BUSY, word, is_fault=word != GLARE)
            return
        flows = min(asked.flows, self._local.config.node.lanes, link.lanes)
        cap = min(asked.cap, self._cap_for(flows), link.cap, CAP_MOST_BYTES)
        if cap < CAP_LEAST_BYTES:
            self.paths.refuse(link, asked, Code.VIOLATION, "malformed")
            return
        try:
            end = self.paths.accept(link, asked, source, flows=flows, cap=cap)
        except PathRefused as refused:
            self.paths.refuse(link, asked, refused.code, refused.reason)
            return
        session = self._added(asked.session, key, initiator=False)
        session.path = end
        self._pending.enter(link.number, source)  # now: a burst of requests is read before the first task runs
        self.spawn(self._answer(session, end), "answer")

    # -- the table ---------------------------------------------------------------------------------------------

    @property
    def _deadline_s(self) -> float:
        return self._local.config.policy.handshake_deadline_ms / 1000

    def _added(self, identifier: bytes, key: Key, *, initiator: bool) -> Session:
        session = Session(identifier, key, initiator, self._clock.monotonic_ms())
        self._by_id[identifier] = session
        return session

    def close(self, session: Session, code: int, reason: str, *, quiet: bool = False) -> None:
        """End a session from this side."""
        if session.state is State.CLOSED:
            return
        if session.number:
            with suppress(DataPlaneRefused):
                self._plane.session_close(session.number, code)
            if session.path is not None:
                path, session.path = session.path, None
                self.spawn(self.paths.leave(path, code), LEAVE)
        self._gone(session, code, reason, remote=False, quiet=quiet)

    def _gone(self, session: Session, code: int, reason: str, remote: bool, *, quiet: bool = False) -> None:
        if session.state is State.CLOSED:
            return
        if session.state in (State.UP, State.STALLED):
            self._retries.ended(session.key, self._clock.monotonic_ms() - session.began_ms)
        session.state = State.CLOSED
        if self._by_id.get(session.id) is session:
            del self._by_id[session.id]
        self._by_number.pop(session.number, None)
        self._recovery.forget(session, code)
        self._renewer.forget(session)
        if not quiet:
            self._emit(
                SessionDown(
                    session=session.number,
                    peer=session.key.edge.dotted,
                    code=code_name(code),
                    reason=reason,
                    remote=remote,
                )
            )
        session.changed.set()
        if session.number or session.initiator:  # otherwise only claimed: says nothing about that edge
            self._look(session.key)
            self._observer.sessions_changed(session.key)

    def _failed(self, key: Key, reason: str, cause: str, by: str, attempt: int) -> None:
        self.count(reason)
        if reason not in NOBODYS_FAULT:
            self.failures[key] += 1
        is_new, self.causes[key] = self.causes.get(key) != cause, cause
        # The first failures and those with a new cause are logged one by one, the others at each power of two.
        if attempt < 3 or (attempt + 1) & attempt == 0 or is_new:
            self._emit(SessionFailed(peer=key.edge.dotted, reason=reason, cause=cause, by=by, attempts=attempt + 1))
        self._observer.sessions_changed(key)

    def count(self, reason: str) -> None:
        self.refused[reason] += 1

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._emit(Failure(where=task.get_name(), error=type(error).__name__))
