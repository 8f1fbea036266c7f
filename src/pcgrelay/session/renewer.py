"""Renewal of sessions: both edges prove their identities again while the streams go on (docs/protocol.md, 9.9).

        initiator                                    responder
    handshake over the session's path; each side gives the secret to its core, which reports when all workers keep it
    -- RENEWED, inside the handshake's TLS -->       received
    received             <-- RENEWED --              the mix may be used
    the mix may be used; TLS is freed on both sides

The initiator begins. The responder treats the first bytes that are carried over the path of a session in UP as the
start of a renewal. It closes the session only for an identity that was proved: before that, any relay on the path may
have sent the bytes.

An answer may be lost: then the responder steps with a renewal of which the initiator has the secret, and does not know
that it is agreed. The core takes that step for the answer. The step may be late, and the initiator has the secrets of
two renewals. So the responder answers the next one only when the initiator has acknowledged that step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from pcgrelay.clock import Clock
from pcgrelay.dataplane import events
from pcgrelay.dataplane.api import DataPlaneRefused, SessionPlane
from pcgrelay.errors import without_traceback
from pcgrelay.identity.exporter import Purpose, wipe_secret
from pcgrelay.identity.handshake import Handshake, HandshakeResult
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.identity.renewal import Renewal, is_verdict
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.log.events import Emit, RenewalFailed, SessionRenewed
from pcgrelay.messages import Code, MessageRefused, Renewed, encode_message
from pcgrelay.net.ratelimit import TokenBucket
from pcgrelay.path.edge import EdgePaths, PathEnd
from pcgrelay.session.api import SessionTable
from pcgrelay.session.session import Session, State

# How often a peer may begin a renewal; this bounds the cost of its handshakes.
BEGINNINGS_AT_ONCE = 1
BEGINNINGS_EACH_SECOND = 2
RENEWED_BYTES = 1_024  # limit of the bytes that may follow the handshake; RENEWED needs far fewer
HELD_BYTES = 16_384  # limit of the bytes that wait for a step; a ClientHello needs far fewer


class Attempt:
    """One renewal of one session, over one path. `done` is set to the result, or to HandshakeRefused."""

    def __init__(
        self, handshake: Handshake, end: PathEnd, began_ms: int, keep: Callable[[HandshakeResult], None]
    ) -> None:
        """keep: gives the secret to the core; it may raise HandshakeRefused."""
        self.done: asyncio.Future[HandshakeResult] = asyncio.get_running_loop().create_future()
        self.end = end
        self.began_ms = began_ms
        self.told = False
        self.held = b""  # what was carried and waits for a step
        self._handshake = handshake
        self._keep = keep
        self._kept = False
        self._heard = False
        self._extra_bytes = 0

    @property
    def generation(self) -> int:
        """The generation of the renewal; 0 until its handshake is complete."""
        return self._handshake.established.generation if self._handshake.established else 0

    @property
    def result(self) -> HandshakeResult:
        """The result of its handshake, which must be complete."""
        assert self._handshake.established is not None
        return self._handshake.established

    def start(self) -> bytes:
        """Return the first bytes of the initiator."""
        return self._handshake.start()

    def take(self, data: bytes) -> bytes:
        """Handle bytes that were carried and return those to carry back. Raises HandshakeRefused."""
        handshake = self._handshake
        if not self.generation:
            outgoing = handshake.receive(data)
            if handshake.established is not None:
                self._keep(handshake.established)
            return outgoing
        self._extra_bytes += len(data)
        if self._extra_bytes > RENEWED_BYTES:
            raise HandshakeRefused("too_many_bytes", "The peer sent more than a renewal needs.")
        handshake.tls.feed(data)
        try:
            for message, _ in handshake.reader.feed(handshake.tls.read()):
                if self._heard or message != Renewed(mix=self.generation, generation=self.generation):
                    raise HandshakeRefused("hello", "The peer said something else than that it keeps the renewal.")
                self._heard = True
        except MessageRefused as error:
            raise HandshakeRefused("hello", str(error)) from None
        return self._answer()

    def kept(self) -> bytes:
        """Note that every worker of the core has the secret; return the bytes to carry now."""
        self._kept = True
        return self._answer()

    def _answer(self) -> bytes:
        handshake = self._handshake
        if self._kept and not self.told and (self.result.client or self._heard):
            self.told = True
            handshake.tls.write(encode_message(Renewed(mix=self.generation, generation=self.generation)))
        outgoing = handshake.tls.take()
        if self.told and self._heard and not self.done.done():
            self.done.set_result(self.result)
        return outgoing


class Renewer:
    """Renews the sessions of an edge."""

    def __init__(
        self, table: SessionTable, plane: SessionPlane, local: LocalIdentity, emit: Emit, clock: Clock
    ) -> None:
        self.paths: EdgePaths
        self._table = table
        self._plane = plane
        self._local = local
        self._emit = emit
        self._clock = clock
        self._attempts: dict[Session, Attempt] = {}

    def renew(self, sessions: Iterable[Session]) -> None:
        """Renew the sessions that are due, and close those past their hard age; called once a second."""
        now, policy = self._clock.monotonic_ms(), self._local.config.policy
        for session in sessions:
            schedule = session.schedule
            if schedule is None or session.state not in (State.UP, State.STALLED):
                continue
            if schedule.is_overdue(now, policy.renewal_age_s):
                self._table.count("renewal_overdue")
                self._table.close(session, Code.EXPIRED, "renewal_overdue")
            elif session.initiator and schedule.is_due(now, policy.renewal_interval_s) and self._may_begin(session):
                self._table.spawn(self._renewed(session), "renewal")
            elif (attempt := self._attempts.get(session)) is not None and attempt.held:
                self._take(session, attempt)

    def listen(self, session: Session, end: PathEnd) -> None:
        """Treat what is carried over this path as renewals, now that the session has keys."""
        end.on_carry = lambda data: self._carried(session, end, data)

    def handlers(self, by_number: Mapping[int, Session]) -> events.Handlers:
        """Return the handlers of the core's events about renewals of these sessions."""

        def renewed(event: events.SessionRenewed) -> None:
            if session := by_number.get(event.session):
                self.mix_is_kept(session, event.mix)

        def agreed(event: events.SessionAgreed) -> None:
            if session := by_number.get(event.session):
                self.mix_is_agreed(session, event.mix)

        return {events.SessionRenewed: renewed, events.SessionAgreed: agreed}

    def mix_is_kept(self, session: Session, mix: int) -> None:
        """Go on with the renewal of this mix: every worker of the core has its secret."""
        attempt = self._attempts.get(session)
        if attempt is not None and attempt.generation == mix:
            self._step(session, attempt, attempt.kept)

    def mix_is_agreed(self, session: Session, mix: int) -> None:
        """Note that the responder has stepped with this mix, which it does only once both sides have told RENEWED.

        Its own RENEWED may be on its way; an attempt whose answer is lost succeeds at its deadline.
        """
        if session.initiator and mix > session.generation:
            session.generation = mix
            with suppress(DataPlaneRefused):
                self._plane.session_mix(session.number, mix)

    def forget(self, session: Session) -> None:
        """End the renewal of a session that has ended."""
        self._failed(session, HandshakeRefused("closed", "The session ended while it was renewed."))

    def _may_begin(self, session: Session) -> bool:
        """Whether an attempt can be made now.

        The peer keeps the secrets of two renewals. A step that is still under way must find the one that it names.
        """
        return (
            session not in self._attempts
            and session.state is State.UP
            and not session.mending
            and self._has_stepped(session)
        )

    def _has_stepped(self, session: Session) -> bool:
        return self._plane.session_has_stepped(session.number, session.generation, session.flows)

    async def _renewed(self, session: Session) -> None:
        """Run one renewal as the initiator."""
        attempt = self._begun(session)
        try:
            async with asyncio.timeout(self._deadline_s):
                self._step(session, attempt, attempt.start)
                await attempt.done
        except TimeoutError:
            if attempt.told and attempt.generation == session.generation:
                del self._attempts[session]
                self._succeeded(session, attempt.result)
            else:
                self._failed(session, HandshakeRefused("deadline", "The renewal was not finished in time."))
        except HandshakeRefused:
            # Already counted and logged by `_failed`.
            return

    def _carried(self, session: Session, end: PathEnd, data: bytes) -> None:
        attempt = self._attempts.get(session)
        if session.path is not end or session.state is State.CLOSED:
            return
        if attempt is None or attempt.end is not end:
            if session.initiator:
                return  # late bytes of an earlier attempt
            if session.state is not State.UP or self._is_too_soon(session):
                self._table.count("renewal_too_soon")
                return
            attempt = self._begun(session)
            self._table.spawn(self._awaited(session, attempt), "renewal")
        attempt.held += data
        self._take(session, attempt)

    def _take(self, session: Session, attempt: Attempt) -> None:
        """Handle what was carried; as the responder only when the steps with the last renewal are acknowledged.

        The initiator may not have heard that that one is agreed. With the secret of one more it could not take them.
        """
        if not session.initiator and not self._has_stepped(session):
            if len(attempt.held) > HELD_BYTES:
                self._failed(session, HandshakeRefused("too_many_bytes", "The peer sent more than any ClientHello."))
            return
        data, attempt.held = attempt.held, b""
        self._step(session, attempt, lambda: attempt.take(data))

    async def _awaited(self, session: Session, attempt: Attempt) -> None:
        """End the responder's side of an attempt at the deadline, whatever the other side does."""
        with suppress(TimeoutError, HandshakeRefused):
            async with asyncio.timeout(self._deadline_s):
                await attempt.done
            return
        if self._attempts.get(session) is attempt:
            self._failed(session, HandshakeRefused("deadline", "The renewal was not finished in time."))

    def _is_too_soon(self, session: Session) -> bool:
        now = self._clock.monotonic_ms()
        session.renewals = session.renewals or TokenBucket(BEGINNINGS_AT_ONCE, BEGINNINGS_EACH_SECOND, now)
        return not session.renewals.spend(now)

    def _begun(self, session: Session) -> Attempt:
        assert session.suite is not None
        assert session.path is not None
        edge = session.key.edge
        handshake = Handshake(
            self._local.context,
            self._local.session_parameters(
                session.id, session.key.marking, session.key.priority, session.flows, session.cap
            ),
            client=session.initiator,
            purpose=Purpose.SESSION_RENEWAL,
            judge=lambda peer: None if peer == edge else "unexpected_identity",
            renewal=Renewal(edge, session.suite, max(session.generation, session.attempted) + 1),
        )
        attempt = Attempt(
            handshake, session.path, self._clock.monotonic_ms(), lambda established: self._keep(session, established)
        )
        self._attempts[session] = attempt
        return attempt

    def _keep(self, session: Session, established: HandshakeResult) -> None:
        """Give the secret to the core, before anything else is sent. Raises HandshakeRefused."""
        local = self._local
        try:
            # Trust may have changed since the handshake began.
            if word := local.standing_refusal(established.chain, session.suite, established.group):
                refused = HandshakeRefused(word, "The peer is no longer allowed what it was.")
                refused.shuts_out = True
                raise refused
            self._plane.session_renew(session.number, secret=established.secret, mix=established.generation)
        except DataPlaneRefused as fault:
            raise HandshakeRefused("core", str(fault)) from None
        finally:
            wipe_secret(established.secret)

    def _step(self, session: Session, attempt: Attempt, work: Callable[[], bytes]) -> None:
        """Do one step of an attempt and handle its outcome."""
        try:
            outgoing = work()
        except HandshakeRefused as refused:
            self.paths.carry(attempt.end, refused.farewell)
            self._failed(session, refused)
            return
        except Exception as error:
            # An error of a library ends this attempt and nothing else.
            self._failed(session, HandshakeRefused("failure", f"The renewal broke ({type(error).__name__})."))
            return
        self.paths.carry(attempt.end, outgoing)
        if attempt.told:
            session.attempted = attempt.generation
        if attempt.done.done() and self._attempts.get(session) is attempt:
            del self._attempts[session]
            self._succeeded(session, attempt.done.result())

    def _succeeded(self, session: Session, established: HandshakeResult) -> None:
        assert session.schedule is not None
        session.generation = established.generation
        session.chain, session.group, session.tls_suite = established.chain, established.group, established.tls_suite
        session.features = established.features  # an edge that was upgraded knows more than when it was made
        session.schedule.renewed(self._clock.monotonic_ms())
        with suppress(DataPlaneRefused):
            self._plane.session_mix(session.number, session.generation)
        self._emit(
            SessionRenewed(
                session=session.number,
                peer=session.key.edge.dotted,
                generation=session.generation,
                group=session.group,
                tls_suite=session.tls_suite,
            )
        )

    def _failed(self, session: Session, refused: HandshakeRefused) -> None:
        attempt = self._attempts.pop(session, None)
        if attempt is None:
            return
        if not attempt.done.done():
            attempt.done.set_exception(without_traceback(refused))
            # Retrieve it, so that asyncio does not complain when nobody is waiting.
            attempt.done.exception()
        if session.state is State.CLOSED or session.schedule is None:
            return
        self._table.count(refused.reason)
        session.schedule.failed(self._clock.monotonic_ms())
        self._emit(
            RenewalFailed(
                purpose="session",
                peer=session.key.edge.dotted,
                reason=refused.reason,
                cause=str(refused),
                attempts=session.schedule.attempts,
            )
        )
        if refused.shuts_out or (session.initiator and is_verdict(refused)):
            self._table.close(session, Code.REFUSED, refused.reason)

    @property
    def _deadline_s(self) -> float:
        return self._local.config.policy.handshake_deadline_ms / 1000
