"""A service moves from the old network to the gateway by its plan, step by step, under live traffic."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scenarios.kit.cut_over import Client, await_phase, moving
from tests.scenarios.kit.gateway_faults import NEW, lasting
from tests.scenarios.kit.real_clients import BURST, NAMED, SERVERS, STEPS, await_step, five_services, who_answers
from tests.support.waiting import receive

pytestmark = [pytest.mark.tier_test, pytest.mark.timeout(600)]

# Opened at each step, so that all are as old as the step.
IDLE_AT_EACH = 10
# Shorter soaks are too short for a gate that waits for twenty answers at 1 %, so a person steps over it.
SOAK_LEAST_S = 20.0
# What a step may take beyond its soak: the gate waits for set-ups that a client makes now and then.
GATE_S = 60.0


def test_it_moves_by_itself_and_no_connection_fails(tmp_path: Path) -> None:
    with moving(tmp_path) as made, Client(made.door) as client:
        made.start()
        await_phase(made, "arrived", 60)
        told = made.told()
        assert client.faults == []
        assert told["lost"] == 0
        assert client.answers[b"old "] > 0
        assert client.answers[b"new "] > 0
        assert [each["what"] for each in told["decisions"]] == ["started", "stepped", "arrived"]
    assert client.faults == []


@pytest.mark.tier_all
def test_real_clients_of_five_services_notice_nothing(
    tmp_path: Path, pytestconfig: pytest.Config, measured: Callable[..., None]
) -> None:
    soak_s = pytestconfig.getoption("--move-soak")
    shares: dict[int, int] = {}
    with five_services(tmp_path) as (moved, works), ExitStack() as clients:
        if soak_s < SOAK_LEAST_S:
            moved.by_hand = (NAMED, *SERVERS)
        working = [clients.enter_context(work) for work in works()]
        moved.start(tmp_path, soak_s)
        began = time.monotonic()
        with ExitStack() as open_ones:
            idle = []
            for number, step in enumerate(STEPS, 1):
                told = moved.told(NAMED)
                assert (told["phase"], told["share"]) == ("soaking", step), told["why"]
                idle += open_ones.enter_context(lasting(moved.doors[NAMED], IDLE_AT_EACH))
                answers = who_answers(moved.doors[NAMED], BURST)
                assert answers.total() == BURST
                shares[step] = answers[NEW]
                told = await_step(moved, NAMED, number + 1, soak_s + GATE_S)
            ends = {}
            for name in moved.doors:
                ends[name] = await_step(moved, name, len(STEPS) + 1, soak_s + GATE_S)
            moved_s = time.monotonic() - began
            for connection in idle:
                connection.sendall(b"question")
                assert receive(connection, 8) == b"question"
        clients.close()
        told = {name: moved.told(name) for name in moved.doors}
    done: Counter[str] = Counter()
    for work in working:
        done[work.name.split()[0]] += work.done
    faults = [fault for work in working for fault in work.faults]
    measured(
        seconds=round(moved_s, 1),
        new_of_200=shares,
        connections=dict(done),
        failed=len(faults),
        moved=sum(each["moved"] for each in told.values()),
        lost=sum(each["lost"] for each in told.values()),
    )
    assert faults == []
    assert all(count > 0 for count in done.values()), done
    assert {name: each["phase"] for name, each in ends.items()} == dict.fromkeys(moved.doors, "arrived")
    assert {name: (each["lost"], each["moved"]) for name, each in told.items()} == dict.fromkeys(moved.doors, (0, 0))
    assert {step: abs(count - BURST * step // 100) <= 1 for step, count in shares.items()} == dict.fromkeys(STEPS, True)
