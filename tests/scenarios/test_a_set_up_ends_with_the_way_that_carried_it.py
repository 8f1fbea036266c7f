"""Behind a relay a control connection is lost in the middle of a session's handshake: the far edge is told at once.

The lanes stay, so the path itself would go on; but what is left of the handshake has no way. Deadlines are so long here
that a set-up which waits for one is seen to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from pcgrelay.messages import Carry, PathAccept, PathOpen
from pcgrelay.model import NodeId
from tests.scenarios.kit.malicious_member import Linked, Member, advert
from tests.scenarios.kit.nodes import KENT
from tests.scenarios.kit.under_attack import Battle, battle_begun
from tests.support.pki import REALM

pytestmark = pytest.mark.tier_test

KENT_ID = NodeId(REALM, KENT, "kent-1")
DEADLINE_MS = 30_000


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Battle]:
    with battle_begun(tmp_path_factory.mktemp("set-up"), policy={"handshake_deadline_ms": DEADLINE_MS}) as begun:
        yield begun


@pytest.fixture(autouse=True)
def undisturbed(battle: Battle) -> Iterator[None]:
    """The session of the good edges stands, and goes on."""
    yield
    battle.witness.check()
    assert not battle.kent.log("session.stalled")


async def lanes_stay(linked: Linked, battle: Battle) -> None:
    """The relay has lost the control connection and nothing else of the link."""
    await asyncio.to_thread(battle.relay.await_log, "link.control_lost", peer=linked.member.dotted)
    assert not battle.relay.log("link.down", peer=linked.member.dotted)
    assert not linked.neighbour.ended.is_set()


async def test_the_edge_that_answers_is_told(battle: Battle) -> None:
    async with Member.new(battle.stage.pki).linked(battle.ports["relay"]) as linked:
        await linked.path(KENT_ID)
        linked.lose_control()
        line = await asyncio.to_thread(battle.kent.await_log, "handshake.refused", peer=linked.member.dotted)
        assert (line["purpose"], line["reason"]) == ("session", "path_lost")
        await lanes_stay(linked, battle)


async def test_the_edge_that_began_is_told(battle: Battle) -> None:
    async with Member.new(battle.stage.pki).linked(battle.ports["relay"]) as linked:

        def accept(message: object) -> None:
            if isinstance(message, PathOpen):
                linked.send(PathAccept(message.session, message.flows, message.cap, 0x5000_0001, message.label))

        linked.on_message = accept
        linked.send(advert(linked.member, "trap"))
        await linked.until(lambda: any(isinstance(message, Carry) for message in linked.messages))
        linked.lose_control()
        peer = linked.member.dotted
        await asyncio.to_thread(battle.kent.await_log, "session.failed", peer=peer, reason="path_lost")
        await lanes_stay(linked, battle)
