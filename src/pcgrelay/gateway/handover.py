"""What a node leaves to the process that takes its place, and what it takes from the one before.

The core's half is a record of its own, which the daemon writes and reads (docs/decisions/0009). A role adds what only
it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from pcgrelay import __version__
from pcgrelay.config import Address
from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.gateway.edge import Edge
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.prepared import Opened
from pcgrelay.handover.node import NodeEstate, ServiceEstate
from pcgrelay.log.events import HandoverTaken
from pcgrelay.messages import Code


def common_facts(node: Node) -> dict[str, str]:
    """What another process must have in common with this one to take its place."""
    settings = node.config.node
    return {
        "name": settings.id.name,
        "organisation": settings.id.organisation,
        "realm": settings.id.realm,
        "role": settings.role.title,
        "workers": str(settings.workers),
    }


def to_handover(node: Node) -> NodeEstate:
    """What another process has to know; the core is frozen and settled."""
    return node.role_to_handover(
        NodeEstate(
            started_ms=node.started_ms,
            links=node.neighbours.estate(),
            entries=node.adverts.estate(),
            member_sources=node.listeners.strangers.beginnings.estate(),
            refused=node.refused.to_handover(),
            members=node.watch.estate(),
        )
    )


def services_offered(node: Node) -> tuple[ServiceEstate, ...]:
    """The imports, by which another process knows which listeners it is to be given; a relay has none."""
    return node.services_offered() if isinstance(node, Edge) else ()


def expect(node: Node, listens: Iterable[Address], imports: Sequence[ServiceEstate]) -> None:
    """Another process hands these over; `prepare` does not open them."""
    node.listeners.expect(listens)
    if isinstance(node, Edge):
        node.expect_imports(imports)


def restore(node: Node, estate: NodeEstate, opened: Opened) -> None:
    """Be what another process was, whose core has been read; nothing runs before `start_restored`.

    opened has what `prepare` opened, and the listeners that were handed over.
    """
    node.started_ms = estate.started_ms
    node.neighbours.inherit(estate.links)
    node.adverts.inherit(estate.entries)
    node.watch.inherit(estate.members)
    node.listeners.strangers.beginnings.inherit(estate.member_sources, node.clock.monotonic_ms())
    node.refused.restore(estate.refused)
    node.listeners.apply(node.config.listens, opened)
    node.role_restore(estate, opened)


def start_restored(node: Node) -> None:
    """The other process will never seal again: go on in its place."""
    plane, links = node.plane, node.neighbours.links
    plane.start(node.handlers(), node.event_failed)
    for number in set(plane.links()) - set(links):
        # Its set-up was not over.
        with suppress(DataPlaneRefused):
            plane.link_close(number, Code.UNREACHABLE)
    node.begin()
    node.say(
        HandoverTaken(node=node.config.node.id.dotted, version=__version__, streams=plane.streams(), links=len(links))
    )
    node.neighbours.judge_inherited()
    node.presence_changed()
    node.adverts.reload()
    if isinstance(node, Edge):
        node.sessions.drop_unknown(plane.sessions())
