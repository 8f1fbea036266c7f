"""The counters of the data plane by name. They are read while the workers write, each one atomically."""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t, uint64_t

from pcgrelay._core.base.atomics cimport counter_get, counter32_get
from pcgrelay._core.link.gauge cimport (
    GAUGE_VALUES, LINK_GAUGE_LANES_UP, LINK_GAUGE_MIX, LINK_GAUGE_PINGS, LINK_GAUGE_PINGS_LATE,
    LINK_GAUGE_RECEIVED_BYTES, LINK_GAUGE_RECEIVED_FRAMES, LINK_GAUGE_ROUND_TRIP, LINK_GAUGE_SENT_BYTES,
    LINK_GAUGE_SENT_FRAMES, Gauge,
)
from pcgrelay._core.link.mailbox cimport (
    EVENT_IMPORT_WANTED, EVENT_LANE_DOWN, EVENT_LANE_UP, EVENT_PEER_DRAINS, EVENT_SESSION_MOVED, EVENT_SESSION_RESUMED,
    EVENT_SESSION_STALLED, EVENT_STREAM_END, Event, LaneEvent, SessionEvent, StreamEndEvent,
)
from pcgrelay._core.base.result cimport RESULT_REASONS
from pcgrelay._core.session.session cimport (
    SESSION_GAUGE_EPOCH, SESSION_GAUGE_FLOWS_UP, SESSION_GAUGE_MIX, SESSION_GAUGE_RECEIVED_BYTES,
    SESSION_GAUGE_RETAINED, SESSION_GAUGE_SENT_BYTES, SESSION_GAUGE_STREAMS,
)
from pcgrelay._core.base.stats cimport (
    CAUSE_COUNT, COUNT_BYTES_RECEIVED, COUNT_BYTES_SENT, COUNT_COUNT, COUNT_LANES_CLOSED, COUNT_LANES_OPENED,
    STATS_SERVICES, Stats,
)
from pcgrelay._core.worker.worker cimport Worker


# Names of the numbers in result.pxd and stats.pxd, in their order.
cdef tuple REFUSALS = (
    "ok", "bad-tag", "bad-length", "bad-type", "bad-flags", "bad-field", "not-confirmed", "bad-confirm", "bad-epoch",
    "bad-number", "bad-record", "bad-stream", "bad-state", "credit-exceeded", "bad-credit", "bad-final", "unknown-flow",
    "glitches", "key-limit", "too-many-resumes", "silent", "peer-closed", "socket", "confirm-timeout", "budget",
    "unknown-mix", "lost-path", "local-close", "replaced", "stream-ids", "bad-preamble", "mix-overdue",
    "unanswered-opens",
)
cdef tuple CAUSES = (
    "done", "application-reset", "far-reset", "target-refused", "target-silent", "target-unresolved",
    "target-unreachable", "not-allowed", "unknown-service", "marking", "no-route", "waited-too-long", "session-lost",
    "budget", "limit", "draining", "linger", "descriptors", "shutdown",
    "no-local-port", "connect-forbidden",
)
cdef tuple COUNTERS = (
    "frames_sent_total", "frames_received_total", "bytes_sent_total", "bytes_received_total", "frames_forwarded_total",
    "frames_dropped_total", "lanes_opened_total", "lanes_closed_total", "streams_opened_total", "streams_closed_total",
    "streams_refused_total", "streams_waited_total", "application_sent_bytes", "application_received_bytes",
    "duplicate_frames_total", "gaps_total", "resumes_total", "late_records_total", "rekeys_total",
    "unknown_flow_frames_total", "unknown_pongs_total", "accept_failed_total", "datagrams_ignored_total",
    "system_calls_total", "turns_total", "settled_bytes", "rekeys_mixed_total", "streams_judged_total",
)
assert len(REFUSALS) == RESULT_REASONS and len(CAUSES) == CAUSE_COUNT and len(COUNTERS) == COUNT_COUNT


cdef str name_of_reason(int64_t reason):
    return REFUSALS[reason] if 0 <= reason < len(REFUSALS) else "internal"


cdef str name_of_cause(int64_t cause):
    return CAUSES[cause] if 0 <= cause < len(CAUSES) else "unknown"


cdef tuple event_tuple(const Event* event):
    cdef int kind = event.kind
    cdef const LaneEvent* lane = &event.data.lane
    cdef const SessionEvent* session = &event.data.session
    cdef const StreamEndEvent* end
    if kind == EVENT_STREAM_END:
        end = &event.data.stream
        name = PyBytes_FromStringAndSize(<const char*>end.service, end.service_length)
        return (kind, bool(end.opener), end.number, end.session, name, end.sent_bytes, end.received_bytes, end.open_us,
                end.code, name_of_cause(end.cause), end.rule, bool(end.remote))
    if kind == EVENT_LANE_UP:
        return kind, lane.link, lane.index, lane.number
    if kind == EVENT_LANE_DOWN:
        return kind, lane.link, lane.index, lane.number, lane.code, name_of_reason(lane.reason)
    if kind == EVENT_SESSION_STALLED:
        return kind, session.number, session.flow, session.code, session.label
    if kind == EVENT_SESSION_RESUMED:
        return kind, session.number, session.flow
    if kind == EVENT_SESSION_MOVED:
        return kind, session.number, session.label
    if kind == EVENT_IMPORT_WANTED:
        return kind, event.data.import_number
    if kind == EVENT_PEER_DRAINS:
        return kind, event.data.drain.link, event.data.drain.milliseconds
    # All others are the face's own business.
    raise SystemError(f"the core has no words for an event of kind {kind}")


cdef uint64_t counters_streams(Worker* workers, uint32_t count):
    cdef uint32_t i
    cdef uint64_t n = 0
    for i in range(count):
        n += counter_get(&workers[i].shard.stats.streams)
    return n


cdef dict counters_total(Worker* workers, uint32_t count):
    cdef uint32_t i, j
    cdef uint64_t n
    cdef dict out = {}
    for j, name in enumerate(COUNTERS):
        n = 0
        for i in range(count):
            n += counter_get(&workers[i].shard.stats.count[j])
        out[name] = n
    for j, name in enumerate(REFUSALS):
        n = 0
        for i in range(count):
            n += counter_get(&workers[i].shard.stats.refused[j])
        if j != 0:
            out[f"refused_{name.replace('-', '_')}_total"] = n
    for j, name in enumerate(CAUSES):
        n = 0
        for i in range(count):
            n += counter_get(&workers[i].shard.stats.cause[j])
        out[f"stream_end_{name.replace('-', '_')}_total"] = n
    out["streams"] = counters_streams(workers, count)
    return out


cdef dict counters_services(Worker* workers, uint32_t count):
    cdef uint32_t i, j, imports, exports
    cdef dict of_import = {}, of_export = {}
    for j in range(STATS_SERVICES):
        imports = exports = 0
        for i in range(count):
            imports += counter32_get(&workers[i].shard.stats.of_import[j])
            exports += counter32_get(&workers[i].shard.stats.of_export[j])
        if imports != 0:
            of_import[j] = imports
        if exports != 0:
            of_export[j] = exports
    return {"imports": of_import, "exports": of_export}


cdef list counters_workers(Worker* workers, uint32_t count):
    cdef uint32_t i
    cdef Stats* stats
    cdef list out = []
    for i in range(count):
        stats = &workers[i].shard.stats
        out.append({
            "lanes": counter_get(&stats.count[COUNT_LANES_OPENED]) - counter_get(&stats.count[COUNT_LANES_CLOSED]),
            "streams": counter_get(&stats.streams), "sent_bytes": counter_get(&stats.count[COUNT_BYTES_SENT]),
            "received_bytes": counter_get(&stats.count[COUNT_BYTES_RECEIVED])})
    return out


cdef dict counters_link(Gauge* gauge):
    return {
        "lanes_up": gauge_sum(gauge, LINK_GAUGE_LANES_UP), "rtt_us": gauge_max(gauge, LINK_GAUGE_ROUND_TRIP),
        "sent_bytes": gauge_sum(gauge, LINK_GAUGE_SENT_BYTES),
        "received_bytes": gauge_sum(gauge, LINK_GAUGE_RECEIVED_BYTES),
        "sent_frames": gauge_sum(gauge, LINK_GAUGE_SENT_FRAMES),
        "received_frames": gauge_sum(gauge, LINK_GAUGE_RECEIVED_FRAMES),
        "mix": gauge_max(gauge, LINK_GAUGE_MIX),
        "pings": gauge_sum(gauge, LINK_GAUGE_PINGS), "pings_late": gauge_sum(gauge, LINK_GAUGE_PINGS_LATE)}


cdef dict counters_session(Gauge* gauge):
    return {
        "flows_up": gauge_sum(gauge, SESSION_GAUGE_FLOWS_UP), "streams": gauge_sum(gauge, SESSION_GAUGE_STREAMS),
        "sent_bytes": gauge_sum(gauge, SESSION_GAUGE_SENT_BYTES),
        "received_bytes": gauge_sum(gauge, SESSION_GAUGE_RECEIVED_BYTES),
        "retained_bytes": gauge_sum(gauge, SESSION_GAUGE_RETAINED), "epoch": gauge_max(gauge, SESSION_GAUGE_EPOCH),
        "mix": gauge_max(gauge, SESSION_GAUGE_MIX)}


cdef dict counters_memory(Worker* workers, uint32_t count, uint64_t budget):
    cdef uint32_t i
    cdef uint64_t used = 0, high = 0
    for i in range(count):
        used += counter_get(&workers[i].shard.pool.used)
        high += counter_get(&workers[i].shard.pool.high_water)
    return {"used_bytes": used, "budget_bytes": budget, "high_water_bytes": high}


cdef uint64_t gauge_sum(Gauge* gauge, uint32_t which):
    cdef uint32_t i
    cdef uint64_t n = 0
    for i in range(gauge.slots):
        n += counter_get(&gauge.values[i * GAUGE_VALUES + which])
    return n


cdef uint64_t gauge_max(Gauge* gauge, uint32_t which):
    cdef uint32_t i
    cdef uint64_t n = 0
    for i in range(gauge.slots):
        n = max(n, counter_get(&gauge.values[i * GAUGE_VALUES + which]))
    return n
