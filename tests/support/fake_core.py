"""A core of pure Python for tests of the control plane: the face of `core.pyi`, and just enough behind it.

Lanes are real sockets. On them travel frames of 48 clear bytes: a confirmation of the lane, one for each flow of a
session, a resumption, and the word that a path is lost. So links, paths and sessions come up, break and mend as they do
with the real core, but nothing is sealed and no stream is ever carried.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pcgrelay.dataplane.api import PathSpec
from tests.support import fake_outlets
from tests.support.fake_listeners import Listeners
from tests.support.fake_outlets import CoreError, Outlets

EVENT_LANE_UP, EVENT_LANE_DOWN = 1, 2
EVENT_SESSION_UP, EVENT_SESSION_DOWN, EVENT_SESSION_STALLED, EVENT_SESSION_RESUMED = 3, 4, 5, 6
EVENT_PEER_DRAINS = 7
EVENT_IMPORT_WANTED = 8
EVENT_STREAM_END = 9
EVENT_STREAM_OPEN = 10
EVENT_EVENTS_LOST = 11
EVENT_LINK_RENEWED, EVENT_SESSION_RENEWED = 13, 14
EVENT_SESSION_MOVED, EVENT_SESSION_AGREED = 15, 22
EVENT_SETUP_ENDED, EVENT_STREAMS_NUDGED, EVENT_STREAMS_DONE = fake_outlets.EVENT_SETUP_ENDED, 17, 18
ROLE_EDGE, ROLE_RELAY = 1, 2
OUTLET_NONE, OUTLET_GATEWAY = fake_outlets.OUTLET_NONE, fake_outlets.OUTLET_GATEWAY
OUTLET_DIRECT, OUTLET_FORBIDDEN = fake_outlets.OUTLET_DIRECT, fake_outlets.OUTLET_FORBIDDEN
OUTLET_ENDED = fake_outlets.OUTLET_ENDED
IMPORT_DOWN, IMPORT_UNCLEARED, IMPORT_PENDING, IMPORT_LIVE = 0, 1, 2, 3
EXPORT_READY, EXPORT_DRAIN, EXPORT_UNRESOLVED = 0, 1, 2

FRAME = struct.Struct(">BHI41s")
LANE_CONFIRM, FLOW_CONFIRM, RESUME, RESUME_ANSWER, LOST = range(1, 6)
UNREACHABLE, VIOLATION = 6, 1

RECORD_VERSION = RECORD_LEAST = 1


@dataclass(eq=False)
class Lane:
    sock: socket.socket
    index: int
    number: int
    is_up: bool = False
    held: bytearray = field(default_factory=bytearray)


@dataclass(eq=False)
class FakeLink:
    secret: bytes
    binding: bytes
    dialler: bool
    lanes_wanted: int
    link_id: bytes
    next_number: int = 0
    used: set[int] = field(default_factory=set)
    lanes: dict[int, Lane] = field(default_factory=dict)


@dataclass(eq=False)
class FakeSession:
    binding: bytes
    initiator: bool
    flows: int
    secret: bytes
    path: tuple[int, int, int] | None = None
    candidates: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # by the label that we gave
    up: set[int] = field(default_factory=set)
    was_up: bool = False
    ack_bytes: int = 0


class Core(Outlets, Listeners):
    """One node's data plane, run by the loop in which its first lane was added."""

    made: list[Core] = []

    def __init__(self, **options: Any) -> None:
        Outlets.__init__(self)
        Listeners.__init__(self, options["workers"])
        self.options = options
        self.link_table: dict[int, FakeLink] = {}
        self.session_table: dict[int, FakeSession] = {}
        self.relay_paths: dict[tuple[int, int], tuple[int, int, int]] = {}  # (link, label): (path, link, label)
        self.path_sides: dict[int, list[tuple[int, int]]] = {}
        self.published: dict[str, Any] = {}
        self.streams_open = 0
        self.streams_of_sessions = 0  # of each
        self.is_draining = False
        self.renewals: dict[tuple[str, int, int], bytes] = {}  # (link or session, its number, mix id): secret
        self.mixed: list[tuple[str, int, int]] = []  # those that both sides keep
        self.keeps = True  # whether it reports that it keeps a renewal
        self.steps = True  # whether all lanes and flows have stepped with the last one
        self.bounds_set: dict[str, Any] = {}
        self.refuses_tables = False
        self.hosts_refused: set[str] = set()
        self.routes_most = 64
        self._events: deque[tuple[object, ...]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = False
        Core.made.append(self)

    def fileno(self) -> int:
        return self._wake

    def start(self) -> None:
        """There are no workers."""

    def freeze(self) -> None:
        """It has no threads."""

    def settle(self) -> bool:
        return True

    def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        for link in list(self.link_table):
            self.link_close(link, 0)
        for fds in self.listeners.values():
            for fd in fds:
                os.close(fd)
        os.close(self._wake)

    def events(
        self, limit: int = 4096, whole: bool = True, detailed: bool = False, crowded: bool = False
    ) -> list[tuple[object, ...]]:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            pass
        taken = [self._events.popleft() for _ in range(min(limit, len(self._events)))]
        if self._events:
            os.eventfd_write(self._wake, 1)
        return taken

    def emit(self, *event: object) -> None:
        """Report an event; tests use it too."""
        if not self._stopped:
            self._events.append(event)
            os.eventfd_write(self._wake, 1)

    # -- links

    def link_add(
        self, link: int, *, secret: bytearray, binding: bytes, suite: int, dialler: bool, lanes: int, link_id: bytes
    ) -> None:
        assert 1 <= link <= 65_535
        assert len(secret) == 32
        assert any(secret)
        assert len(binding) == 32
        assert len(link_id) == 16
        if link in self.link_table:
            raise CoreError("link known")
        self.link_table[link] = FakeLink(bytes(secret), binding, dialler, lanes, link_id)
        secret[:] = bytes(32)

    def lane_dial(self, link: int, index: int) -> tuple[int, bytes]:
        known = self._link(link)
        number, known.next_number = known.next_number, known.next_number + 1
        clear = struct.pack(">4sHHII16s", b"PCGR", 1, index, number, 0, known.link_id)
        return number, clear + hmac.digest(known.secret, clear, "sha256")[:16]

    def lane_check(self, link: int, preamble: bytes) -> tuple[int, int]:
        known = self._link(link)
        magic, version, index, number, reserved, link_id = struct.unpack(">4sHHII16s", preamble[:32])
        if (magic, version, reserved, link_id) != (b"PCGR", 1, 0, known.link_id):
            raise CoreError("malformed")
        if preamble[32:] != hmac.digest(known.secret, preamble[:32], "sha256")[:16]:
            raise CoreError("proof")
        if number in known.used or index >= known.lanes_wanted:
            raise CoreError("number_used")
        known.used.add(number)
        return index, number

    def lane_add(self, link: int, index: int, number: int, fd: int) -> None:
        sock = socket.socket(fileno=fd)
        known = self.link_table.get(link)
        if known is None:
            sock.close()
            raise CoreError("link unknown")
        self._loop = asyncio.get_running_loop()
        old = known.lanes.pop(index, None)
        if old is not None:
            self._shut(old)
        lane = Lane(sock, index, number)
        known.lanes[index] = lane
        self._send(lane, LANE_CONFIRM, index, 0, known.binding)
        self._loop.add_reader(fd, self._readable, link, known, lane)

    def link_close(self, link: int, code: int) -> None:
        known = self._link(link)
        del self.link_table[link]
        for lane in known.lanes.values():
            self._shut(lane)
        self._stall(link, None)

    def link_drain(self, link: int, milliseconds: int) -> None:
        self._link(link)

    def link_renew(self, link: int, *, secret: bytearray, mix: int) -> None:
        self._link(link)
        self._kept("link", link, secret, mix)

    def link_mix(self, link: int, mix: int) -> None:
        self._link(link)
        self.mixed.append(("link", link, mix))

    def session_renew(self, session: int, *, secret: bytearray, mix: int) -> None:
        self._kept("session", session, secret, mix)

    def session_mix(self, session: int, mix: int) -> None:
        self.mixed.append(("session", session, mix))

    def link_has_stepped(self, *_: int) -> bool:
        return self.steps

    session_has_stepped = link_has_stepped

    def _kept(self, what: str, number: int, secret: bytearray, mix: int) -> None:
        self.renewals[(what, number, mix)] = bytes(secret)
        secret[:] = bytes(len(secret))
        if self.keeps:
            self.emit(EVENT_LINK_RENEWED if what == "link" else EVENT_SESSION_RENEWED, number, mix)

    def settings(self, **figures: int) -> None:
        self.options.update(figures)

    def lane_cut(self, link: int, index: int) -> None:
        """For tests: the lane's connection breaks."""
        self.link_table[link].lanes[index].sock.shutdown(socket.SHUT_RDWR)

    # -- paths and sessions

    def path_add(self, path: int, **values: int) -> None:
        spec = PathSpec(**values)
        self._link(spec.a_link)
        self._link(spec.b_link)
        assert 131_072 <= spec.cap <= 1 << 30
        self.relay_paths[(spec.a_link, spec.a_in)] = (path, spec.b_link, spec.b_out)
        self.relay_paths[(spec.b_link, spec.b_in)] = (path, spec.a_link, spec.a_out)
        self.path_sides[path] = [(spec.a_link, spec.a_in), (spec.b_link, spec.b_in)]

    def path_remove(self, path: int) -> None:
        for side in self.path_sides.pop(path):
            del self.relay_paths[side]

    def session_add(
        self,
        session: int,
        *,
        secret: bytearray,
        binding: bytes,
        suite: int,
        initiator: bool,
        flows: int,
        cap: int,
        marking: int,
        priority: int,
        organisation: int = 0,
        id_head: int = 0,
        caller: bytes = b"",
        ack_bytes: int = 262_144,
    ) -> None:
        assert 131_072 <= cap <= 1 << 30
        assert 1 <= flows <= 64
        assert len(secret) == 32
        if session in self.session_table:
            raise CoreError("session known")
        self.session_table[session] = FakeSession(binding, initiator, flows, bytes(secret), ack_bytes=ack_bytes)
        secret[:] = bytes(32)

    def session_candidate(self, session: int, *, link: int, in_label: int, out_label: int) -> None:
        candidates = self._session(session).candidates
        assert len(candidates) < 4
        candidates[in_label] = (link, in_label, out_label)

    def session_candidate_drop(self, session: int, in_label: int) -> None:
        self._session(session).candidates.pop(in_label, None)

    def session_path(self, session: int, *, link: int, in_label: int, out_label: int, instead: int = 0) -> None:
        known = self._session(session)
        if instead and known.path and (known.path[1] != instead or instead == in_label):
            return
        known.candidates.pop(in_label, None)
        is_first = known.path is None
        known.path = (link, in_label, out_label)
        if link not in self.link_table:
            return  # it has no lane for a flow
        if known.initiator:
            for flow in range(known.flows):
                if not is_first:
                    self._say_flow(known, RESUME, flow)
                if not known.was_up:
                    self._say_flow(known, FLOW_CONFIRM, flow)

    def session_close(self, session: int, code: int) -> None:
        if self.session_table.pop(session, None) is None:
            raise CoreError("session unknown")

    # -- tables and facts

    def tables_check(
        self,
        *,
        exports: Sequence[tuple[Any, ...]],
        imports: Sequence[tuple[Any, ...]],
        grants: Sequence[tuple[int, Sequence[int]]],
    ) -> None:
        if self.refuses_tables or any(len(row[5]) > self.routes_most for row in imports):
            raise CoreError("an import has at most 64 routes")
        self._rows_check(imports, self.hosts_refused)
        for row in exports:
            for host, _ in row[6]:
                if host in self.hosts_refused:
                    raise CoreError(f"{host!r} is not a numeric address")

    def publish(
        self,
        *,
        exports: Sequence[tuple[Any, ...]],
        imports: Sequence[tuple[Any, ...]],
        grants: Sequence[tuple[int, Sequence[int]]],
    ) -> None:
        self.tables_check(exports=exports, imports=imports, grants=grants)
        assert all(session in self.session_table for session, _ in grants)
        for row in imports:
            for session, precedence, weight in row[5]:
                assert session in self.session_table
                assert 1 <= precedence <= 6
                assert 0 <= weight <= 100
        self.published = {"exports": list(exports), "imports": list(imports), "grants": dict(grants)}

    def drain(self) -> None:
        self.is_draining = True

    def streams(self) -> int:
        return self.streams_open

    def services(self) -> dict[str, dict[int, int]]:
        return {"imports": {}, "exports": {}}

    def per_worker(self) -> list[dict[str, int]]:
        return []

    def counters(self) -> dict[str, int]:
        return {"frames_sent_total": 0, "refused_bad_tag_total": 0}

    def links(self) -> dict[int, dict[str, int]]:
        heard = time.monotonic_ns()  # something always comes
        return {
            number: {"lanes_up": len(link.lanes), "rtt_us": 150, "received_bytes": heard if link.lanes else 0}
            for number, link in self.link_table.items()
        }

    def sessions(self) -> dict[int, dict[str, int]]:
        return {
            number: {"flows_up": len(session.up), "streams": self.streams_of_sessions}
            for number, session in self.session_table.items()
        }

    def memory(self) -> dict[str, int]:
        return {"used_bytes": 1, "budget_bytes": self.options["memory_bytes"], "high_water_bytes": 1}

    # -- within

    def _link(self, link: int) -> FakeLink:
        known = self.link_table.get(link)
        if known is None:
            raise CoreError("link unknown")
        return known

    def _session(self, session: int) -> FakeSession:
        known = self.session_table.get(session)
        if known is None:
            raise CoreError("session unknown")
        return known

    def _send(self, lane: Lane, kind: int, flow: int, label: int, body: bytes = b"") -> None:
        try:
            lane.sock.send(FRAME.pack(kind, flow, label, body))
        except OSError:
            pass

    def _say_flow(self, session: FakeSession, kind: int, flow: int) -> None:
        assert session.path is not None
        link, _, label = session.path
        known = self.link_table.get(link)
        lane = known.lanes.get(flow) if known else None
        if lane is not None and lane.is_up:
            self._send(lane, kind, flow, label, session.binding)

    def _readable(self, link: int, known: FakeLink, lane: Lane) -> None:
        try:
            data = lane.sock.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost(link, known, lane, "socket")
            return
        lane.held += data
        while len(lane.held) >= FRAME.size and known.lanes.get(lane.index) is lane:
            kind, flow, label, body = FRAME.unpack(bytes(lane.held[: FRAME.size]))
            del lane.held[: FRAME.size]
            if kind == LANE_CONFIRM:
                if body[:32] != known.binding:
                    self._lost(link, known, lane, "bad_confirm")
                    return
                lane.is_up = True
                self.emit(EVENT_LANE_UP, link, lane.index, lane.number)
            else:
                self._frame(link, lane, kind, flow, label, body)

    def _frame(self, link: int, lane: Lane, kind: int, flow: int, label: int, body: bytes) -> None:
        onward = self.relay_paths.get((link, label))
        if onward is not None:
            _, out_link, out_label = onward
            known = self.link_table.get(out_link)
            out = known.lanes.get(lane.index) if known else None
            if out is not None and out.is_up:
                self._send(out, kind, flow, out_label, body)
            else:
                self._send(lane, LOST, flow, label)
            return
        # LOST names a label as its receiver sends it, everything else one as it is received.
        place = 2 if kind == LOST else 1
        for number, session in self.session_table.items():
            candidate = session.candidates.get(label) if kind in (RESUME, FLOW_CONFIRM) else None
            if candidate is not None and candidate[0] == link and body[:32] == session.binding:
                session.path = session.candidates.pop(label)
                self.emit(EVENT_SESSION_MOVED, number, label)
            if session.path and session.path[0] == link and label == session.path[place]:
                self._session_frame(number, session, kind, flow, body)
                return

    def _session_frame(self, number: int, session: FakeSession, kind: int, flow: int, body: bytes) -> None:
        if kind == LOST:
            self.emit(EVENT_SESSION_STALLED, number, flow, UNREACHABLE, session.path[1] if session.path else 0)
        elif kind == FLOW_CONFIRM:
            if body[:32] != session.binding:
                self.emit(EVENT_SESSION_DOWN, number, VIOLATION, "bad_confirm", False)
                return
            if not session.initiator:
                self._say_flow(session, FLOW_CONFIRM, flow)
            session.up.add(flow)
            if len(session.up) == session.flows and not session.was_up:
                session.was_up = True
                self.emit(EVENT_SESSION_UP, number)
        elif kind == RESUME and not session.initiator:
            self._say_flow(session, RESUME_ANSWER, flow)
            if flow in session.up:
                self.emit(EVENT_SESSION_RESUMED, number, flow)
        elif kind == RESUME_ANSWER and session.initiator and flow in session.up:
            self.emit(EVENT_SESSION_RESUMED, number, flow)

    def _lost(self, link: int, known: FakeLink, lane: Lane, reason: str) -> None:
        if known.lanes.get(lane.index) is lane:
            del known.lanes[lane.index]
        self._shut(lane)
        self.emit(EVENT_LANE_DOWN, link, lane.index, lane.number, UNREACHABLE, reason)
        self._stall(link, lane.index)

    def _stall(self, link: int, index: int | None) -> None:
        for number, session in self.session_table.items():
            if session.path and session.path[0] == link:
                for flow in range(session.flows) if index is None else [index]:
                    if flow < session.flows:
                        self.emit(
                            EVENT_SESSION_STALLED, number, flow, UNREACHABLE, session.path[1] if session.path else 0
                        )

    def _shut(self, lane: Lane) -> None:
        if lane.sock.fileno() >= 0:
            assert self._loop is not None
            self._loop.remove_reader(lane.sock.fileno())
            lane.sock.close()
