"""A member takes all that a server sends, in many sessions, and acknowledges nothing; others are served as before."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pcgrelay.model import NodeId
from tests.reference.node import FarEdge
from tests.reference.records import record_credit, record_open, records_encode
from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.malicious_member import Member
from tests.scenarios.kit.nodes import KENT
from tests.scenarios.kit.under_attack import SINKS, Battle, battle_begun
from tests.support.pki import REALM
from tests.support.ports import free_port

pytestmark = pytest.mark.tier_test

KENT_ID = NodeId(REALM, KENT, "kent-1")
MIB = 1 << 20
MEMORY = 64 * MIB
SESSIONS, STREAMS = 24, 200
STEP = 16_000  # of credit: a read of so much is no bulk
ATTACK_S = 6.0


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Battle]:
    with Source() as source:
        export = {"service": "source", "target": host_port(source.address[1]), "allow": [SINKS]}
        with battle_begun(tmp_path_factory.mktemp("sinks"), access=False, exports=[export]) as begun:
            yield begun


class Source:
    """A server that sends without end to whoever connects."""

    def __init__(self) -> None:
        self.address = ("127.0.0.1", free_port())
        self._held: list[socket.socket] = []

    def __enter__(self) -> Source:
        self._listener = socket.create_server(self.address, backlog=1024)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        for connection in self._held:
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                self._held.append(connection)
                with suppress(OSError):
                    # What the kernel takes at once is more than one step of credit.
                    while connection.send(bytes(MIB)):
                        pass


async def sink(battle: Battle, member: Member, linked: object) -> FarEdge:
    """A session with many streams whose data is taken, and of which nothing is said but more credit."""
    far: FarEdge = await linked.session(KENT_ID, cap=8 * MIB)  # type: ignore[attr-defined]
    far.neighbour.on_flow[far.session.label_in] = lambda frame: None
    far.send_anyway(records_encode([record_open(2 * number + 1, "source", STEP) for number in range(STREAMS)]))
    return far


async def test_memory_is_kept_for_others(battle: Battle) -> None:
    member = Member.new(battle.stage.pki, SINKS)
    parameters = member.parameters
    member.parameters = lambda **changes: parameters(**{"cap": 8 * MIB, **changes})  # type: ignore[method-assign]
    async with member.linked(battle.ports["kent"], cap=8 * MIB) as linked:
        sinks = [await sink(battle, member, linked) for _ in range(SESSIONS)]
        began, most, credit = time.monotonic(), 0, STEP
        battle.witness.worst_s = 0.0
        while time.monotonic() - began < ATTACK_S:
            credit += STEP
            for far in sinks:
                with suppress(Exception):
                    # It may have been ended: then the others go on.
                    far.send_anyway(records_encode([record_credit(2 * n + 1, credit) for n in range(STREAMS)]))
            await asyncio.sleep(0.2)
            status = await asyncio.to_thread(battle.kent.status)
            most = max(most, status.memory.used_bytes)
            battle.witness.check()
        # It took what one may have, and not what others need.
        assert MEMORY // 4 < most < MEMORY * 5 // 8
        assert battle.witness.worst_s < 2.0
    battle.witness.check()
