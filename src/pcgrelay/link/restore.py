"""Links that another process hands over, and that this one takes: lanes without a control connection."""

from __future__ import annotations

from pcgrelay.clock import Clock
from pcgrelay.config import Address, Config, LinkSettings, ListenSettings
from pcgrelay.dataplane.api import LinkPlane
from pcgrelay.handover.records import LinkEstate, chain_read, chain_written
from pcgrelay.identity.handshake import Established
from pcgrelay.identity.renewal import Schedule
from pcgrelay.link.control import LostConnection
from pcgrelay.link.history import Standing
from pcgrelay.link.link import Link, LinkWatcher
from pcgrelay.model import NodeId, Role, Suite

NOWHERE = "0.0.0.0:1"


def link_estate(link: Link) -> LinkEstate:
    """What another process has to know of a link."""
    return LinkEstate(
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
        chain=chain_written(link.chain),
        draining=link.draining,
        opened_ms=link.opened_ms,
        address=str(link.standing.settings.address),
        generation=link.generation,
        authenticated_ms=link.schedule.authenticated_ms,
        lanes_up=dict(link.lanes_up),
    )


def link_inherited(
    estate: LinkEstate, standing: Standing, *, plane: LinkPlane, observer: LinkWatcher, clock: Clock
) -> Link:
    """A link of the process before this one. Its lanes go on; a new link takes its place, or it ends with them."""
    established = Established(
        peer=NodeId.from_uri(estate.peer),
        peer_role=Role(estate.peer_role),
        suite=Suite(estate.suite),
        group=estate.group,
        tls_suite=estate.tls_suite,
        client=estate.dialled,
        secret=bytearray(),
        binding=b"",
        lanes=estate.lanes,
        flows=0,
        cap=estate.cap,
        link_id=estate.link_id,
        chain=chain_read(estate.chain),
    )
    link = Link(
        estate.number,
        established,
        LostConnection(),
        standing=standing,
        plane=plane,
        observer=observer,
        clock=clock,
        connect=None,
    )
    link.draining = estate.draining
    link.opened_ms = estate.opened_ms
    link.generation = estate.generation
    link.schedule = Schedule(estate.authenticated_ms or estate.opened_ms)
    link.lanes_up = dict(estate.lanes_up)
    return link


def settings_inherited(estate: LinkEstate, config: Config) -> LinkSettings | ListenSettings:
    """The settings that a link has now, or those that it had if it is not wanted any more."""
    # Version 1 does not tell the address; then the bearer has to do.
    address = Address.parse(estate.address or NOWHERE)
    alike: list[LinkSettings | ListenSettings] = [
        each
        for each in (config.links if estate.dialled else config.listens)
        if each.bearer == estate.bearer and (not estate.address or each.address == address)
    ]
    peer = NodeId.from_uri(estate.peer)
    if not estate.dialled:
        return next(iter(alike), ListenSettings(address=address, bearer=estate.bearer))
    dialled = (each for each in alike if isinstance(each, LinkSettings) and each.peer == peer)
    return next(dialled, LinkSettings(peer=peer, address=address, bearer=estate.bearer))
