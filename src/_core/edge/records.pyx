from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.string cimport memset

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.buf cimport BUF_LARGEST, Buf, buf_data, buf_drop, buf_alloc_word
from pcgrelay._core.frame.credit cimport credit_left, credit_raise, credit_receive, credit_wish
from pcgrelay._core.edge.associations cimport association_begin, association_drop, association_opened
from pcgrelay._core.edge.datagrams cimport datagrams_rx
from pcgrelay._core.edge.setups cimport setup_answered, setup_rx_fin, setup_up
from pcgrelay._core.edge.limits cimport limits_of_export, limits_watch
from pcgrelay._core.edge.lists cimport edge_dirty, edge_ready
from pcgrelay._core.edge.streams cimport (
    EDGE_STREAMS_MAX, EDGE_WINDOW, EDGE_WINDOW_LESS, EDGE_WINDOW_MORE, RULE_NONE, edge_abort, edge_count, edge_cut,
    edge_dropped, edge_grant, edge_hold, edge_linger, edge_lingers,
    edge_stream,
)
from pcgrelay._core.stream.flow cimport FLOW_CLOSED, Flow, flow_is_greedy, flow_late, stream_flow
from pcgrelay._core.link.gauge cimport gauge_at
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.base.map cimport map_find, map_put
from pcgrelay._core.base.organisation cimport (
    Organisation, organisation_bears, organisation_may_open, organisation_unanswered,
)
from pcgrelay._core.base.queue cimport queue_push
from pcgrelay._core.frame.record cimport (
    Record, record_check, record_head, record_number, record_open, record_read, record_reset,
)
from pcgrelay._core.base.result cimport (
    RESULT_BAD_CREDIT, RESULT_BAD_FINAL, RESULT_BAD_STATE, RESULT_BAD_STREAM, RESULT_BUDGET,
    RESULT_LATE, RESULT_NOT_CONFIRMED, RESULT_OK, RESULT_UNANSWERED, Result,
)
from pcgrelay._core.stream.service_tables cimport (
    EXPORT_DRAIN, EXPORT_UNRESOLVED, Export, Import, Tables, export_is_of_datagrams, tables_export, tables_grants,
    tables_import,
)
from pcgrelay._core.session.session cimport (
    SESSION_GAUGE_STREAMS, Session, flow_session, session_bundle, session_find, session_has_others,
)
from pcgrelay._core.session.stream_walk cimport StreamWalk, stream_walk_again, stream_walk_next
from pcgrelay._core.base.stats cimport (
    CAUSE_BUDGET, CAUSE_DONE, CAUSE_DRAINING, CAUSE_MARKING, CAUSE_NOT_ALLOWED,
    CAUSE_TARGET_UNRESOLVED, CAUSE_TRANSPORT, CAUSE_UNKNOWN_SERVICE, COUNT_APPLICATION_SENT, COUNT_DATAGRAMS_IGNORED,
    COUNT_LATE_RECORDS, COUNT_STREAMS_JUDGED, COUNT_STREAMS_REFUSED, DROP_NO_STREAM, Cause,
)
from pcgrelay._core.stream.stream cimport (
    BREAK_NONE, DIAL_TRYING, IN_ENDED, LIFE_DEFERRED, LIFE_LIVE, OUT_FIN_DUE, STREAM_ANSWERING,
    STREAM_ANSWERING_FIN, STREAM_CLOSED, STREAM_FORGET, STREAM_IDLE, STREAM_RESET, STREAM_RX_ACCEPT, STREAM_RX_DATA,
    STREAM_RX_FIN, STREAM_RX_OPEN, STREAM_TX_ACCEPT, STREAM_TX_DATA, STREAM_TX_FIN, STREAM_TX_OPEN, TX_ACCEPT,
    TX_CREDIT, TX_OPEN, TX_RESET, Stream, stream_may, stream_step,
)
from pcgrelay._core.base.timer cimport timer_clear, timer_set
from pcgrelay._core.base.wire cimport (
    CODE_BUSY, CODE_DRAINING, CODE_LIMIT, CODE_REFUSED, CODE_UNKNOWN, CODE_UNREACHABLE, RECORD_ACCEPT, RECORD_CREDIT,
    RECORD_DATA, RECORD_FIN, RECORD_OPEN, RECORD_PAD, RECORD_RESET, TRANSPORT_DATAGRAM, TRANSPORT_STREAM, WIRE_EARLY,
    WIRE_PREFIX, WIRE_RECORD,
)


cdef enum:
    RESET_LENGTH = 12
    REFUSALS = 80 * RESET_LENGTH  # in one frame: a small buffer


# -- received records -------------------------------------------------------------------------------------------------

cdef Result records_rx(Shard* shard, Flow* flow, uint8_t* body, uint32_t length, Buf* owner) noexcept nogil:
    cdef Record record
    cdef uint32_t used = 0
    cdef Buf* refusals = NULL
    cdef Result answer
    if flow.state == FLOW_CLOSED:
        return RESULT_NOT_CONFIRMED
    answer = record_check(body, length, False)
    if answer != RESULT_OK:
        return answer
    while length != 0:
        # All of them were checked above.
        record_read(body, length, &record, &used)
        answer = rx_record(shard, flow, &record, owner, &refusals)
        if answer == RESULT_LATE:
            counter_add(&shard.stats.count[COUNT_LATE_RECORDS], 1)
            answer = flow_late(flow, shard.now_us)
        if answer != RESULT_OK:
            buf_drop(&shard.pool, refusals)
            return answer
        body += used
        length -= used
    return say_refusals(shard, flow, &refusals)


cdef Result records_rx_datagrams(Shard* shard, Flow* flow, uint8_t* body, uint32_t length, Buf* owner) noexcept nogil:
    cdef Record record
    cdef uint32_t used = 0
    cdef Stream* stream
    cdef Result answer = record_check(body, length, True)
    while length != 0 and answer == RESULT_OK:
        # All of them were checked above.
        record_read(body, length, &record, &used)
        stream = <Stream*>map_find(&flow.streams, record.stream)
        if stream == NULL or not stream.datagram or stream.life != LIFE_LIVE or stream.state == STREAM_CLOSED \
                or stream.state == STREAM_IDLE:
            counter_add(&shard.stats.count[COUNT_DATAGRAMS_IGNORED], 1)
            association_drop(shard, NULL, DROP_NO_STREAM)
        else:
            datagrams_rx(shard, stream, &record, owner)
        body += used
        length -= used
    return answer


cdef Result rx_record(Shard* shard, Flow* flow, const Record* record, Buf* owner, Buf** refusals) noexcept nogil:
    cdef Stream* stream
    cdef bint ours
    if record.kind == RECORD_PAD:
        return RESULT_OK
    ours = (record.stream & 1 == 1) == flow.initiator
    if record.kind == RECORD_OPEN:
        return RESULT_BAD_STREAM if ours else rx_open(shard, flow, record, refusals)
    stream = <Stream*>map_find(&flow.streams, record.stream)
    if stream == NULL:
        if (ours and record.stream >= flow.tx_highest) or (not ours and record.stream > flow.rx_highest):
            return RESULT_BAD_STREAM
        return RESULT_LATE
    if stream.life != LIFE_LIVE or stream.state == STREAM_CLOSED:
        # It only has a RESET to send, or bytes that its application reads slowly.
        return RESULT_LATE
    if stream.state == STREAM_IDLE:
        # Our OPEN was not even sent.
        return RESULT_BAD_STREAM
    if stream.datagram and record.kind != RECORD_ACCEPT and record.kind != RECORD_RESET:
        return RESULT_BAD_STATE
    if record.kind == RECORD_DATA:
        return rx_data(shard, stream, record, owner)
    if record.kind == RECORD_CREDIT:
        if credit_raise(&stream.tx, record.value) != RESULT_OK:
            return RESULT_BAD_CREDIT
        if stream.readable or stream.input == IN_ENDED:
            edge_ready(shard, stream)
        return RESULT_OK
    if record.kind == RECORD_ACCEPT:
        if not stream_step(stream, STREAM_RX_ACCEPT):
            return RESULT_BAD_STATE
        if rx_limit(stream, record.value) != RESULT_OK:
            return RESULT_BAD_CREDIT
        if stream.setup == NULL or not stream.datagram:
            # Of datagrams this says that the far edge is there; whether the service is, the first of them says.
            if stream.setup != NULL:
                timer_clear(&shard.wheel, &stream.timer)
                setup_up(shard, stream.setup)
            stream.unanswered = True
        edge_ready(shard, stream)
        return RESULT_OK
    if record.kind == RECORD_FIN:
        if not stream_step(stream, STREAM_RX_FIN):
            return RESULT_BAD_STATE
        if record.value != stream.rx.received:
            return RESULT_BAD_FINAL
        if stream.unanswered:
            setup_rx_fin(shard, stream)
        stream.output = OUT_FIN_DUE
        edge_linger(shard, stream)
        edge_dirty(shard, stream)
        return RESULT_OK
    # RESET
    if stream.state == STREAM_ANSWERING or stream.state == STREAM_ANSWERING_FIN:
        organisation_unanswered(flow_session(flow).gauge.organisation, stream.number, shard.now_us)
    if not stream_step(stream, STREAM_RESET):
        return RESULT_BAD_STATE
    edge_cut(shard, stream, record.code, record.rule)
    return RESULT_OK


# The limit in OPEN or ACCEPT. Datagrams have no credit.
cdef Result rx_limit(Stream* stream, uint64_t limit) noexcept nogil:
    if not stream.datagram:
        return credit_raise(&stream.tx, limit)
    return RESULT_OK if limit == 0 else RESULT_BAD_CREDIT


cdef Result rx_data(Shard* shard, Stream* stream, const Record* record, Buf* owner) noexcept nogil:
    if not stream_step(stream, STREAM_RX_DATA):
        return RESULT_BAD_STATE
    if credit_receive(&stream.rx, record.length) != RESULT_OK:
        return credit_receive(&stream.rx, record.length)
    if stream.unanswered:
        setup_answered(shard, stream)
    if stream.broken != BREAK_NONE:
        edge_dropped(shard, stream, record.length)
        return RESULT_OK
    # A stream keeps a frame only if most of it is its own; else a stalled reader would occupy the data of others.
    if owner != NULL and record.length < owner.length / 2:
        owner = NULL
        shard.lent = True
    if owner != NULL:
        owner.refs += 1
    if queue_push(&stream.out, &shard.pool, <uint8_t*>record.data, record.length, owner, NULL) != RESULT_OK:
        if owner != NULL:
            owner.refs -= 1
        edge_abort(shard, stream, CODE_BUSY, CAUSE_BUDGET)
        return RESULT_OK
    edge_dirty(shard, stream)
    return RESULT_OK


# Refuse an OPEN for which there is no memory: it is answered without a stream, together with all others of its bundle.
# If the peer does not even read these answers, its session ends.
cdef Result refuse_open(Shard* shard, Flow* flow, uint32_t id, uint32_t code, Buf** refusals) noexcept nogil:
    cdef Buf* buf = refusals[0]
    counter_add(&shard.stats.count[COUNT_STREAMS_REFUSED], 1)
    if buf == NULL:
        if flow.retained_bytes + BUF_LARGEST > flow.cap or flow.retained_held > flow.cap:
            return RESULT_BUDGET
        buf = buf_alloc_word(&shard.pool, WIRE_PREFIX + REFUSALS)
        if buf == NULL:
            return RESULT_BUDGET
        refusals[0] = buf
    buf.length += record_reset(buf_data(buf) + WIRE_PREFIX + buf.length, id, code, RULE_NONE)
    if buf.length + RESET_LENGTH <= REFUSALS:
        return RESULT_OK
    return say_refusals(shard, flow, refusals)


cdef Result say_refusals(Shard* shard, Flow* flow, Buf** refusals) noexcept nogil:
    cdef Buf* buf = refusals[0]
    refusals[0] = NULL
    return RESULT_OK if buf == NULL else session_bundle(shard, flow, buf, buf.length)


cdef Result rx_open(Shard* shard, Flow* flow, const Record* record, Buf** refusals) noexcept nogil:
    cdef Session* session = flow_session(flow)
    cdef const Export* entry
    cdef Stream* stream
    cdef Organisation* peer = session.gauge.organisation
    cdef Cause cause = CAUSE_UNKNOWN_SERVICE
    # Its path was led as one of the session's marking, whatever the peer says in OPEN.
    cdef uint8_t marking = <uint8_t>min(record.marking, session.marking)
    if record.stream <= flow.rx_highest:
        return RESULT_BAD_STREAM
    flow.rx_highest = record.stream
    entry = tables_export(shard.tables, record.service, record.service_length)
    if entry != NULL:
        cause = export_permits(shard, session.number, entry, marking)
        if cause == CAUSE_DONE and (record.transport == TRANSPORT_DATAGRAM) != export_is_of_datagrams(entry):
            cause = CAUSE_TRANSPORT
    if not organisation_may_open(peer, <int>entry.number if cause == CAUSE_DONE else -1, shard.now_us):
        counter_add(&shard.stats.refused[<int>RESULT_UNANSWERED], 1)
        if not organisation_bears(peer, shard.now_us):
            return RESULT_UNANSWERED
        return refuse_open(shard, flow, record.stream, CODE_LIMIT, refusals)
    # A stream with the least window costs little. Only the last eighth is reserved for other organisations, if any.
    if shard.pool.used > shard.pool.limit / 8 * 7 and flow_is_greedy(flow, &shard.pool) \
            and session_has_others(shard, session):
        counter_add(&shard.stats.refused[<int>RESULT_BUDGET], 1)
        return refuse_open(shard, flow, record.stream, CODE_BUSY, refusals)
    if flow.streams.count >= EDGE_STREAMS_MAX:
        return refuse_open(shard, flow, record.stream, CODE_LIMIT, refusals)
    stream = edge_stream(shard, -1, False, record.service, record.service_length)
    if stream == NULL:
        return refuse_open(shard, flow, record.stream, CODE_BUSY, refusals)
    stream.flow = flow
    stream.session = session.number
    stream.id = record.stream
    stream.datagram = record.transport == TRANSPORT_DATAGRAM
    stream_step(stream, STREAM_RX_OPEN)
    if not map_put(&flow.streams, stream.id, stream):
        stream.flow = NULL
        edge_abort(shard, stream, CODE_BUSY, CAUSE_BUDGET)
        return RESULT_BUDGET
    counter_add(&gauge_at(session.gauge, shard.index)[SESSION_GAUGE_STREAMS], 1)
    edge_hold(stream)
    if rx_limit(stream, record.value) != RESULT_OK:
        return RESULT_BAD_CREDIT
    if not stream.datagram:
        edge_grant(shard, stream, WIRE_EARLY)
    if entry == NULL:
        edge_abort(shard, stream, CODE_UNKNOWN, CAUSE_UNKNOWN_SERVICE)
        return RESULT_OK
    stream.number = <int>entry.number
    edge_count(shard, stream, 1)
    stream.rule = entry.rule
    stream.marking = marking
    if cause != CAUSE_DONE:
        edge_abort(shard, stream, CODE_REFUSED, cause)
    elif shard.draining or entry.state == EXPORT_DRAIN:
        edge_abort(shard, stream, CODE_DRAINING, CAUSE_DRAINING)
    elif entry.state == EXPORT_UNRESOLVED or entry.target_count == 0:
        edge_abort(shard, stream, CODE_UNREACHABLE, CAUSE_TARGET_UNRESOLVED)
    else:
        begin_dial(shard, stream, entry, peer)
    return RESULT_OK


cdef void begin_dial(Shard* shard, Stream* stream, const Export* entry, Organisation* peer) noexcept nogil:
    cdef Cause cause = limits_of_export(shard, peer, entry.number)
    if cause != CAUSE_DONE:
        edge_abort(shard, stream, CODE_LIMIT, cause)
        return
    if stream.datagram and not association_begin(shard, stream, &entry.datagrams):
        edge_abort(shard, stream, CODE_BUSY, CAUSE_BUDGET)
        return
    limits_watch(shard, stream)
    # The worker connects those that are dirty and have no socket yet.
    stream.dial = DIAL_TRYING
    stream.due_us = shard.now_us + entry.connect_us
    timer_set(&shard.wheel, &stream.timer, stream.due_us)
    edge_dirty(shard, stream)


# -- new tables -------------------------------------------------------------------------------------------------------

# The cause for which the tables do not let the peer of a session use an export; CAUSE_DONE: they do.
cdef Cause export_permits(Shard* shard, uint32_t session, const Export* entry, uint8_t marking) noexcept nogil:
    if not tables_grants(shard.tables, session, entry.number):
        return CAUSE_NOT_ALLOWED
    return CAUSE_MARKING if marking < entry.marking else CAUSE_DONE


cdef void judge_again(Shard* shard, Stream* stream) noexcept nogil:
    cdef const Export* entry
    cdef Cause cause
    cdef const Import* import_entry
    if stream.opener:
        import_entry = tables_import(shard.tables, <uint32_t>stream.number)
        if import_entry == NULL:
            edge_abort(shard, stream, CODE_REFUSED, CAUSE_NOT_ALLOWED)
        elif stream.datagram != (import_entry.datagrams != NULL):
            edge_abort(shard, stream, CODE_REFUSED, CAUSE_TRANSPORT)
        return
    entry = tables_export(shard.tables, stream.service, stream.service_length)
    if entry == NULL:
        edge_abort(shard, stream, CODE_UNKNOWN, CAUSE_UNKNOWN_SERVICE)
        return
    stream.rule = entry.rule
    cause = export_permits(shard, stream.session, entry, stream.marking)
    if cause == CAUSE_DONE and stream.datagram != export_is_of_datagrams(entry):
        cause = CAUSE_TRANSPORT
    if cause != CAUSE_DONE:
        edge_abort(shard, stream, CODE_REFUSED, cause)


# Whether something that the old tables allowed is no longer allowed, or is allowed by another rule.
cdef bint takes_away(Shard* shard, const Tables* before) noexcept nogil:
    cdef const Tables* now = shard.tables
    cdef const Export* old
    cdef const Export* entry
    cdef const Import* fresh
    cdef uint32_t i
    cdef uint32_t at = 0
    if before == NULL:
        # Streams of the previous process are judged by the first tables.
        return True
    for i in range(before.export_count):
        old = &before.exports[i]
        entry = tables_export(now, old.service, old.service_length)
        if entry == NULL or entry.number != old.number or entry.rule != old.rule or entry.marking > old.marking \
                or export_is_of_datagrams(entry) != export_is_of_datagrams(old):
            return True
    for i in range(before.import_count):
        fresh = tables_import(now, before.imports[i].number)
        if fresh == NULL or (fresh.datagrams == NULL) != (before.imports[i].datagrams == NULL):
            return True
    for i in range(before.grant_count):
        while at < now.grant_count and now.grants[at] < before.grants[i]:
            at += 1
        # A session that has ended has no streams.
        if (at == now.grant_count or now.grants[at] != before.grants[i]) \
                and session_find(shard, <uint32_t>(before.grants[i] >> 16)) != NULL:
            return True
    return False


cdef void records_linger_restart(Shard* shard) noexcept nogil:
    cdef StreamWalk walk
    cdef Stream* stream
    memset(&walk, 0, sizeof(StreamWalk))
    stream = stream_walk_next(shard, &walk)
    while stream != NULL:
        if edge_lingers(stream):
            edge_linger(shard, stream)
        stream = stream_walk_next(shard, &walk)


cdef void records_tables_changed(Shard* shard, const Tables* before) noexcept nogil:
    cdef StreamWalk walk
    cdef Stream* stream
    if not takes_away(shard, before):
        return
    memset(&walk, 0, sizeof(StreamWalk))
    stream = stream_walk_next(shard, &walk)
    while stream != NULL:
        if stream.life == LIFE_LIVE:
            counter_add(&shard.stats.count[COUNT_STREAMS_JUDGED], 1)
            judge_again(shard, stream)
            if stream.life == LIFE_DEFERRED:
                stream_walk_again(&walk)
        stream = stream_walk_next(shard, &walk)


# -- sent records -----------------------------------------------------------------------------------------------------

cdef uint32_t records_tx(Shard* shard, Stream* stream, uint8_t* p, bint* gone) noexcept nogil:
    cdef uint32_t n = 0
    cdef const Import* entry
    gone[0] = False
    if stream.say & TX_RESET:
        if stream_step(stream, STREAM_RESET):
            n = record_reset(p, stream.id, stream.code, stream.rule)
        else:
            stream_step(stream, STREAM_FORGET)
        gone[0] = True
        return n
    if stream.say & TX_OPEN:
        entry = tables_import(shard.tables, <uint32_t>stream.number)
        stream_step(stream, STREAM_TX_OPEN)
        n = record_open(p, stream.id, first_limit(shard, stream), 1 if entry == NULL else entry.marking,
                        0 if entry == NULL else entry.priority,
                        TRANSPORT_DATAGRAM if stream.datagram else TRANSPORT_STREAM, stream.service,
                        stream.service_length)
    if stream.say & TX_ACCEPT:
        stream_step(stream, STREAM_TX_ACCEPT)
        n += record_number(p + n, stream.id, RECORD_ACCEPT, first_limit(shard, stream))
    elif stream.say & TX_CREDIT and stream.state != STREAM_ANSWERING and stream.state != STREAM_ANSWERING_FIN:
        n += record_number(p + n, stream.id, RECORD_CREDIT, edge_grant(shard, stream, next_window(shard, stream)))
    stream.say = 0
    if stream.datagram:
        association_opened(shard, stream)
    return n


# The limit that OPEN or ACCEPT carries.
cdef inline uint64_t first_limit(Shard* shard, Stream* stream) noexcept nogil:
    return 0 if stream.datagram else edge_grant(shard, stream, first_window(shard, stream))


# The first credit: as much as the budget bears. Credit is a promise, not memory; the pool is the hard bound.
cdef uint32_t first_window(Shard* shard, const Stream* stream) noexcept nogil:
    cdef uint64_t eighth = shard.pool.limit / 8
    if flow_is_greedy(stream_flow(stream), &shard.pool):
        return WIRE_EARLY
    if shard.windows + EDGE_WINDOW <= 2 * eighth:
        return EDGE_WINDOW
    if shard.windows + EDGE_WINDOW_LESS <= 3 * eighth:
        return EDGE_WINDOW_LESS
    return WIRE_EARLY


# A window is a promise of memory. The larger it is, the smaller is the part of the budget up to which it is granted. So
# a few streams on a long path get large windows, and streams whose applications read keep windows that suit their
# rate beside any number of stalled readers. When too much is promised, windows that can shrink do.
cdef uint32_t next_window(Shard* shard, Stream* stream) noexcept nogil:
    cdef Flow* flow = stream_flow(stream)
    cdef uint64_t eighth = shard.pool.limit / 8
    cdef uint64_t bound = 5 * eighth
    cdef uint32_t window = stream.rx.window
    cdef uint32_t wish
    if flow_is_greedy(flow, &shard.pool):
        return WIRE_EARLY
    wish = credit_wish(&stream.rx, shard.now_us, flow.round_trip_us)
    if shard.windows > bound:
        return window / 2 if window / 2 >= EDGE_WINDOW_LESS else window
    if wish > EDGE_WINDOW_MORE:
        bound = 2 * eighth
    elif wish > EDGE_WINDOW:
        bound = 3 * eighth
    return wish if wish <= window or shard.windows + wish <= bound else window


cdef uint32_t records_may_read(const Stream* stream, uint32_t room) noexcept nogil:
    cdef uint64_t left
    if not stream.readable or stream.life != LIFE_LIVE or room <= WIRE_RECORD or not stream_may(stream, STREAM_TX_DATA):
        return 0
    left = credit_left(&stream.tx)
    return <uint32_t>left if left < room - WIRE_RECORD else room - WIRE_RECORD


cdef uint32_t records_data(Shard* shard, Stream* stream, uint8_t* p, uint32_t n) noexcept nogil:
    stream_step(stream, STREAM_TX_DATA)
    stream.tx.sent += n
    counter_add(&shard.stats.count[COUNT_APPLICATION_SENT], n)
    record_head(p, stream.id, RECORD_DATA, n)
    return WIRE_RECORD + n


cdef uint32_t records_fin(Shard* shard, Stream* stream, uint8_t* p) noexcept nogil:
    if stream.life != LIFE_LIVE or not stream_step(stream, STREAM_TX_FIN):
        return 0
    edge_linger(shard, stream)
    return record_number(p, stream.id, RECORD_FIN, stream.tx.sent)
