from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.base.stats cimport STATS_SERVICES
from pcgrelay._core.link.mailbox cimport EVENT_IMPORT_WANTED, Event
from pcgrelay._core.link.shard cimport Shard, shard_event
from pcgrelay._core.session.session cimport Session, session_find
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.stream.service_tables cimport Import, Route


# Choose by weight among the routes with the least precedence whose session is up; one of weight 0 only if there is no
# other.
cdef Session* choice_session(Shard* shard, const Import* entry) noexcept nogil:
    cdef uint32_t i, best = 256, total = 0, fit = 0
    cdef uint64_t ticket
    cdef uint32_t* turn = &shard.turns[entry.number % STATS_SERVICES]
    cdef const Route* way
    cdef Session* session
    cdef Session* spare = NULL
    for i in range(entry.route_count):
        way = &entry.routes[i]
        session = session_find(shard, way.session)
        if session == NULL or way.precedence > best:
            continue
        if way.precedence < best:
            best = way.precedence
            total = 0
            fit = 0
            spare = NULL
        total += way.weight
        fit += 1
        if spare == NULL:
            spare = session
    if total == 0 or fit == 1:
        return spare
    turn[0] += 1
    # A stride without a common factor with small totals spreads the turns over the weights.
    ticket = (turn[0] * <uint64_t>7919) % total
    for i in range(entry.route_count):
        way = &entry.routes[i]
        session = session_find(shard, way.session)
        if session == NULL or way.precedence != best:
            continue
        if ticket < way.weight:
            return session
        ticket -= way.weight
    return spare


# What comes meanwhile is dropped: its client asks again, and forged ones must not fill the places where streams wait.
cdef Flow* choice_of_datagrams(Shard* shard, const Import* entry, uint64_t* wanted_us) noexcept nogil:
    cdef Session* session = choice_session(shard, entry)
    cdef Elsewhere elsewhere
    cdef Event* event
    if session != NULL:
        return choice_flow(shard, session, &elsewhere)
    if wanted_us[0] == 0 or shard.now_us >= wanted_us[0] + CHOICE_WANTED_US:
        wanted_us[0] = shard.now_us
        event = shard_event(shard, EVENT_IMPORT_WANTED)
        event.data.import_number = entry.number
    return NULL
