"""A whole realm on this machine: real nodes, real traffic, and a search of the relays' memory for it.

Everything is in one temporary folder and in child processes, and both are removed at the end, however it ends. All
output was measured or read in this run.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack, suppress

from rich.console import Console

from pcgrelay.demo.ending import Ending
from pcgrelay.demo.folders import temporary_folder
from pcgrelay.demo.memory import Search, searched
from pcgrelay.demo.node import Node
from pcgrelay.demo.payload import MARKER, Payload
from pcgrelay.demo.realm import MEMBERS, Realm
from pcgrelay.demo.report import (
    DRAWING,
    Address,
    Facts,
    Searched,
    link_facts,
    print_addresses,
    print_facts,
)
from pcgrelay.demo.store import ROOM_BYTES, Store, fleet_seen
from pcgrelay.demo.targets import Target
from pcgrelay.demo.traffic import Markers, Moved, moved
from pcgrelay.errors import PcgrelayError
from pcgrelay.output import print_json, terminal

PASSES = 5  # over each relay while markers flow; one more follows afterwards
EDGE_PASSES = 2


def run(*, keep: bool, with_fleet: bool, as_json: bool) -> int | None:
    """Run the demonstration; return the exit code: 1 if a relay held plaintext. Ctrl-C ends it at any point."""
    console = Console(file=sys.stderr, quiet=True) if as_json else terminal()
    began = time.monotonic()
    with Ending() as ending, ExitStack() as stack:
        folder = temporary_folder(stack, ROOM_BYTES if with_fleet else 0)
        payload, realm = Payload(), Realm(folder)
        store = Store.find(folder) if with_fleet else None
        _prepare(console, realm, payload, stack, keep, store)
        if store is not None:
            _start_store(console, store, stack, ending)
        stack.callback(realm.stop)
        realm.launch()
        with ending.may_come():
            realm.wait()
            started = time.monotonic()
            seconds = started - began
            console.print(f"{len(realm.nodes)} nodes run, each a process of its own, and are linked ({seconds:.1f} s).")
            try:
                facts = _shown(realm, payload, began, started, keep, with_fleet)
            except PcgrelayError:
                # If a node has ended, that is the cause, whatever was noticed first.
                realm.refuse_dead()
                raise
        if as_json:
            print_json(facts)
            sys.stdout.flush()
        else:
            print_facts(console, facts)
        if keep:
            if not as_json:
                print_addresses(console, realm, with_fleet=with_fleet)
            with suppress(KeyboardInterrupt), ending.may_come():  # here it is the normal end
                realm.watch()
    console.print(f"Every process has ended and {folder} is removed ({time.monotonic() - began:.1f} s).")
    return 0 if facts.ok else 1


def _prepare(
    console: Console, realm: Realm, payload: Payload, stack: ExitStack, keep: bool, store: Store | None
) -> None:
    console.print("A realm of two relays and three organisations, on this machine:")
    console.print()
    for line in DRAWING:
        console.print(line)
    console.print()
    targets = {}
    for member in MEMBERS:
        target = Target(f"{member.service_name} answers", payload)
        stack.callback(target.close)
        targets[member.organisation] = target.address
    realm.tables = "" if store is None else store.tables
    realm.prepare(targets, with_database=keep)


def _start_store(console: Console, store: Store, stack: ExitStack, ending: Ending) -> None:
    began = time.monotonic()
    stack.callback(store.stop)
    store.start()
    with ending.may_come():
        store.wait()
    console.print(f"A store of three members, an etcd, answers ({time.monotonic() - began:.1f} s).")


def _shown(realm: Realm, payload: Payload, began: float, started: float, keep: bool, with_fleet: bool) -> Facts:
    ways = _traffic(realm, payload)
    there, searches = _search(realm, payload)
    realm.refuse_dead()
    fleet = fleet_seen(realm.relays[0], len(realm.nodes)) if with_fleet else None
    links = [fact for relay in realm.relays for fact in link_facts(relay.name, relay.status().links)]
    return Facts(
        ok=_proved(searches),
        start_s=round(started - began, 2),
        total_s=round(time.monotonic() - began, 2),
        ways=tuple(ways),
        links=tuple(links),
        marker_bytes=MARKER,
        marker_traffic_bytes=there,
        searches=tuple(searches),
        addresses=_addresses(realm) if keep else (),
        fleet=fleet,
    )


def _traffic(realm: Realm, payload: Payload) -> list[Moved]:
    sessions = {member: realm.edge_of(member).sessions() for member in MEMBERS}
    return [moved(way, payload, *sessions[way.caller][way.owner.organisation]) for way in realm.ways]


def _search(realm: Realm, payload: Payload) -> tuple[int, list[Searched]]:
    """Search every process for the marker while streams carry it everywhere, and the relays afterwards."""
    markers = Markers(realm.ways, payload)
    passes: dict[str, list[Search]] = {node.name: [] for node in realm.nodes}

    def look(nodes: list[Node]) -> None:
        for node in nodes:
            passes[node.name].append(searched(node.pid, [payload.marker, node.name.encode()]))

    try:
        for number in range(PASSES):
            look(realm.relays)
            if number < EDGE_PASSES:
                look(realm.edges)
        own = searched(os.getpid(), [payload.marker, b"pcgrelay.demo"])
        markers.refuse_ended()
        markers.stop()
    except BaseException:
        markers.abandon()
        raise
    look(realm.relays)
    found = [
        _summed(node.name, "relay" if node.is_relay else "edge", node.name, passes[node.name]) for node in realm.nodes
    ]
    return markers.there, [*found, _summed("this one", "demo", "pcgrelay.demo", [own])]


def _summed(process: str, role: str, control: str, passes: list[Search]) -> Searched:
    return Searched(
        process=process,
        role=role,
        passes=len(passes),
        searched_bytes=sum(one.searched_bytes for one in passes),
        markers_found=sum(one.found[0] for one in passes),
        control=control,
        control_found=sum(one.found[1] for one in passes),
    )


def _proved(searches: list[Searched]) -> bool:
    """Return whether no relay has a marker, and the search works: markers in all others, names in each."""
    return all((search.markers_found == 0) == (search.role == "relay") and search.control_found for search in searches)


def _addresses(realm: Realm) -> tuple[Address, ...]:
    return tuple(
        Address(caller=way.caller.organisation, service=way.owner.service_name, url=f"http://{way.listen}/")
        for way in realm.ways
    )
