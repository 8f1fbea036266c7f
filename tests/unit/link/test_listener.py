"""The port before anybody has proved who it is: junk, silence, floods, lanes that belong to nobody."""

from __future__ import annotations

import asyncio
import hmac
import resource
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pcgrelay.link import listener
from pcgrelay.net.halfopen import Beginnings, HalfOpen, Place, source_of
from tests.support.nodes_in_process import HUB, KENT, Nodes, Running
from tests.support.ports import free_port
from tests.support.waiting import until_async as until


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


async def relay_on(nodes: Nodes, **policy: object) -> tuple[Running, int]:
    port = free_port()
    running = await nodes.start(
        HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{port}"], policy={"members": ["*"], **policy}
    )
    return running, port


async def answer_to(port: int, data: bytes, *, end: bool = True) -> bytes:
    """What the port says to these bytes before it closes; it may do that before it was connected to, as seen here."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionResetError:
        return b""
    try:
        writer.write(data)
        if end:
            writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def preamble(
    link_id: bytes = bytes(16), *, index: int = 0, number: int = 0, version: int = 1, proof: bytes = bytes(16)
) -> bytes:
    return struct.pack(">4sHHII16s16s", b"PCGR", version, index, number, 0, link_id, proof)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "unknown_first_byte"),
        (b"SSH-2.0-x\r\n", "unknown_first_byte"),
        (b"\0" * 100, "unknown_first_byte"),
        (b"A" + bytes(32), "admission_unsupported"),
        (b"", "silent"),
        (b"P", "preamble_short"),
        (preamble()[:47], "preamble_short"),
        (preamble(), "lane_unknown_link"),
        (preamble() + bytes(1000), "lane_unknown_link"),
        (b"\x16\x03\x01\x00\x05hello", "tls_error"),
        (b"\x16\x03\x01", "closed"),
    ],
)
async def test_junk_is_refused_by_name(nodes: Nodes, data: bytes, reason: str) -> None:
    relay, port = await relay_on(nodes)
    answer = await answer_to(port, data)
    assert not answer or answer[0] == 0x15  # silence, or an alert of TLS
    await until(lambda: relay.node.link_table.refused.get(reason))
    assert relay.lines("handshake.refused")[0]["reason"] == reason


@pytest.mark.parametrize("reset", [False, True])
async def test_a_look_whether_the_port_is_open_is_no_alarm(nodes: Nodes, reset: bool) -> None:
    """A load balancer looks each second, all day long, and ends in its own way."""
    relay, port = await relay_on(nodes)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await until(lambda: relay.node.link_table.refused.get("silent") == 5)
    (line,) = relay.lines("handshake.refused")
    assert (line["level"], line["reason"], line["untried"]) == ("info", "silent", True)
    assert await answer_to(port, b"junk") == b""
    await until(lambda: relay.node.link_table.refused.get("unknown_first_byte"))
    assert relay.lines("handshake.refused")[-1]["level"] == "warning"


async def linked(nodes: Nodes) -> tuple[Running, int, Running]:
    relay, port = await relay_on(nodes)
    edge = await nodes.start(KENT, "kent-1", links=[{"peer": f"relay-1.{HUB}", "address": f"127.0.0.1:{port}"}])
    await until(lambda: list(relay.node.link_table.usable()))
    return relay, port, edge


@pytest.mark.parametrize("what", ["proof", "replay", "version", "index"])
async def test_lanes_that_are_not_right(nodes: Nodes, what: str) -> None:
    relay, port, edge = await linked(nodes)
    (link,) = edge.core.link_table.values()
    number, index, version = {"replay": (0, 0, 1), "version": (2, 0, 2), "index": (2, 9, 1)}.get(what, (2, 0, 1))
    clear = struct.pack(">4sHHII16s", b"PCGR", version, index, number, 0, link.link_id)
    proof = bytes(16) if what == "proof" else hmac.digest(link.secret, clear, "sha256")[:16]
    assert await answer_to(port, clear + proof) == b""
    await until(lambda: relay.node.link_table.refused.get("lane_refused"))
    assert len(list(relay.node.link_table.usable())) == 1


async def test_silent_and_slow_strangers_are_dropped_in_time(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "FIRST_DEADLINE_S", 0.2)
    relay, port = await relay_on(nodes, handshake_deadline_ms=300)
    for data, reason in [(b"", "silent"), (b"P", "silent"), (b"\x16", "deadline")]:
        before = relay.node.link_table.refused.get(reason, 0)
        assert await answer_to(port, data, end=False) == b""
        await until(lambda before=before, reason=reason: relay.node.link_table.refused.get(reason, 0) > before)
    assert relay.node.listeners.strangers.total == 0


async def test_a_crowd_of_silent_strangers_is_bounded(nodes: Nodes) -> None:
    relay, port = await relay_on(nodes, half_open_total=64, half_open_per_source=32)
    crowd = []
    try:
        for _ in range(300):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            crowd.append(sock)
        began = time.monotonic()
        await until(lambda: relay.node.link_table.refused.get("half_open_per_source", 0) >= 268)
        assert relay.node.listeners.strangers.total <= 32
        # One line in a second, not one for each of them.
        assert len(relay.lines("handshake.refused")) <= 3 + time.monotonic() - began
    finally:
        for sock in crowd:
            sock.close()
    await until(lambda: relay.node.listeners.strangers.total == 0)
    edge = await nodes.start(KENT, "kent-1", links=[{"peer": f"relay-1.{HUB}", "address": f"127.0.0.1:{port}"}])
    await until(lambda: list(edge.node.link_table.usable()))


async def test_no_descriptors_left_pauses_and_does_not_spin(nodes: Nodes) -> None:
    relay, port = await relay_on(nodes)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # What is open already stays open; the next accept finds no number.
    waiting = socket.socket()
    waiting.setblocking(False)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        waiting.connect_ex(("127.0.0.1", port))
        began = time.monotonic()
        await asyncio.sleep(0.5)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    waited_s = time.monotonic() - began
    assert 1 <= relay.node.link_table.refused["out_of_descriptors"] <= 2 + waited_s / listener.ACCEPT_PAUSE_S
    # One line in a second.
    assert 1 <= len(relay.lines("listener.paused")) <= 1 + waited_s
    waiting.close()
    await until(lambda: relay.node.link_table.refused.get("silent"))


async def test_the_last_descriptors_are_for_those_who_came_before(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay, port = await relay_on(nodes)
    monkeypatch.setattr(listener, "is_for_strangers", lambda number: False)
    assert await answer_to(port, b"") == b""
    assert relay.node.link_table.refused["out_of_descriptors"] == 1
    assert relay.lines("listener.paused")[-1]["reason"] == "reserve"
    relay.node.listeners.strangers.beginnings.was_member("127.0.0.1", 0)
    edge = await nodes.start(KENT, "kent-1", links=[{"peer": f"relay-1.{HUB}", "address": f"127.0.0.1:{port}"}])
    await until(lambda: list(edge.node.link_table.usable()))
    assert relay.node.link_table.refused["out_of_descriptors"] == 1


async def test_a_port_is_closed_whoever_has_a_copy_of_it(nodes: Nodes) -> None:
    relay, port = await relay_on(nodes)
    (sock,) = relay.node.listeners.sockets().values()
    assert await answer_to(port, b"") == b""
    with sock.dup():
        await nodes.stop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


# -- the rule alone ---------------------------------------------------------------------------------------------------


class Door(HalfOpen):
    """A door that remembers who was given up."""

    def __init__(self, total_most: int, each_most: int, chance: Callable[[], float] = lambda: 1.0) -> None:
        super().__init__(total_most, each_most, chance)
        self.gone: list[str] = []

    def come(self, source: str, *, known: bool = False) -> Place | str:
        return self.enter(source, lambda: self.gone.append(source), known=known)


def test_the_door_is_full_at_its_bounds() -> None:
    door = Door(4, 2)
    places = [door.come(source) for source in ("a", "a", "b", "b")]
    assert door.come("b") == "half_open_per_source"
    assert isinstance(places[0], Place)
    door.leave(places[0])
    assert isinstance(door.come("a"), Place)
    assert (door.total, door.gone) == (4, [])


def test_a_newcomer_takes_the_place_of_who_has_most() -> None:
    door = Door(6, 4)
    for source in ("a", "b", "b", "b", "b", "c"):
        door.come(source)
    assert isinstance(door.come("d"), Place)
    assert isinstance(door.come("a"), Place)
    assert door.gone == ["b", "b"]
    # Who would have most itself takes nothing from others.
    assert door.come("b") == "half_open_total"
    assert door.total == 6


@pytest.mark.parametrize("sources", [1, 9, 300])
def test_no_flood_keeps_a_newcomer_out(sources: int) -> None:
    door = Door(256, 32, lambda: 0.0)
    for number in range(5_000):
        door.come(f"flood {number % sources}")
    assert door.total <= 256
    assert all(isinstance(door.come(f"member {number}"), Place) for number in range(100))


def test_places_for_members_are_kept() -> None:
    door = Door(8, 8, lambda: 0.0)
    for number in range(100):
        door.come(str(number))
    strangers = len(door.gone)
    assert all(isinstance(door.come("home", known=True), Place) for _ in range(3))
    assert len(door.gone) == strangers
    for number in range(100):
        door.come(str(number))
    assert "home" not in door.gone


def test_the_fuller_the_door_the_more_are_dropped() -> None:
    chance = [0.0]
    door = Door(100, 100, lambda: chance[0])
    places = [place for place in (door.come("x") for _ in range(50)) if isinstance(place, Place)]
    assert len(places) == 50
    door.come("x")
    assert door.come("x") == "half_open_early_drop"
    # Not who has less than others.
    assert isinstance(door.come("y"), Place)
    chance[0] = 1.0
    assert isinstance(door.come("x"), Place)


def test_nothing_is_kept_of_who_has_left() -> None:
    door = Door(10, 10)
    for number in range(1000):
        place = door.come(str(number), known=number % 2 == 0)
        assert isinstance(place, Place)
        door.leave(place)
        door.leave(place)
    assert (door.total, door._of_strangers, door._of_known) == (0, {}, {})


def test_handshakes_of_a_source_are_bounded_where_all_are_many() -> None:
    beginnings = Beginnings(0)
    words = [beginnings.refusal(f"flood {number % 9}", number * 4) for number in range(5_000)]
    begun = words.count(None)
    # So many in 20 s: what all strangers may begin at once and each second, less what is left for others.
    assert 1_500 < begun <= 100 + 9 * 20 + 20 * 100
    assert set(words) == {None, "handshakes_of_source"}
    assert all(beginnings.refusal(f"member {number}", 20_000) is None for number in range(50))


def test_a_source_of_members_needs_nothing_of_what_strangers_have() -> None:
    beginnings = Beginnings(0)
    beginnings.was_member("home", 0)
    for number in range(10_000):
        beginnings.refusal(f"flood {number}", 0)
    assert beginnings.refusal("late", 0) == "handshakes_of_strangers"
    assert [beginnings.refusal("home", 0) for _ in range(100)] == [None] * 100
    heir = Beginnings(0)
    heir.restore(beginnings.to_handover(), 0)
    assert heir.is_known("home")
    assert not heir.is_known("late")


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_sources(host: str, source: str) -> None:
    assert source_of(host) == source
