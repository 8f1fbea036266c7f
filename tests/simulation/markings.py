"""Random realms with random clearances, failures and reloads: nothing crosses what is not cleared for it, and what has
a cleared way gets through. `python -m tests.simulation.markings --realms N --from K` lives through so many of them.

What may be crossed is said here once more, and independently of the code: by the tables of each node on the way. In
the realms of one kind all nodes have the same tables. In those of another a node may refuse what its neighbours think
is cleared; then a way may be hidden behind one that is announced and refused, so only what was delivered is judged. In
those of the third kind one relay lies besides: it keeps to no table, and hides who is behind it, or what a path is
marked, or who it is. Then still no link of an honest node is crossed that it has not cleared, and no relay whose
organisation is not.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from dataclasses import dataclass, field
from itertools import combinations

import pytest

from pcgrelay.catalogue.entries import Offer
from pcgrelay.model import ServiceName
from pcgrelay.policy.clearances import OPEN, Clearances
from pcgrelay.session.session import Key, State
from tests.simulation.marked_realm import LIES, Edge, Hop, Node, Realm, Relay, without_cryptography
from tests.support.virtual_time import VirtualLoop, run_virtually

BEARERS = ("psn", "internet", "cjx")
HUBS = ("hub-a.example", "hub-b.example", "hub-c.example")
STEPS = 6
QUIET_S = 40.0  # more than the longest back-off, and what is refused is asked again after 10 s
# Before the next thing happens: while a path that was just lost is asked for again, while it is set up, and at rest.
PAUSES_S = (0.003, 0.006, 0.01, 0.3, 3.0)
AGREE, DIFFER, LIE = "agree", "differ", "lie"
KINDS = {AGREE: "the same tables", DIFFER: "different tables", LIE: "a relay that lies"}


@dataclass
class File:
    """What one node's file says. None: nothing."""

    bearers: dict[str, int] | None = None
    organisations: dict[str, int] | None = None
    transit: set[frozenset[str]] = field(default_factory=set)

    def as_settings(self) -> Clearances:
        pairs = frozenset((min(pair), max(pair)) for pair in self.transit)
        return Clearances(self.bearers, self.organisations, None if self.bearers is None else pairs)


@dataclass
class World:
    """A realm, and what its files say. kind: see KINDS."""

    chance: random.Random
    realm: Realm
    kind: str
    liar: Relay | None = None
    files: dict[Node, File] = field(default_factory=dict)
    wanted: list[tuple[Edge, Edge, int]] = field(default_factory=list)  # importer, exporter, marking
    delivered: int = 0

    @property
    def agrees(self) -> bool:
        """Whether all nodes have the same tables."""
        return self.kind == AGREE

    def make(self) -> None:
        chance, realm = self.chance, self.realm
        relays: list[Relay] = [
            realm.relay(chance.choice(HUBS), f"relay-{number}") for number in range(chance.randint(1, 4))
        ]
        if self.kind == LIE:
            self.liar = chance.choice(relays)
            others = [relay for relay in relays if relay is not self.liar] or relays
            self.liar.lie, self.liar.claims = chance.choice(LIES), chance.choice(others).id.uri
        exporters = [realm.edge(f"force-{number}.example", "edge-1") for number in range(chance.randint(1, 2))]
        importers = [realm.edge(f"force-{number}.example", "edge-1") for number in range(5, 5 + chance.randint(1, 2))]
        for edge in (*exporters, *importers):
            for relay in chance.sample(relays, chance.randint(1, len(relays))):
                self.wire(edge, relay)
        for one, other in combinations(relays, 2):
            if chance.random() < 0.6:
                self.wire(one, other)
        if chance.random() < 0.3:
            self.wire(exporters[0], importers[0])
        for node in realm.nodes:
            # Of a version that does not know interest, or chains by their digests, and tells and hears everything.
            if chance.random() < 0.3:
                node.features = frozenset()
        for importer in importers:
            importer.importing(*(ServiceName("custody", exporter.id.organisation) for exporter in exporters))
        self.rewrite()
        for wire in range(len(realm.wires)):
            realm.up(wire)
        for exporter in exporters:
            marking = chance.choice((1, 2, 2, 3))
            exporter.exchange.offer([Offer("custody", marking)])
            self.wanted += [(importer, exporter, marking) for importer in importers]
        for importer in importers:
            others = {Key(exporter.id, marking) for each, exporter, marking in self.wanted if each is importer}
            importer.sessions.want(others)

    def wire(self, one: Node, other: Node) -> None:
        """One wire, or two over different networks."""
        for bearer in self.chance.sample(BEARERS, self.chance.choice((1, 1, 2))):
            there = bearer if self.agrees or self.chance.random() < 0.7 else self.chance.choice(BEARERS)
            self.realm.wire(one, bearer, other, there)

    # -- what the files say ------------------------------------------------------------------------------------

    def rewrite(self, node: Node | None = None) -> None:
        """Give a node, or all of them, other tables. All say the same of organisations."""
        organisations = self.chance.choice((None, {name: self.chance.choice((1, 2, 3, 3)) for name in HUBS}))
        shared = self.file()
        for each in self.realm.nodes if node is None or self.agrees else [node]:
            said = shared if self.agrees else self.file()
            if node is None or self.agrees:
                said = File(said.bearers, organisations, said.transit)
            else:
                said = File(said.bearers, self.files[each].organisations, said.transit)
            self.files[each] = said
            each.clear(OPEN if each is self.liar else said.as_settings())

    def rename(self, wire: int) -> None:
        """Have the files at both ends say of a link that it goes over another network."""
        here = self.chance.choice(BEARERS)
        self.realm.rename(wire, here, here if self.agrees else self.chance.choice(BEARERS))

    def file(self) -> File:
        chance = self.chance
        bearers = (
            {name: chance.choice((1, 2, 3, 3)) for name in chance.sample(BEARERS, chance.choice((2, 3)))}
            if chance.random() < 0.8
            else None
        )
        pairs = [frozenset(pair) for pair in combinations(BEARERS, 2)]
        return File(bearers, None, set(chance.sample(pairs, chance.randint(1, 3))))

    # -- what may be crossed -----------------------------------------------------------------------------------

    def may_use(self, node: Node, bearer: str, marking: int) -> bool:
        said = self.files[node].bearers
        return marking == 1 or said is None or said.get(bearer, 1) >= marking

    def may_pass(self, relay: Node, came: str, goes: str) -> bool:
        said = self.files[relay]
        return came == goes or said.bearers is None or frozenset((came, goes)) in said.transit

    def may_relay(self, relay: Node, marking: int) -> bool:
        said = self.files[relay].organisations  # all nodes say the same
        return marking == 1 or said is None or said.get(relay.id.organisation, 1) >= marking

    def check(self, marking: int, hops: list[Hop]) -> None:
        for hop in hops:
            is_honest, is_relay = hop.node is not self.liar, hop.came is not None and hop.goes is not None
            for end in (hop.came, hop.goes) if is_honest else ():
                assert end is None or self.may_use(hop.node, end.bearer, marking)
            if is_relay and is_honest and hop.came is not None and hop.goes is not None:
                assert self.may_pass(hop.node, hop.came.bearer, hop.goes.bearer)
            # Whoever is beside it knows by its certificate who it is.
            assert not is_relay or self.may_relay(hop.node, marking)

    def has_way(self, importer: Edge, exporter: Edge, marking: int) -> bool:
        """Search for a way on which everything is cleared, over wires that are up."""
        return self._leads(importer, "", exporter, marking, (importer,))

    def _leads(self, node: Node, came: str, to: Edge, marking: int, passed: tuple[Node, ...]) -> bool:
        if node is to:
            return True
        if came and (isinstance(node, Edge) or not self.may_relay(node, marking)):
            return False
        for here in self.realm.ends.values():
            for end in (here, here.other):
                far = end.other.node
                if (
                    end.node is node
                    and far not in passed
                    and (not came or self.may_pass(node, came, end.bearer))
                    and self.may_use(node, end.bearer, marking)
                    and self.may_use(far, end.other.bearer, marking)
                    and self._leads(far, end.other.bearer, to, marking, (*passed, far))
                ):
                    return True
        return False

    # -- its life ----------------------------------------------------------------------------------------------

    async def live(self) -> None:
        watcher = asyncio.create_task(self.watch())
        for _ in range(STEPS):
            await asyncio.sleep(self.chance.choice(PAUSES_S))
            wire = self.chance.randrange(len(self.realm.wires))
            match self.chance.randrange(6):
                case 0:
                    self.realm.down(wire)
                case 1:
                    self.realm.up(wire)
                case 2:
                    self.rename(wire)
                case _:
                    self.rewrite(self.chance.choice(self.realm.nodes))
            self.look()
        await asyncio.sleep(QUIET_S)
        if watcher.done():
            watcher.result()
        watcher.cancel()

    async def watch(self) -> None:
        while True:
            for _ in range(20):
                await asyncio.sleep(0.05)
                self.look()
            self.realm.tick()

    def judge(self) -> None:
        """Everything is quiet: what has a cleared way is there, and nothing else is."""
        for importer, exporter, marking in self.wanted:
            up = [each for each in importer.sessions.with_key(Key(exporter.id, marking)) if each.state is State.UP]
            assert bool(up) == self.has_way(importer, exporter, marking), (importer.id, exporter.id, marking)
            assert not up or any(session in up for session, _ in self.realm.delivered())

    def look(self) -> None:
        for session, hops in self.realm.delivered():
            self.check(session.key.marking, hops)
            self.delivered += 1


def lived(seed: int, kind: str) -> World:
    loop = VirtualLoop()
    world = World(random.Random(seed), Realm(loop), kind)
    broken: list[BaseException] = []
    loop.set_exception_handler(lambda loop, context: broken.append(context.get("exception", RuntimeError(context))))

    async def work() -> None:
        try:
            world.make()
            await world.live()
            if world.agrees:
                world.judge()
        except AssertionError as error:
            broken.append(error)  # what else was begun has to end in the loop

    run_virtually(work(), loop)
    if broken:
        raise broken[0]
    return world


def live_through(realms: int, first: int, kind: str = AGREE) -> int:
    """Live through so many realms; return how many bytes were delivered and looked at."""
    delivered = 0
    with pytest.MonkeyPatch.context() as patch:
        without_cryptography(patch)
        for seed in range(first, first + realms):
            try:
                delivered += lived(seed, kind).delivered
            except Exception as error:
                error.add_note(f"python -m tests.simulation.markings --realms 1 --from {seed} ({KINDS[kind]})")
                raise
    return delivered


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--realms", type=int, default=500)
    parser.add_argument("--from", dest="first", type=int, default=random.SystemRandom().randrange(1 << 32))
    given = parser.parse_args()
    for kind, words in KINDS.items():
        began = time.monotonic()
        delivered = live_through(given.realms, given.first, kind)
        passed = time.monotonic() - began
        print(f"{given.realms} realms of {words} from {given.first}: {delivered:,} bytes, none astray, {passed:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
