"""What one neighbour says or chooses takes no link, path or allowance from another."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pcgrelay.messages import Drain, PathOpen
from pcgrelay.model import NodeId
from tests.scenarios.kit.echo_witness import Echo, Witness, await_more, counts, host_port
from tests.scenarios.kit.lying_relay import LyingRelay
from tests.scenarios.kit.malicious_member import Linked, Member
from tests.scenarios.kit.nodes import KENT, MET, Node, Stage
from tests.scenarios.kit.under_attack import battle_begun
from tests.support.pki import REALM
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test


async def test_an_acceptor_that_gives_the_id_of_another_link(tmp_path: Path) -> None:
    """Preambles show the ids of links: whoever is dialled may call its own link by one of them."""
    port = free_port()
    with Stage(tmp_path) as stage:
        malicious = LyingRelay(stage.pki)
        to_malicious = [{"peer": malicious.member.dotted, "address": host_port(malicious.port)}]
        table = {"memory": "64MiB", "lanes": 1}
        relay = stage.relay("relay-2", listens=[host_port(port)], links=to_malicious, node_table=table)
        await asyncio.to_thread(stage.start)
        async with Member.new(stage.pki).linked(port) as good:
            # It is dialled again and again, and answers once there is an id that it may take.
            malicious.link_id = good.reference.link_id
            async with malicious:
                await asyncio.to_thread(until, lambda: len(relay.log("link.up")) == 2, 15.0, "both links are up")
                await good.lane()
                malicious.cut()
                await asyncio.to_thread(until, lambda: relay.log("link.down"), 15.0, "the malicious one has gone")
                await good.lane()
        assert not counts(relay).get("lane_unknown_link")


# -- a relay that carried a session once, and knows no more of it than its id -----------------------------------------

RESUMES_MOST = 60  # in a minute


@dataclass
class HandedOver:
    """Kent exports to the Met; their session has left the relay that lies for one of two good ones."""

    liar: LyingRelay
    relays: dict[str, Node]  # by their dotted names
    kent: Node
    met: Node
    witness: Witness
    asked: int = 0

    def via(self, edge: Node) -> str:
        return next((session.via for session in edge.status().sessions if session.via), "")

    async def ask(self, seconds: float) -> None:
        """In the Met's name, a hundred times a second."""
        was = self.liar.latest().asked
        until_s = asyncio.get_running_loop().time() + seconds
        for number in itertools.count(1):
            self.liar.sides["kent-1"].linked.send(
                PathOpen(
                    session=was.session,
                    source=was.source,
                    destination=was.destination,
                    marking=was.marking,
                    priority=was.priority,
                    flows=was.flows,
                    cap=was.cap,
                    label=1_000_000 + self.asked,
                    resume=True,
                    via=(self.liar.member.id.uri,),
                )
            )
            self.asked += 1
            if asyncio.get_running_loop().time() >= until_s:
                return
            await asyncio.sleep(0.01 * (number % 2 + 0.5))


@asynccontextmanager
async def left(folder: Path) -> AsyncIterator[HandedOver]:
    ports = {name: free_port() for name in ("relay-2", "relay-3")}
    door, target = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
    with Stage(folder) as stage, Echo(target):
        async with LyingRelay(stage.pki) as liar:
            table = {"memory": "64MiB", "lanes": 1}
            relays = [
                stage.relay(name, listens=[host_port(port)], node_table=dict(table)) for name, port in ports.items()
            ]
            links = [{"peer": liar.member.dotted, "address": host_port(liar.port)}]
            links += [
                {"peer": relay.dotted, "address": host_port(port)}
                for relay, port in zip(relays, ports.values(), strict=True)
            ]
            export = {"service": "echo", "target": host_port(target[1]), "allow": [MET]}
            entry = {"service": f"echo@{KENT}", "listen": host_port(door[1])}
            kent = stage.node(KENT, "kent-1", links=links, exports=[export], node_table=dict(table))
            met = stage.node(MET, "met-1", links=links, imports=[entry], node_table=dict(table))
            await asyncio.to_thread(stage.start, kent, met)
            scene = HandedOver(liar, {relay.dotted: relay for relay in relays}, kent, met, Witness(door))
            through_liar = lambda: scene.via(met) == scene.via(kent) == liar.member.dotted
            await asyncio.to_thread(until, through_liar, 15.0, "the session leads through the relay that lies")
            # It speaks through the relay that runs in this loop.
            await asyncio.to_thread(scene.witness.__enter__)
            try:
                await asyncio.to_thread(stage.start, *relays)
                await asyncio.to_thread(stage.await_well, met, kent)
                for side in liar.sides.values():
                    side.linked.send(Drain(60_000))
                has_left = lambda: scene.via(met) == scene.via(kent) in scene.relays
                await asyncio.to_thread(until, has_left, 15.0, "the session has left the relay that lies")
                yield scene
            finally:
                await asyncio.to_thread(scene.witness.__exit__)


@pytest.mark.tier_all
async def test_a_relay_that_once_carried_a_session_cannot_end_it(tmp_path: Path) -> None:
    async with left(tmp_path) as scene:
        via = scene.via(scene.met)
        stalls = len(scene.met.log("session.stalled"))
        await scene.ask(5.0)
        assert scene.asked > 3 * RESUMES_MOST
        await asyncio.to_thread(scene.witness.check)
        assert scene.via(scene.met) == scene.via(scene.kent) == via
        assert len(scene.met.log("session.stalled")) == stalls
        assert not scene.met.log("session.down")
        assert counts(scene.kent)["candidate_displaced"] > 0


async def test_a_session_whose_relay_dies_is_mended_while_somebody_asks_for_it(
    tmp_path: Path, figure: Callable[[str], None]
) -> None:
    async with left(tmp_path) as scene:
        attack = asyncio.create_task(scene.ask(30.0))
        await asyncio.to_thread(until, lambda: scene.asked > RESUMES_MOST, 10.0, "the attack is under way")
        via = scene.via(scene.met)
        resumed = len(scene.met.log("session.resumed"))
        await asyncio.to_thread(scene.relays[via].kill)
        found = lambda: len(scene.met.log("session.resumed")) > resumed
        await asyncio.to_thread(until, found, 10.0, "the session has found another way")
        assert not attack.done()
        attack.cancel()
        pause_ms = scene.met.log("session.resumed")[-1]["pause_ms"]
        figure(f"it went on after {pause_ms} ms")
        assert pause_ms < 10_000
        await asyncio.to_thread(scene.witness.check)
        assert scene.via(scene.met) == scene.via(scene.kent) in set(scene.relays) - {via}
        assert not scene.met.log("session.down")


# -- what a relay may say to a neighbour ------------------------------------------------------------------------------


async def test_a_member_cannot_spend_what_a_relay_may_say_to_an_edge(tmp_path: Path) -> None:
    """An edge ends a link on which too many messages come, whoever made its neighbour say them."""
    with battle_begun(tmp_path) as battle:
        links = [await Member.new(battle.stage.pki).link(battle.ports["relay"])]
        links += [await links[0].member.link(battle.ports["relay"]) for _ in range(7)]
        kent = NodeId(REALM, KENT, "kent-1")
        downs = len(battle.kent.log("link.down"))
        try:
            for label in range(1, 3_001):
                for number, link in enumerate(links):
                    # The same id again and again, and a fresh one each time.
                    session = bytes(16) if number % 2 else label.to_bytes(16, "big")
                    link.send(path_open(link, kent, session, label))
                if label % 100 == 0:
                    await asyncio.sleep(0.05)
            await asyncio.to_thread(await_more, battle.relay, "too_many_requests", {})
            await asyncio.to_thread(battle.witness.check)
        finally:
            for link in links:
                await link.close()
        assert len(battle.kent.log("link.down")) == downs
        assert not battle.kent.log("link.control_lost")


def path_open(link: Linked, to: NodeId, session: bytes, label: int) -> PathOpen:
    return PathOpen(
        session=session,
        source=link.member.id.uri,
        destination=to.uri,
        marking=1,
        priority=0,
        flows=1,
        cap=131_072,
        label=label,
        resume=False,
        via=(),
    )
