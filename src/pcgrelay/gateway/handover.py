"""Hand-over of a node to the process that takes its place, and restoring it there.

The core's state is a record of its own, which the daemon writes and reads (docs/decisions/0009). The role adds its own
part.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress

from pcgrelay import __version__
from pcgrelay.config import Address
from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.prepared import Prepared
from pcgrelay.handover.node import NodeHandover, ServiceHandover
from pcgrelay.log.events import HandoverTaken
from pcgrelay.messages import Code


def common_facts(node: Node) -> dict[str, str]:
    """Return the settings that must be equal in the process that takes this one's place."""
    settings = node.config.node
    return {
        "name": settings.id.name,
        "organisation": settings.id.organisation,
        "realm": settings.id.realm,
        "role": settings.role.title,
        "workers": str(settings.workers),
    }


def to_handover(node: Node) -> NodeHandover:
    """Return the hand-over record of the node. The core must be frozen and settled."""
    return node.role.to_handover(
        NodeHandover(
            started_ms=node.started_ms,
            links=node.link_table.to_handover(),
            entries=node.exchange.to_handover(),
            member_sources=node.listeners.strangers.beginnings.to_handover(),
            refused=node.refused.to_handover(),
            members=node.watch.to_handover(),
            link_totals=node.link_totals.to_handover(),
            lists=node.lists.to_handover(),
            bundle=node.bundles.to_handover(),
            audit=node.audit.rest,
            link_handshakes=node.local.link_handshakes,
            session_handshakes=node.local.session_handshakes,
            paper_ends=node.rule_ends.to_handover(),
            udp_sockets=node.link_table.udp_lanes.to_handover(),
        )
    )


def listening(node: Node) -> dict[Address, socket.socket]:
    """Return the listening sockets that the core does not have, by address; they are handed over."""
    strays = node.role.strays.sockets() if isinstance(node.role, EdgeRole) else {}
    return {**node.listeners.sockets(), **node.readers.sockets(), **strays}


def services_offered(node: Node) -> tuple[ServiceHandover, ...]:
    """Return the imports whose listeners are handed over; a relay has none."""
    return node.role.services.imports_handover() if isinstance(node.role, EdgeRole) else ()


def expect(node: Node, listens: Iterable[Address], imports: Sequence[ServiceHandover]) -> None:
    """Do not open these listeners in `prepare`: another process hands them over."""
    node.listeners.expect(listens)
    if isinstance(node.role, EdgeRole):
        node.role.services.expect(imports)


def restore(node: Node, handover: NodeHandover, prepared: Prepared) -> None:
    """Restore the state of another process, whose core record has been read; nothing runs before `start_restored`.

    prepared: what `prepare` opened, and the listeners that were handed over.
    """
    node.started_ms = handover.started_ms
    node.audit.attach(node.state)
    node.audit.restore(handover.audit)
    node.lists.restore(handover.lists)
    node.bundles.begin(node.state, handover.bundle)
    node.link_table.restore(handover.links)
    node.link_table.udp_lanes.restore(handover.udp_sockets)
    node.exchange.restore(handover.entries)
    node.watch.restore(handover.members)
    node.link_totals.restore(handover.link_totals)
    node.local.restore_handshakes(handover.link_handshakes, handover.session_handshakes)
    node.listeners.strangers.beginnings.restore(handover.member_sources, node.clock.monotonic_ms())
    node.refused.restore(handover.refused)
    node.rule_ends.restore(handover.paper_ends)
    node.listeners.apply(node.config.listens, prepared)
    node.readers.apply(node.config, prepared)
    node.role.restore(handover, prepared)


def start_restored(node: Node) -> None:
    """Start the restored node: the other process never seals again."""
    plane, links = node.plane, node.link_table.links
    plane.start(node.handlers(), node.event_failed)
    for number in set(plane.links()) - set(links):
        # Its set-up was not complete.
        with suppress(DataPlaneRefused):
            plane.link_close(number, Code.UNREACHABLE)
    node.audit.start()
    node.begin()
    node.emit(
        HandoverTaken(node=node.config.node.id.dotted, version=__version__, streams=plane.streams(), links=len(links))
    )
    node.link_table.judge_restored()
    node.role.trust_changed()
    node.exchange.reload()
    # The files may have other clearances than the process before this one had.
    node.role.clearances_changed()
    if isinstance(node.role, EdgeRole):
        node.role.sessions.drop_unknown(plane.sessions())
