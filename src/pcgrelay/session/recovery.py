"""Recovery of sessions that lose their path.

The keys, the streams and the frames that were sent and not acknowledged stay in the core; only the path changes. The
initiator finds the new path and the responder waits for it (`candidates`), so that the two sides never choose different
paths. A path may also be changed while the old one still works, for example when its neighbour drains; the old path is
closed when all flows have resumed.

A session in STARTING is treated alike. An initiator that has the keys has read the responder's HELLO and so knows that
the responder has them too: the confirmations of the flows, which may be lost with the path, can go over another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from pcgrelay.clock import Clock
from pcgrelay.dataplane import events
from pcgrelay.dataplane.api import DataPlaneRefused, SessionPlane
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.link.link import Link
from pcgrelay.log.events import Emit, SessionResumed, SessionStalled
from pcgrelay.messages import Code, code_name
from pcgrelay.net.backoff import Retry, backoff_ms
from pcgrelay.path.asking import wait_answer
from pcgrelay.path.edge import EdgePaths, PathEnd, PathRefused
from pcgrelay.reasons import MARKING
from pcgrelay.session.api import SessionObserver, SessionTable
from pcgrelay.session.candidates import Candidates
from pcgrelay.session.session import Key, Session, State

RESUME_ANSWER_S = 5.0
RESUME_FIRST_MS = 50
RESUME_CAP_MS = 1_000
# A session whose path works is moved without haste.
MOVE_FIRST_MS = 1_000
MOVE_CAP_MS = 20_000
WAITING = 10  # back-off as after so many attempts, while there is no link at all
SHUT_OUT = "shut_out"
SHUT_OUT_S = 0.5  # how often a waiting responder checks whether all neighbours refuse this node
_WAYLESS = (State.STARTING, State.STALLED)
# Codes with which the far edge says that it does not have the session, or not with this edge.
_FINAL = {Code.UNKNOWN, Code.REFUSED, Code.EXPIRED, Code.VIOLATION}

# Given what a session is for, and a link to avoid if there is another: the link to use, or None.
ChooseLink = Callable[[Key, Link | None], Link | None]
NO_LINK = 0  # no link has this number
# A far edge whose path is no longer allowed or cleared opens another one by then, or has none and cannot say so.
REFUSED_WAIT_MS = 3_000


class PathRecovery:
    """Finds new paths for the sessions of an edge."""

    def __init__(
        self,
        table: SessionTable,
        plane: SessionPlane,
        local: LocalIdentity,
        observer: SessionObserver,
        choose: ChooseLink,
        emit: Emit,
        clock: Clock,
    ) -> None:
        self.paths: EdgePaths
        self.candidates = Candidates(table, plane, self._take_path)
        self._table = table
        self._plane = plane
        self._local = local
        self._observer = observer
        self._choose = choose
        self._emit = emit
        self._clock = clock

    def path_restored(self, session: Session, end: PathEnd) -> None:
        """Attach the path that a restored session had in the previous process."""
        session.path = end
        session.led = end.in_label
        end.on_closed = lambda code: self.path_closed(session, end, code)

    def attach(self, paths: EdgePaths) -> None:
        """Use these path ends."""
        self.paths = self.candidates.paths = paths

    def path_closed(self, session: Session, end: PathEnd, code: int) -> None:
        if session.path is end:
            session.path = None
            session.is_refused = code == Code.REFUSED
            self._leave_former(session, Code.DRAINING)
            # The link may be lost although its lanes here look up; after DRAINING it may be used again.
            session.lost = None if code == Code.DRAINING else end.link
            self.stalled(session, code_name(code))

    def judge(self, session: Session, may_carry: Callable[[Session, PathEnd], bool]) -> None:
        """Leave what may not carry a session any more. may_carry: whether a path of it is cleared.

        The core sends and takes nothing on such a path from here on. If no other way is cleared, and none is about to
        be there, the session ends at once, and says so to the far edge; one that the far edge began waits for that one
        to find another.
        """
        self.candidates.judge(session, lambda end: may_carry(session, end))
        with suppress(DataPlaneRefused):
            # Of late datagrams of the path before: what may be carried has changed since they were sent.
            self._plane.session_candidate_drop(session.number, 0)
        if session.former is not None and not may_carry(session, session.former):
            self._leave_former(session, Code.REFUSED)
        end = session.path
        if end is None or may_carry(session, end):
            return
        self._table.count(MARKING)
        if session.initiator and self.is_barred(session.key):
            self._table.close(session, Code.REFUSED, MARKING)
            return
        end.on_closed = None
        with suppress(DataPlaneRefused):
            self._plane.session_path(session.number, link=NO_LINK, in_label=end.in_label, out_label=end.out_label)
        self.paths.close(end, Code.REFUSED)
        self.path_closed(session, end, Code.REFUSED)

    def is_barred(self, key: Key) -> bool:
        """Whether clearances alone keep such sessions from a path, and no cleared way is about to be there."""
        return self._observer.is_barred(key) and not self._observer.awaits_way(key)

    def _leave_former(self, session: Session, code: int) -> None:
        """Close the path that this side has left for another one.

        If the other one is lost, the far edge may still use this one and has noticed nothing. Without a PATH_CLOSE its
        streams would wait until the core's timeout.
        """
        if session.former is not None:
            former, session.former = session.former, None
            former.on_closed = None
            self.paths.close(former, code)

    def started(self, session: Session) -> None:
        """Close the former path of a session that has come up: every flow is confirmed over the present one."""
        self._leave_former(session, Code.DONE)

    def forget(self, session: Session, code: int) -> None:
        """Close all paths of a session that has ended, with this code."""
        if session.path is not None:
            session.path.on_closed = session.path.on_carry = None
            self.paths.close(session.path, code)
        self._leave_former(session, code)
        self.candidates.forget(session, code)

    def flow_stalled(self, session: Session, flow: int, code: int) -> None:
        """Handle a flow that lost its lane or its path."""
        session.unresumed.add(flow)
        if session.path is not None:
            session.lost = session.path.link
        self.stalled(session, code_name(code))

    def resumed(self, session: Session, flow: int) -> None:
        """Handle a flow that has resumed; once all have, the session is UP again."""
        session.unresumed.discard(flow)
        if session.unresumed or session.path is None:
            return
        session.changed.set()
        self._leave_former(session, Code.DONE)
        if session.state is not State.STALLED:
            return
        session.state = State.UP
        session.resumed_ms = self._clock.monotonic_ms()
        pause_ms = session.resumed_ms - session.stalled_ms
        self._emit(
            SessionResumed(session=session.number, peer=session.key.edge.dotted, via=session.via, pause_ms=pause_ms)
        )
        self._observer.sessions_changed(session.key)

    def stalled(self, session: Session, reason: str) -> None:
        if session.state is State.UP:
            session.state = State.STALLED
            session.stalled_ms = self._clock.monotonic_ms()
            if session.resumed_ms is not None:
                # A session that loses its path repeatedly does not search more often for that.
                self._ways(session).ended(session.stalled_ms - session.resumed_ms)
            self._emit(
                SessionStalled(session=session.number, peer=session.key.edge.dotted, via=session.via, reason=reason)
            )
            self._observer.sessions_changed(session.key)
        if session.state in _WAYLESS:
            session.changed.set()
            if session.path is not None and not session.initiator:
                # Only the initiator finds a new path, so it has to learn that this one is lost.
                path, session.path = session.path, None
                self.paths.close(path, Code.UNREACHABLE)
            self.mend(session)

    def mend(self, session: Session) -> None:
        """Start a search for another path, unless one is running or a working session was moved a moment ago."""
        if not session.mending and (session.state is not State.UP or self._moves(session).may_begin()):
            session.mending = True
            self._table.spawn(self._mended(session), "mender")

    def kick(self, session: Session) -> None:
        """Search again now: another path may have become available."""
        for retry in (session.ways, session.moves):
            if retry is not None:
                retry.kick()
        if session.mending:
            session.changed.set()

    def _ways(self, session: Session) -> Retry:
        if session.ways is None:
            session.ways = Retry(self._clock, RESUME_FIRST_MS, RESUME_CAP_MS)
        return session.ways

    def _moves(self, session: Session) -> Retry:
        if session.moves is None:
            session.moves = Retry(self._clock, MOVE_FIRST_MS, MOVE_CAP_MS)
        return session.moves

    async def _mended(self, session: Session) -> None:
        lost_ms = self._clock.monotonic_ms() - session.stalled_ms if session.state is State.STALLED else 0
        try:
            async with asyncio.timeout(max(0, self._wait_ms(session) - lost_ms) / 1000):
                if not session.initiator:
                    await self._await_way(session)
                elif session.state is State.UP:
                    await self._move(session)
                else:
                    await self._find_way(session)
        except TimeoutError:
            self._given_up(session)
        except DataPlaneRefused as refused:
            self._table.close(session, Code.UNREACHABLE, str(refused))
        except PathRefused as refused:
            self._table.close(session, refused.code, refused.reason)
        finally:
            session.mending = False
        if session.state is State.STALLED or (session.state is State.STARTING and session.path is None):
            # Its path was lost while it was being moved.
            self.mend(session)

    def _given_up(self, session: Session) -> None:
        is_barred = session.initiator and self._observer.is_barred(session.key)
        if is_barred:
            self._table.count(MARKING)
        self._table.close(session, Code.TIMEOUT, MARKING if is_barred else "no_path")

    def _wait_ms(self, session: Session) -> int:
        most = self._local.config.policy.path_wait_ms
        if session.initiator or not session.is_refused:
            return most
        # Where messages do not reach the neighbour, the far edge learns of it only when the link has been made anew.
        is_told = session.lost is not None and session.lost.controlled
        return min(most, REFUSED_WAIT_MS) if is_told else most

    async def _await_way(self, session: Session) -> None:
        while session.state is State.STALLED or (session.state is State.STARTING and session.path is None):
            self._refuse_shut_out()
            session.changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(SHUT_OUT_S):
                    await session.changed.wait()

    def _refuse_shut_out(self) -> None:
        # An outage can end by itself; a refusal by all neighbours does not, so waiting is of no use.
        if self._observer.is_shut_out():
            raise PathRefused(Code.REFUSED, SHUT_OUT, "")

    async def _find_way(self, session: Session) -> None:
        """Try one link after another until the session has resumed. PathRefused if the far edge does not have it."""
        refusing: set[Link] = set()
        avoid = session.path.link if session.path else session.lost
        while session.state in _WAYLESS:
            link = self._choose(session.key, avoid)
            if link is None:
                # Waiting for a link does not count as an attempt.
                self._refuse_shut_out()
                if session.is_refused and self.is_barred(session.key):
                    # It was left for its clearance, and what was to come instead has not.
                    raise PathRefused(Code.REFUSED, MARKING, "")
                await self._change_awaited(session)
                continue
            retry = self._ways(session)
            if not retry.may_begin():
                await retry.due()
                continue
            try:
                await self._tried(session, link, retry)
                return
            except PathRefused as refused:
                if _is_last_word(session, link, refused, refusing):
                    raise
            except TimeoutError:
                pass
            avoid = link

    async def _move(self, session: Session) -> None:
        """Make one attempt to move a session whose path works."""
        avoid = session.path.link if session.path else session.lost
        link = self._choose(session.key, avoid)
        if link is None or link is avoid:
            return
        try:
            await self._tried(session, link, self._moves(session))
        except TimeoutError:
            pass
        except PathRefused as refused:
            # Its present path works, so only a refusal by the far edge itself ends it.
            if link.peer == session.key.edge and _is_final(refused):
                raise

    async def _tried(self, session: Session, link: Link, retry: Retry) -> None:
        """Make one attempt over that link."""
        before = retry.attempts
        retry.begun()
        try:
            async with asyncio.timeout(RESUME_ANSWER_S):
                await self._lead_over(session, link, before)
        except PathRefused as refused:
            self._observer.path_refused(session.key, link, refused.reason)
            raise
        finally:
            # Counted even if it succeeded: a path that was found may be lost at once.
            retry.failed()

    async def _change_awaited(self, session: Session) -> None:
        session.changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(backoff_ms(WAITING, RESUME_FIRST_MS, RESUME_CAP_MS) / 1000):
                await session.changed.wait()

    async def _lead_over(self, session: Session, link: Link, attempt: int) -> None:
        """Open a path over that link, switch the session to it, and wait until all its flows have resumed.

        Raises PathRefused if the path is refused, too small or lost meanwhile.
        """
        if session.state in _WAYLESS and session.path is not None and session.path.link is link:
            # That path does not work, and the relays may have room for one path only.
            path, session.path, session.lost = session.path, None, link
            path.on_closed = None
            self.paths.close(path, Code.DONE)
        end = self.paths.open(
            link,
            session.id,
            session.key.edge,
            marking=session.key.marking,
            priority=session.key.priority,
            flows=session.flows,
            cap=session.cap,
            resume=True,
        )
        try:
            # A session that is only moved has a working path: it does not stop waiting for the sake of another link.
            await wait_answer(
                end,
                attempt,
                lambda: session.state in _WAYLESS and self._choose(session.key, link) not in (link, None),
            )
            if end.flows < session.flows or end.cap < session.cap:
                raise PathRefused(Code.LIMIT, "path_too_small", link.peer.uri)
            if not self._observer.may_carry(session, end):
                # Clearances have changed since it was asked for.
                raise PathRefused(Code.UNREACHABLE, MARKING, "")
        except BaseException:
            self.paths.close(end, Code.TIMEOUT)
            raise
        self._take_path(session, end)
        while (session.unresumed or session.state is State.STARTING) and session.path is end:
            if session.state is State.CLOSED:
                return
            if session.lost is link or not link.has_lanes:
                raise PathRefused(Code.UNREACHABLE, "path_lost", link.peer.uri)
            session.changed.clear()
            await session.changed.wait()
        if session.path is not end:
            raise PathRefused(Code.UNREACHABLE, "path_lost", link.peer.uri)

    def _take_path(self, session: Session, end: PathEnd) -> None:
        """Switch a session to this path; the one before is closed once all flows have resumed."""
        self._leave_former(session, Code.DONE)
        session.former, session.path = session.path, end
        session.lost, session.is_refused = None, False
        if session.former is not None:
            session.former.on_closed = lambda _: self._former_closed(session)
        end.on_closed = lambda code: self.path_closed(session, end, code)
        # A flow that starts does not resume: the core reports that the session is up.
        session.unresumed = set() if session.state is State.STARTING else set(range(session.flows))
        self._table.path_taken(session, end)
        self.lead(session, end)
        self._observer.sessions_changed(session.key)

    def lead(self, session: Session, end: PathEnd) -> None:
        """Tell the core to use this path. Flows that have already followed the far edge to another path stay there."""
        is_first = session.led == 0 and session.state is State.STARTING
        instead, session.led = 0 if session.initiator or is_first else session.led or end.in_label, end.in_label
        self._plane.session_path(
            session.number, link=end.link.number, in_label=end.in_label, out_label=end.out_label, instead=instead
        )
        if instead not in (0, end.in_label):
            # A worker that never came to that path, and is on a later one, keeps a place for it.
            self._plane.session_candidate_drop(session.number, instead)

    def _former_closed(self, session: Session) -> None:
        session.former = None


def _is_last_word(session: Session, link: Link, refused: PathRefused, refusing: set[Link]) -> bool:
    """Whether a refusal over that link ends the search. refusing: the links that refused before; it is updated."""
    edge = session.key.edge
    is_final = refused.by == edge.uri and _is_final(refused)
    if is_final and link.peer == edge:
        return True
    # A relay refused, in its own name or in that of the far edge: over another relay the answer may differ. A second
    # refusal over the same link means that all have been tried.
    is_second = link in refusing
    if is_final or refused.code == Code.REFUSED:
        refusing.add(link)
        return is_second
    return False


def _is_final(refused: PathRefused) -> bool:
    """Whether the far edge would refuse each path. What is not cleared on this one may be cleared on another."""
    return refused.code in _FINAL and refused.reason != MARKING


def stall_unheard(
    sessions: Iterable[Session],
    figures: Mapping[int, Mapping[str, int]],
    stalled: Callable[[events.SessionStalled], None],
) -> None:
    """Stall the sessions whose flows are not all up in the core, after events of sessions were lost.

    They are then recovered, or end. figures: the counters of the core by session number. stalled: handles the event.
    """
    for session in list(sessions):
        if session.state is State.UP and figures.get(session.number, {}).get("flows_up", 0) < session.flows:
            in_label = session.path.in_label if session.path else 0
            for flow in range(session.flows):
                stalled(events.SessionStalled(session.number, flow, Code.BUSY, in_label))
