"""Keys step while streams flow: by frames, by bytes and by time, on lanes and on flows, and nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.cores import CoreRealm
from tests.support.echo_exchange import echo_server, exchange

MIB = 1 << 20


@pytest.fixture
def realm() -> Iterator[CoreRealm]:
    made = CoreRealm()
    yield made
    made.close()


@pytest.mark.parametrize("suite", [1, 2, 3])
@pytest.mark.parametrize("limit", [{"rekey_frames": 64}, {"rekey_bytes": 4 * MIB}, {"rekey_ms": 20}], ids=str)
def test_keys_step_while_streams_flow(realm: CoreRealm, suite: int, limit: dict[str, int]) -> None:
    a, relay, b = realm.edge(**limit), realm.relay(**limit), realm.edge(**limit)
    first, last = realm.link(a, relay, suite=suite), realm.link(relay, b, suite=suite)
    session = realm.session(a, b, [(relay, first)], last, suite=suite)
    with echo_server() as target:
        address = realm.service(a, b, session, target)
        before = [node.core.counters()["rekeys_total"] for node in (a, relay, b)]
        streams = [threading.Thread(target=exchange, args=(address, 8 * MIB, seed)) for seed in range(3)]
        for stream in streams:
            stream.start()
        for stream in streams:
            stream.join(60)
            assert not stream.is_alive()
        ended = [0, 0]
        until = time.monotonic() + 10
        while ended != [3, 3] and time.monotonic() < until:
            for at, node in enumerate((a, b)):
                node.poll(0.1)
                ended[at] = sum(1 for event in node.seen if event[0] == 9 and event[9] == "done")
        assert ended == [3, 3]
    steps = [node.core.counters()["rekeys_total"] - count for node, count in zip((a, relay, b), before, strict=True)]
    assert all(step >= 2 for step in steps), steps
    assert a.core.sessions()[session]["epoch"] >= 1
    assert b.core.sessions()[session]["epoch"] >= 1


def test_an_idle_flow_steps_by_time_too(realm: CoreRealm) -> None:
    a, b = realm.edge(rekey_ms=50), realm.edge(rekey_ms=50)
    session = realm.session(a, b, [], realm.link(a, b))
    with echo_server() as target:
        address = realm.service(a, b, session, target)
        exchange(address, 1000, 1)
        until = time.monotonic() + 10
        while b.core.sessions()[session]["epoch"] < 1 and time.monotonic() < until:
            a.poll(0.05)
        assert b.core.sessions()[session]["epoch"] >= 1
        exchange(address, 1000, 2)
