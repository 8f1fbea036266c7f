"""Neighbours on their bad days: not there at the start, of a newer version, or sending without ever reading."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pcgrelay.identity.handshake import Handshake
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.link.control import handshake_over
from tests.reference.frames import Type, body_encode
from tests.scenarios.kit.echo_witness import await_more, counts, host_port, received
from tests.scenarios.kit.malicious_member import HUB_ROLE, Member, anybody
from tests.scenarios.kit.nodes import HOST, HUB, Stage, line
from tests.scenarios.kit.under_attack import Battle, battle_begun
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

FOUND_S = 4.0
# Eight probes of half a second, and what the kernel's timers add.
UNREAD_S = 9.0


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Battle]:
    with battle_begun(tmp_path_factory.mktemp("neighbours")) as begun:
        yield begun


def speaking(monkeypatch: pytest.MonkeyPatch, *versions: int) -> None:
    """The double's HELLOs name these versions from now on."""
    plain = Handshake._hello

    def hello(self: Handshake, **fields: Any) -> Any:
        return msgspec.structs.replace(plain(self, **fields), versions=versions)

    monkeypatch.setattr(Handshake, "_hello", hello)


@asynccontextmanager
async def answering_and_staying(member: Member, port: int) -> AsyncIterator[None]:
    """A server that answers handshakes to the end, and then waits for what the other side makes of it."""

    async def answer(sock: socket.socket) -> None:
        with sock, suppress(HandshakeRefused):
            _, connection = await handshake_over(
                sock, member.context, member.parameters(), anybody, client=False, deadline_ms=3_000
            )
            await connection.run(lambda _: None)

    async def accept(listener: socket.socket) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                sock, _ = await asyncio.get_running_loop().sock_accept(listener)
                sock.setblocking(False)
                tasks.create_task(answer(sock))

    with socket.create_server((HOST, port)) as listener:
        listener.setblocking(False)
        task = asyncio.create_task(accept(listener))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_one_that_speaks_this_version_too_is_let_in(battle: Battle, monkeypatch: pytest.MonkeyPatch) -> None:
    speaking(monkeypatch, 2, 1)
    for name in ("relay", "kent"):
        async with Member.new(battle.stage.pki).linked(battle.ports[name]) as linked:
            await asyncio.to_thread(battle.node(name).await_log, "link.up", peer=linked.member.dotted)
    battle.witness.check()


async def test_one_that_does_not_is_refused_by_name(battle: Battle, monkeypatch: pytest.MonkeyPatch) -> None:
    speaking(monkeypatch, 2)
    for name in ("relay", "kent"):
        before = counts(battle.node(name))
        with pytest.raises(HandshakeRefused) as refused:
            await Member.new(battle.stage.pki).link(battle.ports[name])
        assert refused.value.reason in ("peer_refused", "closed")
        await asyncio.to_thread(await_more, battle.node(name), "version", before)
        battle.node(name).await_log("handshake.refused", reason="version")
    battle.witness.check()


async def test_a_newer_one_that_is_dialled_is_told_of_and_tried_again(
    battle: Battle, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaking(monkeypatch, 2)
    pki = battle.stage.pki
    number = free_port()
    newer = Member(HUB, "relay-2", pki.issue(HUB, "relay-2"), HUB_ROLE)
    late = battle.stage.node(
        "late.police.example", "late-1", links=[{"peer": f"relay-2.{HUB}", "address": host_port(number)}]
    )
    async with answering_and_staying(newer, number):
        await asyncio.to_thread(late.start)
        try:
            await asyncio.to_thread(late.await_log, "link.failed", reason="version")
            await asyncio.to_thread(await_more, late, "version", {}, 2)
        finally:
            late.kill()


async def test_a_newer_preamble_is_refused_in_silence(battle: Battle) -> None:
    for name in ("relay", "kent"):
        before = counts(battle.node(name))
        async with Member.new(battle.stage.pki).linked(battle.ports[name]) as linked:
            preamble = bytearray(linked.reference.preamble(0, 1))
            preamble[5] = 2
            reader, writer = await asyncio.open_connection(HOST, battle.ports[name])
            writer.write(bytes(preamble))
            assert await asyncio.wait_for(reader.read(), 20) == b""
            writer.close()
            await asyncio.to_thread(await_more, battle.node(name), "lane_refused", before)
            assert not linked.neighbour.ended.is_set()


@pytest.mark.tier_all
async def test_one_that_sends_and_never_reads_is_given_up(battle: Battle, figure: Callable[[str], None]) -> None:
    """It is not silent, so only its full window shows it. What waits for it stays bounded, and nobody else waits."""
    node = battle.relay
    member = Member.new(battle.stage.pki)
    linked = await member.link(battle.ports["relay"])
    try:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_304)
            sock.settimeout(5)
            sock.connect((HOST, battle.ports["relay"]))
            lane = linked.reference.lane(0, 0, True)
            lane.confirm(time.monotonic())
            sock.sendall(linked.reference.preamble(0, 0) + lane.out)
            lane.out.clear()
            lane.receive(received(sock, 88), time.monotonic())
            await asyncio.to_thread(node.await_log, "link.up", peer=member.dotted)
            began = time.monotonic()
            # Nearly as many as are allowed at once, whose answers fill its window; then a few, so that it is heard.
            for token in range(80):
                lane.send(Type.PING, body_encode(Type.PING, token=token), time.monotonic())
            while not (lines := node.log("lane.down", peer=member.dotted)):
                assert time.monotonic() - began < UNREAD_S
                with suppress(ConnectionResetError, BrokenPipeError):
                    sock.sendall(lane.out)
                lane.out.clear()
                lane.send(Type.PING, body_encode(Type.PING, token=1_000), time.monotonic())
                await asyncio.sleep(0.2)
            took_s = time.monotonic() - began
        assert lines[0]["reason"] == "socket"
        assert took_s > 2.0  # and not because it was silent
        battle.witness.check()
        figure(f"a lane that is not read is given up after {took_s:.1f} s")
    finally:
        await linked.close()


def test_one_that_is_away_at_the_start_is_found_when_it_comes(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with Stage(tmp_path) as stage:
        made = line(stage, "edge-relay-edge", ["echo"])
        stage.start(made.importer, made.exporter)
        for edge in (made.importer, made.exporter):
            edge.await_log("link.failed", reason="unreachable")
            until(lambda edge=edge: edge.status().refusals.get("unreachable", 0) >= 3, 10, "it is tried again")
        made.relays[0].start()
        began = time.monotonic()
        stage.await_well()
        took_s = time.monotonic() - began
        assert took_s < FOUND_S + 1
        figure(f"all well {took_s:.1f} s after it came")
