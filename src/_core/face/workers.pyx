"""The workers of a node: creation, start, freeze, hand-over to another process, stop.

Its contract for Python stands in workers.pyi; `core` is built on it.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from pcgrelay._core.crypto.aead cimport aead_load
from pcgrelay._core.base.atomics cimport atomic_add, flag_raise
from pcgrelay._core.base.tlv cimport (
    Tlv, Descriptors, tlv_enter, tlv_fail, tlv_number, tlv_open, tlv_read, tlv_shut, tlv_write,
    descriptors_add, descriptors_free,
)
from pcgrelay._core.face.bounds cimport bounds_set
from pcgrelay._core.face.registry cimport LinkEntry, OrganisationEntry, SessionEntry, session_name
from pcgrelay._core.face.counters cimport name_of_reason
from pcgrelay._core.link.gauge cimport gauge_new
from pcgrelay._core.handover.shard cimport HANDOVER_LEAST, HANDOVER_VERSION
from pcgrelay._core.worker.handover cimport worker_handover_read, worker_handover_write
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.base.linux cimport EFD_CLOEXEC, EFD_NONBLOCK, close, eventfd, pthread_join
from pcgrelay._core.worker.event_loop cimport loop_abandon, loop_launch, loop_quiesce, loop_start, loop_stop
from pcgrelay._core.link.mailbox cimport (
    ORDER_PORTS, Order, OrderKind, Settings, mailbox_is_empty, mailbox_put, order_new, outbox_start, outbox_stop,
)
from pcgrelay._core.base.map cimport Map, map_free, map_put
from pcgrelay._core.base.ports cimport PORTS_ALL, PortRange, ports_range
from pcgrelay._core.worker.orders cimport orders_apply_settings
from pcgrelay._core.base.organisation cimport (
    ORGANISATION_CLASSES, ORGANISATION_PRIORITIES, Organisation, organisation_hold, organisation_new,
)
from pcgrelay._core.base.result cimport RESULT_BAD_LENGTH, RESULT_OK
from pcgrelay._core.base.stats cimport STATS_SERVICES, Stats
from pcgrelay._core.base.wire cimport WIRE_LANES_MAX
from pcgrelay._core.worker.worker cimport WORKER_EDGE, WORKER_RELAY, Worker, worker_wake

cdef enum:
    RECORD_HEAD = 8             # magic, u16 version, u16 0

cdef const char* RECORD_MAGIC = b"PCGH"

# The outermost container. Tags are for ever.
cdef enum:
    WORKERS_ROLE = 1
    WORKERS_COUNT = 2
    WORKERS_LINK = 3
    WORKERS_SESSION = 4
    WORKERS_WORKER = 5

cdef enum:
    ENTRY_NUMBER = 1
    ENTRY_DIALLER = 2
    ENTRY_FLOWS_MISSING = 3
    ENTRY_ORGANISATION = 4

cdef enum:
    ORGANISATIONS_KEPT = 4096   # then those without a session are forgotten


cdef Order* workers_order(OrderKind kind) except NULL:
    cdef Order* order = order_new(kind)
    if order == NULL:
        raise MemoryError
    return order


class CoreError(Exception):
    """The core refused a call; the message names the reason."""


cdef _record_check(unsigned char[::1] record):
    cdef uint16_t version = 0
    if record.shape[0] < RECORD_HEAD or memcmp(&record[0], RECORD_MAGIC, 4) != 0:
        raise CoreError("this is no state record")
    memcpy(&version, &record[4], 2)
    if not HANDOVER_LEAST <= version <= HANDOVER_VERSION:
        raise CoreError(f"the state is of version {version}, and this reads {HANDOVER_LEAST} to {HANDOVER_VERSION}")


cdef class Workers:
    """The workers of one node."""

    def __cinit__(self):
        self._event_fd = -1

    def __init__(self, *, int workers, uint64_t memory_bytes, int role, uint64_t probe_interval_ms=500,
                 uint64_t handshake_deadline_ms=10000, uint64_t wait_ms=5000, uint64_t linger_ms=3600000,
                 uint32_t keepalive_s=60, uint64_t rekey_frames=0, uint64_t rekey_bytes=0, uint64_t rekey_ms=0):
        cdef uint32_t i
        cdef Shard* shard
        if self._workers != NULL:
            raise CoreError("a core is set up once")
        if not 1 <= workers <= WIRE_LANES_MAX:
            raise CoreError(f"workers must be 1 to {WIRE_LANES_MAX}, not {workers}")
        if memory_bytes < 16777216:
            raise CoreError(f"memory must be at least 16 MiB, not {memory_bytes} bytes")
        if role != WORKER_EDGE and role != WORKER_RELAY:
            raise CoreError(f"role must be WORKER_EDGE or WORKER_RELAY, not {role}")
        if aead_load() != RESULT_OK:
            raise CoreError("libcrypto has not all of AES-256-GCM, AES-128-GCM and ChaCha20-Poly1305")
        self._links = {}
        self._sessions = {}
        self._organisations = {}
        self._meters = {}
        self._role = role
        self._memory = memory_bytes
        self._count = workers
        self._change({
            "probe_interval_ms": probe_interval_ms, "handshake_deadline_ms": handshake_deadline_ms,
            "linger_ms": linger_ms, "rekey_frames": rekey_frames, "rekey_bytes": rekey_bytes, "rekey_ms": rekey_ms})
        self._event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self._event_fd < 0 or not outbox_start(&self._outbox, self._event_fd):
            raise CoreError("no descriptor or memory is left for the events of the core")
        self._workers = <Worker*>calloc(workers, sizeof(Worker))
        self._bounds.stats = <Stats**>calloc(workers, sizeof(Stats*))
        if self._workers == NULL or self._bounds.stats == NULL:
            raise MemoryError
        self._bounds.workers = workers
        for i in range(self._count):
            if not loop_start(&self._workers[i], self._workers, i, self._count, role, memory_bytes / workers,
                              &self._outbox, self._event_fd):
                raise CoreError("no descriptor or memory is left for a worker of the core")
            self._ready += 1
            shard = &self._workers[i].shard
            orders_apply_settings(&self._workers[i], &self._settings)
            shard.wait_us = wait_ms * 1000
            shard.keepalive_s = keepalive_s
            self._bounds.stats[i] = &shard.stats
            shard.bounds = &self._bounds

    def __dealloc__(self):
        self._end()
        if self._workers != NULL:
            outbox_stop(&self._outbox)
        free(self._workers)
        free(self._bounds.stats)
        if self._event_fd >= 0:
            close(self._event_fd)

    # Either all changes are applied or, if one is not a number or unknown, none.
    cdef _change(self, dict changes):
        cdef Settings fresh = self._settings
        cdef uint64_t value
        for name, figure in changes.items():
            value = figure
            if name == "probe_interval_ms":
                fresh.probe_us = value * 1000
            elif name == "handshake_deadline_ms":
                fresh.handshake_us = value * 1000
            elif name == "linger_ms":
                fresh.linger_us = value * 1000
            elif name == "rekey_frames":
                fresh.rekey_frames = value
            elif name == "rekey_bytes":
                fresh.rekey_bytes = value
            elif name == "rekey_ms":
                fresh.rekey_us = value * 1000
            else:
                raise TypeError(f"the core has no setting {name}")
        self._settings = fresh

    @property
    def workers(self) -> int:
        return self._count

    def fileno(self) -> int:
        return self._event_fd

    def bounds(self, *, imports, exports, uint32_t descriptors=0, organisation=(0, 0)) -> None:
        bounds_set(&self._bounds, imports, exports, descriptors, organisation)

    def local_ports(self, const unsigned char[::1] allowed, uint32_t first_half=1) -> None:
        cdef PortRange* part = NULL
        cdef Order* order
        cdef uint32_t i
        self._alive()
        if allowed.shape[0] != 0 and allowed.shape[0] != PORTS_ALL / 8:
            raise CoreError(f"a map of the local ports has {PORTS_ALL // 8} bytes, or none")
        for i in range(self._count):
            if allowed.shape[0] != 0:
                part = ports_range(&allowed[0], first_half, i, self._count)
                if part == NULL:
                    raise MemoryError
            try:
                order = workers_order(ORDER_PORTS)
            except BaseException:
                free(part)
                raise
            order.args.ports = part
            self._send(i, order)

    def export_streams(self) -> list:
        cdef OrganisationEntry entry
        cdef uint32_t export, place
        cdef int streams
        found = []
        for number, entry in self._organisations.items():
            for export in range(STATS_SERVICES):
                if atomic_add(&entry.organisation.shares[export].streams, 0) <= 0:
                    continue
                for place in range(ORGANISATION_CLASSES):
                    streams = atomic_add(&entry.organisation.shares[export].of_class[place], 0)
                    if streams > 0:
                        found.append((number, export, place // ORGANISATION_PRIORITIES + 1,
                                      place % ORGANISATION_PRIORITIES, streams))
        return found

    def start(self) -> None:
        cdef uint32_t i
        self._alive()
        # Earlier orders, above all tables, are carried out before the first frame is read.
        if not self._is_running():
            self.settle()
        for i in range(self._count):
            if not self._workers[i].running and not loop_launch(&self._workers[i]):
                self._end()
                raise CoreError("the system gives no thread for a worker")

    def stop(self) -> None:
        self._end()

    cdef void _end(self):
        cdef uint32_t i
        if self._stopped or self._workers == NULL:
            return
        self._stopped = True
        self._join()
        for i in range(self._ready):
            loop_stop(&self._workers[i])
        self._links = {}
        self._sessions = {}

    # Stop all threads at the end of their turn.
    cdef void _join(self):
        cdef uint32_t i
        for i in range(self._ready):
            if self._workers[i].running:
                flag_raise(&self._workers[i].stopping)
                worker_wake(self._workers[i].mailbox.wake_fd)
        for i in range(self._ready):
            if self._workers[i].running:
                with nogil:
                    pthread_join(self._workers[i].thread, NULL)
                self._workers[i].running = False

    # -- hand-over

    def freeze(self) -> None:
        self._alive()
        self._join()

    def settle(self) -> bool:
        cdef uint32_t i
        cdef bint done = True
        self._frozen()
        for i in range(self._count):
            if not loop_quiesce(&self._workers[i]):
                done = False
        # A later worker may have passed something to an earlier one.
        for i in range(self._count):
            if not mailbox_is_empty(&self._workers[i].mailbox):
                done = False
        return done

    cdef void _write(self, Tlv* cursor):
        cdef uint32_t i, role = self._role
        cdef uint64_t mark
        cdef LinkEntry link
        cdef SessionEntry session
        cdef uint32_t number
        tlv_number(cursor, WORKERS_ROLE, &role, 4)
        tlv_number(cursor, WORKERS_COUNT, &self._count, 4)
        for number, link in self._links.items():
            mark = tlv_open(cursor, WORKERS_LINK)
            tlv_number(cursor, ENTRY_NUMBER, &number, 4)
            tlv_number(cursor, ENTRY_DIALLER, &link.dialler, sizeof(link.dialler))
            tlv_shut(cursor, mark)
        for number, session in self._sessions.items():
            mark = tlv_open(cursor, WORKERS_SESSION)
            tlv_number(cursor, ENTRY_NUMBER, &number, 4)
            tlv_number(cursor, ENTRY_FLOWS_MISSING, &session.flows_missing, 4)
            tlv_number(cursor, ENTRY_ORGANISATION, &session.organisation, 8)
            tlv_shut(cursor, mark)
        for i in range(self._count):
            mark = tlv_open(cursor, WORKERS_WORKER)
            worker_handover_write(cursor, &self._workers[i])
            tlv_shut(cursor, mark)

    def handover_size(self) -> int:
        cdef Tlv cursor
        cdef Descriptors descriptors
        memset(&descriptors, 0, sizeof(descriptors))
        self._frozen()
        tlv_write(&cursor, NULL, 0, &descriptors)
        self._write(&cursor)
        if cursor.result != RESULT_OK:
            raise CoreError("the state is too large for a record")
        return RECORD_HEAD + cursor.at

    def handover_write(self, unsigned char[::1] record) -> list:
        cdef Tlv cursor
        cdef Descriptors descriptors
        cdef uint16_t version = HANDOVER_VERSION
        cdef uint32_t i
        memset(&descriptors, 0, sizeof(descriptors))
        self._frozen()
        if record.shape[0] < RECORD_HEAD:
            raise CoreError("there is no room for the state")
        memcpy(&record[0], RECORD_MAGIC, 4)
        memcpy(&record[4], &version, 2)
        memset(&record[6], 0, 2)
        tlv_write(&cursor, &record[0] + RECORD_HEAD, record.shape[0] - RECORD_HEAD, &descriptors)
        try:
            self._write(&cursor)
            if cursor.result != RESULT_OK or cursor.at != <uint64_t>record.shape[0] - RECORD_HEAD:
                raise CoreError("the state is not as large as it was said to be")
            return [descriptors.fds[i] for i in range(descriptors.count)]
        finally:
            descriptors_free(&descriptors)

    def handover_read(self, unsigned char[::1] record, fds) -> list:
        cdef Tlv cursor
        cdef Descriptors descriptors
        cdef Map links
        cdef Map sessions
        cdef uint32_t i
        memset(&descriptors, 0, sizeof(descriptors))
        memset(&links, 0, sizeof(links))
        memset(&sessions, 0, sizeof(sessions))
        self._frozen()
        if self._links or self._sessions:
            raise CoreError("a core that has links or sessions takes no others over")
        _record_check(record)
        tlv_read(&cursor, &record[0] + RECORD_HEAD, record.shape[0] - RECORD_HEAD, &descriptors)
        try:
            for fd in fds:
                if not descriptors_add(&descriptors, fd):
                    raise CoreError("there are too many descriptors")
            self._read(&cursor, &links, &sessions)
            return [descriptors.fds[i] for i in range(descriptors.count) if descriptors.fds[i] >= 0]
        finally:
            descriptors_free(&descriptors)
            map_free(&links)
            map_free(&sessions)

    cdef _read(self, Tlv* cursor, Map* links, Map* sessions):
        cdef Tlv inner
        cdef uint64_t at = 0
        cdef uint32_t i = 0, role = 0, count = 0
        tlv_number(cursor, WORKERS_ROLE, &role, 4)
        tlv_number(cursor, WORKERS_COUNT, &count, 4)
        if cursor.result == RESULT_OK and (role != <uint32_t>self._role or count != self._count):
            raise CoreError(f"the state is of {count} workers or another role")
        self._entries(cursor, links, sessions)
        while tlv_enter(cursor, WORKERS_WORKER, &at, &inner):
            if i < self._count:
                worker_handover_read(&inner, &self._workers[i], links, sessions)
            i += 1
            if inner.result != RESULT_OK:
                tlv_fail(cursor, inner.result)
        if cursor.result == RESULT_OK and i != self._count:
            tlv_fail(cursor, RESULT_BAD_LENGTH)
        if cursor.result != RESULT_OK:
            raise CoreError(f"the state cannot be read ({name_of_reason(<int>cursor.result)})")

    cdef _entries(self, Tlv* cursor, Map* links, Map* sessions):
        cdef Tlv inner
        cdef uint64_t at = 0
        cdef uint32_t number
        cdef LinkEntry link
        cdef SessionEntry session
        while tlv_enter(cursor, WORKERS_LINK, &at, &inner):
            number = 0
            link = LinkEntry()
            link.inherited = True
            tlv_number(&inner, ENTRY_NUMBER, &number, 4)
            tlv_number(&inner, ENTRY_DIALLER, &link.dialler, sizeof(link.dialler))
            link.gauge = gauge_new(self._count, 1)
            if link.gauge == NULL or not map_put(links, number, link.gauge):
                raise MemoryError
            self._links[number] = link
        at = 0
        while tlv_enter(cursor, WORKERS_SESSION, &at, &inner):
            number = 0
            session = SessionEntry()
            tlv_number(&inner, ENTRY_NUMBER, &number, 4)
            tlv_number(&inner, ENTRY_FLOWS_MISSING, &session.flows_missing, 4)
            # An older version did not have it.
            tlv_number(&inner, ENTRY_ORGANISATION, &session.organisation, 8)
            session.gauge = gauge_new(self._count, 1)
            if session.gauge == NULL or not map_put(sessions, number, session.gauge):
                raise MemoryError
            session.gauge.organisation = self._organisation(session.organisation)
            self._sessions[number] = session

    def session_name(self, uint32_t session, uint32_t id_head, bytes caller) -> None:
        cdef SessionEntry entry
        self._frozen()
        entry = self._sessions.get(session)
        if entry is None:
            raise CoreError(f"there is no session {session}")
        session_name(entry.gauge, id_head, caller)

    def abandon(self) -> None:
        cdef uint32_t i
        if self._stopped or self._workers == NULL:
            return
        self._join()
        self._stopped = True
        for i in range(self._ready):
            loop_abandon(&self._workers[i])
        self._links = {}
        self._sessions = {}

    # The budgets of an organisation, with a reference for the caller: the same for all its sessions, also later ones;
    # otherwise a new session would fill them again. NULL: number 0.
    cdef Organisation* _organisation(self, uint64_t number) except? NULL:
        cdef OrganisationEntry entry
        if number == 0:
            return NULL
        entry = self._organisations.get(number)
        if entry is None:
            if len(self._organisations) >= ORGANISATIONS_KEPT:
                self._forget_organisations()
            entry = OrganisationEntry()
            entry.organisation = organisation_new(number, self._count)
            if entry.organisation == NULL:
                raise MemoryError
            self._organisations[number] = entry
        return organisation_hold(entry.organisation)

    cdef _forget_organisations(self):
        cdef OrganisationEntry entry
        for number, entry in list(self._organisations.items()):
            if entry.is_idle():
                del self._organisations[number]

    # -- orders

    cdef _alive(self):
        if self._stopped:
            raise CoreError("the core is stopped")

    # What a worker owns is its thread's alone, as long as that runs.
    cdef _frozen(self):
        self._alive()
        if self._is_running():
            raise CoreError("the core runs; freeze it first")

    cdef bint _is_running(self):
        cdef uint32_t i
        for i in range(self._ready):
            if self._workers[i].running:
                return True
        return False

    cdef void _send(self, uint32_t worker, Order* order):
        if mailbox_put(&self._workers[worker].mailbox, order):
            worker_wake(self._workers[worker].mailbox.wake_fd)

    # Each worker gets a copy; the order itself goes to the last one.
    cdef _send_all(self, Order* order):
        cdef uint32_t i
        cdef Order* copy
        for i in range(self._count - 1):
            copy = workers_order(order.kind)
            memcpy(copy, order, sizeof(Order))
            self._send(i, copy)
        self._send(self._count - 1, order)
