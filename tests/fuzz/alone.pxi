# Part of fuzzface.pyx: an edge without sockets, and what is asked of a relay.


# -- an edge alone: this file in the place of port --------------------------------------------------------------------

cdef void world_alone(void* world) noexcept nogil:
    cdef World* self = <World*>world
    self.edge_alone = True
    world_tables(self, 1)
    world_session(self, 0, False, 1 << 20, True, -1)


cdef int world_bundle(void* world, uint8_t* body, uint32_t n) noexcept nogil:
    cdef World* self = <World*>world
    cdef Shard* shard = &self.worker.shard
    cdef Session* session = session_find(shard, SESSION)
    cdef Result answer
    if session == NULL:
        return -1
    answer = records_rx(shard, session.flows[0], body, n, NULL)
    if answer != RESULT_OK:
        edge_session_fail(shard, session, answer)
    return <int>answer


cdef void world_open(void* world, uint32_t number) noexcept nogil:
    cdef World* self = <World*>world
    cdef Stream* stream = NULL
    cdef Elsewhere elsewhere
    if accept_application(&self.worker.shard, number, -1, NULL, &stream, &elsewhere) == ACCEPT_TAKEN and stream != NULL:
        stream.readable = True


# What app_deliver does, with sockets that take as much as choice says. It copies what is left, as that does: the
# bytes of a bundle are there for this turn only.
cdef void world_deliver(void* world, uint8_t choice) noexcept nogil:
    cdef Shard* shard = &(<World*>world).worker.shard
    cdef Stream* stream
    cdef uint32_t first = 0
    cdef uint64_t n
    cdef Span span
    while shard.dirty_streams != NULL:
        stream = shard.dirty_streams
        shard.dirty_streams = stream.next_dirty
        stream.dirty = False
        if stream.life != LIFE_LIVE:
            continue
        if stream.dial != DIAL_NONE:
            if choice & 3 == 0:
                edge_abort(shard, stream, CODE_UNREACHABLE, CAUSE_TARGET_REFUSED)
            elif choice & 3 != 1:
                edge_connected(shard, stream)
        elif stream.datagram:
            while stream.out.count != 0:
                span = queue_pop(&stream.out)
                association_wrote(shard, stream, span.n)
                buf_drop(&shard.pool, span.buf)
        elif choice & 12 == 12 and stream.out.count != 0:
            edge_abort(shard, stream, CODE_ABORTED, CAUSE_APPLICATION_RESET)
        else:
            n = stream.out.bytes * (choice >> 4) / 15
            if n != 0:
                queue_sent(&stream.out, &shard.pool, n)
                edge_wrote(shard, stream, n)
            if stream.out.count == 0 and stream.output != OUT_OPEN:
                stream.output = OUT_SHUT
            edge_check_done(shard, stream)
        if stream.life == LIFE_LIVE and queue_own(&stream.out, &shard.pool, False, &first) != RESULT_OK:
            edge_abort(shard, stream, CODE_BUSY, CAUSE_BUDGET)


# What frame_builder_serve does for each stream that is ready, with a block of just the size that records_tx is promised.
cdef void world_serve(void* world, uint8_t choice) noexcept nogil:
    cdef Shard* shard = &(<World*>world).worker.shard
    cdef Session* session = session_find(shard, SESSION)
    cdef Flow* flow
    cdef Stream* stream
    cdef uint8_t* p
    cdef uint32_t n, asked
    cdef int _
    cdef bint gone = False
    if session == NULL:
        return
    flow = session.flows[0]
    for _ in range(64):
        stream = list_pop(&flow.small)
        if stream == NULL:
            stream = list_pop(&flow.bulk)
        if stream == NULL:
            return
        p = <uint8_t*>malloc(128)
        if stream.say != 0:
            n = records_tx(shard, stream, p, &gone)
            if read_records(p, n) != RESULT_OK:
                broken(b"what a stream says is no record")
            if gone:
                edge_bury(shard, stream)
                free(p)
                continue
        asked = records_may_read(stream, 128)
        if asked != 0 and choice & 7 != 0:
            n = records_data(shard, stream, p, 1 + (asked - 1) * (choice & 7) / 7)
            if read_records(p, n) != RESULT_OK:
                broken(b"the data of a stream are no record")
            stream.readable = choice & 8 != 0
        elif asked != 0 and choice & 8 != 0:
            edge_abort(shard, stream, CODE_ABORTED, CAUSE_APPLICATION_RESET)
            free(p)
            continue
        if choice & 16 != 0:
            stream.input = IN_ENDED
            stream.readable = False
        if stream.input == IN_ENDED:
            n = records_fin(shard, stream, p)
            if read_records(p, n) != RESULT_OK:
                broken(b"the end of a stream is no record")
            edge_check_done(shard, stream)
        free(p)


# -- a relay alone ----------------------------------------------------------------------------------------------------

cdef uint64_t world_excess(void* world) noexcept nogil:
    cdef Shard* shard = &(<World*>world).worker.shard
    cdef Path* path
    cdef uint64_t most = 0
    cdef uint32_t at = 0, i, j
    while True:
        path = <Path*>map_next(&shard.paths, &at)
        if path == NULL:
            return most
        for i in range(2):
            for j in range(path.ends[i].slots):
                if path.ends[i].accounts[j].queued > path.ends[i].accounts[j].cap + most:
                    most = path.ends[i].accounts[j].queued - path.ends[i].accounts[j].cap
