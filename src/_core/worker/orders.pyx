from libc.stdint cimport uint32_t, uint8_t
from libc.stdlib cimport free

from pcgrelay._core.base.atomics cimport flag_raise
from pcgrelay._core.edge.records cimport records_linger_restart, records_tables_changed
from pcgrelay._core.session.candidate cimport candidate_add, candidate_drop, candidate_lead
from pcgrelay._core.edge.accept cimport accept_tables_changed
from pcgrelay._core.edge.sessions cimport edge_session_close, edge_session_fail
from pcgrelay._core.crypto.epoch cimport limits_set
from pcgrelay._core.link.gauge cimport gauge_drop
from pcgrelay._core.link.lane cimport lane_probe_restart
from pcgrelay._core.base.libcrypto cimport crypto_bind, OPENSSL_cleanse
from pcgrelay._core.base.ports cimport ports_set
from pcgrelay._core.link.link cimport link_add, link_find, link_mix
from pcgrelay._core.link.shard cimport Lane, Link, Shard, lane_is_up, shard_renew
from pcgrelay._core.base.linux cimport close
from pcgrelay._core.link.mailbox cimport (
    EVENT_LINK_RENEWED, EVENT_SESSION_RENEWED, ORDER_DATAGRAMS, ORDER_DRAIN, ORDER_LANE_ADD, ORDER_LINK_ADD,
    ORDER_LINK_CLOSE, ORDER_LINK_DRAIN, ORDER_LINK_MIX, ORDER_LINK_RENEW, ORDER_LISTEN, ORDER_NUDGE, ORDER_PATH_ADD,
    ORDER_PATH_REMOVE, ORDER_PORTS, ORDER_SESSION_ADD, ORDER_SESSION_CANDIDATE, ORDER_SESSION_CLOSE,
    ORDER_SESSION_MIX, ORDER_SESSION_PATH, ORDER_SESSION_RENEW, ORDER_SETTINGS, ORDER_STOP, ORDER_STREAM,
    ORDER_TABLES, ORDER_UNLISTEN, DrainOrder, LeadOrder, LinkOrder, Order, PathOrder, RenewalOrder, SessionOrder,
    Settings, mailbox_drain, order_free,
)
from pcgrelay._core.worker.app_io cimport app_adopt, app_drain, app_listen, app_unlisten
from pcgrelay._core.worker.datagram_batches cimport batches_drop, batches_unlisten
from pcgrelay._core.worker.datagram_io cimport datagram_io_batch
from pcgrelay._core.link.relay cimport relay_path_add, relay_path_remove
from pcgrelay._core.base.result cimport RESULT_OK, Result
from pcgrelay._core.stream.service_tables cimport Tables, tables_drop
from pcgrelay._core.link.lane_send cimport lane_tx
from pcgrelay._core.session.session cimport Session, session_add, session_find
from pcgrelay._core.session.renewing cimport session_mix
from pcgrelay._core.worker.rounds cimport rounds_begin
from pcgrelay._core.worker.lane_io cimport lane_io_add, lane_io_link_end
from pcgrelay._core.base.wire cimport FRAME_DRAIN, WIRE_LANES_MAX, wire_put32
from pcgrelay._core.worker.worker cimport Worker, worker_woken

crypto_bind()


cdef void orders_drop(Worker* self, Order* order) noexcept nogil:
    cdef Order* following
    while order != NULL:
        following = order.next
        if order.kind == ORDER_DATAGRAMS:
            batches_drop(self, order)
        if order.fd >= 0:
            close(order.fd)
        if order.kind == ORDER_TABLES:
            tables_drop(order.args.tables)
        elif order.kind == ORDER_PORTS:
            free(order.args.ports)
        elif order.kind == ORDER_LINK_ADD:
            gauge_drop(order.args.link.gauge)
        elif order.kind == ORDER_SESSION_ADD:
            gauge_drop(order.args.session.gauge)
        order_free(order)
        order = following


cdef void orders_take(Worker* self) noexcept nogil:
    cdef Order* order
    cdef Order* following
    # Clear the wake-up first: an order that comes after the orders were taken sets it again.
    worker_woken(self.mailbox.wake_fd)
    order = mailbox_drain(&self.mailbox)
    while order != NULL:
        following = order.next
        apply_order(self, order)
        order_free(order)
        order = following


cdef void orders_apply_settings(Worker* self, const Settings* settings) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Lane* lane = shard.lanes
    shard.handshake_us = settings.handshake_us
    limits_set(&shard.limits, settings.rekey_frames, settings.rekey_bytes, settings.rekey_us)
    if settings.linger_us != shard.linger_us:
        shard.linger_us = settings.linger_us
        records_linger_restart(shard)
    if settings.probe_us != shard.probe_us:
        shard.probe_us = settings.probe_us
        while lane != NULL:
            lane_probe_restart(shard, lane)
            lane = lane.next


cdef void apply_order(Worker* self, Order* order) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Link* link
    cdef Session* session
    cdef Tables* before
    if order.kind == ORDER_STOP:
        flag_raise(&self.stopping)
    elif order.kind == ORDER_LINK_ADD:
        order_link_add(shard, &order.args.link)
    elif order.kind == ORDER_LINK_CLOSE:
        link = link_find(shard, order.args.close.number)
        if link != NULL:
            lane_io_link_end(self, link, order.args.close.code)
    elif order.kind == ORDER_LINK_DRAIN:
        order_link_drain(shard, &order.args.drain)
    elif order.kind == ORDER_LANE_ADD:
        lane_io_add(self, order)
    elif order.kind == ORDER_PATH_ADD:
        order_path_add(shard, &order.args.path)
    elif order.kind == ORDER_PATH_REMOVE:
        relay_path_remove(shard, order.args.path.number)
    elif order.kind == ORDER_SESSION_ADD:
        order_session_add(shard, &order.args.session, order.secret)
    elif order.kind == ORDER_SESSION_PATH:
        order_session_path(shard, &order.args.lead)
    elif order.kind == ORDER_SESSION_CANDIDATE:
        order_session_candidate(shard, &order.args.lead)
    elif order.kind == ORDER_SESSION_CLOSE:
        session = session_find(shard, order.args.close.number)
        if session != NULL:
            edge_session_close(shard, session, order.args.close.code)
    elif order.kind == ORDER_LINK_RENEW or order.kind == ORDER_LINK_MIX:
        order_link_renewal(self, order)
    elif order.kind == ORDER_SESSION_RENEW or order.kind == ORDER_SESSION_MIX:
        order_session_renewal(self, order)
    elif order.kind == ORDER_SETTINGS:
        orders_apply_settings(self, &order.args.settings)
    elif order.kind == ORDER_TABLES:
        before = shard.tables
        shard.tables = order.args.tables
        accept_tables_changed(shard)
        records_tables_changed(shard, before)
        tables_drop(before)
    elif order.kind == ORDER_LISTEN:
        app_listen(self, order)
    elif order.kind == ORDER_UNLISTEN:
        app_unlisten(self, order.args.import_number)
        batches_unlisten(self, <uint32_t>order.args.import_number)
    elif order.kind == ORDER_DRAIN:
        shard.draining = True
        app_drain(self)
    elif order.kind == ORDER_STREAM:
        app_adopt(self, order.args.stream.import_number, order.fd, &order.args.stream)
    elif order.kind == ORDER_NUDGE:
        rounds_begin(self, &order.args.nudge)
    elif order.kind == ORDER_PORTS:
        ports_set(&shard.ports, order.args.ports)
    elif order.kind == ORDER_DATAGRAMS:
        datagram_io_batch(self, order)


cdef void order_link_add(Shard* shard, LinkOrder* args) noexcept nogil:
    if link_add(shard, args.number, args.suite, args.dialler, args.lanes, args.binding, args.gauge) == NULL:
        gauge_drop(args.gauge)


cdef void order_link_drain(Shard* shard, const DrainOrder* args) noexcept nogil:
    cdef Lane* lane = shard.lanes
    cdef uint8_t body[4]
    wire_put32(body, args.milliseconds)
    while lane != NULL:
        if lane.link.number == args.link and lane_is_up(lane):
            # DRAIN on one lane is enough, and the deadline of the drain holds without any.
            lane_tx(shard, lane, FRAME_DRAIN, body, 4)
        lane = lane.next


cdef void order_link_renewal(Worker* self, const Order* order) noexcept nogil:
    cdef const RenewalOrder* args = &order.args.renewal
    cdef Link* link = link_find(&self.shard, args.number)
    if link == NULL:
        return
    if order.kind == ORDER_LINK_RENEW:
        shard_renew(&self.shard, &link.renewals, EVENT_LINK_RENEWED, link.number, args.mix, order.secret, args.serial)
    else:
        link_mix(&self.shard, link, args.mix)


cdef void order_session_renewal(Worker* self, const Order* order) noexcept nogil:
    cdef const RenewalOrder* args = &order.args.renewal
    cdef Session* session = session_find(&self.shard, args.number)
    if session == NULL:
        return
    if order.kind == ORDER_SESSION_RENEW:
        shard_renew(&self.shard, &session.renewals, EVENT_SESSION_RENEWED, session.number, args.mix, order.secret,
                    args.serial)
    else:
        session_mix(&self.shard, session, args.mix)


cdef void order_path_add(Shard* shard, const PathOrder* args) noexcept nogil:
    cdef Link* a = link_find(shard, args.a_link)
    cdef Link* b = link_find(shard, args.b_link)
    cdef uint32_t lanes = WIRE_LANES_MAX
    if a == NULL or b == NULL:
        return
    if a.lane_count < lanes:
        lanes = a.lane_count
    if b.lane_count < lanes:
        lanes = b.lane_count
    # Without memory the frames of the path stay unknown and are answered with LOST.
    relay_path_add(shard, args.number, args.a_link, args.a_in, args.a_out, args.b_link, args.b_in, args.b_out, args.cap,
                   args.priority, lanes)


cdef void order_session_add(Shard* shard, SessionOrder* args, uint8_t* secret) noexcept nogil:
    cdef Session* session = session_add(
        shard, args.number, secret, args.binding, args.suite, args.initiator, args.flows, args.cap, args.ack_bytes,
        args.marking, args.priority, args.gauge)
    OPENSSL_cleanse(secret, 32)
    if session == NULL:
        gauge_drop(args.gauge)


cdef void order_session_path(Shard* shard, const LeadOrder* args) noexcept nogil:
    cdef Session* session = session_find(shard, args.session)
    cdef Result answer
    if session == NULL:
        return
    answer = candidate_lead(shard, session, args.link, args.in_label, args.out_label, args.instead)
    if answer != RESULT_OK:
        edge_session_fail(shard, session, answer)


cdef void order_session_candidate(Shard* shard, const LeadOrder* args) noexcept nogil:
    cdef Session* session = session_find(shard, args.session)
    if session == NULL:
        return
    if args.out_label == 0:
        candidate_drop(shard, session, args.in_label)
    else:
        # Without a place its frames stay unknown and are answered with LOST.
        candidate_add(shard, session, args.link, args.in_label, args.out_label)
