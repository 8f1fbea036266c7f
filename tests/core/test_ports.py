"""Local ports of connections to targets: none is used twice at once, nor soon after it was closed."""

from __future__ import annotations

import random
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native.probe_store import PORTS, Pool, Ports

AGAIN_US, FORGET_US = PORTS["again_us"], PORTS["forget_us"]
NOW = 10_000_000_000
S = 1_000_000


def map_of(*ports: int) -> bytes:
    allowed = bytearray(PORTS["all"] // 8)
    for port in ports:
        allowed[port // 8] |= 1 << port % 8
    return bytes(allowed)


def address(port: int, host: str = "192.0.2.1") -> bytes:
    family = struct.pack("=H", 2)
    return family + struct.pack(">H", port) + bytes(int(part) for part in host.split("."))


TARGET = address(5_432)


def ports_of(*allowed: int, worker: int = 0, workers: int = 1, memory: int = 1 << 24, first_half: int = 1) -> Ports:
    ports = Ports(Pool(memory), worker, workers)
    ports.set(map_of(*allowed), first_half)
    return ports


STEPS = st.lists(
    st.tuples(st.just("take"), st.integers(0, 2), st.integers(0, 2**64 - 1))
    | st.tuples(st.just("release"), st.integers(0, 2), st.integers(0, 100))
    | st.tuples(st.just("wait"), st.just(0), st.integers(0, 2 * AGAIN_US) | st.integers(0, 2 * FORGET_US))
    | st.tuples(st.just("allow"), st.just(0), st.sets(st.integers(32_768, 32_791))),
    max_size=120,
)


@given(steps=STEPS, workers=st.integers(1, 3))
def test_a_port_is_free_allowed_and_was_not_just_closed(
    steps: list[tuple[str, int, int | set[int]]], workers: int
) -> None:
    allowed = set(range(32_768, 32_792))
    ports = ports_of(*allowed, worker=workers - 1, workers=workers)
    used: dict[int, list[int]] = {ring: [] for ring in range(3)}
    closed: dict[tuple[int, int], int] = {}
    now = NOW
    for what, ring, value in steps:
        target = address(5_000 + ring)
        if isinstance(value, set):
            allowed = value
            ports.set(map_of(*value))
        elif what == "wait":
            now += value
        elif what == "release" and used[ring]:
            port = used[ring].pop(value % len(used[ring]))
            ports.release(target, port, now)
            closed[ring, port] = now
        elif what == "take":
            mine = {port for port in allowed if port // 2 % workers == workers - 1}
            ready = {port for port in mine - set(used[ring]) if now - closed.get((ring, port), -FORGET_US) >= AGAIN_US}
            port = ports.take(target, now, value)
            assert (port in ready) if ready else port == 0
            if port:
                # The first half is used up first.
                assert port % 2 or not any(each % 2 for each in ready)
                used[ring].append(port)


def test_after_all_were_used_the_one_that_was_closed_first_comes() -> None:
    ports = ports_of(*range(40_001, 40_201, 2))
    rng = random.Random(7)
    taken = [ports.take(TARGET, NOW, rng.getrandbits(64)) or 0 for _ in range(100)]
    assert sorted(taken) == list(range(40_001, 40_201, 2))
    assert ports.take(TARGET, NOW) == 0
    order = rng.sample(taken, 100)
    for at, port in enumerate(order):
        ports.release(TARGET, port, NOW + at)
    assert ports.take(TARGET, NOW + AGAIN_US - 1) == 0
    again = [ports.take(TARGET, NOW + AGAIN_US + 100, rng.getrandbits(64)) for _ in range(100)]
    assert again == order


def test_one_that_was_not_used_for_long_is_as_good_as_any() -> None:
    ports = ports_of(*range(40_001, 40_401, 2))
    for port in [ports.take(TARGET, NOW, chance) or 0 for chance in range(100)]:
        ports.release(TARGET, port, NOW)
    # What was not used yet comes first, up to when TIME-WAIT is over.
    fresh = {ports.take(TARGET, NOW + 2 * S, chance) or 0 for chance in range(50)}
    assert {port for port, _ in ports.closed(TARGET, 1)}.isdisjoint(fresh)
    for _ in range(60):
        port = ports.take(TARGET, NOW + FORGET_US) or 0
        ports.release(TARGET, port, NOW + FORGET_US)
    assert all(closed == NOW + FORGET_US for _, closed in ports.closed(TARGET, 1))


def test_who_sees_ports_does_not_see_the_next_one() -> None:
    """They are spread over all that are allowed by the chance that is given."""
    ports = ports_of(*range(32_769, 61_001))
    rng = random.Random(3)
    taken = [ports.take(TARGET, NOW, rng.getrandbits(64)) or 0 for _ in range(2_000)]
    steps = {second - first for first, second in pairwise(taken)}
    assert len(steps) > 1_000
    assert min(taken) < 33_500
    assert max(taken) > 60_200


@pytest.mark.parametrize("workers", [1, 2, 3, 8, 64])
def test_each_port_is_of_one_worker(workers: int) -> None:
    allowed = [*range(1, 40), *range(65_400, 65_536)]
    each = []
    for worker in range(workers):
        ports = ports_of(*allowed, worker=worker, workers=workers)
        own = []
        while port := ports.take(address(1), NOW, len(own)):
            own.append(port)
        each.append(own)
        if workers < 8:
            # Of both halves, so that no worker has only what the system gives out itself.
            assert {port % 2 for port in own} == {0, 1}
    taken = [port for own in each for port in own]
    # The target's own port: a socket that is connected to itself would answer itself.
    assert sorted([*taken, 1]) == sorted(allowed)


@pytest.mark.parametrize("first_half", [0, 1])
def test_the_half_that_the_system_gives_out_first_comes_last(first_half: int) -> None:
    ports = ports_of(*range(40_000, 40_100), first_half=first_half)
    halves = [(ports.take(TARGET, NOW, chance) or 0) % 2 for chance in range(100)]
    assert halves == [first_half] * 50 + [1 - first_half] * 50


def test_each_target_and_source_has_all_ports() -> None:
    ports = ports_of(40_001)
    cases = [(TARGET, b""), (address(5_433), b""), (TARGET, address(0, "192.0.2.7")), (TARGET, address(0, "192.0.2.8"))]
    assert [ports.take(target, NOW, source=source) for target, source in cases] == [40_001] * 4
    assert [ports.take(target, NOW, source=source) for target, source in cases] == [0] * 4
    ports.release(TARGET, 40_001, NOW, source=address(0, "192.0.2.7"))
    assert [ports.take(target, NOW + AGAIN_US, source=source) for target, source in cases] == [0, 0, 40_001, 0]


def test_a_ring_without_a_port_in_use_is_forgotten_with_all_its_memory() -> None:
    pool = Pool(1 << 24)
    ports = Ports(pool)
    ports.set(map_of(*range(32_768, 61_000)))
    before = pool.used
    for at in range(1, 51):
        taken = [ports.take(address(at), NOW, chance) or 0 for chance in range(at)]
        for port in taken:
            ports.release(address(at), port, NOW)
    kept = ports.take(address(60), NOW) or 0
    assert (ports.rings, pool.used > before) == (51, True)
    for _ in range(200):
        ports.tick(NOW + FORGET_US - 1)
    assert ports.rings == 51
    for _ in range(200):
        ports.tick(NOW + FORGET_US)
    assert ports.rings == 1
    ports.release(address(60), kept, NOW + FORGET_US)
    for _ in range(2):
        ports.tick(NOW + 2 * FORGET_US)
    assert (ports.rings, pool.used) == (0, before)


def test_beyond_the_number_of_rings_or_the_memory_the_system_chooses() -> None:
    ports = Ports(Pool(1 << 30))
    ports.set(map_of(*range(32_768, 61_000)))
    for at in range(PORTS["rings"]):
        assert ports.chooses(address(at % 60_000, f"10.0.{at // 256}.{at % 256}"), NOW)
    assert not ports.chooses(address(1, "10.1.1.1"), NOW)
    assert ports.take(address(1, "10.1.1.1"), NOW) is None
    small = ports_of(*range(32_768, 61_000), memory=4_000)
    assert not small.chooses(TARGET, NOW)


def test_without_memory_to_note_a_port_none_is_given() -> None:
    ports = ports_of(*range(32_768, 61_000), memory=10_000)
    taken = 0
    while ports.take(TARGET, NOW, taken):
        taken += 1
    assert 16 <= taken < 1_000


def test_without_a_range_the_system_chooses() -> None:
    ports = Ports(Pool(1 << 20))
    assert not ports.chooses(TARGET, NOW)
    ports.set(map_of(40_001))
    assert ports.take(TARGET, NOW) == 40_001
    ports.set(b"")
    assert not ports.chooses(TARGET, NOW)
    # What is in use is known all the same.
    ports.set(map_of(40_001, 40_003))
    assert ports.take(TARGET, NOW) == 40_003


def test_what_another_process_used_is_in_use_and_what_it_closed_is_not_used_yet() -> None:
    ports = ports_of(*range(40_001, 40_011, 2))
    assert ports.restore(TARGET, 40_001, 0, used=True)
    assert ports.restore(TARGET, 40_003, NOW - AGAIN_US // 2, used=False)
    assert {ports.take(TARGET, NOW, chance) for chance in range(3)} == {40_005, 40_007, 40_009}
    assert ports.take(TARGET, NOW) == 0
    assert ports.take(TARGET, NOW + AGAIN_US // 2) == 40_003
    ports.release(TARGET, 40_001, NOW)
    assert ports.take(TARGET, NOW + AGAIN_US) == 40_001


@pytest.mark.parametrize(("port", "worker"), [(0, 0), (40_001, 1), (40_001, 0)], ids=["none", "not its own", "twice"])
def test_a_port_that_no_worker_left_so_is_refused(port: int, worker: int) -> None:
    ports = ports_of(*range(40_000, 40_010), worker=worker, workers=2)
    if worker == 0:
        assert ports.restore(TARGET, 40_001, 0, used=True)
    assert not ports.restore(TARGET, port, 0, used=True)
