"""The fleet as one node sees it in the store."""

from __future__ import annotations

from pcgrelay.admin.fleet_answers import FleetAnswer, FleetNode, FleetStatus
from pcgrelay.fleet.errors import StoreRefused, StoreSilent
from pcgrelay.fleet.lock import Holder, lock_key
from pcgrelay.fleet.report import NodeReport, read_body
from pcgrelay.gateway.node import Node
from pcgrelay.views.moments import moment


def fleet_status(node: Node) -> FleetStatus | None:
    """Return how the store stands; None: there is none."""
    state, settings = node.fleet.state, node.local.written.fleet
    if state is None or settings is None:
        return None
    sentence, since = "", moment(node, state.since_ms)
    if not state.live:
        sentence = f"Nothing is heard of the fleet's store since {since}"
        sentence += f": {StoreSilent(state.reason).words}; what is known stays." if state.reason else "."
    elif state.refused:
        sentence = f"The fleet's store does not take what this node writes: {StoreRefused(state.refused).words}."
    return FleetStatus(
        store=settings.store,
        live=state.live,
        since=since,
        reason=state.reason,
        refused=state.refused,
        sentence=sentence,
    )


def fleet_answer(node: Node) -> FleetAnswer:
    """Return all nodes that the store has, and have them followed for a while."""
    status = fleet_status(node)
    if status is None:
        reason = "There is no [fleet] in the node's configuration, so it shares nothing; add it, and reload the node."
        return FleetAnswer(reason=reason, exit_code=1)
    fleet = node.fleet
    fleet.want()
    found = []
    for value in fleet.nodes.values.values():
        report = read_body(value, NodeReport)
        if report is not None:
            found.append(_node(value.signer.dotted, report))
    lock = fleet.locks.values.get(lock_key(node.config.node.id.organisation))
    holder = None if lock is None else read_body(lock, Holder)
    return FleetAnswer(
        status=status,
        complete=fleet.nodes.loaded and fleet.locks.loaded,
        nodes=tuple(sorted(found, key=lambda each: each.node.partition(".")[::-1])),
        lock="" if holder is None else holder.words,
    )


def _node(name: str, report: NodeReport) -> FleetNode:
    return FleetNode(
        node=name,
        role=report.role,
        version=report.version,
        condition=report.condition,
        ready=report.ready,
        draining=report.draining,
        streams=report.streams,
        load_percent=report.load_percent,
        certificate_end_s=report.certificate_end_s,
        reported_s=report.at_s,
        process=report.process,
    )
