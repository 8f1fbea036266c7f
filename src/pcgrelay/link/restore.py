"""Hand-over of links to another process: their lanes, without the control connection."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from pcgrelay.clock import Clock
from pcgrelay.config import Address, Config, LinkSettings, ListenSettings
from pcgrelay.dataplane.api import LinkPlane
from pcgrelay.handover.records import LinkHandover, read_chain, write_chain
from pcgrelay.identity.handshake import HandshakeResult
from pcgrelay.identity.renewal import Schedule
from pcgrelay.link.control import LostConnection
from pcgrelay.link.history import LinkHistory
from pcgrelay.link.link import Link, LinkWatcher
from pcgrelay.model import NodeId, Role, Suite
from pcgrelay.net.sockets import ADDRESSES_TRIED, Where

NOWHERE = "0.0.0.0:1"


def link_handover(link: Link, last: Sequence[Where] = ()) -> LinkHandover:
    """Return the hand-over record of a link. last: where its host was when it was last resolved."""
    settings = link.standing.settings
    return LinkHandover(
        number=link.number,
        peer=link.peer.uri,
        peer_role=int(link.peer_role),
        bearer=link.bearer,
        dialled=link.dialled,
        lanes=link.lanes,
        cap=link.cap,
        suite=int(link.suite),
        group=link.group,
        tls_suite=link.tls_suite,
        link_id=link.link_id,
        chain=write_chain(link.chain),
        draining=link.draining,
        opened_ms=link.opened_ms,
        address=str(settings.address),
        generation=link.generation,
        authenticated_ms=link.schedule.authenticated_ms,
        lanes_up=dict(link.lanes_up),
        discover=settings.discover if isinstance(settings, LinkSettings) else "",
        found=tuple((family, host, port) for family, (host, port) in last[:ADDRESSES_TRIED]),
        features=tuple(sorted(link.features)),
    )


def restore_link(
    handover: LinkHandover, standing: LinkHistory, *, plane: LinkPlane, observer: LinkWatcher, clock: Clock
) -> Link:
    """Restore a link of the previous process. Its lanes go on until a new link replaces it or they are lost."""
    established = HandshakeResult(
        peer=NodeId.from_uri(handover.peer),
        peer_role=Role(handover.peer_role),
        suite=Suite(handover.suite),
        group=handover.group,
        tls_suite=handover.tls_suite,
        client=handover.dialled,
        secret=bytearray(),
        binding=b"",
        lanes=handover.lanes,
        flows=0,
        cap=handover.cap,
        link_id=handover.link_id,
        chain=read_chain(handover.chain),
        features=frozenset(handover.features),
    )
    link = Link(
        handover.number,
        established,
        LostConnection(),
        standing=standing,
        plane=plane,
        observer=observer,
        clock=clock,
        connect=None,
    )
    link.draining = handover.draining
    link.opened_ms = handover.opened_ms
    link.generation = handover.generation
    link.schedule = Schedule(handover.authenticated_ms or handover.opened_ms)
    link.lanes_up = dict(handover.lanes_up)
    return link


def restored_places(handover: LinkHandover) -> list[Where]:
    """Return where the host was for the process before, which no name service has to be asked for."""
    return [(family, (host, port)) for family, host, port in handover.found[:ADDRESSES_TRIED]]


def restored_settings(handover: LinkHandover, config: Config) -> LinkSettings | ListenSettings:
    """Find the present settings of a link, or make those that it had if the configuration no longer names it."""
    # A record of version 1 has no address: then the bearer alone must match.
    address = Address.parse(handover.address or NOWHERE)
    if not handover.dialled:
        # What came to an address of this machine is of the network that the file says of it now, as after a reload.
        came_in = (
            each
            for each in config.listens
            if (each.address == address if handover.address else each.bearer == handover.bearer)
        )
        return next(came_in, ListenSettings(address=address, bearer=handover.bearer))
    peer = NodeId.from_uri(handover.peer)
    if found := next((each for each in config.discoveries if each.discover == handover.discover), None):
        return structs.replace(found.link_to(peer, address), bearer=handover.bearer)
    dialled = (
        each
        for each in config.named_links
        if each.bearer == handover.bearer and (not handover.address or each.address == address) and each.peer == peer
    )
    return next(dialled, LinkSettings(peer=peer, address=address, bearer=handover.bearer))
