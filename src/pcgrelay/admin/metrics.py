"""The metrics of a node in Prometheus' text format, made from the status, so that both always agree."""

from __future__ import annotations

from collections.abc import Mapping

from pcgrelay.admin.audit_metrics import audit_families
from pcgrelay.admin.bundles import bundle_families
from pcgrelay.admin.condition import Condition, condition_of, troubles
from pcgrelay.admin.core_help import CORE_HELP, OTHER
from pcgrelay.admin.cutover_metrics import cutover_families
from pcgrelay.admin.drill_metrics import drill_families
from pcgrelay.admin.families import Families
from pcgrelay.admin.outlet_metrics import listener_families, outlet_families, stray_families
from pcgrelay.admin.service_metrics import ServicesText
from pcgrelay.admin.status import ApprovalsStatus, LinkStatus, Status
from pcgrelay.admin.validity import validity_families

_IS_UP = ("up", "draining")
_WAS_UP = (*_IS_UP, "away")


def metrics_text(status: Status, counters: Mapping[str, int], services: ServicesText | None = None) -> str:
    """Return all metric families.

    counters: the core's own, under the core's names. services: what keeps the lines of services from scrape to scrape.
    """
    families = Families()
    _node(families, status)
    _links(families, status)
    _neighbours(families, status)
    _discoveries(families, status)
    _streams(families, status)
    outlet_families(families, status)
    listener_families(families, status)
    stray_families(families, status)
    cutover_families(families, status)
    drill_families(families, status)
    audit_families(families, status)
    _counts(families, status, counters)
    return families.text() + (services or ServicesText()).text(status)


def _node(families: Families, status: Status) -> None:
    family = families.family
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
    for name, meaning, samples in (*validity_families(status.credentials), *bundle_families(status.bundle)):
        family(name, "gauge", meaning, samples)
    ended = sum(not rule.days for rule in status.rules)
    family("rules_ending", "gauge", "How many rules end within 30 days.", [({}, len(status.rules) - ended)])
    family("rules_ended", "gauge", "How many rules have ended and still stand in the file.", [({}, ended)])
    _approvals(families, status.approvals)
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


def _approvals(families: Families, approvals: ApprovalsStatus) -> None:
    """Of a node whose changes have to be approved."""
    if not approvals.active:
        return
    family = families.family
    family(
        "policy_unapproved",
        "gauge",
        "Whether its files had changes at the start that nobody approved.",
        [({}, bool(approvals.unapproved))],
    )
    is_safe = not approvals.older and not approvals.unwritten
    family("policy_kept", "gauge", "Whether what is in force is kept, and was taken last.", [({}, is_safe)])
    texts = [({"text": each.what}, each) for each in approvals.waiting]
    family(
        "approval_waiting",
        "gauge",
        "Signatures that a text which waits still lacks.",
        [(at, max(each.needs - each.signatures, 0)) for at, each in texts],
    )
    family(
        "approval_until_timestamp_seconds",
        "gauge",
        "When a text that waits cannot be taken any more.",
        [(at, each.until_timestamp_s) for at, each in texts],
    )


def _links(families: Families, status: Status) -> None:
    family = families.family
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
    udp = [(at, link.udp) for at, link in links if link.udp is not None]
    family(
        "link_udp_lanes", "gauge", "UDP lanes that are up, where both ends have them.", [(at, u.up) for at, u in udp]
    )
    family("link_udp_loss_ratio", "gauge", "Packets lost on UDP lanes.", [(at, u.loss) for at, u in udp])
    rtts = [(at, u.rtt_ms / 1000) for at, u in udp if u.rtt_ms is not None]
    family("link_udp_rtt_seconds", "gauge", "Round trip of probes on UDP lanes.", rtts)
    sent, taken = "Packets sent on UDP lanes.", "Packets taken from UDP lanes."
    family("link_udp_sent_packets_total", "counter", sent, [(at, u.sent_packets) for at, u in udp])
    family("link_udp_taken_packets_total", "counter", taken, [(at, u.taken_packets) for at, u in udp])
    late = "Packets of UDP lanes that were refused: late, replayed, changed or malformed."
    family("link_udp_refused_packets_total", "counter", late, [(at, u.refused_packets) for at, u in udp])


def _neighbours(families: Families, status: Status) -> None:
    """All links of a neighbour together: an alarm for a lost member need not know its bearers and listeners."""
    up = {link.peer: False for link in status.links if link.direction == "out" or link.state in _WAS_UP}
    up |= {link.peer: True for link in status.links if link.state in _IS_UP}
    nodes = [({"node": node}, is_up) for node, is_up in sorted(up.items()) if node]
    families.family(
        "neighbour_expected",
        "gauge",
        "Whether a link with it is configured, or was up within a day.",
        [(at, True) for at, _ in nodes],
    )
    families.family("neighbour_up", "gauge", "Whether any link with it is up.", nodes)


def _discoveries(families: Families, status: Status) -> None:
    family = families.family
    found = [({"discover": each.discover}, each) for each in status.discoveries]
    family("discovery_relays", "gauge", "Relays that DNS leads to.", [(at, each.relays) for at, each in found])
    family("discovery_links", "gauge", "Links to these that are up.", [(at, each.up) for at, each in found])
    family("discovery_links_wanted", "gauge", "Links that are wanted.", [(at, each.wanted) for at, each in found])
    answered = [(at, each.answered) for at, each in found if each.answered is not None]
    family("discovery_answered", "gauge", "Whether the last look-up was answered.", answered)


def _streams(families: Families, status: Status) -> None:
    family = families.family
    family("stream_active", "gauge", "Streams that are open.", [({}, status.streams.active)])
    family("stream_opened_total", "counter", "Streams since the start.", [({}, status.streams.opened_total)])
    closed = status.streams.closed_total.items()
    family("stream_closed_total", "counter", "Ends of streams.", [({"reason": why}, n) for why, n in closed])


def _counts(families: Families, status: Status, counters: Mapping[str, int]) -> None:
    family = families.family
    if status.fleet is not None:
        live = "Whether the store of the fleet answers; 0: what is known of it stays."
        family("fleet_store_live", "gauge", live, [({}, status.fleet.live)])
    family("identity_twins", "gauge", "Identities that two processes bear.", [({}, len(status.twins))])
    family("refused_total", "counter", "Refusals.", [({"reason": why}, n) for why, n in status.refusals.items()])
    family("log_lines_lost_total", "counter", "Lines that the log could not write.", [({}, status.log.lost_total)])
    memory = status.memory
    family("memory_used_bytes", "gauge", "Memory of the data plane in use.", [({}, memory.used_bytes)])
    family("memory_budget_bytes", "gauge", "Memory that the data plane may use.", [({}, memory.budget_bytes)])
    for name, value in sorted(counters.items()):
        if not name.startswith("refused_"):
            kind = "counter" if name.endswith("_total") else "gauge"
            family(f"core_{name}", kind, CORE_HELP.get(name, OTHER), [({}, value)])


def _of_link(link: LinkStatus) -> dict[str, str]:
    """Return the labels that distinguish one link from all others, in every configuration."""
    labels = {"link": link.peer, "bearer": link.bearer, "direction": link.direction}
    if link.address:
        labels["address"] = link.address
    if link.nth > 1:
        labels["nth"] = str(link.nth)
    return labels
