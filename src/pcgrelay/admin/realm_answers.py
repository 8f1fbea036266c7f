"""The answer about the realm as one node knows it. Other tools read this JSON: fields are only added, never changed."""

from __future__ import annotations

from msgspec import Struct

REALM_PATH = "/v1/realm"
EDGES_EACH = 500  # of one answer; further ones are asked for by `offset`


class RealmRelay(Struct, frozen=True, kw_only=True):
    """A relay that this node knows of."""

    relay: str  # name.organisation
    link: str = ""  # state of this node's link to it: up, connecting, draining; here: this node; empty: there is none
    edges: int = 0  # edges that are linked to it, as far as is known
    services: int = 0  # that these offer
    draining: bool = False


class RealmEdge(Struct, frozen=True, kw_only=True):
    """An edge whose entry this node has."""

    edge: str  # name.organisation
    relays: tuple[str, ...] = ()  # those that it is linked to
    said: bool = False  # by its signed entry; else they are the nearest to it on the paths that this node knows
    services: int = 0
    draining: bool = False  # it offers services, and none of them takes new streams because it drains
    hops: int = 0  # relays between this node and the edge, on the shortest path


class RealmAnswer(Struct, frozen=True, kw_only=True):
    """The realm as one node knows it by gossip. What this node cannot see is not here."""

    node: str  # name.organisation
    role: str
    version: str  # of this node; others do not tell theirs
    marking: str = ""  # as in the status
    interest: bool = False  # this edge asked its relays for the edges that it imports from, and knows no others
    organisation: str = ""  # of which alone edges are listed and counted; empty: all
    relays: tuple[RealmRelay, ...] = ()
    edges: tuple[RealmEdge, ...] = ()  # by name, from `offset` on
    offset: int = 0
    edges_total: int = 0
    services_total: int = 0
