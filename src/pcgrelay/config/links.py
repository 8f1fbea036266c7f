"""[[link]]: neighbours that the file names, and those that DNS leads to."""

from __future__ import annotations

import re

from pcgrelay.config import schema
from pcgrelay.config.fields import bearer_name, dialled, parsed, precedence, refuse_same, refuse_twice, sources
from pcgrelay.config.paper import paper
from pcgrelay.config.settings import Config, DiscoverSettings, LinkSettings
from pcgrelay.config.shape import example_for
from pcgrelay.config.source import KeyPath, Source
from pcgrelay.config.values import Address
from pcgrelay.model import NodeId

LINKS = 2
PEERS_MOST = 64
# RFC 2782: the service, the protocol, and the domain whose relays these are.
_DISCOVER = re.compile(
    r"(?=.{1,253}\Z)_[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\._tcp(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))+", re.ASCII
)
# Sources are not judged by the family of the address that they lead to: it is not known yet.
_ANYWHERE = Address("relay.invalid", 1)


def link(source: Source, where: KeyPath, table: schema.LinkTable, own: NodeId) -> LinkSettings | DiscoverSettings:
    """Return one [[link]]."""
    if table.discover is not None:
        return _discovered(source, where, table, table.discover, own)
    for key, value in (("links", table.links), ("peers", table.peers)):
        if value is not None:
            problem = "this is for links that are found by discover; remove this line, or peer and address"
            raise source.refusal((*where, key), problem)
    texts = {}
    for key, text in (("peer", table.peer), ("address", table.address)):
        if text is None:
            raise source.refusal((*where, key), f"this is missing; write for example: {example_for((*where, key))}")
        texts[key] = text
    address = dialled(source, (*where, "address"), texts["address"])
    return LinkSettings(
        peer=_peer(source, (*where, "peer"), texts["peer"], own),
        address=address,
        bearer=bearer_name(source, where, table.bearer),
        precedence=precedence(table.precedence),
        weight=table.weight,
        sources=sources(source, (*where, "source"), table.source, address),
        paper=paper(source, where, table),
    )


def _discovered(source: Source, where: KeyPath, table: schema.LinkTable, name: str, own: NodeId) -> DiscoverSettings:
    if table.peer is not None or table.address is not None:
        named = "peer" if table.peer is not None else "address"
        problem = f"neighbours and their addresses are found by this; remove this line, or {named}"
        raise source.refusal((*where, "discover"), problem)
    peers = table.peers or ()
    if table.peers is not None and not peers:
        raise source.refusal((*where, "peers"), "an empty list admits no relay; name some, or remove this line")
    if len(peers) > PEERS_MOST:
        problem = f"these are {len(peers)} relays, and {PEERS_MOST} is the most; write fewer"
        raise source.refusal((*where, "peers"), problem)
    refuse_twice(source, "link", "peers", peers, int(where[1]))
    return DiscoverSettings(
        discover=parsed(source, (*where, "discover"), name, _name),
        links=LINKS if table.links is None else table.links,
        peers=tuple(_peer(source, (*where, "peers", i), text, own) for i, text in enumerate(peers)),
        bearer=bearer_name(source, where, table.bearer),
        precedence=precedence(table.precedence),
        weight=table.weight,
        sources=sources(source, (*where, "source"), table.source, _ANYWHERE),
        paper=paper(source, where, table),
    )


def _peer(source: Source, where: KeyPath, text: str, own: NodeId) -> NodeId:
    peer = parsed(source, where, text, lambda text: NodeId.from_dotted(text, own.realm))
    if peer == own:
        raise source.refusal(where, f"{peer} is this node itself; name its neighbour")
    return peer


def _name(text: str) -> str:
    """Parse the name of SRV records. ValueError: it is none."""
    name = text.removesuffix(".").lower()
    if not _DISCOVER.fullmatch(name):
        raise ValueError(f'"{text}" is no name of SRV records, which begins with a service and _tcp')
    return name


def refuse_links(source: Source, config: Config) -> None:
    """Apply the rules between the entries of [[link]], and those between them and [policy]."""
    named = [(link.peer, link.address) if isinstance(link, LinkSettings) else object() for link in config.links]
    refuse_same(source, "link", "address", named, "this link")
    found = [link.discover if isinstance(link, DiscoverSettings) else object() for link in config.links]
    refuse_same(source, "link", "discover", found, "this name")
    for index, each in enumerate(config.links):
        if isinstance(each, DiscoverSettings) and not each.peers and config.policy.relays is None:
            problem = (
                "DNS proves nothing, so the file says whose relays may be linked; "
                "add relays to [policy], or peers to this table"
            )
            raise source.refusal(("link", index, "discover"), problem)
