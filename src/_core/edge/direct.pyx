from libc.stdint cimport uint64_t

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.handle cimport HANDLE_STREAM
from pcgrelay._core.base.stats cimport COUNT_APPLICATION_SENT
from pcgrelay._core.base.timer cimport timer_set
from pcgrelay._core.edge.lists cimport edge_direct_add, edge_dirty
from pcgrelay._core.edge.setups cimport setup_answered, setup_rx_fin
from pcgrelay._core.edge.streams cimport RULE_NONE, edge_check_done, edge_linger
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.stream cimport (
    DIAL_TRYING, OUT_FIN_DUE, STREAM_RX_FIN, STREAM_TX_FIN, Stream, stream_new, stream_step,
)


cdef bint direct_begin(Shard* shard, Stream* stream, uint64_t due_us) noexcept nogil:
    cdef Stream* partner = stream_new(&shard.pool, 0)
    if partner == NULL:
        return False
    partner.handle.kind = HANDLE_STREAM
    partner.handle.fd = -1
    partner.timer.owner = partner
    partner.opened_us = shard.now_us
    partner.number = stream.number
    partner.datagram = stream.datagram
    partner.rule = RULE_NONE
    partner.dial = DIAL_TRYING
    partner.due_us = due_us
    partner.partner = stream
    stream.partner = partner
    edge_direct_add(shard, stream)
    edge_direct_add(shard, partner)
    timer_set(&shard.wheel, &partner.timer, due_us)
    edge_dirty(shard, partner)
    return True


cdef void direct_moved(Shard* shard, Stream* stream, uint64_t n) noexcept nogil:
    cdef Stream* partner = stream.partner
    stream.tx.sent += n
    partner.rx.received += n
    partner.rx.limit += n
    shard.windows += n
    counter_add(&shard.stats.count[COUNT_APPLICATION_SENT], n)
    if partner.unanswered:
        setup_answered(shard, partner)


cdef void direct_fin(Shard* shard, Stream* stream) noexcept nogil:
    cdef Stream* partner = stream.partner
    if partner == NULL or not stream_step(stream, STREAM_TX_FIN):
        return
    stream_step(partner, STREAM_RX_FIN)
    if partner.unanswered:
        setup_rx_fin(shard, partner)
    partner.output = OUT_FIN_DUE
    edge_linger(shard, stream)
    edge_linger(shard, partner)
    edge_dirty(shard, partner)
    edge_check_done(shard, stream)
