"""The metrics of a node in Prometheus' text format, made from the status, so that both always agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pcgrelay.admin.condition import Condition, condition_of, troubles
from pcgrelay.admin.cutover_metrics import cutover_families
from pcgrelay.admin.drill_metrics import drill_families
from pcgrelay.admin.outlet_metrics import ENDS_S, Family, Samples, listener_families, outlet_families, stray_families
from pcgrelay.admin.status import LinkStatus, OutletTimes, Status
from pcgrelay.admin.validity import validity_families
from pcgrelay.printable import printable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_text(status: Status, counters: Mapping[str, int]) -> str:
    """Return all metric families; counters are the core's own, under the core's names."""
    lines: list[str] = []

    def family(name: str, kind: str, meaning: str, samples: Samples) -> None:
        lines.append(f"# HELP pcgrelay_{name} {meaning}")
        lines.append(f"# TYPE pcgrelay_{name} {kind}")
        for labels, value in samples:
            lines.append(f"pcgrelay_{name}{_labels(labels)} {_number(value)}")

    def histogram(name: str, meaning: str, samples: Iterable[tuple[Mapping[str, str], OutletTimes]]) -> None:
        lines.append(f"# HELP pcgrelay_{name} {meaning}")
        lines.append(f"# TYPE pcgrelay_{name} histogram")
        for labels, times in samples:
            for end, number in zip(ENDS_S, times.below or [0] * len(ENDS_S), strict=True):
                lines.append(f"pcgrelay_{name}_bucket{_labels({**labels, 'le': repr(end)})} {number}")
            lines.append(f"pcgrelay_{name}_bucket{_labels({**labels, 'le': '+Inf'})} {times.count}")
            lines.append(f"pcgrelay_{name}_sum{_labels(labels)} {_number(times.sum_s)}")
            lines.append(f"pcgrelay_{name}_count{_labels(labels)} {times.count}")

    _node(family, status)
    _links(family, status)
    _streams(family, status)
    outlet_families(family, histogram, status)
    listener_families(family, status)
    stray_families(family, status)
    cutover_families(family, status)
    drill_families(family, status)
    _counts(family, status, counters)
    return "\n".join(lines) + "\n"


def _node(family: Family, status: Status) -> None:
    node = status.node
    family("build_info", "gauge", "Version and role of this node.", [({"version": node.version, "role": node.role}, 1)])
    family("uptime_seconds", "gauge", "Time since the start.", [({}, node.uptime_s)])
    configuration = status.configuration
    family(
        "config_last_reload_successful",
        "gauge",
        "Whether the last reload was taken.",
        [({}, configuration.successful)],
    )
    family(
        "config_last_reload_timestamp_seconds",
        "gauge",
        "When a configuration was last taken.",
        [({}, configuration.timestamp_s)],
    )
    state = status.state
    if state.folder:
        family("state_unwritten", "gauge", "Whether what holds could not be written.", [({}, bool(state.reason))])
        family("state_lost", "gauge", "Whether shares that were set are not known any more.", [({}, state.lost)])
    for name, meaning, samples in validity_families(status.credentials):
        family(name, "gauge", meaning, samples)
    family(
        "clock_skew_seconds",
        "gauge",
        "How far the clock of another node is ahead of this one's.",
        [({"peer": clock.peer}, clock.skew_s) for clock in status.clocks],
    )
    condition = condition_of(status, troubles(status))
    family("ready", "gauge", "Whether new work is taken and all of it served.", [({}, condition.takes_new_work)])
    degraded = condition is Condition.DEGRADED
    family("degraded", "gauge", "Whether it serves, and something needs attention.", [({}, degraded)])
    family("draining", "gauge", "Whether this node takes nothing new.", [({}, node.draining)])


def _links(family: Family, status: Status) -> None:
    links = [(_of_link(link), link) for link in status.links]
    family("link_up", "gauge", "Whether the link is up.", [(at, link.state == "up") for at, link in links])
    family("link_lanes", "gauge", "Lanes that are up.", [(at, link.lanes_up) for at, link in links])
    family(
        "link_rtt_seconds",
        "gauge",
        "Round trip of probes.",
        [(at, link.rtt_ms / 1000) for at, link in links if link.rtt_ms is not None],
    )
    family(
        "link_healthy",
        "gauge",
        "Whether its probes are answered in time.",
        [(at, link.health != "failing") for at, link in links],
    )
    family("link_probe_loss_ratio", "gauge", "Probes late or lost.", [(at, link.loss) for at, link in links])
    family("link_sent_bytes_total", "counter", "Bytes sent.", [(at, link.sent_bytes) for at, link in links])
    family("link_received_bytes_total", "counter", "Bytes received.", [(at, link.received_bytes) for at, link in links])


def _streams(family: Family, status: Status) -> None:
    family("stream_active", "gauge", "Streams that are open.", [({}, status.streams.active)])
    family("stream_opened_total", "counter", "Streams since the start.", [({}, status.streams.opened_total)])
    closed = status.streams.closed_total.items()
    family("stream_closed_total", "counter", "Ends of streams.", [({"reason": why}, n) for why, n in closed])
    services = [({"service": service.name, "direction": service.direction}, service) for service in status.services]
    family("service_up", "gauge", "Whether it is ready.", [(at, service.state == "ready") for at, service in services])
    routes = [
        ({"service": service.name, "exporter": route.exporter}, route)
        for service in status.services
        for route in service.routes
    ]
    family(
        "route_up",
        "gauge",
        "Whether streams of an import can go to that exporter.",
        [(at, route.state in ("ready", "settling")) for at, route in routes],
    )


def _counts(family: Family, status: Status, counters: Mapping[str, int]) -> None:
    family("identity_twins", "gauge", "Identities that two processes bear.", [({}, len(status.twins))])
    family("refused_total", "counter", "Refusals.", [({"reason": why}, n) for why, n in status.refusals.items()])
    family("log_lines_lost_total", "counter", "Lines that the log could not write.", [({}, status.log.lost_total)])
    memory = status.memory
    family("memory_used_bytes", "gauge", "Memory of the data plane in use.", [({}, memory.used_bytes)])
    family("memory_budget_bytes", "gauge", "Memory that the data plane may use.", [({}, memory.budget_bytes)])
    for name, value in sorted(counters.items()):
        if not name.startswith("refused_"):
            kind = "counter" if name.endswith("_total") else "gauge"
            family(f"core_{name}", kind, "A counter of the native core.", [({}, value)])


def _of_link(link: LinkStatus) -> dict[str, str]:
    """Return the labels that distinguish one link from all others, in every configuration."""
    labels = {"link": link.peer, "bearer": link.bearer, "direction": link.direction}
    if link.address:
        labels["address"] = link.address
    if link.nth > 1:
        labels["nth"] = str(link.nth)
    return labels


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return printable(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
