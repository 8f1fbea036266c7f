"""Strangers throw junk at a node's port, say nothing, say it slowly, or come in thousands.

Each is closed under a name, by a deadline or by a cap. Memory and descriptors stay bounded, and a good peer comes in.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Self

import pytest

from pcgrelay.identity.tls import HandshakeRefused, TlsDriver
from pcgrelay.messages import MESSAGE_LIMIT_BYTES
from tests.reference.refusals import Refused as LaneRefused
from tests.scenarios.kit.echo_witness import await_more, counts, host_port, silent_connections
from tests.scenarios.kit.malicious_member import Member, connect
from tests.scenarios.kit.nodes import HOST, HUB
from tests.scenarios.kit.under_attack import POLICY, Battle, battle_begun
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

# The first flight may be awaited for 3 s; a whole handshake for what the configuration says.
FIRST_S = 3.0
HANDSHAKE_S = float(POLICY["handshake_deadline_ms"]) / 1_000
SLACK_S = 5.0
# Less than any deadline, and more than a busy machine takes.
AT_ONCE_S = 2.5
CROWD = 1_000
FLOODERS = 4
HANDSHAKES = 200
# Those that all strangers may begin at once, and each second.
BEGUN_AT_ONCE, BEGUN_EACH_SECOND = 200, 100
MIB = 1 << 20


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Battle]:
    with battle_begun(tmp_path_factory.mktemp("junk")) as begun:
        yield begun


@pytest.fixture(autouse=True)
def undisturbed(battle: Battle) -> Iterator[None]:
    """Whatever a test does, the good application notices nothing."""
    yield
    battle.witness.check()


@pytest.fixture(params=["relay", "kent"])
def victim(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# In `make test` at one of them: each takes seconds.
AT_BOTH = pytest.mark.parametrize("victim", ["relay", pytest.param("kent", marks=pytest.mark.tier_all)], indirect=True)


def closed_after(port: int, data: bytes, seconds: float = FIRST_S) -> tuple[bytes, float]:
    """What a node answers to these bytes, and when it closes the connection."""
    began = time.monotonic()
    taken = bytearray()
    with (
        suppress(ConnectionResetError, BrokenPipeError),
        socket.create_connection((HOST, port), seconds + SLACK_S) as sock,
    ):
        sock.sendall(data)
        while part := sock.recv(65_536):
            taken += part
    return bytes(taken), time.monotonic() - began


def test_a_first_byte_that_means_nothing(battle: Battle, victim: str) -> None:
    """All of them, and each at once and in silence; 0x41 has its own name, for it is reserved."""
    node = battle.node(victim)
    before, began = counts(node), time.monotonic()
    for first in sorted(set(range(256)) - {0x16, 0x50}):
        answer, took_s = closed_after(battle.ports[victim], bytes([first]) + b"junk" * 10)
        assert (answer, took_s < AT_ONCE_S) == (b"", True), first
    more = {"admission_unsupported": 1, "unknown_first_byte": 253}
    for word, count in more.items():
        await_more(node, word, before, count)
    after = counts(node)
    assert {word: after[word] - before.get(word, 0) for word in more} == more
    assert node.log("handshake.refused", reason="admission_unsupported")
    # A flood of one kind is one line now and then, and the line says how many there were.
    assert len(node.log("handshake.refused", reason="unknown_first_byte")) < 20 + time.monotonic() - began


def test_random_bytes(battle: Battle, victim: str) -> None:
    """After a good first byte too: no answer that helps, no delay, and a count for each."""
    chosen = random.Random(9)
    node = battle.node(victim)
    before = sum(node.status().refusals.values())
    firsts = 20 * (b"\x16", b"\x50", b"")
    junk = [first + chosen.randbytes(chosen.randrange(64, 2_000)) for first in firsts]
    # Beside each other, because some of them end by a deadline.
    with ThreadPoolExecutor(10) as pool:
        for answer, took_s in pool.map(partial(closed_after, battle.ports[victim]), junk):
            assert took_s < HANDSHAKE_S + SLACK_S
            # At the most a TLS alert.
            assert len(answer) <= 7
    until(lambda: sum(node.status().refusals.values()) >= before + 60, 20, "each is counted")


@pytest.mark.parametrize(
    "text",
    ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "-" * 32],
    ids=["HTTP", "SSH", "HTTP/2"],
)
def test_other_protocols(battle: Battle, victim: str, text: str) -> None:
    answer, took_s = closed_after(battle.ports[victim], text.encode())
    assert answer == b""
    assert took_s < HANDSHAKE_S + SLACK_S


def client_hello(battle: Battle) -> bytes:
    driver = TlsDriver(Member.new(battle.stage.pki).context, client=True)
    driver.handshake()
    return driver.take()


async def half_a_preamble(battle: Battle, victim: str) -> None:
    before = counts(battle.node(victim))
    _, took_s = await asyncio.to_thread(closed_after, battle.ports[victim], b"PCGR\0\1")
    assert FIRST_S - 1 < took_s < FIRST_S + SLACK_S
    await asyncio.to_thread(await_more, battle.node(victim), "silent", before)


async def a_byte_each_second(battle: Battle, victim: str) -> None:
    """Each byte is progress, and the deadline does not care."""
    before = counts(battle.node(victim))
    loop, began = asyncio.get_running_loop(), time.monotonic()
    with await connect(battle.ports[victim]) as sock:
        gone = asyncio.create_task(loop.sock_recv(sock, 1))
        for byte in client_hello(battle):
            with suppress(BrokenPipeError, ConnectionResetError):
                await loop.sock_sendall(sock, bytes([byte]))
            done, _ = await asyncio.wait({gone}, timeout=1.0)
            if done:
                break
        with suppress(ConnectionResetError):
            assert gone.result() == b""
    assert HANDSHAKE_S - 1 < time.monotonic() - began < HANDSHAKE_S + SLACK_S
    await asyncio.to_thread(await_more, battle.node(victim), "deadline", before)


async def no_hello(battle: Battle, victim: str) -> None:
    """TLS is done and the certificate is good; without HELLO it is a stranger all the same."""
    before = counts(battle.node(victim))
    loop, began = asyncio.get_running_loop(), time.monotonic()
    driver = TlsDriver(Member.new(battle.stage.pki).context, client=True)
    with await connect(battle.ports[victim]) as sock:
        driver.handshake()
        await loop.sock_sendall(sock, driver.take())
        while not driver.handshake():
            driver.feed(await loop.sock_recv(sock, 65_536))
        await loop.sock_sendall(sock, driver.take())
        with suppress(ConnectionResetError):
            while await asyncio.wait_for(loop.sock_recv(sock, 65_536), HANDSHAKE_S + SLACK_S):
                pass
    assert HANDSHAKE_S - 1 < time.monotonic() - began < HANDSHAKE_S + SLACK_S
    await asyncio.to_thread(await_more, battle.node(victim), "deadline", before)


async def test_what_only_a_deadline_ends(battle: Battle) -> None:
    """A preamble that stops half way, a handshake at a byte each second, and one that ends before HELLO."""
    slow = (half_a_preamble, a_byte_each_second, no_hello)
    await asyncio.gather(*(act(battle, victim) for act in slow for victim in ("relay", "kent")))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ((MESSAGE_LIMIT_BYTES + 1).to_bytes(4, "big"), "hello"),
        (b"\xff\xff\xff\xff", "hello"),
        (b"\0\0\0\0", "hello"),
        (b"\0\0\0\1\x01", "hello"),
        (b"\0\0\0\2\x91\x01", "hello"),
        (b"\0\0\x40\0" + b"\x91" * 16_384, "hello"),
        (MESSAGE_LIMIT_BYTES.to_bytes(4, "big") + bytes(MESSAGE_LIMIT_BYTES), "hello"),
    ],
    ids=["too long", "as long as can be said", "empty", "no array", "no fields", "nested deep", "a quarter of a MiB"],
)
async def test_a_hello_that_is_none(battle: Battle, victim: str, said: bytes, reason: str) -> None:
    """Oversized and malformed first messages, of a peer with a good certificate."""
    node = battle.node(victim)
    before, memory = counts(node), node.memory
    loop = asyncio.get_running_loop()
    driver = TlsDriver(Member.new(battle.stage.pki).context, client=True)
    with await connect(battle.ports[victim]) as sock:
        driver.handshake()
        await loop.sock_sendall(sock, driver.take())
        while not driver.handshake():
            driver.feed(await loop.sock_recv(sock, 65_536))
        driver.write(said)
        with suppress(ConnectionResetError, BrokenPipeError):
            await loop.sock_sendall(sock, driver.take())
        with suppress(ConnectionResetError):
            while await asyncio.wait_for(loop.sock_recv(sock, 65_536), 3):
                pass
    await asyncio.to_thread(await_more, node, reason, before)
    assert node.memory.rss_bytes - memory.rss_bytes < 8 * MIB


def all_closed(crowd: list[socket.socket]) -> bool:
    """Whether the node has closed every one of them."""
    for sock in crowd:
        sock.setblocking(False)
        try:
            if sock.recv(1):
                return False
        except BlockingIOError:
            return False
        except OSError:
            continue
    return True


@AT_BOTH
async def test_a_thousand_silent_connections(battle: Battle, victim: str) -> None:
    """The caps hold, in all and for each source; the deadline clears them; a good peer comes in all the same."""
    node = battle.node(victim)
    before, descriptors, memory = counts(node), node.descriptors, node.memory
    address = (HOST, battle.ports[victim])
    began = time.monotonic()
    with silent_connections(CROWD, address, sources=50) as crowd:
        # Twenty from each source: only the total counts, and beyond its half chance decides.
        await asyncio.to_thread(until, lambda: refused_in_all(node, before) >= CROWD - 400, 10, "the total is capped")
        held = node.descriptors - descriptors
        assert held <= int(POLICY["half_open_total"]) + 10
        assert node.memory.rss_bytes - memory.rss_bytes < 16 * MIB
        await came_in(battle, victim, FIRST_S + 3 * SLACK_S)
        await asyncio.to_thread(until, lambda: all_closed(crowd), FIRST_S + SLACK_S, "the deadline clears them")
    assert time.monotonic() - began < FIRST_S + 5 * SLACK_S
    after = counts(node)
    assert after.get("half_open_early_drop", 0) > before.get("half_open_early_drop", 0)
    assert after.get("silent", 0) > before.get("silent", 0)
    await asyncio.to_thread(until, lambda: node.descriptors <= descriptors + 2, 5, "descriptors are as before")


async def test_silent_connections_of_one_source(battle: Battle, victim: str) -> None:
    """One source may not use up what is for all: a good peer from elsewhere comes in at once."""
    node = battle.node(victim)
    before, descriptors = counts(node), node.descriptors
    with silent_connections(300, (HOST, battle.ports[victim])) as crowd:
        each = int(POLICY["half_open_per_source"])
        await asyncio.to_thread(await_more, node, "half_open_per_source", before, 300 - each)
        assert node.descriptors - descriptors <= each + 4
        await came_in(battle, victim, SLACK_S)
        assert len(crowd) == 300


class Flood:
    """Strangers that begin one handshake after another, take the answer, and hang up."""

    def __init__(self, hello: bytes, port: int, threads: int) -> None:
        self.begun = 0
        self._hello, self._port = hello, port
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(5)

    def _run(self, number: int) -> None:
        while not self._stopping.is_set():
            with socket.socket() as sock, suppress(OSError):
                sock.settimeout(2)
                sock.bind((f"127.0.6.{number + 1}", 0))
                sock.connect((HOST, self._port))
                sock.sendall(self._hello)
                self.begun += bool(sock.recv(1))


@AT_BOTH
async def test_a_flood_of_handshakes(battle: Battle, victim: str, figure: Callable[[str], None]) -> None:
    """Each costs a key exchange and a signature. What flows does not wait for that, and a good peer comes in."""
    node, hello = battle.node(victim), client_hello(battle)
    before, memory, descriptors = counts(node), node.memory, node.descriptors
    battle.witness.worst_s = 0.0
    with Flood(hello, battle.ports[victim], FLOODERS) as flood:
        began = time.monotonic()
        await came_in(battle, victim, 5.0)
        in_s = time.monotonic() - began
        await asyncio.to_thread(until, lambda: flood.begun >= HANDSHAKES, 60, "so many were begun")
        took_s = time.monotonic() - began
        rate = flood.begun / took_s
        # However fast they come: a good peer and what it takes beside them come from where nobody else does.
        assert flood.begun <= BEGUN_AT_ONCE + BEGUN_EACH_SECOND * (took_s + 2) + FLOODERS
        battle.witness.check()
    assert node.memory.rss_bytes - memory.rss_bytes < 20 * MIB
    assert battle.witness.worst_s < 2.0
    await asyncio.to_thread(await_more, node, "closed", before, HANDSHAKES // 2)
    await asyncio.to_thread(until, lambda: node.descriptors <= descriptors + 2, 5, "descriptors are as before")
    figure(
        f"{rate:.0f} handshakes begun a second: what flows waits {battle.witness.worst_s * 1000:.0f} ms at most, "
        f"a good peer is in after {in_s:.1f} s"
    )


def refused_in_all(node: object, before: dict[str, float]) -> float:
    words = ("half_open_total", "half_open_early_drop", "half_open_per_source", "half_open_given_up")
    after = counts(node)
    return sum(after.get(word, 0) - before.get(word, 0) for word in words)


async def came_in(battle: Battle, victim: str, seconds: float) -> None:
    """A good peer that tries again when it is dropped, as every node does, is linked within that time."""
    member = Member.new(battle.stage.pki)
    async with asyncio.timeout(seconds):
        while True:
            try:
                async with member.linked(battle.ports[victim], source="127.0.9.9"):
                    return
            except (HandshakeRefused, LaneRefused, OSError):
                await asyncio.sleep(0.05)  # as long as a node waits at the least


async def test_a_good_node_starts_during_the_crowd(battle: Battle) -> None:
    """A whole node this time, from the same source as the crowd's first."""
    link = {"peer": f"relay-1.{HUB}", "address": host_port(battle.ports["relay"])}
    late = battle.stage.node("late.police.example", "late-1", links=[link])
    with silent_connections(CROWD, (HOST, battle.ports["relay"]), sources=50):
        await asyncio.to_thread(late.start)
        try:
            await asyncio.to_thread(late.await_log, "link.up", 15.0, peer=f"relay-1.{HUB}")
        finally:
            late.kill()
