"""Strangers come from a few sources by the hundred each second, silent or with a first flight; members link all the
same, from where they came before and from where nobody did."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Self

import pytest

from pcgrelay.identity.tls import HandshakeRefused, TlsDriver
from tests.reference.refusals import Refused as LaneRefused
from tests.scenarios.kit.echo_witness import counts
from tests.scenarios.kit.malicious_member import Member
from tests.scenarios.kit.nodes import HOST
from tests.scenarios.kit.under_attack import Battle, battle_begun
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

SOURCES = 9
RATE = 215  # connections a second of all of them
LINKS = 100
HELD = 200  # of one source at a time


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Battle]:
    # The bounds of a node that nobody has tuned.
    policy = {"half_open_total": 256, "half_open_per_source": 32}
    with battle_begun(tmp_path_factory.mktemp("strangers"), policy=policy) as begun:
        yield begun


class Strangers:
    """Connections at that rate, each held for as long as the node lets it be. Every second one says a first flight."""

    def __init__(self, hello: bytes, port: int) -> None:
        self.begun = 0
        self._hello, self._port = hello, port
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(SOURCES)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(10)

    def _run(self, number: int) -> None:
        held: list[socket.socket] = []
        while not self._stopping.wait(SOURCES / RATE):
            sock = socket.socket()
            with suppress(OSError):
                sock.settimeout(2)
                sock.bind((f"127.0.6.{number + 1}", 0))
                sock.connect((HOST, self._port))
                self.begun += 1
                if self.begun % 2:
                    sock.sendall(self._hello)
            held.append(sock)
            if len(held) > HELD:
                held.pop(0).close()
        for sock in held:
            sock.close()


async def came_in(member: Member, port: int, source: str) -> bool:
    """Whether one attempt is enough."""
    try:
        linked = await member.link(port, source=source)
    except (HandshakeRefused, LaneRefused, OSError, TimeoutError):
        return False
    await linked.close()
    return True


async def test_a_flood_from_a_few_sources(battle: Battle) -> None:
    port = battle.ports["relay"]
    pki = battle.stage.pki
    driver = TlsDriver(Member.new(pki).context, client=True)
    driver.handshake()
    members = [Member.new(pki) for _ in range(4)]
    assert await came_in(members[0], port, "127.0.8.1")
    before = counts(battle.relay)
    with Strangers(driver.take(), port) as flood:
        await asyncio.to_thread(until, lambda: flood.begun > 3 * RATE, 60, "the flood is there")
        known = fresh = 0
        for number in range(LINKS // 2):
            known += await came_in(members[number % 4], port, "127.0.8.1")
            fresh += await came_in(members[number % 4], port, f"127.0.9.{number + 1}")
        battle.witness.check()
    after = counts(battle.relay)
    assert known == LINKS // 2
    assert fresh >= LINKS // 2 - 1
    words = ("half_open_per_source", "half_open_early_drop", "half_open_given_up", "half_open_total",
             "handshakes_of_source")  # fmt: skip
    assert sum(after.get(word, 0) - before.get(word, 0) for word in words) > 0
    # Once it is over the port is as it was, for its sources too.
    began = time.monotonic()
    while not await came_in(members[0], port, "127.0.6.1"):
        assert time.monotonic() - began < 20
        await asyncio.sleep(0.1)
