"""An edge as Python sees it, with neither thread nor socket nor clock. For tests and benches only.

An application is a pair of byte strings; a target answers at once, or refuses, or stays silent, as the test says.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from pcgrelay._core.session.timers cimport session_acks, session_hoarder, session_tick
from pcgrelay._core.base.buf cimport BUF_LARGEST, Buf, buf_data, buf_drop, buf_alloc
from pcgrelay._core.edge.records cimport (
    records_data, records_fin, records_may_read, records_tx, records_rx, records_rx_datagrams,
)
from pcgrelay._core.session.renewing cimport session_mix
from pcgrelay._core.session.datagrams cimport session_datagrams, session_takes_datagrams
from pcgrelay._core.session.candidate cimport candidate_add, candidate_drop, candidate_frame, candidate_lead
from pcgrelay._core.edge.accept cimport ACCEPT_REFUSED, accept_application, accept_tables_changed
from pcgrelay._core.edge.choice cimport Elsewhere
from pcgrelay._core.edge.lists cimport edge_activate, edge_bury, edge_dirty, edge_ready
from pcgrelay._core.edge.sessions cimport edge_session_close, edge_session_fail, edge_session_rx_close
from pcgrelay._core.edge.streams cimport (
    EDGE_BULK, edge_abort, edge_break, edge_check_done, edge_connected, edge_cut_left, edge_hold, edge_timer,
    edge_wrote,
)
from pcgrelay._core.face.registry cimport OrganisationEntry
from pcgrelay._core.face.counters cimport counters_session
from pcgrelay._core.stream.flow cimport Flow, flow_bears_reads, flow_has_room
from pcgrelay._core.stream.stream_list cimport list_pop
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.link.gauge cimport Gauge, gauge_new
from pcgrelay._core.link.shard cimport Lane as CoreLane, Shard, shard_renew
from pcgrelay._core.link.mailbox cimport EVENT_SESSION_RENEWED
from pcgrelay._core.base.map cimport map_any, map_next
from pcgrelay._core.base.organisation cimport organisation_hold, organisation_new
from tests.native.probe cimport exactly
from tests.native.probe_link cimport Node
from pcgrelay._core.base.queue cimport iovec, queue_free, queue_sent, queue_own, queue_vectors
from pcgrelay._core.base.result cimport (
    RESULT_BUDGET, RESULT_DUPLICATE, RESULT_OK, RESULT_PEER_CLOSED, RESULT_UNKNOWN_FLOW, Result,
)
from pcgrelay._core.stream.service_tables cimport (
    EXPORT_READY, IMPORT_LIVE, Export, Import, Tables, tables_drop, tables_index, tables_new,
)
from pcgrelay._core.session.session cimport (
    SESSION_CANDIDATES, Session, session_add, session_bundle, session_find, session_frame, session_lane_down,
    session_lane_up, session_lost,
)
from pcgrelay._core.base.stats cimport CAUSE_APPLICATION_RESET, CAUSE_BUDGET, CAUSE_DONE, CAUSE_TARGET_REFUSED
from pcgrelay._core.stream.stream cimport (
    BREAK_NONE, BREAK_TAKEN, DIAL_NONE, FAR_CUT, FAR_OPEN, IN_ENDED, LIFE_LIVE, OUT_FIN_DUE, OUT_SHUT, Stream as
    CoreStream, stream_free,
)
from pcgrelay._core.base.timer cimport Timer, wheel_pop
from pcgrelay._core.base.wire cimport (
    CODE_ABORTED, CODE_BUSY, CODE_DONE, CODE_UNREACHABLE, FRAME_BUNDLE, FRAME_DATAGRAMS, WIRE_BODY_MAX, WIRE_PREFIX,
)
from tests.native.probe import STATES as _STATES
from tests.native.probe_flow import STATES as FLOW_STATES


cdef class Application:
    """What one stream has to do with its application. `state` is the stream's, or None once the core forgot it."""

    cdef CoreStream* stream
    cdef bytearray waiting      # from the application, not yet read by the core
    cdef readonly bytearray received
    cdef bint taking            # takes what the core has for it
    cdef bint answers           # is a target
    cdef readonly bint ended        # the core passed FIN on
    cdef readonly object cause   # (code, remote) of its end
    cdef bint closes            # FIN follows what waits

    def __cinit__(self) -> None:
        self.waiting = bytearray()
        self.received = bytearray()
        self.taking = True

    @property
    def state(self) -> str | None:
        return None if self.stream == NULL else _STATES[self.stream.state]

    @property
    def id(self) -> int | None:
        return None if self.stream == NULL else self.stream.id

    @property
    def credit(self) -> tuple[int, int, int, int] | None:
        """Sent, the limit on it, received, the limit on that."""
        cdef CoreStream* stream = self.stream
        return None if stream == NULL else (stream.tx.sent, stream.tx.limit, stream.rx.received, stream.rx.limit)


cdef class Edge(Node):
    """An edge, with its sessions and applications."""

    cdef dict applications      # address of the core's stream -> Application
    cdef public bint connects   # targets answer at once
    cdef public bint refuses    # targets refuse
    cdef dict organisations
    cdef readonly list answered  # the applications behind targets, in order

    def __cinit__(self, **options) -> None:
        self.is_edge = True
        self.applications = {}
        self.organisations = {}
        self.answered = []
        self.connects = True

    def __dealloc__(self):
        cdef Session* session
        if self.shard == NULL:
            return
        while True:
            session = <Session*>map_any(&self.shard.sessions)
            if session == NULL:
                break
            edge_session_close(self.shard, session, CODE_DONE)
        while self.shard.waiting != NULL:
            edge_abort(self.shard, self.shard.waiting, CODE_DONE, CAUSE_DONE)
        free_streams(self.shard)
        tables_drop(self.shard.tables)

    def session_add(self, session: int, *, secret: bytes, binding: bytes, suite: int, initiator: bool, flows: int,
                    cap: int, marking: int = 1, priority: int = 0, organisation: int = 0) -> None:
        cdef Gauge* gauge = gauge_new(self.shard.workers, 1)
        cdef OrganisationEntry entry
        if organisation:
            if organisation not in self.organisations:
                entry = OrganisationEntry()
                entry.organisation = organisation_new(organisation, self.shard.workers)
                self.organisations[organisation] = entry
            entry = self.organisations[organisation]
            gauge.organisation = organisation_hold(entry.organisation)
        if session_add(self.shard, session, exactly(secret, 32), exactly(binding, 32), suite, initiator, flows, cap,
                       262144, marking, priority, gauge) == NULL:
            raise MemoryError

    def session_candidate(self, session: int, *, link: int, in_label: int, out_label: int) -> bool:
        """Whether there was a place for it."""
        return candidate_add(self.shard, self.session(session), link, in_label, out_label) == RESULT_OK

    def candidates(self, session: int) -> list[int]:
        """Labels of its candidates."""
        cdef Session* found = self.session(session)
        labels = [found.candidates[i].in_label for i in range(SESSION_CANDIDATES)]
        return [label for label in labels if label != 0]

    def led_by(self, session: int) -> int:
        """The label of its path."""
        return self.session(session).in_label

    def session_candidate_drop(self, session: int, in_label: int) -> None:
        candidate_drop(self.shard, self.session(session), in_label)

    def session_path(self, session: int, *, link: int, in_label: int, out_label: int, instead: int = 0) -> None:
        cdef Session* found = self.session(session)
        cdef Result answer = candidate_lead(self.shard, found, link, in_label, out_label, instead)
        if answer != RESULT_OK:
            edge_session_fail(self.shard, found, answer)
        self.bury()

    def session_renew(self, session: int, mix: int, secret: bytes) -> None:
        shard_renew(self.shard, &self.session(session).renewals, EVENT_SESSION_RENEWED, session, mix,
                    exactly(secret, 32), 0)

    def session_mix(self, session: int, mix: int) -> None:
        session_mix(self.shard, self.session(session), mix)

    def session_close(self, session: int, code: int) -> None:
        edge_session_close(self.shard, self.session(session), code)
        self.settle()
        self.bury()

    def publish(self, exports: list[tuple[int, bytes]], imports: list[tuple[int, bytes, list[int]]],
                grants: list[tuple[int, int]]) -> None:
        """Exports (number, service); imports (number, service, sessions); grants (session, export), ascending."""
        cdef Tables* tables = tables_new(<uint32_t>len(exports), <uint32_t>len(imports), <uint32_t>len(grants))
        cdef Export* export
        cdef Import* entry
        cdef uint64_t session
        if tables == NULL:
            raise MemoryError
        for at, (number, service) in enumerate(exports):
            export = &tables.exports[<size_t>at]
            export.number = number
            export.marking = 1
            export.state = EXPORT_READY
            export.target_count = 1
            export.connect_us = 2_000_000
            export.service_length = <uint32_t>len(service)
            memcpy(export.service, <const char*>service, len(service))
        for at, (number, service, sessions) in enumerate(imports):
            entry = &tables.imports[<size_t>at]
            entry.number = number
            entry.marking = 1
            entry.state = IMPORT_LIVE
            entry.service_length = <uint32_t>len(service)
            memcpy(entry.service, <const char*>service, len(service))
            entry.route_count = <uint32_t>len(sessions)
            for place, session in enumerate(sessions):
                entry.routes[<size_t>place].session = <uint32_t>session
                entry.routes[<size_t>place].precedence = 2
                entry.routes[<size_t>place].weight = 100
        for at, (session, number) in enumerate(grants):
            tables.grants[<size_t>at] = session << 16 | <uint64_t>number
        if not tables_index(tables):
            tables_drop(tables)
            raise MemoryError
        tables_drop(self.shard.tables)
        self.shard.tables = tables
        accept_tables_changed(self.shard)

    def flow(self, session: int, index: int = 0) -> dict[str, object]:
        cdef Session* found = self.session(session)
        cdef Flow* flow = found.flows[<uint32_t>index]
        if flow == NULL:
            raise KeyError(index)
        return {
            "state": FLOW_STATES[flow.state], "resume_id": flow.resume_id, "next_number": flow.tx_next,
            "next_volatile": flow.tx_control, "next_datagrams": flow.tx_datagrams,
            "next_expected": flow.rx_next, "retained_bytes": flow.retained_bytes,
            "send_epoch": flow.tx.number, "receive_epoch": flow.rx.number, "streams": flow.streams.count}

    def session_stats(self, session: int) -> dict[str, int]:
        """What `Core.sessions` says of it."""
        return counters_session(self.session(session).gauge)

    def has_session(self, session: int) -> bool:
        return session_find(self.shard, session) != NULL

    cdef Session* session(self, uint32_t number) except NULL:
        cdef Session* found = session_find(self.shard, number)
        if found == NULL:
            raise KeyError(number)
        return found

    def takes_datagrams(self, session: int, index: int = 0) -> bool:
        return session_takes_datagrams(self.shard, self.session(session).flows[<uint32_t>index])

    def datagrams(self, session: int, body: bytes, index: int = 0) -> bool:
        """Send DATAGRAMS with any body; False: they were dropped."""
        cdef Session* found = self.session(session)
        cdef Buf* buf = buf_alloc(&self.shard.pool, BUF_LARGEST, True)
        memcpy(buf_data(buf) + WIRE_PREFIX, <const char*>body, len(body))
        answer = session_datagrams(self.shard, found.flows[<uint32_t>index], buf, <uint32_t>len(body))
        if answer != RESULT_OK and answer != RESULT_BUDGET:
            edge_session_fail(self.shard, found, answer)
        return answer == RESULT_OK

    # -- applications -----------------------------------------------------------------------------------------------

    def connect(self, number: int = 0) -> Application | None:
        """An application connects to an import; None: it is refused."""
        cdef CoreStream* stream = NULL
        cdef Elsewhere elsewhere
        answer = accept_application(self.shard, number, -1, NULL, &stream, &elsewhere)
        return None if answer == ACCEPT_REFUSED or stream == NULL else self.application(stream)

    cdef Application application(self, CoreStream* stream):
        cdef Application found
        if <size_t>stream not in self.applications:
            found = Application()
            found.stream = stream
            self.applications[<size_t>stream] = found
        return self.applications[<size_t>stream]

    def write(self, application: Application, data: bytes, *, close: bool = False) -> None:
        """The application writes, and perhaps closes its side."""
        application.waiting += data
        application.closes = application.closes or close
        if application.stream != NULL and application.stream.life == LIFE_LIVE:
            application.stream.readable = True
            edge_ready(self.shard, application.stream)

    def reads(self, application: Application, taking: bool) -> None:
        """The application reads from now on, or stops."""
        application.taking = taking
        if application.stream != NULL and application.stream.life == LIFE_LIVE:
            application.stream.writable = taking
            edge_dirty(self.shard, application.stream)

    def reset(self, application: Application) -> None:
        """The application resets its connection, behind what it has written."""
        if application.stream == NULL:
            return
        if application.stream.dial != DIAL_NONE:
            edge_abort(self.shard, application.stream, CODE_ABORTED, CAUSE_APPLICATION_RESET)
        else:
            edge_break(self.shard, application.stream, BREAK_TAKEN)

    # -- a turn -----------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Serve applications, acknowledge, look at what is due."""
        cdef Session* session
        cdef Session* failed = NULL
        cdef Timer* timer
        cdef uint32_t at = 0
        cdef Result answer = RESULT_OK
        self.deliver()
        self.serve()
        self.tick_lanes()
        while True:
            session = <Session*>map_next(&self.shard.sessions, &at)
            if session == NULL:
                break
            answer = session_tick(self.shard, session)
            if answer != RESULT_OK:
                edge_session_fail(self.shard, session, answer)
                break
        session = session_hoarder(self.shard)
        if session != NULL:
            edge_session_fail(self.shard, session, RESULT_BUDGET)
        while True:
            timer = wheel_pop(&self.shard.wheel, self.shard.now_us)
            if timer == NULL:
                break
            edge_timer(self.shard, <CoreStream*>timer.owner)
        session_acks(self.shard, &failed, &answer)
        if failed != NULL:
            edge_session_fail(self.shard, failed, answer)
        self.settle()
        self.bury()

    cdef int deliver(self) except -1:
        cdef CoreStream* stream
        cdef Application application
        cdef iovec parts[64]
        cdef uint32_t i, n, first = 0
        cdef uint64_t sent
        while self.shard.dirty_streams != NULL:
            stream = self.shard.dirty_streams
            self.shard.dirty_streams = stream.next_dirty
            stream.dirty = False
            application = self.application(stream)
            if stream.life != LIFE_LIVE:
                application.cause = (stream.code, stream.far != FAR_OPEN)
                continue
            if stream.dial != DIAL_NONE:
                if not application.answers:
                    application.answers = True
                    self.answered.append(application)
                if self.refuses:
                    edge_abort(self.shard, stream, CODE_UNREACHABLE, CAUSE_TARGET_REFUSED)
                elif self.connects:
                    edge_connected(self.shard, stream)
            elif application.taking and stream.broken == BREAK_NONE:
                while stream.out.count != 0:
                    n = queue_vectors(&stream.out, parts, 64)
                    sent = 0
                    for i in range(n):
                        application.received += (<char*>parts[i].iov_base)[:parts[i].iov_len]
                        sent += parts[i].iov_len
                    queue_sent(&stream.out, &self.shard.pool, sent)
                    edge_wrote(self.shard, stream, sent)
                if stream.output == OUT_FIN_DUE:
                    application.ended = True
                    stream.output = OUT_SHUT
                edge_check_done(self.shard, stream)
            if stream.far == FAR_CUT and stream.dial == DIAL_NONE and stream.life == LIFE_LIVE:
                edge_cut_left(self.shard, stream, stream.out.bytes)
            if stream.life == LIFE_LIVE and queue_own(&stream.out, &self.shard.pool, False, &first) != RESULT_OK:
                edge_abort(self.shard, stream, CODE_BUSY, CAUSE_BUDGET)
            edge_hold(stream)
        return 0

    cdef int serve(self) except -1:
        cdef Flow* flow
        cdef bint moved = True
        while moved:
            moved = False
            for at in self.flows():
                flow = <Flow*><size_t>at
                if flow.lane != NULL and flow_has_room(flow, 1) \
                        and flow_bears_reads(flow, &self.shard.pool, self.shard.now_us) \
                        and (flow.small.head != NULL or flow.bulk.head != NULL):
                    moved = self.serve_flow(flow) or moved
                    break
        return 0

    cdef list flows(self):
        cdef Flow* flow = self.shard.active_first
        found = []
        while flow != NULL:
            found.append(<size_t>flow)
            flow = flow.next_active
        return found

    cdef bint serve_flow(self, Flow* flow) except -1:
        cdef CoreStream* stream
        cdef Result answer
        cdef uint32_t used = 0
        cdef Buf* buf = buf_alloc(&self.shard.pool, BUF_LARGEST, False)
        if buf == NULL:
            return False
        while used < WIRE_BODY_MAX / 2:
            stream = list_pop(&flow.small)
            if stream == NULL:
                stream = list_pop(&flow.bulk)
            if stream == NULL:
                break
            used += self.serve_stream(stream, buf_data(buf) + WIRE_PREFIX + used, WIRE_BODY_MAX - used)
        if used == 0:
            buf_drop(&self.shard.pool, buf)
            return True
        answer = session_bundle(self.shard, flow, buf, used)
        if answer != RESULT_OK:
            edge_session_fail(self.shard, <Session*>flow.session, answer)
        return True

    cdef uint32_t serve_stream(self, CoreStream* stream, uint8_t* p, uint32_t room) except? 0xffffffff:
        cdef Application application = self.application(stream)
        cdef uint32_t used = 0
        cdef uint32_t asked, got
        cdef bint gone = False
        if stream.say != 0:
            used = records_tx(self.shard, stream, p, &gone)
            if gone:
                edge_bury(self.shard, stream)
                return used
        asked = records_may_read(stream, room - used - 256)
        if asked != 0:
            got = min(asked, len(application.waiting))
            if got != 0:
                memcpy(p + used + 8, <char*>application.waiting, got)
                del application.waiting[:got]
                used += records_data(self.shard, stream, p + used, got)
                stream.bulk = got >= EDGE_BULK
            elif stream.broken != BREAK_NONE:
                edge_abort(self.shard, stream, CODE_ABORTED, CAUSE_APPLICATION_RESET)
                return used
            elif application.closes:
                stream.input = IN_ENDED
            stream.readable = got == asked or stream.broken != BREAK_NONE \
                or (application.closes and stream.input != IN_ENDED)
        if stream.input == IN_ENDED:
            used += records_fin(self.shard, stream, p + used)
            edge_check_done(self.shard, stream)
        elif records_may_read(stream, WIRE_BODY_MAX) != 0:
            edge_ready(self.shard, stream)
        return used

    # -- what an edge makes of its lanes ------------------------------------------------------------------------------

    cdef Result flow_frame(self, CoreLane* lane, Frame* frame, uint8_t* wire, Buf* owner):
        cdef Flow* flow = NULL
        cdef uint8_t* body = wire + WIRE_PREFIX
        cdef uint32_t code = CODE_DONE
        cdef Result answer = session_frame(self.shard, lane, frame, wire, &flow, &code)
        if answer == RESULT_UNKNOWN_FLOW:
            answer = candidate_frame(self.shard, lane, frame, wire, &flow, &code)
        if answer == RESULT_OK and frame.type == FRAME_BUNDLE:
            answer = records_rx(self.shard, flow, body, frame.length, owner)
        elif answer == RESULT_OK and frame.type == FRAME_DATAGRAMS:
            answer = records_rx_datagrams(self.shard, flow, body, frame.length, owner)
        elif answer == RESULT_OK and (flow.small.head != NULL or flow.bulk.head != NULL):
            edge_activate(self.shard, flow)
        if answer == RESULT_PEER_CLOSED:
            edge_session_rx_close(self.shard, <Session*>flow.session, code)
        elif answer != RESULT_OK and answer != RESULT_DUPLICATE:
            edge_session_fail(self.shard, <Session*>flow.session, answer)
        return RESULT_OK

    cdef Result path_lost(self, CoreLane* lane, uint32_t label, uint32_t code):
        session_lost(self.shard, lane, label, code)
        return RESULT_OK

    cdef int lane_came(self, CoreLane* lane) except -1:
        cdef Session* failed = NULL
        cdef Result answer = session_lane_up(self.shard, lane, &failed)
        while answer != RESULT_OK:
            edge_session_fail(self.shard, failed, answer)
            answer = session_lane_up(self.shard, lane, &failed)
        return 0

    cdef int lane_went(self, CoreLane* lane, uint32_t code) except -1:
        session_lane_down(self.shard, lane, code)
        return 0

    cdef int bury(self) except -1:
        cdef CoreStream* stream
        cdef Application application
        Node.bury(self)
        stream = self.shard.deferred_streams
        while stream != NULL:
            application = self.applications.pop(<size_t>stream, None)
            if application is not None:
                application.cause = (stream.code, stream.far != FAR_OPEN)
                application.stream = NULL
            stream = stream.next
        free_streams(self.shard)
        return 0


cdef void free_streams(Shard* shard) noexcept nogil:
    cdef CoreStream* stream
    while shard.deferred_streams != NULL:
        stream = shard.deferred_streams
        shard.deferred_streams = stream.next
        queue_free(&stream.out, &shard.pool)
        stream_free(&shard.pool, stream)
