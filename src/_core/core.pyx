"""The Python face of the data plane; its contract stands in core.pyi. It is the one place where a Result becomes an exception.

It holds what outlives a worker's thread, turns calls into orders, and events into tuples. Nothing here runs per frame.
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from pcgrelay._core.aead cimport aead_key_length, aead_load
from pcgrelay._core.epoch cimport EPOCH_SOFT_BYTES, EPOCH_SOFT_FRAMES, EPOCH_SOFT_US
from pcgrelay._core.libcrypto cimport OPENSSL_cleanse
from pcgrelay._core.link cimport (
    GAUGE_LANES_UP,
    GAUGE_RECEIVED_BYTES,
    GAUGE_RECEIVED_FRAMES,
    GAUGE_ROUND_TRIP,
    GAUGE_SENT_BYTES,
    GAUGE_SENT_FRAMES,
    GAUGE_VALUES,
    Gauge,
    LinkKeys,
    Shard,
    gauge_drop,
    gauge_new,
    keys_check,
    keys_dial,
    keys_start,
    keys_take,
    keys_wipe,
)
from pcgrelay._core.linux cimport (
    AF_INET,
    AF_INET6,
    EFD_CLOEXEC,
    EFD_NONBLOCK,
    close,
    eventfd,
    inet_pton,
    pthread_join,
    read,
    write,
)
from pcgrelay._core cimport mailbox
from pcgrelay._core.mailbox cimport (
    ORDER_DRAIN,
    ORDER_LANE_ADD,
    ORDER_LINK_ADD,
    ORDER_LINK_CLOSE,
    ORDER_LINK_DRAIN,
    ORDER_LISTEN,
    ORDER_PATH_ADD,
    ORDER_PATH_REMOVE,
    ORDER_SESSION_ADD,
    ORDER_SESSION_CLOSE,
    ORDER_SESSION_PATH,
    ORDER_STOP,
    ORDER_TABLES,
    ORDER_UNLISTEN,
    Event,
    Order,
    OrderKind,
    Outbox,
    mailbox_put,
    order_free,
    order_new,
    outbox_start,
    outbox_stop,
    outbox_take,
)
from pcgrelay._core.result cimport RESULT_OK, RESULT_REASONS
from pcgrelay._core cimport route
from pcgrelay._core.route cimport (
    ROUTE_ROUTES,
    ROUTE_TARGETS,
    Export,
    Import,
    Tables,
    Target,
    tables_drop,
    tables_hold,
    tables_index,
    tables_new,
)
from pcgrelay._core.stats cimport CAUSE_COUNT, COUNT_COUNT
from pcgrelay._core.wire cimport WIRE_LANES_MAX, WIRE_PREAMBLE, WIRE_SERVICE_MAX, wire_put16, wire_put32
from pcgrelay._core.worker cimport Worker, worker_launch, worker_start, worker_stop

EVENT_LANE_UP = mailbox.EVENT_LANE_UP
EVENT_LANE_DOWN = mailbox.EVENT_LANE_DOWN
EVENT_SESSION_UP = mailbox.EVENT_SESSION_UP
EVENT_SESSION_DOWN = mailbox.EVENT_SESSION_DOWN
EVENT_SESSION_STALLED = mailbox.EVENT_SESSION_STALLED
EVENT_SESSION_RESUMED = mailbox.EVENT_SESSION_RESUMED
EVENT_PEER_DRAINS = mailbox.EVENT_PEER_DRAINS
EVENT_IMPORT_WANTED = mailbox.EVENT_IMPORT_WANTED
EVENT_STREAM_END = mailbox.EVENT_STREAM_END
EVENT_STREAM_OPEN = mailbox.EVENT_STREAM_OPEN
EVENT_EVENTS_LOST = mailbox.EVENT_EVENTS_LOST
ROLE_EDGE = 1
ROLE_RELAY = 2
IMPORT_DOWN = route.IMPORT_DOWN
IMPORT_PENDING = route.IMPORT_PENDING
IMPORT_LIVE = route.IMPORT_LIVE
EXPORT_READY = route.EXPORT_READY
EXPORT_DRAIN = route.EXPORT_DRAIN
EXPORT_UNRESOLVED = route.EXPORT_UNRESOLVED

# Names of the numbers in result.pxd and stats.pxd, in their order.
cdef tuple REFUSALS = (
    "ok", "bad-tag", "bad-length", "bad-type", "bad-flags", "bad-field", "not-confirmed", "bad-confirm", "bad-epoch",
    "bad-number", "bad-record", "bad-stream", "bad-state", "credit-exceeded", "bad-credit", "bad-final", "unknown-flow",
    "glitches", "key-limit", "too-many-resumes", "silent", "peer-closed", "socket", "confirm-timeout", "budget",
    "unknown-mix", "lost-path", "local-close", "replaced", "stream-ids", "bad-preamble",
)
cdef tuple CAUSES = (
    "done", "application-reset", "far-reset", "target-refused", "target-silent", "target-unresolved",
    "target-unreachable", "not-allowed", "unknown-service", "marking", "no-route", "waited-too-long", "session-lost",
    "budget", "limit", "draining", "linger", "descriptors", "shutdown",
)
cdef tuple COUNTERS = (
    "frames_sent_total", "frames_received_total", "bytes_sent_total", "bytes_received_total", "frames_forwarded_total",
    "frames_dropped_total", "lanes_opened_total", "lanes_closed_total", "streams_opened_total", "streams_closed_total",
    "streams_refused_total", "streams_waited_total", "application_sent_bytes", "application_received_bytes",
    "duplicate_frames_total", "gaps_total", "resumes_total", "late_records_total", "rekeys_total",
    "unknown_flow_frames_total", "unknown_pongs_total", "accept_failed_total", "datagrams_ignored_total",
    "system_calls_total", "turns_total", "settled_bytes",
)
assert len(REFUSALS) == RESULT_REASONS and len(CAUSES) == CAUSE_COUNT and len(COUNTERS) == COUNT_COUNT

cdef enum:
    EVENTS_AT_ONCE = 512


class CoreError(Exception):
    """The core refused a call; the message names the reason."""


def refusal_name(int reason) -> str:
    """The name of a local reason of docs/protocol.md, section 10."""
    return REFUSALS[reason] if 0 <= reason < len(REFUSALS) else "internal"


def cause_name(int cause) -> str:
    """Why a stream ended, for the log."""
    return CAUSES[cause] if 0 <= cause < len(CAUSES) else "unknown"


cdef class _LinkEntry:
    """What the face keeps of a link: the secrets its lanes begin from, and its gauges."""

    cdef LinkKeys keys
    cdef Gauge* gauge
    cdef bint dialler

    def __dealloc__(self):
        keys_wipe(&self.keys)
        gauge_drop(self.gauge)


cdef class _SessionEntry:
    """What the face keeps of a session: its gauges, and how many flows are still to come up."""

    cdef Gauge* gauge
    cdef uint32_t flows_missing

    def __dealloc__(self):
        gauge_drop(self.gauge)


cdef class Core:
    """The workers of one node. See core.pyi for the contract of each method."""

    cdef Worker* _workers
    cdef Outbox _outbox
    cdef uint32_t _count
    cdef uint32_t _ready
    cdef int _event_fd
    cdef int _role
    cdef uint64_t _memory
    cdef bint _stopped
    cdef dict _links
    cdef dict _sessions

    def __cinit__(self, *, int workers, uint64_t memory_bytes, int role, uint64_t probe_interval_ms=500,
                  uint64_t handshake_deadline_ms=10000, uint64_t wait_ms=5000, uint64_t linger_ms=60000,
                  uint64_t rekey_frames=0, uint64_t rekey_bytes=0, uint64_t rekey_ms=0):
        cdef uint32_t i
        cdef Shard* shard
        self._event_fd = -1
        if not 1 <= workers <= WIRE_LANES_MAX:
            raise CoreError(f"workers must be 1 to {WIRE_LANES_MAX}, not {workers}")
        if memory_bytes < 16777216:
            raise CoreError(f"memory must be at least 16 MiB, not {memory_bytes} bytes")
        if role != ROLE_EDGE and role != ROLE_RELAY:
            raise CoreError(f"role must be ROLE_EDGE or ROLE_RELAY, not {role}")
        if aead_load() != RESULT_OK:
            raise CoreError("libcrypto has not all of AES-256-GCM, AES-128-GCM and ChaCha20-Poly1305")
        self._links = {}
        self._sessions = {}
        self._role = role
        self._memory = memory_bytes
        self._count = workers
        self._event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self._event_fd < 0 or not outbox_start(&self._outbox, self._event_fd):
            raise CoreError("no descriptor or memory is left for the events of the core")
        self._workers = <Worker*>calloc(workers, sizeof(Worker))
        if self._workers == NULL:
            raise MemoryError
        for i in range(self._count):
            if not worker_start(&self._workers[i], self._workers, i, self._count, role, memory_bytes / workers,
                                &self._outbox, self._event_fd):
                raise CoreError("no descriptor or memory is left for a worker of the core")
            self._ready += 1
            shard = &self._workers[i].shard
            shard.probe_us = probe_interval_ms * 1000
            shard.handshake_us = handshake_deadline_ms * 1000
            shard.wait_us = wait_ms * 1000
            shard.linger_us = linger_ms * 1000
            shard.limits.frames = min(rekey_frames or EPOCH_SOFT_FRAMES, EPOCH_SOFT_FRAMES)
            shard.limits.bytes = min(rekey_bytes or EPOCH_SOFT_BYTES, EPOCH_SOFT_BYTES)
            shard.limits.us = min(rekey_ms * 1000 or EPOCH_SOFT_US, EPOCH_SOFT_US)

    def __dealloc__(self):
        self._end()
        if self._workers != NULL:
            outbox_stop(&self._outbox)
        free(self._workers)
        if self._event_fd >= 0:
            close(self._event_fd)

    @property
    def workers(self) -> int:
        return self._count

    def fileno(self) -> int:
        return self._event_fd

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        cdef uint32_t i
        self._alive()
        for i in range(self._count):
            if not self._workers[i].running and not worker_launch(&self._workers[i]):
                self._end()
                raise CoreError("the system gives no thread for a worker")

    def stop(self) -> None:
        self._end()

    cdef void _end(self):
        cdef uint32_t i
        cdef Order* order
        cdef uint64_t one = 1
        if self._stopped or self._workers == NULL:
            return
        self._stopped = True
        for i in range(self._ready):
            if self._workers[i].running:
                self._workers[i].stopping = True
                write(self._workers[i].mailbox.wake_fd, &one, 8)
        for i in range(self._ready):
            if self._workers[i].running:
                with nogil:
                    pthread_join(self._workers[i].thread, NULL)
                self._workers[i].running = False
        for i in range(self._ready):
            worker_stop(&self._workers[i])
        self._links = {}
        self._sessions = {}

    cdef _alive(self):
        if self._stopped:
            raise CoreError("the core is stopped")

    cdef Order* _order(self, OrderKind kind) except NULL:
        cdef Order* order = order_new(kind)
        if order == NULL:
            raise MemoryError
        return order

    cdef void _send(self, uint32_t worker, Order* order):
        cdef uint64_t one = 1
        if mailbox_put(&self._workers[worker].mailbox, order):
            write(self._workers[worker].mailbox.wake_fd, &one, 8)

    # Each worker gets a copy; the order itself goes to the last one.
    cdef _send_all(self, Order* order):
        cdef uint32_t i
        cdef Order* copy
        for i in range(self._count - 1):
            copy = self._order(order.kind)
            memcpy(copy, order, sizeof(Order))
            self._send(i, copy)
        self._send(self._count - 1, order)

    # -- events --------------------------------------------------------------------------------------------------

    def events(self, uint32_t limit=4096) -> list:
        cdef Event batch[EVENTS_AT_ONCE]
        cdef uint32_t i, n
        cdef uint64_t lost = 0
        cdef uint64_t count
        cdef list out = []
        if self._stopped:
            return out
        # Clear the wake-up before taking: what comes after the take writes it again.
        read(self._event_fd, &count, 8)
        while len(out) < limit:
            n = outbox_take(&self._outbox, batch, EVENTS_AT_ONCE, &lost)
            if lost != 0:
                out.append((EVENT_EVENTS_LOST, lost))
            for i in range(n):
                item = self._event(&batch[i])
                if item is not None:
                    out.append(item)
            if n < EVENTS_AT_ONCE:
                return out
        count = 1
        write(self._event_fd, &count, 8)
        return out

    cdef _event(self, const Event* event):
        cdef int kind = event.kind
        cdef _SessionEntry session
        if kind == mailbox.EVENT_STREAM_END:
            return (kind, bool(event.a), event.b, event.c, PyBytes_FromStringAndSize(<const char*>event.text, event.text_length),
                    event.d, event.e, event.f, event.g, cause_name(event.h & 0xff), event.i, bool(event.h & 0x100))
        if kind == mailbox.EVENT_FLOW_UP:
            session = self._sessions.get(event.a)
            if session is None:
                return None
            session.flows_missing -= 1
            return (mailbox.EVENT_SESSION_UP, event.a) if session.flows_missing == 0 else None
        if kind == mailbox.EVENT_SESSION_DOWN:
            # Its flows live on several workers: the first that ends ends them all, and is told once.
            if event.a not in self._sessions:
                return None
            self.session_close(event.a, event.b)
            return (kind, event.a, event.b, refusal_name(event.c), bool(event.d))
        if kind == mailbox.EVENT_LANE_DOWN:
            return (kind, event.a, event.b, event.c, event.d, refusal_name(event.e))
        if kind == mailbox.EVENT_LANE_UP or kind == mailbox.EVENT_SESSION_STALLED:
            return (kind, event.a, event.b, event.c)
        if kind == mailbox.EVENT_IMPORT_WANTED:
            return (kind, event.a)
        return (kind, event.a, event.b)

    # -- links ---------------------------------------------------------------------------------------------------

    def link_add(self, uint32_t link, *, bytearray secret, bytes binding, uint32_t suite, bint dialler, uint32_t lanes,
                 bytes link_id) -> None:
        cdef _LinkEntry entry = _LinkEntry()
        cdef Order* order
        cdef int answer
        self._alive()
        try:
            if link == 0 or link in self._links:
                raise CoreError(f"link {link} is known already, or no number for a link")
            if len(secret) != 32 or len(binding) != 32 or len(link_id) != 16:
                raise CoreError("a link needs a secret of 32 bytes, a binding of 32 and a link id of 16")
            if aead_key_length(suite) == 0 or not 1 <= lanes <= WIRE_LANES_MAX:
                raise CoreError(f"no suite {suite}, or {lanes} lanes are not 1 to {WIRE_LANES_MAX}")
            answer = keys_start(&entry.keys, <const uint8_t*><char*>secret, <const uint8_t*><const char*>link_id, lanes)
        finally:
            OPENSSL_cleanse(<char*>secret, len(secret))
        if answer != RESULT_OK:
            raise CoreError("libcrypto could not derive the keys of the link")
        entry.dialler = dialler
        entry.gauge = gauge_new(self._count, <int>self._count + 1)
        if entry.gauge == NULL:
            raise MemoryError
        order = self._order(ORDER_LINK_ADD)
        order.a = link
        order.b = suite
        order.c = dialler
        order.d = lanes
        order.pointer = entry.gauge
        memcpy(order.binding, <const char*>binding, 32)
        self._links[link] = entry
        self._send_all(order)

    cdef _LinkEntry _link(self, uint32_t link):
        self._alive()
        cdef _LinkEntry entry = self._links.get(link)
        if entry is None:
            raise CoreError(f"there is no link {link}")
        return entry

    def lane_dial(self, uint32_t link, uint32_t index) -> tuple:
        cdef _LinkEntry entry = self._link(link)
        cdef uint8_t preamble[WIRE_PREAMBLE]
        cdef uint32_t number = 0
        if index >= entry.keys.lanes:
            raise CoreError(f"link {link} has no lane {index}")
        if keys_dial(&entry.keys, <uint16_t>index, &number, preamble) != RESULT_OK:
            raise CoreError("libcrypto could not derive the keys of the lane")
        return number, PyBytes_FromStringAndSize(<const char*>preamble, WIRE_PREAMBLE)

    def lane_check(self, uint32_t link, bytes preamble) -> tuple:
        cdef _LinkEntry entry = self._link(link)
        cdef uint16_t index = 0
        cdef uint32_t number = 0
        if len(preamble) != WIRE_PREAMBLE or entry.dialler or keys_check(
                &entry.keys, <const uint8_t*><const char*>preamble, &index, &number) != RESULT_OK:
            raise CoreError("bad-preamble")
        return index, number

    def lane_add(self, uint32_t link, uint32_t index, uint32_t number, int fd) -> None:
        cdef _LinkEntry entry
        cdef Order* order
        try:
            entry = self._link(link)
            order = self._order(ORDER_LANE_ADD)
        except BaseException:
            close(fd)
            raise
        order.fd = fd
        order.a = link
        order.b = index
        order.c = number
        if index >= entry.keys.lanes or keys_take(&entry.keys, number, order.secret) != RESULT_OK:
            order_free(order)
            close(fd)
            raise CoreError(f"lane {number} of link {link} was not announced, or is used up")
        self._send(index % self._count, order)

    def link_close(self, uint32_t link, uint32_t code) -> None:
        cdef Order* order
        self._link(link)
        order = self._order(ORDER_LINK_CLOSE)
        order.a = link
        order.b = code
        del self._links[link]
        self._send_all(order)

    def link_drain(self, uint32_t link, uint32_t milliseconds) -> None:
        cdef Order* order
        self._link(link)
        order = self._order(ORDER_LINK_DRAIN)
        order.a = link
        order.b = milliseconds
        self._send_all(order)

    # -- paths of a relay ----------------------------------------------------------------------------------------

    def path_add(self, uint32_t path, *, uint32_t a_link, uint32_t a_in, uint32_t a_out, uint32_t b_link, uint32_t b_in,
                 uint32_t b_out, uint64_t cap, uint32_t priority) -> None:
        cdef Order* order
        self._alive()
        if self._role != ROLE_RELAY:
            raise CoreError("only a relay has paths")
        if 0 in (a_in, a_out, b_in, b_out) or priority > 2:
            raise CoreError("a label is never 0, and a priority is 0, 1 or 2")
        order = self._order(ORDER_PATH_ADD)
        order.a, order.b, order.c, order.d = path, a_link, a_in, a_out
        order.e, order.f, order.g = b_link, b_in, b_out
        order.h = (cap << 8) | priority
        self._send_all(order)

    def path_remove(self, uint32_t path) -> None:
        cdef Order* order
        self._alive()
        order = self._order(ORDER_PATH_REMOVE)
        order.a = path
        self._send_all(order)

    # -- sessions of an edge -------------------------------------------------------------------------------------

    def session_add(self, uint32_t session, *, bytearray secret, bytes binding, uint32_t suite, bint initiator,
                    uint32_t flows, uint64_t cap, uint32_t marking, uint32_t priority) -> None:
        cdef _SessionEntry entry = _SessionEntry()
        cdef Order* order = NULL
        self._alive()
        try:
            if self._role != ROLE_EDGE:
                raise CoreError("only an edge has sessions")
            if session == 0 or session in self._sessions:
                raise CoreError(f"session {session} is known already, or no number for a session")
            if len(secret) != 32 or len(binding) != 32 or aead_key_length(suite) == 0:
                raise CoreError("a session needs a secret and a binding of 32 bytes and a known suite")
            if not 1 <= flows <= WIRE_LANES_MAX or priority > 2 or cap < 131072:
                raise CoreError("flows are 1 to 64, a priority is 0 to 2, and a cap at least 131,072")
            order = self._order(ORDER_SESSION_ADD)
            memcpy(order.secret, <char*>secret, 32)
        finally:
            OPENSSL_cleanse(<char*>secret, len(secret))
        entry.flows_missing = flows
        entry.gauge = gauge_new(self._count, <int>self._count + 1)
        if entry.gauge == NULL:
            order_free(order)
            raise MemoryError
        order.a, order.b, order.c, order.d = session, suite, initiator, flows
        order.e, order.f, order.g = cap, marking, priority
        order.pointer = entry.gauge
        memcpy(order.binding, <const char*>binding, 32)
        self._sessions[session] = entry
        self._send_all(order)

    cdef _SessionEntry _session(self, uint32_t session):
        self._alive()
        cdef _SessionEntry entry = self._sessions.get(session)
        if entry is None:
            raise CoreError(f"there is no session {session}")
        return entry

    def session_path(self, uint32_t session, *, uint32_t link, uint32_t in_label, uint32_t out_label) -> None:
        cdef Order* order
        self._session(session)
        if in_label == 0 or out_label == 0:
            raise CoreError("a label is never 0")
        order = self._order(ORDER_SESSION_PATH)
        order.a, order.b, order.c, order.d = session, link, in_label, out_label
        self._send_all(order)

    def session_close(self, uint32_t session, uint32_t code) -> None:
        cdef Order* order
        self._session(session)
        order = self._order(ORDER_SESSION_CLOSE)
        order.a, order.b = session, code
        del self._sessions[session]
        self._send_all(order)

    # -- tables --------------------------------------------------------------------------------------------------

    def publish(self, *, exports, imports, grants) -> None:
        cdef Tables* tables
        cdef Order* order
        cdef uint32_t i, count = 0
        cdef uint64_t key
        self._alive()
        pairs = sorted((int(session) << 16) | int(number) for session, numbers in grants for number in numbers)
        tables = tables_new(len(exports), len(imports), len(pairs))
        if tables == NULL:
            raise MemoryError
        try:
            for i, row in enumerate(exports):
                _fill_export(&tables.exports[i], row)
            for i, row in enumerate(imports):
                _fill_import(&tables.imports[i], row)
            for i, key in enumerate(pairs):
                tables.grants[i] = key
            if not tables_index(tables):
                raise MemoryError
            order = self._order(ORDER_TABLES)
        except BaseException:
            tables_drop(tables)
            raise
        for i in range(self._count - 1):
            tables_hold(tables)
        order.pointer = tables
        self._send_all(order)

    def import_listen(self, uint32_t number, fds) -> None:
        cdef Order* order
        cdef uint32_t i
        self._alive()
        if len(fds) != self._count:
            raise CoreError(f"an import needs one listening socket for each of {self._count} workers, not {len(fds)}")
        for i, fd in enumerate(fds):
            order = self._order(ORDER_LISTEN)
            order.a = number
            order.fd = fd
            self._send(i, order)

    def import_unlisten(self, uint32_t number) -> None:
        cdef Order* order
        self._alive()
        order = self._order(ORDER_UNLISTEN)
        order.a = number
        self._send_all(order)

    def drain(self) -> None:
        self._alive()
        self._send_all(self._order(ORDER_DRAIN))

    # -- facts ---------------------------------------------------------------------------------------------------

    def streams(self) -> int:
        cdef uint32_t i
        cdef uint64_t n = 0
        for i in range(self._ready):
            n += self._workers[i].shard.stats.streams
        return n

    def counters(self) -> dict:
        cdef uint32_t i, j
        cdef uint64_t n
        cdef dict out = {}
        for j, name in enumerate(COUNTERS):
            n = 0
            for i in range(self._ready):
                n += self._workers[i].shard.stats.count[j]
            out[name] = n
        for j, name in enumerate(REFUSALS):
            n = 0
            for i in range(self._ready):
                n += self._workers[i].shard.stats.refused[j]
            if j != 0:
                out[f"refused_{name.replace('-', '_')}_total"] = n
        for j, name in enumerate(CAUSES):
            n = 0
            for i in range(self._ready):
                n += self._workers[i].shard.stats.cause[j]
            out[f"stream_end_{name.replace('-', '_')}_total"] = n
        out["streams"] = self.streams()
        return out

    def links(self) -> dict:
        cdef dict out = {}
        cdef _LinkEntry entry
        for link, entry in self._links.items():
            out[link] = {
                "lanes_up": _gauge_sum(entry.gauge, GAUGE_LANES_UP), "rtt_us": _gauge_max(entry.gauge, GAUGE_ROUND_TRIP),
                "sent_bytes": _gauge_sum(entry.gauge, GAUGE_SENT_BYTES),
                "received_bytes": _gauge_sum(entry.gauge, GAUGE_RECEIVED_BYTES),
                "sent_frames": _gauge_sum(entry.gauge, GAUGE_SENT_FRAMES),
                "received_frames": _gauge_sum(entry.gauge, GAUGE_RECEIVED_FRAMES)}
        return out

    def sessions(self) -> dict:
        cdef dict out = {}
        cdef _SessionEntry entry
        for session, entry in self._sessions.items():
            out[session] = {
                "flows_up": _gauge_sum(entry.gauge, GAUGE_LANES_UP),
                "streams": _gauge_sum(entry.gauge, GAUGE_ROUND_TRIP),
                "sent_bytes": _gauge_sum(entry.gauge, GAUGE_SENT_BYTES),
                "received_bytes": _gauge_sum(entry.gauge, GAUGE_RECEIVED_BYTES),
                "retained_bytes": _gauge_sum(entry.gauge, GAUGE_SENT_FRAMES),
                "epoch": _gauge_max(entry.gauge, GAUGE_RECEIVED_FRAMES)}
        return out

    def memory(self) -> dict:
        cdef uint32_t i
        cdef uint64_t used = 0, high = 0
        for i in range(self._ready):
            used += self._workers[i].shard.pool.used
            high += self._workers[i].shard.pool.high_water
        return {"used_bytes": used, "budget_bytes": self._memory, "high_water_bytes": high}


cdef uint64_t _gauge_sum(Gauge* gauge, uint32_t which):
    cdef uint32_t i
    cdef uint64_t n = 0
    for i in range(gauge.slots):
        n += gauge.values[i * GAUGE_VALUES + which]
    return n


cdef uint64_t _gauge_max(Gauge* gauge, uint32_t which):
    cdef uint32_t i
    cdef uint64_t n = 0
    for i in range(gauge.slots):
        n = max(n, gauge.values[i * GAUGE_VALUES + which])
    return n


cdef _fill_name(uint8_t* out, uint32_t* length, bytes name):
    if not 1 <= len(name) <= WIRE_SERVICE_MAX:
        raise CoreError(f"a service name has 1 to {WIRE_SERVICE_MAX} bytes")
    memcpy(out, <const char*>name, len(name))
    length[0] = len(name)


cdef _fill_export(Export* out, row):
    number, service, marking, rule, state, connect_ms, targets = row
    _fill_name(out.service, &out.service_length, service)
    out.number, out.marking, out.rule, out.state = number, marking, rule, state
    out.connect_us = <uint64_t>connect_ms * 1000
    if number > 0xffff or len(targets) > ROUTE_TARGETS:
        raise CoreError(f"an export has a number up to 65,535 and at most {ROUTE_TARGETS} addresses")
    for host, port in targets:
        _fill_target(&out.targets[out.target_count], host, port)
        out.target_count += 1


# A socket address as the system lays it out: family in the machine's order, port in the network's.
cdef _fill_target(Target* out, str host, uint16_t port):
    cdef bytes text = host.encode()
    memset(out, 0, sizeof(Target))
    wire_put16(out.address + 2, port)
    if ":" in host:
        (<uint16_t*>out.address)[0] = <uint16_t>AF_INET6
        out.length = 28
        if inet_pton(AF_INET6, text, out.address + 8) == 1:
            return
    else:
        (<uint16_t*>out.address)[0] = <uint16_t>AF_INET
        out.length = 16
        if inet_pton(AF_INET, text, out.address + 4) == 1:
            return
    raise CoreError(f"{host!r} is not a numeric address")


cdef _fill_import(Import* out, row):
    number, service, marking, priority, state, routes = row
    _fill_name(out.service, &out.service_length, service)
    out.number, out.marking, out.priority, out.state = number, marking, priority, state
    if number > 0xffff or len(routes) > ROUTE_ROUTES:
        raise CoreError(f"an import has a number up to 65,535 and at most {ROUTE_ROUTES} routes")
    for session, precedence, weight in routes:
        out.routes[out.route_count].session = session
        out.routes[out.route_count].precedence = precedence
        out.routes[out.route_count].weight = weight
        out.route_count += 1
