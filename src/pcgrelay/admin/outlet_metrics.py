"""The families of outlets: shares, set-ups by their outcome, how long they took, and streams; and of listeners."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta

from pcgrelay.admin.families import Families
from pcgrelay.admin.status import ListenerStatus, OutletStatus, Status, StrayStatus
from pcgrelay.cutover.histogram import EDGES, OCTAVE_PARTS

# The bounds of histograms: octaves, 128 us up to 67 s.
ENDS_S = tuple(edge / 1_000_000 for edge in EDGES[OCTAVE_PARTS::OCTAVE_PARTS])


def outlet_families(families: Families, status: Status) -> None:
    """Add all families of outlets."""
    family, times = families.family, families.histogram
    found = list(_outlets(status))
    family("outlet_share", "gauge", "Share of new streams.", [(at, outlet.share) for at, outlet in found])
    family(
        "outlet_up",
        "gauge",
        "Whether streams can be set up over it.",
        [(at, outlet.state == "ready") for at, outlet in found],
    )
    family(
        "outlet_setups_total",
        "counter",
        "Set-ups by their outcome.",
        [({**at, "outcome": why}, n) for at, outlet in found for why, n in outlet.outcomes.items()],
    )
    family(
        "outlet_shadows_total",
        "counter",
        "Set-ups that no application asked for.",
        [({**at, "outcome": why}, n) for at, outlet in found for why, n in outlet.shadows.items()],
    )
    counts: tuple[tuple[str, str, str, Callable[[OutletStatus], float]], ...] = (
        ("moved_total", "counter", "Set-ups that failed and were led on.", lambda outlet: outlet.moved_total),
        ("early_total", "counter", "Streams that ended at once without a byte.", lambda outlet: outlet.early_total),
        ("cut_total", "counter", "Streams that were reset after data.", lambda outlet: outlet.cut_total),
        ("nudged_total", "counter", "Streams that were closed by order.", lambda outlet: outlet.nudged_total),
        ("streams_active", "gauge", "Streams that are open.", lambda outlet: outlet.streams_active),
        ("sent_bytes_total", "counter", "Bytes sent.", lambda outlet: outlet.sent_bytes),
        ("received_bytes_total", "counter", "Bytes received.", lambda outlet: outlet.received_bytes),
    )
    for name, kind, meaning, value in counts:
        family(f"outlet_{name}", kind, meaning, [(at, value(outlet)) for at, outlet in found])
    family(
        "exercise_last_success_timestamp_seconds",
        "gauge",
        "When a stream last got through over a back-up that is exercised.",
        [(at, outlet.exercise_success_s) for at, outlet in found if outlet.exercised and outlet.exercise_success_s],
    )
    family(
        "outlet_supported_until_timestamp_seconds",
        "gauge",
        "When the support of its network ends.",
        [(at, _end_of(outlet.supported_until)) for at, outlet in found if outlet.supported_until],
    )
    family(
        "outlet_quiet_days",
        "gauge",
        "Whole days in a row on which nothing used a direct outlet.",
        [(at, outlet.quiet_days) for at, outlet in found if outlet.kind == "direct"],
    )
    family(
        "outlet_quiet_since_timestamp_seconds",
        "gauge",
        "When the first of these days began.",
        [(at, _start_of(outlet.quiet_since)) for at, outlet in found if outlet.quiet_since],
    )
    setups, answers = ([(at, outlet.setup) for at, outlet in found], [(at, outlet.answer) for at, outlet in found])
    times("outlet_setup_seconds", "Time until the far side answered.", ENDS_S, setups)
    times("outlet_answer_seconds", "Time from there to its first byte.", ENDS_S, answers)


def listener_families(families: Families, status: Status) -> None:
    """Add all families of listeners: of imports that have further ones."""
    found = [
        ({"service": service.name, "listener": listener.name}, listener)
        for service in status.services
        for listener in service.listeners
    ]
    counts: tuple[tuple[str, str, str, Callable[[ListenerStatus], float]], ...] = (
        ("connections_total", "counter", "Connections by one listener.", lambda each: each.connections_total),
        ("streams_active", "gauge", "Streams that are open.", lambda each: each.streams_active),
        ("sent_bytes_total", "counter", "Bytes sent, of streams that have ended.", lambda each: each.sent_bytes),
        ("received_bytes_total", "counter", "Bytes received, of the same.", lambda each: each.received_bytes),
    )
    for name, kind, meaning, value in counts:
        families.family(f"listener_{name}", kind, meaning, [(at, value(listener)) for at, listener in found])
    further = [(at, listener) for at, listener in found if listener.name != "listen"]
    families.family(
        "listener_quiet_days",
        "gauge",
        "Whole days in a row on which nobody came to a further listener.",
        [(at, listener.quiet_days) for at, listener in further],
    )


def stray_families(families: Families, status: Status) -> None:
    """Add the families of callers who come to exports the old way."""
    found = [
        ({"service": service.name, "organisation": stray.organisation}, stray)
        for service in status.services
        for stray in service.strays
    ]
    counts: tuple[tuple[str, str, str, Callable[[StrayStatus], float]], ...] = (
        ("strays_total", "counter", "Connections that came to an export the old way.", lambda each: each.tried_total),
        ("stray_streams_active", "gauge", "Of these, the streams that are open.", lambda each: each.streams_active),
        ("stray_sent_bytes_total", "counter", "Bytes sent to the target.", lambda each: each.sent_bytes),
        ("stray_received_bytes_total", "counter", "Bytes received from it.", lambda each: each.received_bytes),
        ("stray_quiet_days", "gauge", "Whole days in a row without one.", lambda each: each.quiet_days),
    )
    for name, kind, meaning, value in counts:
        families.family(name, kind, meaning, [(at, value(each)) for at, each in found])


def _outlets(status: Status) -> Iterator[tuple[Mapping[str, str], OutletStatus]]:
    for service in status.services:
        for outlet in service.outlets:
            yield {"service": service.name, "outlet": outlet.name}, outlet


def _end_of(day: str) -> float:
    """Return the end of a day that is written as status has it, UTC."""
    return _start_of((date.fromisoformat(day) + timedelta(days=1)).isoformat())


def _start_of(day: str) -> float:
    return datetime.combine(date.fromisoformat(day), time(), UTC).timestamp()
