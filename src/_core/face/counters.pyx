"""The counters of the data plane by name. They are read while the workers write, each one atomically."""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t, uint64_t

from pcgrelay._core.base.atomics cimport counter_get, counter32_get
from pcgrelay._core.link.gauge cimport (
    GAUGE_VALUES, LINK_GAUGE_LANES_UP, LINK_GAUGE_MIX, LINK_GAUGE_PINGS, LINK_GAUGE_PINGS_LATE,
    LINK_GAUGE_RECEIVED_BYTES, LINK_GAUGE_RECEIVED_FRAMES, LINK_GAUGE_ROUND_TRIP, LINK_GAUGE_SENT_BYTES,
    LINK_GAUGE_SENT_FRAMES, LINK_GAUGE_STEPPED, UDP_GAUGE_LONGEST, UDP_GAUGE_NUMBER, UDP_GAUGE_SENT, UDP_GAUGE_STATE,
    UDP_GAUGE_VALUES, Gauge, gauge_udp_at,
)
from pcgrelay._core.link.mailbox cimport (
    EVENT_IMPORT_WANTED, EVENT_LANE_DOWN, EVENT_LANE_UP, EVENT_PEER_DRAINS, EVENT_SESSION_AGREED, EVENT_SESSION_MOVED,
    EVENT_SESSION_RESUMED, EVENT_SESSION_STALLED, EVENT_SETUP_ENDED, EVENT_STREAMS_NUDGED, EVENT_STREAM_END,
    EVENT_UDP_LANE_DOWN, EVENT_UDP_LANE_SPENT, EVENT_UDP_LANE_UP, Event,
    LaneEvent, NudgeOrder, SessionEvent, SetupEvent, StreamEndEvent,
)
from pcgrelay._core.link.udp_lane cimport UDP_REASONS
from pcgrelay._core.link.udp_probes cimport UDP_BROKEN, UDP_CLOSED
from pcgrelay._core.base.result cimport RESULT_REASONS
from pcgrelay._core.session.session cimport (
    SESSION_GAUGE_EPOCH, SESSION_GAUGE_FLOWS_UP, SESSION_GAUGE_MIX, SESSION_GAUGE_RECEIVED_BYTES,
    SESSION_GAUGE_RETAINED, SESSION_GAUGE_SENT_BYTES, SESSION_GAUGE_STEPPED, SESSION_GAUGE_STREAMS,
)
from pcgrelay._core.base.stats cimport (
    CAUSE_COUNT, COUNT_BYTES_RECEIVED, COUNT_BYTES_SENT, COUNT_COUNT, COUNT_LANES_CLOSED, COUNT_LANES_OPENED,
    DROP_CAUSES, STATS_SERVICES, ListenerCounts, Stats,
)
from pcgrelay._core.stream.meter cimport METER_BUCKETS, METER_HISTOGRAMS, METER_OUTCOMES, Meter, meter_at
from pcgrelay._core.base.wire cimport WIRE_LANES_MAX
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
    "no-local-port", "connect-forbidden", "nudged", "organisation-limit", "rate-limit", "idle", "max-duration",
    "no-source-address", "transport",
)
cdef tuple COUNTERS = (
    "frames_sent_total", "frames_received_total", "bytes_sent_total", "bytes_received_total", "frames_forwarded_total",
    "frames_dropped_total", "lanes_opened_total", "lanes_closed_total", "streams_opened_total", "streams_closed_total",
    "streams_refused_total", "streams_waited_total", "application_sent_bytes", "application_received_bytes",
    "duplicate_frames_total", "gaps_total", "resumes_total", "late_records_total", "rekeys_total",
    "unknown_flow_frames_total", "unknown_pongs_total", "accept_failed_total", "datagrams_ignored_total",
    "system_calls_total", "turns_total", "settled_bytes", "rekeys_mixed_total", "streams_judged_total",
    "streams_moved_total", "streams_nudged_total", "datagram_frames_late_total", "datagram_frames_replayed_total",
    "datagram_frames_no_lane_total", "datagram_frames_no_room_total", "datagrams_sent_total",
    "datagrams_received_total", "datagrams_handed_total", "datagram_reads_total", "datagram_writes_total",
    "datagram_frames_old_total",
    "udp_packets_sent_total", "udp_packets_taken_total", "udp_bytes_sent_total", "udp_bytes_taken_total",
    "udp_sends_total", "udp_packets_not_sent_total", "udp_frames_too_long_total", "udp_refused_token_total",
    "udp_refused_length_total", "udp_refused_tag_total", "udp_refused_late_total", "udp_refused_replayed_total",
    "udp_refused_malformed_total", "udp_refused_glitches_total",
)
cdef tuple UDP_NAMES = ("silent", "loss", "spent", "replaced", "link", "refused")
cdef tuple UDP_STATES = ("closed", "opening", "up", "broken")
cdef tuple DROPS = ("queue", "age", "no-route", "limit", "too-long", "no-stream", "source", "unreachable", "rate")
cdef tuple OUTCOMES = ("up", "refused", "silent", "away", "denied", "local", "left", "lost")
cdef tuple METER_COUNTS = (
    *OUTCOMES, "tried", "moved", "early", "cut", "active", "sent_bytes", "received_bytes", "nudged",
)
cdef tuple METER_TIMES = ("setup_us", "answer_us", "rate_kib_s")
assert len(OUTCOMES) == METER_OUTCOMES and len(METER_TIMES) == METER_HISTOGRAMS
assert len(DROPS) == DROP_CAUSES
assert len(UDP_NAMES) == UDP_REASONS and len(UDP_STATES) == <int>UDP_BROKEN + 1
assert len(REFUSALS) == RESULT_REASONS and len(CAUSES) == CAUSE_COUNT and len(COUNTERS) == COUNT_COUNT


cdef str name_of_reason(int64_t reason):
    return REFUSALS[reason] if 0 <= reason < len(REFUSALS) else "internal"


cdef str name_of_cause(int64_t cause):
    return CAUSES[cause] if 0 <= cause < len(CAUSES) else "unknown"


cdef tuple datagrams_of(const StreamEndEvent* end):
    if not end.datagram:
        return ()
    return "udp", end.sent_datagrams, end.received_datagrams, tuple(end.dropped[i] for i in range(DROP_CAUSES))


cdef tuple event_tuple(const Event* event):
    cdef int kind = event.kind
    cdef const LaneEvent* lane = &event.data.lane
    cdef const SessionEvent* session = &event.data.session
    cdef const StreamEndEvent* end
    cdef const SetupEvent* setup
    cdef const NudgeOrder* nudge
    if kind == EVENT_STREAM_END:
        end = &event.data.stream
        name = PyBytes_FromStringAndSize(<const char*>end.service, end.service_length)
        return (kind, bool(end.opener), end.number, end.session, name, end.sent_bytes, end.received_bytes, end.open_us,
                end.code, name_of_cause(end.cause), end.rule, bool(end.remote),
                (end.outlet, end.setup_us, end.moved, bool(end.up), end.shadow, end.id_head, end.flow, end.stream,
                 end.first_us, *datagrams_of(end)))
    if kind == EVENT_SETUP_ENDED:
        setup = &event.data.setup
        return (kind, setup.import_number, setup.outlet, METER_COUNTS[setup.outcome], name_of_cause(setup.cause),
                setup.code, setup.rule, setup.session,
                PyBytes_FromStringAndSize(<const char*>setup.client, sizeof(setup.client)), setup.shadow,
                setup.elapsed_us)
    if kind == EVENT_STREAMS_NUDGED:
        nudge = &event.data.nudge
        return (kind, nudge.import_number, nudge.outlet, nudge.round, nudge.nudged, nudge.open, nudge.idle,
                nudge.oldest_us)
    if kind == EVENT_LANE_UP or kind == EVENT_UDP_LANE_UP or kind == EVENT_UDP_LANE_SPENT:
        return kind, lane.link, lane.index, lane.number
    if kind == EVENT_LANE_DOWN:
        return kind, lane.link, lane.index, lane.number, lane.code, name_of_reason(lane.reason)
    if kind == EVENT_UDP_LANE_DOWN:
        return kind, lane.link, lane.index, lane.number, UDP_NAMES[lane.reason], bool(lane.code)
    if kind == EVENT_SESSION_STALLED:
        return kind, session.number, session.flow, session.code, session.label
    if kind == EVENT_SESSION_RESUMED:
        return kind, session.number, session.flow
    if kind == EVENT_SESSION_AGREED:
        return kind, event.data.renewal.number, event.data.renewal.mix
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
    for j, name in enumerate(DROPS):
        n = 0
        for i in range(count):
            n += counter_get(&workers[i].shard.stats.dropped[j])
        out[f"datagrams_dropped_{name.replace('-', '_')}_total"] = n
    out["streams"] = counters_streams(workers, count)
    return out


cdef tuple counters_listener(Worker* workers, uint32_t count, uint32_t listener):
    cdef uint64_t accepted = 0, active = 0, sent = 0, received = 0
    cdef ListenerCounts* counts
    cdef uint32_t i
    for i in range(count):
        counts = &workers[i].shard.stats.of_listener[listener]
        accepted += counter_get(&counts.accepted)
        active += counter_get(&counts.active)
        sent += counter_get(&counts.sent)
        received += counter_get(&counts.received)
    return accepted, active, sent, received


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
        "pings": gauge_sum(gauge, LINK_GAUGE_PINGS), "pings_late": gauge_sum(gauge, LINK_GAUGE_PINGS_LATE),
        "stepped": gauge_sum(gauge, LINK_GAUGE_STEPPED)}


cdef list counters_udp(Gauge* gauge):
    cdef uint32_t i
    cdef uint64_t* row
    cdef list out = []
    if gauge.udp == NULL:
        return out
    for i in range(WIRE_LANES_MAX):
        row = gauge_udp_at(gauge, i)
        # There was none, or it said nothing.
        if counter_get(&row[UDP_GAUGE_STATE]) == UDP_CLOSED and counter_get(&row[UDP_GAUGE_SENT]) == 0:
            continue
        out.append((i, counter_get(&row[UDP_GAUGE_NUMBER]), UDP_STATES[counter_get(&row[UDP_GAUGE_STATE])],
                    *[counter_get(&row[j]) for j in range(UDP_GAUGE_LONGEST, UDP_GAUGE_VALUES)]))
    return out


cdef dict counters_session(Gauge* gauge):
    return {
        "flows_up": gauge_sum(gauge, SESSION_GAUGE_FLOWS_UP), "streams": gauge_sum(gauge, SESSION_GAUGE_STREAMS),
        "sent_bytes": gauge_sum(gauge, SESSION_GAUGE_SENT_BYTES),
        "received_bytes": gauge_sum(gauge, SESSION_GAUGE_RECEIVED_BYTES),
        "retained_bytes": gauge_sum(gauge, SESSION_GAUGE_RETAINED), "epoch": gauge_max(gauge, SESSION_GAUGE_EPOCH),
        "mix": gauge_max(gauge, SESSION_GAUGE_MIX), "stepped": gauge_sum(gauge, SESSION_GAUGE_STEPPED)}


# No lane or flow is at a greater one: ours steps with what both have told. So the sum says it of each.
cdef bint link_has_stepped(Gauge* gauge, uint64_t mix):
    return gauge_sum(gauge, LINK_GAUGE_STEPPED) == mix * gauge_sum(gauge, LINK_GAUGE_LANES_UP)


cdef bint session_has_stepped(Gauge* gauge, uint64_t mix, uint32_t flows):
    return gauge_sum(gauge, SESSION_GAUGE_STEPPED) == mix * flows


cdef dict counters_memory(Worker* workers, uint32_t count, uint64_t budget):
    cdef uint32_t i
    cdef uint64_t used = 0, high = 0
    for i in range(count):
        used += counter_get(&workers[i].shard.pool.used)
        high += counter_get(&workers[i].shard.pool.high_water)
    return {"used_bytes": used, "budget_bytes": budget, "high_water_bytes": high}


# One entry for each outlet: what real set-ups came to, and shadows.
cdef list counters_meter(Meter* meter):
    cdef uint32_t outlet
    return [(figures_of(meter, outlet, False), figures_of(meter, outlet, True)) for outlet in range(meter.outlets)]


cdef dict figures_of(Meter* meter, uint32_t outlet, bint shadow):
    cdef uint32_t i, j, worker
    cdef uint64_t n
    cdef dict out = {}, buckets
    for i, name in enumerate(METER_COUNTS):
        n = 0
        for worker in range(meter.workers):
            n += counter_get(&meter_at(meter, worker, outlet, shadow).counts[i])
        out[name] = n
    for i, name in enumerate(METER_TIMES):
        buckets = {}
        for j in range(METER_BUCKETS):
            n = 0
            for worker in range(meter.workers):
                n += counter32_get(&meter_at(meter, worker, outlet, shadow).histograms[i][j])
            if n != 0:
                buckets[j] = n
        out[name] = buckets
    return out


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
