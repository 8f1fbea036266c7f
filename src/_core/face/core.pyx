"""The Python interface of the data plane; its contract is core.pyi. Here a Result becomes an exception.

It holds what outlives a worker's thread, turns calls into orders, and events into tuples. Nothing here runs per frame.
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy

from pcgrelay._core.link cimport mailbox
from pcgrelay._core.stream cimport service_tables as route
from pcgrelay._core.crypto.aead cimport aead_key_length
from pcgrelay._core.face.ends cimport Ends, ends_begin, ends_count, ends_events
from pcgrelay._core.face.outlets cimport Outlets
from pcgrelay._core.face.workers cimport workers_order
from pcgrelay._core.face.registry cimport Entry, LinkEntry, SessionEntry, session_name
from pcgrelay._core.face.counters cimport (
    name_of_cause, counters_total, event_tuple, counters_link, counters_memory, name_of_reason, counters_services,
    counters_listener, counters_session, counters_streams, counters_workers, link_has_stepped, session_has_stepped,
)
from pcgrelay._core.link.gauge cimport gauge_new
from pcgrelay._core.handover.shard cimport HANDOVER_LEAST, HANDOVER_VERSION
from pcgrelay._core.crypto.lane_keys cimport lane_keys_check, lane_keys_dial, lane_keys_start, lane_keys_use
from pcgrelay._core.base.libcrypto cimport (
    crypto_bind, CRYPTO_IS_BUNDLED, OPENSSL_cleanse, OPENSSL_VERSION, OpenSSL_version,
)
from pcgrelay._core.base.linux cimport close
from pcgrelay._core.base.stats cimport STATS_LISTENERS
from pcgrelay._core.link.mailbox cimport (
    Event, LeadOrder, LinkOrder, Order, OrderKind, PathOrder, RenewalEvent, SessionEvent, SessionOrder, order_free,
    outbox_drain,
)
from pcgrelay._core.base.map cimport map_seed
from pcgrelay._core.base.result cimport RESULT_OK
from pcgrelay._core.stream.service_tables cimport Tables, tables_drop, tables_hold
from pcgrelay._core.face.tables_fill cimport tables_fill
from pcgrelay._core.base.wire cimport WIRE_LANES_MAX, WIRE_PREAMBLE
from pcgrelay._core.worker.worker cimport WORKER_EDGE, WORKER_RELAY, worker_wake, worker_woken

from os import urandom

from pcgrelay._core.face.workers import CoreError

crypto_bind()

# Before the first table is made.
map_seed(<uint32_t>int.from_bytes(urandom(4), "little"))

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
EVENT_LINK_RENEWED = mailbox.EVENT_LINK_RENEWED
EVENT_SESSION_RENEWED = mailbox.EVENT_SESSION_RENEWED
EVENT_SESSION_AGREED, EVENT_SESSION_MOVED = mailbox.EVENT_SESSION_AGREED, mailbox.EVENT_SESSION_MOVED
EVENT_SETUP_ENDED = mailbox.EVENT_SETUP_ENDED
EVENT_STREAMS_NUDGED = mailbox.EVENT_STREAMS_NUDGED
EVENT_STREAMS_DONE = mailbox.EVENT_STREAMS_DONE
ROLE_EDGE = WORKER_EDGE
ROLE_RELAY = WORKER_RELAY
RECORD_VERSION = HANDOVER_VERSION
RECORD_LEAST = HANDOVER_LEAST
IMPORT_DOWN, IMPORT_UNCLEARED = route.IMPORT_DOWN, route.IMPORT_UNCLEARED
IMPORT_PENDING, IMPORT_LIVE = route.IMPORT_PENDING, route.IMPORT_LIVE
OUTLET_NONE, OUTLET_GATEWAY = route.OUTLET_NONE, route.OUTLET_GATEWAY
OUTLET_DIRECT, OUTLET_FORBIDDEN = route.OUTLET_DIRECT, route.OUTLET_FORBIDDEN
OUTLET_ENDED = route.OUTLET_ENDED
EXPORT_READY, EXPORT_DRAIN, EXPORT_UNRESOLVED = route.EXPORT_READY, route.EXPORT_DRAIN, route.EXPORT_UNRESOLVED

cdef enum:
    EVENTS_AT_ONCE = 512


def refusal_name(int reason) -> str:
    """The name of a local reason of docs/protocol.md, section 10."""
    return name_of_reason(reason)


def cause_name(int cause) -> str:
    """Why a stream ended, for the log."""
    return name_of_cause(cause)


def library() -> tuple:
    """The libcrypto that seals and opens, as it names itself, and whether it came with this package."""
    return OpenSSL_version(OPENSSL_VERSION).decode("ascii", "replace"), CRYPTO_IS_BUNDLED != 0


def wiped(unsigned char[::1] secret) -> None:
    """Overwrite what held secrets."""
    if secret.shape[0] != 0:
        OPENSSL_cleanse(&secret[0], secret.shape[0])


# Tables in their own memory. CoreError: what no worker could use; the words say what.
cdef Tables* tables_built(exports, imports, grants, dict meters) except NULL:
    try:
        return tables_fill(exports, imports, grants, meters)
    except (ValueError, TypeError, OverflowError) as fault:
        raise CoreError(str(fault)) from None


cdef class Core(Outlets):
    """The workers of one node. See core.pyi for the contract of each method."""

    # -- events

    def events(self, uint32_t limit=4096, bint whole=True, bint detailed=False, bint crowded=False) -> list:
        cdef Event batch[EVENTS_AT_ONCE]
        cdef Ends ends
        cdef uint32_t i, n, taken = 0
        cdef uint64_t lost = 0, lost_kept = 0
        cdef list out = []
        if self._stopped:
            return out
        ends_begin(&ends, detailed, crowded)
        # Clear the wake-up first: an event that comes after the events were taken sets it again.
        worker_woken(self._event_fd)
        while taken < limit:
            n = outbox_drain(&self._outbox, batch, EVENTS_AT_ONCE, &lost, &lost_kept)
            if lost != 0:
                # Perhaps the end of a round was among them.
                self._rounds = 0
                out.append((EVENT_EVENTS_LOST, lost, lost_kept))
            for i in range(n):
                if not whole and batch[i].kind == mailbox.EVENT_STREAM_END and ends_count(&ends, &batch[i].data.stream):
                    continue
                item = self._event(&batch[i])
                if item is not None:
                    out.append(item)
            taken += n
            if n < EVENTS_AT_ONCE:
                break
        else:
            worker_wake(self._event_fd)
        # First, for then their sessions are there still.
        return ends_events(&ends) + out

    cdef _event(self, const Event* event):
        cdef int kind = event.kind
        cdef const RenewalEvent* renewal = &event.data.renewal
        cdef const SessionEvent* of_session = &event.data.session
        cdef SessionEntry session
        cdef Entry entry
        if kind == mailbox.EVENT_FLOW_UP:
            session = self._sessions.get(of_session.number)
            if session is None:
                return None
            session.flows_missing -= 1
            return (mailbox.EVENT_SESSION_UP, of_session.number) if session.flows_missing == 0 else None
        if kind == mailbox.EVENT_LINK_RENEWED or kind == mailbox.EVENT_SESSION_RENEWED:
            entry = (self._links if kind == mailbox.EVENT_LINK_RENEWED else self._sessions).get(renewal.number)
            if entry is None or not entry.is_renewed(renewal.serial):
                return None
            return kind, renewal.number, renewal.mix
        if kind == mailbox.EVENT_SESSION_DOWN:
            # Its flows are on several workers: the first end closes them all and is reported once.
            if of_session.number not in self._sessions:
                return None
            self.session_close(of_session.number, of_session.code)
            return (kind, of_session.number, of_session.code, name_of_reason(of_session.reason),
                    bool(of_session.remote))
        if kind == mailbox.EVENT_STREAMS_NUDGED and self._rounds != 0:
            self._rounds -= 1
        return event_tuple(event)

    # -- links

    def link_add(self, uint32_t link, *, bytearray secret, bytes binding, uint32_t suite, bint dialler, uint32_t lanes,
                 bytes link_id) -> None:
        cdef LinkEntry entry = LinkEntry()
        cdef LinkOrder* args
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
            answer = lane_keys_start(&entry.keys, <const uint8_t*><char*>secret,
                                     <const uint8_t*><const char*>link_id, lanes)
        finally:
            OPENSSL_cleanse(<char*>secret, len(secret))
        if answer != RESULT_OK:
            raise CoreError("libcrypto could not derive the keys of the link")
        entry.dialler = dialler
        entry.gauge = gauge_new(self._count, <int>self._count + 1)
        if entry.gauge == NULL:
            raise MemoryError
        order = workers_order(mailbox.ORDER_LINK_ADD)
        args = &order.args.link
        args.number, args.suite, args.dialler, args.lanes = link, suite, dialler, lanes
        args.gauge = entry.gauge
        memcpy(args.binding, <const char*>binding, 32)
        self._links[link] = entry
        self._send_all(order)

    cdef LinkEntry _link(self, uint32_t link):
        self._alive()
        cdef LinkEntry entry = self._links.get(link)
        if entry is None:
            raise CoreError(f"there is no link {link}")
        return entry

    def lane_dial(self, uint32_t link, uint32_t index) -> tuple:
        cdef LinkEntry entry = self._link(link)
        cdef uint8_t preamble[WIRE_PREAMBLE]
        cdef uint32_t number = 0
        if entry.inherited or index >= entry.keys.lanes:
            raise CoreError(f"link {link} has no lane {index} to open")
        if lane_keys_dial(&entry.keys, <uint16_t>index, &number, preamble) != RESULT_OK:
            raise CoreError("libcrypto could not derive the keys of the lane")
        return number, PyBytes_FromStringAndSize(<const char*>preamble, WIRE_PREAMBLE)

    def lane_check(self, uint32_t link, bytes preamble) -> tuple:
        cdef LinkEntry entry = self._link(link)
        cdef uint16_t index = 0
        cdef uint32_t number = 0
        if len(preamble) != WIRE_PREAMBLE or entry.dialler or entry.inherited or lane_keys_check(
                &entry.keys, <const uint8_t*><const char*>preamble, &index, &number) != RESULT_OK:
            raise CoreError("bad-preamble")
        return index, number

    def lane_add(self, uint32_t link, uint32_t index, uint32_t number, int fd) -> None:
        cdef LinkEntry entry
        cdef Order* order
        try:
            entry = self._link(link)
            order = workers_order(mailbox.ORDER_LANE_ADD)
        except BaseException:
            close(fd)
            raise
        order.fd = fd
        order.args.lane.link, order.args.lane.index, order.args.lane.number = link, index, number
        if entry.inherited or index >= entry.keys.lanes \
                or lane_keys_use(&entry.keys, number, order.secret) != RESULT_OK:
            order_free(order)
            close(fd)
            raise CoreError(f"lane {number} of link {link} was not announced, or is used up")
        self._send(index % self._count, order)

    def link_close(self, uint32_t link, uint32_t code) -> None:
        self._link(link)
        del self._links[link]
        self._close(mailbox.ORDER_LINK_CLOSE, link, code)

    # For both links and sessions.
    cdef _close(self, OrderKind kind, uint32_t number, uint32_t code):
        cdef Order* order = workers_order(kind)
        order.args.close.number, order.args.close.code = number, code
        self._send_all(order)

    def link_drain(self, uint32_t link, uint32_t milliseconds) -> None:
        cdef Order* order
        self._link(link)
        order = workers_order(mailbox.ORDER_LINK_DRAIN)
        order.args.drain.link, order.args.drain.milliseconds = link, milliseconds
        self._send_all(order)

    def link_renew(self, uint32_t link, *, bytearray secret, uint64_t mix) -> None:
        self._renew(mailbox.ORDER_LINK_RENEW, link, self._link(link), secret, mix)

    def link_mix(self, uint32_t link, uint64_t mix) -> None:
        self._link(link)
        self._mix(mailbox.ORDER_LINK_MIX, link, mix)

    def link_has_stepped(self, uint32_t link, uint64_t mix) -> bool:
        cdef LinkEntry entry = self._links.get(link)
        return entry is not None and link_has_stepped(entry.gauge, mix)

    cdef _mix(self, OrderKind kind, uint32_t number, uint64_t mix):
        cdef Order* order = workers_order(kind)
        order.args.renewal.number, order.args.renewal.mix = number, mix
        self._send_all(order)

    # Every worker gets the secret; the caller's copy is wiped in any case.
    cdef _renew(self, OrderKind kind, uint32_t number, Entry entry, bytearray secret, uint64_t mix):
        cdef Order* order
        try:
            if len(secret) != 32 or mix == 0:
                raise CoreError("a renewal needs a secret of 32 bytes and a mix id that is not 0")
            order = workers_order(kind)
            memcpy(order.secret, <char*>secret, 32)
        finally:
            OPENSSL_cleanse(<char*>secret, len(secret))
        order.args.renewal.number, order.args.renewal.mix = number, mix
        order.args.renewal.serial = entry.renew(self._count)
        self._send_all(order)

    # -- paths of a relay

    def path_add(self, uint32_t path, *, uint32_t a_link, uint32_t a_in, uint32_t a_out, uint32_t b_link, uint32_t b_in,
                 uint32_t b_out, uint64_t cap, uint32_t priority) -> None:
        cdef PathOrder* args
        cdef Order* order
        self._alive()
        if self._role != WORKER_RELAY:
            raise CoreError("only a relay has paths")
        if 0 in (a_in, a_out, b_in, b_out) or priority > 2:
            raise CoreError("a label is never 0, and a priority is 0, 1 or 2")
        order = workers_order(mailbox.ORDER_PATH_ADD)
        args = &order.args.path
        args.number, args.cap, args.priority = path, cap, priority
        args.a_link, args.a_in, args.a_out = a_link, a_in, a_out
        args.b_link, args.b_in, args.b_out = b_link, b_in, b_out
        self._send_all(order)

    def path_remove(self, uint32_t path) -> None:
        cdef Order* order
        self._alive()
        order = workers_order(mailbox.ORDER_PATH_REMOVE)
        order.args.path.number = path
        self._send_all(order)

    # -- sessions of an edge

    def session_add(self, uint32_t session, *, bytearray secret, bytes binding, uint32_t suite, bint initiator,
                    uint32_t flows, uint64_t cap, uint32_t marking, uint32_t priority,
                    uint64_t organisation=0, uint32_t id_head=0, bytes caller=b"", uint32_t ack_bytes=262144) -> None:
        cdef SessionEntry entry = SessionEntry()
        cdef SessionOrder* args
        cdef Order* order = NULL
        self._alive()
        try:
            if self._role != WORKER_EDGE:
                raise CoreError("only an edge has sessions")
            if session == 0 or session in self._sessions:
                raise CoreError(f"session {session} is known already, or no number for a session")
            if len(secret) != 32 or len(binding) != 32 or aead_key_length(suite) == 0:
                raise CoreError("a session needs a secret and a binding of 32 bytes and a known suite")
            if not 1 <= flows <= WIRE_LANES_MAX or priority > 2 or cap < 131072 or not 65536 <= ack_bytes <= 262144:
                raise CoreError("flows: 1 to 64, priority: 0 to 2, cap: from 131,072, ack_bytes: 65,536 to 262,144")
            order = workers_order(mailbox.ORDER_SESSION_ADD)
            memcpy(order.secret, <char*>secret, 32)
        finally:
            OPENSSL_cleanse(<char*>secret, len(secret))
        entry.flows_missing = flows
        entry.gauge = gauge_new(self._count, <int>self._count + 1)
        if entry.gauge == NULL:
            order_free(order)
            raise MemoryError
        try:
            entry.gauge.organisation = self._organisation(organisation)
            session_name(entry.gauge, id_head, caller)
        except BaseException:
            # The references of the workers were taken already.
            entry.gauge.references = 1
            order_free(order)
            raise
        entry.organisation = organisation
        args = &order.args.session
        args.number, args.suite, args.initiator, args.flows = session, suite, initiator, flows
        args.cap, args.ack_bytes, args.marking, args.priority = cap, ack_bytes, marking, priority
        args.gauge = entry.gauge
        memcpy(args.binding, <const char*>binding, 32)
        self._sessions[session] = entry
        self._send_all(order)

    cdef SessionEntry _session(self, uint32_t session):
        self._alive()
        cdef SessionEntry entry = self._sessions.get(session)
        if entry is None:
            raise CoreError(f"there is no session {session}")
        return entry

    def session_path(self, uint32_t session, *, uint32_t link, uint32_t in_label, uint32_t out_label,
                     uint32_t instead=0) -> None:
        self._lead(mailbox.ORDER_SESSION_PATH, session, link, in_label, out_label, instead)

    def session_candidate(self, uint32_t session, *, uint32_t link, uint32_t in_label, uint32_t out_label) -> None:
        self._lead(mailbox.ORDER_SESSION_CANDIDATE, session, link, in_label, out_label, 0)

    cdef _lead(self, OrderKind kind, uint32_t session, uint32_t link, uint32_t in_label, uint32_t out_label,
               uint32_t instead):
        cdef LeadOrder* args
        cdef Order* order
        self._session(session)
        if in_label == 0 or out_label == 0:
            raise CoreError("a label is never 0")
        order = workers_order(kind)
        args = &order.args.lead
        args.session, args.link, args.in_label, args.out_label = session, link, in_label, out_label
        args.instead = instead
        self._send_all(order)

    def session_candidate_drop(self, uint32_t session, uint32_t in_label) -> None:
        cdef Order* order
        self._session(session)
        order = workers_order(mailbox.ORDER_SESSION_CANDIDATE)
        order.args.lead.session, order.args.lead.in_label = session, in_label
        self._send_all(order)

    def session_close(self, uint32_t session, uint32_t code) -> None:
        self._session(session)
        del self._sessions[session]
        self._close(mailbox.ORDER_SESSION_CLOSE, session, code)

    def session_renew(self, uint32_t session, *, bytearray secret, uint64_t mix) -> None:
        self._renew(mailbox.ORDER_SESSION_RENEW, session, self._session(session), secret, mix)

    def session_has_stepped(self, uint32_t session, uint64_t mix, uint32_t flows) -> bool:
        cdef SessionEntry entry = self._sessions.get(session)
        return entry is not None and session_has_stepped(entry.gauge, mix, flows)

    def session_mix(self, uint32_t session, uint64_t mix) -> None:
        self._session(session)
        self._mix(mailbox.ORDER_SESSION_MIX, session, mix)

    # -- tables

    def tables_check(self, *, exports, imports, grants) -> None:
        self._alive()
        tables_drop(tables_built(exports, imports, grants, self._meters))

    def publish(self, *, exports, imports, grants) -> None:
        cdef Tables* tables
        cdef Order* order
        self._alive()
        tables = tables_built(exports, imports, grants, self._meters)
        try:
            order = workers_order(mailbox.ORDER_TABLES)
        except BaseException:
            tables_drop(tables)
            raise
        for _ in range(self._count - 1):
            tables_hold(tables)
        order.args.tables = tables
        self._send_all(order)

    def import_listen(self, uint32_t number, fds, uint32_t listener=0) -> None:
        cdef Order* order
        cdef uint32_t i
        self._alive()
        if len(fds) != self._count:
            raise CoreError(f"an import needs one listening socket for each of {self._count} workers, not {len(fds)}")
        if listener >= STATS_LISTENERS:
            raise CoreError(f"there are no counts of a listener {listener}")
        for i, fd in enumerate(fds):
            order = workers_order(mailbox.ORDER_LISTEN)
            order.args.listen.import_number, order.args.listen.listener = number, listener
            order.fd = fd
            self._send(i, order)

    def import_unlisten(self, uint32_t number) -> None:
        cdef Order* order
        self._alive()
        order = workers_order(mailbox.ORDER_UNLISTEN)
        order.args.import_number = <int>number
        self._send_all(order)

    def settings(self, **changes) -> None:
        cdef Order* order
        self._alive()
        self._change(changes)
        order = workers_order(mailbox.ORDER_SETTINGS)
        order.args.settings = self._settings
        self._send_all(order)

    def drain(self) -> None:
        self._alive()
        self._send_all(workers_order(mailbox.ORDER_DRAIN))

    # -- facts

    def streams(self) -> int:
        return counters_streams(self._workers, self._ready)

    def counters(self) -> dict:
        return counters_total(self._workers, self._ready)

    def services(self) -> dict:
        return counters_services(self._workers, self._ready)

    def listener(self, uint32_t listener) -> tuple:
        if listener >= STATS_LISTENERS:
            raise CoreError(f"there are no counts of a listener {listener}")
        return counters_listener(self._workers, self._ready, listener)

    def per_worker(self) -> list:
        return counters_workers(self._workers, self._ready)

    def links(self) -> dict:
        cdef LinkEntry entry
        return {link: counters_link(entry.gauge) for link, entry in self._links.items()}

    def sessions(self) -> dict:
        cdef SessionEntry entry
        return {session: counters_session(entry.gauge) for session, entry in self._sessions.items()}

    def memory(self) -> dict:
        return counters_memory(self._workers, self._ready, self._memory)
