"""The results of the demonstration: facts for programs, and the same facts as tables and sentences for people."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from rich.console import Console
from rich.text import Text

from pcgrelay.admin.fleet_answers import FleetAnswer
from pcgrelay.admin.status import LinkStatus
from pcgrelay.demo.nodes import RELAYS
from pcgrelay.demo.realm import DATABASE, MEMBERS, Realm
from pcgrelay.demo.traffic import Moved
from pcgrelay.fleet_table import print_fleet
from pcgrelay.output import Layout, Row, count, milliseconds, print_table, size

# Line by line: the screen shows a line end inside a text as its number, as in a peer's words.
DRAWING = (
    f"  {MEMBERS[0].node} -------- {RELAYS[0]} -------- {RELAYS[1]} -------- {MEMBERS[1].node}",
    "                     |",
    f"                {MEMBERS[2].node}",
)


class Searched(Struct, frozen=True, kw_only=True):
    """All passes over the memory of one process."""

    process: str  # the node, or "demo" for the process that sent the markers
    role: str  # relay, edge, demo
    passes: int
    searched_bytes: int
    markers_found: int
    control: str  # text that is certainly in this process, as proof that the search works
    control_found: int


class Link(Struct, frozen=True, kw_only=True):
    """One link of a relay, from its status."""

    relay: str
    peer: str
    suite: str
    group: str
    rtt_ms: float | None
    sent_bytes: int
    received_bytes: int


class Address(Struct, frozen=True, kw_only=True):
    """Where a user can reach a service with --keep."""

    caller: str
    service: str
    url: str


class Facts(Struct, frozen=True, kw_only=True):
    """The output of --json."""

    ok: bool
    start_s: float
    total_s: float
    ways: tuple[Moved, ...]
    links: tuple[Link, ...]
    marker_bytes: int
    marker_traffic_bytes: int  # in streams of nothing but markers, both ways, while memory was searched
    searches: tuple[Searched, ...]
    addresses: tuple[Address, ...] = ()
    fleet: FleetAnswer | None = None  # as `pcgrelay fleet --json` has it; None: there is no store


def link_facts(relay: str, links: Sequence[LinkStatus]) -> list[Link]:
    return [
        Link(
            relay=relay,
            peer=link.peer,
            suite=link.suite,
            group=link.group,
            rtt_ms=link.rtt_ms,
            sent_bytes=link.sent_bytes,
            received_bytes=link.received_bytes,
        )
        for link in sorted(links, key=lambda link: link.peer)
    ]


def print_facts(console: Console, facts: Facts) -> None:
    """Print the tables, and the conclusion from them."""
    if facts.fleet is not None:
        console.print()
        console.print(Text(f"$ pcgrelay fleet -c {RELAYS[0]}.toml", style="bold"))
        print_fleet(console, facts.fleet)
    console.print()
    _print_ways(console, facts.ways)
    console.print()
    _print_links(console, facts.links)
    console.print()
    _print_searches(console, facts)


def _print_ways(console: Console, ways: Sequence[Moved]) -> None:
    narrow, wide = [], []
    for way in ways:
        caller, via = way.caller.partition(".")[0], ", ".join(way.via)
        figures = [milliseconds(way.request_p50_ms), _rate(way.down_bytes_per_s), _rate(way.up_bytes_per_s)]
        wide.append(Row([caller, way.service, via, way.suite, way.group, *figures]))
        narrow.append(Row([caller, way.service, *figures], [f"via {via}; {way.suite}, {way.group}"]))
    numbers = [">request", ">down", ">up"]
    print_table(
        console,
        "Between applications, end to end",
        Layout(["from", "service", "via", "suite", "group", *numbers], wide),
        Layout(["from", "service", *numbers], narrow),
    )
    first = ways[0]
    moved = sum(way.down_bytes + way.up_bytes for way in ways)
    console.print(
        f"Each way: {first.requests} requests one after another (median), {size(first.down_bytes)} down and as much up "
        f"on {first.streams // 2} streams at once. {size(moved)} in all, compared by SHA-256."
    )


def _print_links(console: Console, links: Sequence[Link]) -> None:
    rows = [
        Row([link.relay, link.peer, milliseconds(link.rtt_ms), size(link.sent_bytes), size(link.received_bytes)])
        for link in links
    ]
    print_table(
        console, "Links of the relays, hop by hop", Layout(["relay", "peer", ">rtt", ">sent", ">received"], rows)
    )
    sealed = sorted({f"{link.suite} under {link.group}" for link in links})
    console.print(
        f"A relay opens and seals the headers of frames, with {', '.join(sealed)}, and has no key for the rest."
    )


def _print_searches(console: Console, facts: Facts) -> None:
    rows = [
        Row(
            [
                search.process,
                search.role,
                count(search.passes),
                size(search.searched_bytes),
                count(search.markers_found),
                f"{search.control}: {count(search.control_found)}",
            ]
        )
        for search in facts.searches
    ]
    columns = ["process", "role", ">passes", ">searched", ">markers", ">control"]
    print_table(console, "Search for the markers in all readable memory", Layout(columns, rows))
    console.print(
        f"A random marker of {facts.marker_bytes} bytes was in all bulk above. Then streams of nothing else ran over "
        f"every way, {size(facts.marker_traffic_bytes)} there and back, while all readable memory of each process was "
        "searched; the relays were searched once more when the streams had ended."
    )
    relays = [search for search in facts.searches if search.role == "relay"]
    found = sum(search.markers_found for search in relays)
    if facts.ok:
        words = (
            "The relays never held it in the clear; the search finds it where it must be, in the edges, and finds in "
            "each relay the relay's own name."
        )
        console.print(Text(words, style="bold green"))
    elif found:
        console.print(Text(f"A relay held it in the clear, {count(found)} times.", style="bold red"))
    else:
        words = "The search found less than it must find where the markers are, so it proves nothing of the relays."
        console.print(Text(words, style="bold red"))


def print_addresses(console: Console, realm: Realm, *, with_fleet: bool) -> None:
    """Print what to try with --keep. Lines are not wrapped, because they are to be copied."""
    console.print()
    console.print(Text("The realm stays up. In another terminal:", style="bold"))
    first = realm.ways[0].listen
    lines = [(f"curl http://{way.listen}/", f"{way.caller.title} to {way.owner.service_name}") for way in realm.ways]
    lines += [
        (f"curl -o /dev/null http://{first}/bulk/256", "256 MiB down"),
        (f"curl -T FILE http://{first}/", "up; the answer has the SHA-256 of what arrived"),
        (
            f"psql -h 127.0.0.1 -p {realm.database_port} -U postgres",
            f"{MEMBERS[1].title} to {MEMBERS[0].title}'s PostgreSQL, if one is on {DATABASE}",
        ),
        (f"pcgrelay status -c {realm.edges[0].config}", ""),
        (f"tail -f {realm.edges[0].log}", ""),
    ]
    if with_fleet:
        file = realm.relays[0].config
        lines.append((f"pcgrelay fleet -c {file}", ""))
        lines.append((f"pcgrelay fleet upgrade --one-by-one -c {file}", "the relays, while all goes on"))
    for command, meaning in lines:
        words = Text(f"  # {meaning}" if meaning else "", style="dim")
        console.print(Text(f"  {command}") + words, soft_wrap=True)
    console.print("Behind the other exports stand small HTTP servers of this process. Ctrl-C ends everything.")


def _rate(bytes_per_s: float) -> str:
    return f"{bytes_per_s / 1e6:.0f} MB/s"
