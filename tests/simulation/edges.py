"""Edges of a world: sessions with the other edge, their paths, and the tables. It orders what `session/table.py`,
`path/edge.py`, `session/recovery.py` and `session/candidates.py` order, in that order: this is where a way is lost
and another one found."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pcgrelay._core.face import core as native
from tests.simulation.clients import NUMBER as DATAGRAMS
from tests.simulation.clients import Clients
from tests.simulation.later import Steps, Task
from tests.simulation.links import Link
from tests.simulation.nodes import Node
from tests.simulation.outlets import DIRECT_PORT, Outlets
from tests.simulation.quotas import Quotas
from tests.simulation.sessions import PathEnd, Session

if TYPE_CHECKING:
    from tests.simulation.world import World

RESUME_MS, RESUME_ANSWER_MS, SETUP_MS, LEAVE_MS = 30_000, 5_000, 10_000, 1_000
CANDIDATES, CANDIDATE_MS = 4, 5_000
SERVICES = 2
TARGETS = 3  # addresses of each: where one keeps silent, the next is tried beside it
PORT_ANSWERS, PORT_REFUSES, PORT_SILENT = range(3)
CODE_DONE, CODE_REFUSED, CODE_UNREACHABLE, CODE_TIMEOUT = 0, 5, 6, 7


def port_of(edge: str, number: int) -> int:
    """Where the target of an edge's export listens."""
    return 100 * (int(edge[1:]) + 1) + number


class Edge(Node):
    """An edge with its sessions."""

    role = native.ROLE_EDGE

    def __init__(self, world: World, name: str, *, initiates: bool) -> None:
        super().__init__(world, name)
        self.far = world.far_of(name)
        self.sessions: dict[int, Session] = {}
        self.ends: dict[tuple[Link, int, int], PathEnd] = {}
        self.withdrawn: set[int] = set()  # exports
        self.draining_exports: set[int] = set()
        self.forbidden: set[int] = set()
        self.forgotten: set[int] = set()  # imports
        self.listeners: dict[int, list[int]] = {}
        numbers = [*range(SERVICES), *([DATAGRAMS] * world.scenario.clients)]
        self.outlets = Outlets(self, numbers, [port_of(self.far, number) + DIRECT_PORT for number in numbers])
        self.quotas = Quotas(self, range(SERVICES))
        self.quotas.process_began()
        self.clients = Clients(self, port_of(name, DATAGRAMS))
        for number in range(SERVICES):
            self._listen(number)
        self.clients.process_began()
        self.clients.listen()
        self.publish()
        if initiates:
            self.keeper = Task(world.later, self._keep())

    # -- tables

    def _listen(self, number: int) -> None:
        count = self.world.scenario.workers
        self.listeners[number] = [self.world.library.virtual_listener(self.owner, number) for _ in range(count)]
        self.core.import_listen(number, self.listeners[number])

    def publish(self) -> None:
        """Tables as they follow from the sessions and the configuration."""
        routes = [(s.number, 1, 10) for s in self.sessions.values() if s.state in ("up", "stalled")]
        hopeful = native.IMPORT_LIVE if routes else native.IMPORT_PENDING
        exports = [
            (number, b"service-%d" % number, 1, 0,
             native.EXPORT_DRAIN if number in self.draining_exports else native.EXPORT_READY,
             3_000, [("127.0.0.1", port_of(self.name, number))] * TARGETS)
            for number in range(SERVICES) if number not in self.withdrawn
        ] + self.clients.export_rows()  # fmt: skip
        down = (native.IMPORT_DOWN, native.IMPORT_UNCLEARED)
        imports = [
            (number, b"service-%d" % number, 1, 0,
             down[number % 2] if number in self.outlets.down else hopeful, routes, self.outlets.row(number))
            for number in range(SERVICES)
            if number not in self.forgotten
        ] + self.clients.import_rows(
            native.IMPORT_DOWN if DATAGRAMS in self.outlets.down else hopeful, routes, self.outlets.row(DATAGRAMS)
        )  # fmt: skip
        allowed = [number for number in range(SERVICES) if number not in self.forbidden | self.withdrawn]
        allowed += self.clients.granted()
        grants = [(s.number, allowed) for s in self.sessions.values() if s.number]
        self.core.publish(exports=exports, imports=imports, grants=grants)

    def forget(self, number: int) -> None:
        self.forgotten.add(number)
        self.core.import_unlisten(number)
        self.publish()

    def remember(self, number: int) -> None:
        if number in self.forgotten:
            self.forgotten.discard(number)
            self._listen(number)
            self.publish()

    # -- what the core says

    def told(self, kind: int, fields: list[Any]) -> None:
        if kind == native.EVENT_STREAM_END:
            self.world.stream_ended(self, *fields)
            return
        if kind == native.EVENT_SETUP_ENDED:
            self.outlets.setup_ended(*fields)
            return
        if kind == native.EVENT_STREAMS_NUDGED:
            self.outlets.nudged(*fields)
            return
        if kind == native.EVENT_IMPORT_WANTED:
            return
        session = next((s for s in self.sessions.values() if s.number == fields[0]), None)
        if session is None:
            return
        if kind == native.EVENT_SESSION_UP and session.state == "starting":
            session.state = "up"
            self._leave_former(session)
            session.changed()
            self.publish()
        elif kind == native.EVENT_SESSION_DOWN:
            self.world.count(f"session {fields[2]}")
            self.mix_known(f"session {session.id}", fields[2])
            self._gone(session)
        elif kind == native.EVENT_SESSION_RENEWED:
            if session.renewing is not None:
                session.renewing.kept(self, fields[1])
        elif kind == native.EVENT_SESSION_AGREED:
            if session.renewing is not None:
                session.renewing.agreed(self, fields[1])
        elif kind == native.EVENT_SESSION_MOVED:
            self._moved(session, fields[1])
        elif kind == native.EVENT_SESSION_STALLED:
            if session.path is None or session.path.in_label == fields[3]:
                session.unresumed.add(fields[1])
                self.stalled(session)
        elif kind == native.EVENT_SESSION_RESUMED:
            session.unresumed.discard(fields[1])
            if session.unresumed or session.path is None:
                return
            session.changed()
            self._leave_former(session)
            if session.state == "stalled":
                session.state = "up"
                self.world.pauses_ms.append((self.world.later.now_us - session.stalled_us) // 1000)

    # -- setting up

    def _keep(self) -> Steps:
        attempt = 0
        while self.alive:
            if self.sessions:
                yield 200
                continue
            link = self._choose(None)
            attempt += 1
            if link is not None:
                session = Session(self.world.session_taken(), True)
                self.sessions[session.id] = session
                session.keeper = self.keeper
                session.path = self._open(link, session, resume=False)
                due_us = self.world.later.now_us + SETUP_MS * 1000
                while session.state in ("asking", "starting") and self.world.later.now_us < due_us:
                    yield (due_us - self.world.later.now_us) / 1000
                if session.state == "up":
                    attempt = 0
                else:
                    self.close(session, CODE_TIMEOUT)
            yield self.world.dice.uniform(0, min(3_000, 200 * 2**attempt))

    def _choose(self, avoid: Link | None) -> Link | None:
        usable = [link for link in self.links.values() if link.usable(self)]
        others = [link for link in usable if link is not avoid]
        return self.world.dice.choice(others or usable) if usable else None

    def _ready(self, session: Session, end: PathEnd) -> None:
        """Both HELLOs are there: the core gets the secret, and the tables come before the path."""
        session.number = self.number_taken()
        secret = hashlib.sha256(f"session {self.world.scenario.seed} {session.id}".encode()).digest()
        shape = self.world.scenario
        self.core.session_add(
            session.number, secret=bytearray(secret), binding=secret, suite=shape.suite, initiator=session.initiator,
            flows=shape.lanes, cap=shape.cap, marking=1, priority=0, organisation=self.quotas.organisation,
        )  # fmt: skip
        session.state = "starting"
        self.publish()
        end.owner = session
        self._lead(session, end)

    def _lead(self, session: Session, end: PathEnd) -> None:
        is_first = session.led == 0 and session.state == "starting"
        instead = 0 if session.initiator or is_first else session.led or end.in_label
        session.led = end.in_label
        with suppress(native.CoreError):
            self.core.session_path(
                session.number, link=end.link.number(self), in_label=end.in_label, out_label=end.out_label,
                instead=instead,
            )  # fmt: skip

    # -- paths

    def _open(self, link: Link, session: Session, *, resume: bool) -> PathEnd:
        end = self._added(link, session.id, self.label_taken(), 0, initiator=True)
        end.owner = session
        link.say(self, "open", session.id, self.name, self.far, end.in_label, resume, ())
        return end

    def _added(self, link: Link, session: int, in_label: int, out_label: int, *, initiator: bool) -> PathEnd:
        end = PathEnd(link, session, in_label, initiator, out_label)
        end.is_answered = not initiator
        self.ends[link, session, end.opened] = end
        return end

    def _meant(self, link: Link, kind: str, session: int, rest: list[Any]) -> PathEnd | None:
        if kind != "carry":
            return self.ends.get((link, session, rest[0]))
        alike = [each for (of, id, _), each in self.ends.items() if of is link and id == session]
        return next((end for end in alike if end.is_answered and not end.is_candidate), None)

    def said(self, link: Link, message: tuple[Any, ...]) -> None:
        kind, id, *rest = message
        if kind == "open":
            self._asked(link, id, *rest)
            return
        end = self._meant(link, kind, id, rest)
        if end is None:
            return
        session = self.sessions.get(id)
        if kind == "accept" and end.initiator and not end.is_answered:
            end.is_answered = True
            end.out_label = rest[1]
            if session is not None and session.state == "asking" and session.path is end:
                link.say(self, "carry", id)
            elif session is not None:
                session.changed()
        elif kind == "carry" and session is not None and session.state == "asking":
            self._ready(session, end)
            if not session.initiator:
                link.say(self, "carry", id)
        elif kind == "refuse" and end.initiator and not end.is_answered:
            end.is_final = rest[1]
            self._dropped(end)
            if session is not None and session.state == "asking" and session.path is end:
                self.close(session, CODE_UNREACHABLE)
            elif session is not None:
                session.changed()
        elif kind == "close":
            self._lost(end)

    def _asked(self, link: Link, id: int, source: str, to: str, label: int, resume: bool, via: Any) -> None:
        session = self.sessions.get(id)
        if resume and (session is None or session.initiator):
            link.say(self, "refuse", id, label, True)
        elif (link, id, label) in self.ends or (resume and session.state not in ("up", "stalled")):  # type: ignore[union-attr]
            link.say(self, "refuse", id, label, False)
        elif resume and session is not None:
            self._candidate(session, link, label)
        elif session is None:
            session = Session(id, False)
            self.sessions[id] = session
            end = session.path = self._added(link, id, self.label_taken(), label, initiator=False)
            end.owner = session
            self.world.later.after(SETUP_MS, self._setup_due, session)
            link.say(self, "accept", id, label, end.in_label)

    # -- candidates

    def _candidate(self, session: Session, link: Link, label: int) -> None:
        if len(session.candidates) >= CANDIDATES:
            self._candidate_ended(session, session.candidates[0])
        end = self._added(link, session.id, self.label_taken(), label, initiator=False)
        end.is_candidate = True
        end.owner = session
        session.candidates.append(end)
        with suppress(native.CoreError):
            self.core.session_candidate(session.number, link=link.number(self), in_label=end.in_label, out_label=label)
        self.world.later.after(CANDIDATE_MS, self._candidate_ended, session, end)
        link.say(self, "accept", session.id, label, end.in_label)

    def _candidate_ended(self, session: Session, end: PathEnd) -> None:
        if self.alive and end in session.candidates:
            self._candidate_dropped(session, end)
            self._close_path(end)

    def _candidate_dropped(self, session: Session, end: PathEnd) -> None:
        session.candidates.remove(end)
        with suppress(native.CoreError):
            self.core.session_candidate_drop(session.number, end.in_label)

    def _moved(self, session: Session, in_label: int) -> None:
        end = next((each for each in session.candidates if each.in_label == in_label), None)
        if end is not None:
            session.candidates.remove(end)
            end.is_candidate = False
            self._take(session, end)
            session.changed()

    def leaves(self, old: native.Core) -> None:
        self.outlets.process_ended(old)

    def taken_over(self) -> None:
        """Another process knows of no candidate: their far ends learn that by LOST."""
        self.outlets.process_began()
        self.quotas.process_began()
        self.clients.process_began()
        for session in self.sessions.values():
            for end in list(session.candidates):
                session.candidates.remove(end)
                self._dropped(end)
        self.publish()

    def _setup_due(self, session: Session) -> None:
        if session.state in ("asking", "starting"):
            self.close(session, CODE_TIMEOUT)

    def _lost(self, end: PathEnd) -> None:
        if not self._dropped(end):
            return
        session, end.owner = end.owner, None
        if session is None or session.state == "closed":
            return
        if end in session.candidates:
            self._candidate_dropped(session, end)
        elif session.former is end:
            session.former = None
        elif session.path is end and session.number:
            session.path = None
            self._leave_former(session)
            self.stalled(session)
        elif session.path is end:
            self.close(session, CODE_UNREACHABLE)
        else:
            session.changed()

    def _close_path(self, end: PathEnd) -> None:
        if self._dropped(end):
            end.link.say(self, "close", end.session, end.opened)

    def _dropped(self, end: PathEnd) -> bool:
        if not end.is_open:
            return False
        end.is_open = False
        del self.ends[end.link, end.session, end.opened]
        return True

    def link_down(self, link: Link) -> None:
        for end in [end for end in self.ends.values() if end.link is link]:
            self._lost(end)

    def link_drains(self, link: Link) -> None:
        for session in list(self.sessions.values()):
            if session.initiator and session.state == "up" and session.path and session.path.link is link:
                self.mend(session)

    # -- mending

    def stalled(self, session: Session) -> None:
        if session.state == "starting":
            self.close(session, CODE_UNREACHABLE)
            return
        if session.state == "up":
            session.state = "stalled"
            session.stalled_us = self.world.later.now_us
        if session.state == "stalled":
            session.changed()
            if session.path is not None and not session.initiator:
                path, session.path = session.path, None
                self._close_path(path)
            self.mend(session)

    def mend(self, session: Session) -> None:
        if session.recovery is None or session.recovery.ended:
            session.recovery = Task(self.world.later, self._mended(session))

    def _mended(self, session: Session) -> Steps:
        # Who only waits for a way has nothing to do if it came in the meantime.
        moving = session.initiator and session.state == "up"
        avoid = session.path.link if session.path else None
        attempt = 0
        while session.state == "stalled" or moving:
            left_ms = RESUME_MS - (self.world.later.now_us - session.stalled_us) / 1000
            if not moving and left_ms <= 0:
                self.close(session, CODE_TIMEOUT)
                return
            if not session.initiator:
                yield left_ms
                continue
            link = self._choose(avoid)
            if link is not None and not (moving and link is avoid):
                done = yield from self._lead_over(session, link)
                if done:
                    return
                avoid = link
            if moving:
                moving = False
                continue
            attempt += 1
            yield self.world.dice.uniform(0, min(1_000, 50 * 2**attempt))

    def _lead_over(self, session: Session, link: Link) -> Steps:  # type: ignore[return]
        if session.state == "stalled" and session.path is not None and session.path.link is link:
            path, session.path = session.path, None
            path.owner = None
            self._close_path(path)
        end = self._open(link, session, resume=True)
        due_us = self.world.later.now_us + RESUME_ANSWER_MS * 1000
        while not end.is_answered and end.is_open and self.world.later.now_us < due_us:
            yield (due_us - self.world.later.now_us) / 1000
        if session.state == "closed":
            self._close_path(end)
            return True
        if end.is_final:
            self.close(session, CODE_UNREACHABLE)
            return True
        if not end.is_answered or not end.is_open:
            self._close_path(end)
            return False
        self._take(session, end)
        while session.unresumed and session.path is end and session.state != "closed" \
                and self.world.later.now_us < due_us:  # fmt: skip
            yield (due_us - self.world.later.now_us) / 1000
        return session.state == "closed" or (session.path is end and not session.unresumed)

    def _take(self, session: Session, end: PathEnd) -> None:
        self._leave_former(session)
        session.former, session.path = session.path, end
        end.owner = session
        session.unresumed = set(range(self.world.scenario.lanes))
        self._lead(session, end)

    def _leave_former(self, session: Session) -> None:
        if session.former is not None:
            former, session.former = session.former, None
            former.owner = None
            self._close_path(former)

    # -- end

    def close(self, session: Session, code: int) -> None:
        """End a session from this side; its path stays a moment, for FLOW_CLOSE travels on it."""
        if session.state == "closed" or not self.alive:
            return
        if session.number and session.state != "closed":
            with suppress(native.CoreError):
                # Its core may have ended it already, and say so in this very batch of events.
                self.core.session_close(session.number, code)
            if session.path is not None:
                path, session.path = session.path, None
                path.owner = None
                self.world.later.after(LEAVE_MS, self._close_path, path)
        self._gone(session)

    def _gone(self, session: Session) -> None:
        if session.state == "closed":
            return
        session.state = "closed"
        self.sessions.pop(session.id, None)
        for end in (session.path, session.former, *session.candidates):
            if end is not None:
                end.owner = None
                self._close_path(end)
        session.former = None
        session.candidates.clear()
        if session.recovery is not None:
            session.recovery.kick()
        if session.keeper is not None:
            session.keeper.kick()
        self.publish()

    def killed(self) -> None:
        super().killed()
        for session in self.sessions.values():
            if session.recovery:
                session.recovery.end()
        if hasattr(self, "keeper"):
            self.keeper.end()
