"""What `pcgrelay status --realm` shows."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

from msgspec import structs
from rich.console import Console
from rich.text import Text

from pcgrelay.admin.client import ask
from pcgrelay.admin.realm_answers import REALM_PATH, RealmAnswer, RealmEdge, RealmRelay
from pcgrelay.output import Layout, Row, count, print_table

PAGES_MOST = 64  # of one question; a catalogue has at most 10,000 edges, and a page 500
EDGES_SHOWN = 100
NOTE_WIDTH = 76


def read_realm(admin: Path, organisation: str, *, most: int | None = None) -> RealmAnswer:
    """Return the realm as the node at that socket knows it. most: so many edges are enough; None: all."""
    whole = _page(admin, organisation, 0)
    edges = list(whole.edges)
    for _ in range(PAGES_MOST):
        if len(edges) >= (whole.edges_total if most is None else min(most, whole.edges_total)):
            break
        following = _page(admin, organisation, len(edges)).edges
        if not following:
            break
        edges += following
    return structs.replace(whole, edges=tuple(edges if most is None else edges[:most]))


def _page(admin: Path, organisation: str, offset: int) -> RealmAnswer:
    query = urlencode({"organisation": organisation, "offset": offset})
    return ask(admin, "GET", f"{REALM_PATH}?{query}", RealmAnswer)


def print_realm(console: Console, realm: RealmAnswer) -> None:
    """Print relays, then edges."""
    whose = f" of {realm.organisation}" if realm.organisation else ""
    console.print(Text(f"The realm as {realm.node} ({realm.role}) knows it", style="bold"))
    console.print(Text("known by gossip; what this node cannot see is not here"))
    if realm.interest:
        console.print(
            Text("this edge asks for the edges that it imports from, and knows no others: ask a relay for all")
        )
    relays = "1 relay" if len(realm.relays) == 1 else f"{count(len(realm.relays))} relays"
    edges = "1 edge" if realm.edges_total == 1 else f"{count(realm.edges_total)} edges"
    services = "1 service" if realm.services_total == 1 else f"{count(realm.services_total)} services"
    console.print(Text(f"{relays}; {edges}{whose}, which offer {services}"))
    if realm.relays:
        console.print()
        rows = [_relay(relay) for relay in realm.relays]
        print_table(console, f"Relays ({len(realm.relays)})", Layout(["relay", "link", ">edges", ">services"], rows))
    if realm.edges:
        console.print()
        rows = [_edge(edge) for edge in realm.edges]
        title = f"Edges{whose} ({count(len(realm.edges))} of {count(realm.edges_total)})"
        print_table(console, title, Layout(["edge", ">hops", ">services", "state"], rows))
    if len(realm.edges) < realm.edges_total:
        console.print(Text("More: --organisation NAME lists those of one organisation, --json all."))


def _relay(relay: RealmRelay) -> Row:
    return Row([relay.relay, relay.link or "-", count(relay.edges), count(relay.services)])


def _edge(edge: RealmEdge) -> Row:
    notes = [f"at {' and '.join(edge.relays)}"]
    if len(notes[0]) > NOTE_WIDTH:
        notes = [f"at {relay}" for relay in edge.relays]
    if not edge.relays:
        notes = []
    elif not edge.said:
        notes.append("(by the paths; it does not say)")
    return Row([edge.edge, str(edge.hops), count(edge.services), "draining" if edge.draining else "-"], notes)
