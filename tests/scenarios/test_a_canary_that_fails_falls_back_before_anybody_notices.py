"""A fault on the gateway's side alone, in the middle of a move: new streams go back, and no connection fails.

In `make test` five faults at two steps; with --acceptance all of them at each of five steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pcgrelay.cutover.questions import TIMES_LEAST
from pcgrelay.services.outlet_plan import PATIENCE_LEAST_MS
from tests.scenarios.kit.cut_over import Client, Moving, await_phase, moving
from tests.scenarios.kit.gateway_faults import (
    FAULTS,
    NEW,
    OLD,
    BulkClient,
    Far,
    Fault,
    Ground,
    await_share,
    lasting,
    plan_of,
    refuses,
    swallows,
)
from tests.scenarios.kit.network_namespace import own_network
from tests.support.waiting import receive, until

pytestmark = [pytest.mark.tier_test, pytest.mark.timeout(400)]

STEPS = (1, 5, 25, 50, 100)
# Long enough for what is to be judged: within two soaks about 370 set-ups, of which 1 % may be slow, and twenty streams
# of bulk.
SOAK_S = 20
SMALL_SHARE_SOAK_S = 40
LEAST_SHARE_SOAK_S = 120
# What is asked of a node comes a little later than it happened.
ASKED_S = 1.0
WATCHED_S = 3.0
STREAMS = 10
# A look for slowness is at each 64 set-ups, and some of the first 64 may have been before the fault.
LOOKS = 2 * 64
# Where new streams alone are silent: so soon none takes the gateway any more, and it has fallen back.
SILENT_SHARE_0_S = 1.0
SILENT_BACK_S = 2.0
# Nodes and clients share two processors here, and the figure itself is told.
BUSY_S = 0.5
# The pace of shadows in these plans.
SHADOWS_PER_S = 1.0

ONLY = pytest.mark.only_acceptance
CASES = [
    pytest.param(
        fault,
        share,
        id=f"{share}-{fault.name}",
        marks=[] if share in fault.in_test else [pytest.mark.tier_all] if share in fault.in_all else [ONLY],
    )
    for share in STEPS
    for fault in FAULTS
]


@contextmanager
def at_step(folder: Path, fault: Fault, share: int) -> Iterator[tuple[Ground, Client]]:
    """The move is at this step, with applications that connect all the time."""
    with ExitStack() as stack:
        network = stack.enter_context(own_network()) if "network" in fault.needs else None
        new, old = Far(NEW), Far(OLD)
        over_a_line = "line" in fault.needs
        made = stack.enter_context(moving(folder, new=new.talk, old=old.talk, over_a_line=over_a_line))
        client = stack.enter_context(Client(made.door))
        if "bulk" in fault.needs:
            # At a small share so many that twenty of them take the gateway within the soak.
            stack.enter_context(BulkClient(made.door, every_s=0.02, threads=6 if share <= 5 else 4))
        made.start(plan_of(fault, share, soak_s(fault, share)))
        await_share(made, share, 100)
        yield Ground(made, new, network, ExitStack()), client


def soak_s(fault: Fault, share: int) -> int:
    """Of the plan, if the fault is one that is judged."""
    if share == 1:
        return LEAST_SHARE_SOAK_S
    return SMALL_SHARE_SOAK_S if share == 5 or "bulk" in fault.needs else SOAK_S


def setups_on_new(told: dict[str, Any]) -> int:
    (new,) = [each for each in told["outlets"] if each["role"] == "new"]
    return int(new["setups"] + new["shadows"])


def patience_ms(made: Moving) -> int:
    (gateway,) = [each for each in made.met.service("named").outlets if each.name == "gateway"]
    return gateway.patience_ms


def logged_at(line: dict[str, Any]) -> float:
    """When a line of a log was written, as the wall clock of this machine says."""
    return datetime.fromisoformat(line["ts"]).timestamp()


def watch_back(made: Moving, client: Client, fault: Fault, broke: float) -> dict[str, Any]:
    """Wait until no new stream takes the gateway."""
    await_share(made, 0, fault.within_s + ASKED_S)
    share_0_at, share_0_s = time.time(), time.monotonic() - broke
    if fault.wanted in ("back", "slow"):
        await_phase(made, "back", 3)
    told = made.told()
    assert told["held"] or told["phase"] == "back", told["why"]
    figures = {"share_0_s": round(share_0_s, 2)}
    if fault.inject in (refuses, swallows):
        # From the moment at which the far edge had it, for until then all is well.
        broke_at = logged_at(made.kent.log("config.reloaded")[-1])
        back_s = logged_at(made.met.await_log("cutover.fell_back")) - broke_at
        since_s = min(share_0_at - broke_at, back_s)
        figures |= {"since_reload_s": round(since_s, 2), "back_s": round(back_s, 2)}
        # At a small share it takes a while until an application meets it. Until then shadows alone can find it.
        first = client.first_slow(broke) if fault.inject is swallows else None
        until_first_s = 0.0 if first is None else max(0.0, share_0_at - broke_at - (share_0_s - (first - broke)))
        figures["until_first_s"] = round(until_first_s, 2)
        assert since_s - until_first_s < SILENT_SHARE_0_S + BUSY_S
        assert back_s - until_first_s < SILENT_BACK_S
    return figures


def watch_gate(made: Moving, fault: Fault, soak: float) -> dict[str, Any]:
    """Wait for what the gate does: it has to stay shut, or to open within two soaks."""
    step, began = made.told()["step"], time.monotonic()
    deadline = began + soak * (2 if fault.wanted == "open" else 1) + WATCHED_S
    while time.monotonic() < deadline:
        told = made.told()
        if told["phase"] == "arrived" or told["step"] != step:
            assert fault.wanted == "open", (told["decisions"][-1]["sentence"], told["findings"])
            return {"opened_s": round(time.monotonic() - began, 1)}
        if told["phase"] == "back":
            break
        time.sleep(0.2)
    findings = {each["question"]: f"{each['outcome']}: {each['sentence']}" for each in told["findings"]}
    assert fault.wanted == "shut", (told["why"], findings)
    return {
        "phase": told["phase"],
        "why": told["decisions"][-1]["sentence"] if told["phase"] == "back" else told["why"],
    }


@pytest.mark.parametrize(("fault", "share"), CASES)
def test_new_streams_go_back_and_no_connection_fails(
    tmp_path: Path, fault: Fault, share: int, measured: Callable[..., None]
) -> None:
    with at_step(tmp_path, fault, share) as (ground, client):
        made = ground.made
        time.sleep(2)
        if fault.inject is swallows:
            # Until it knows twenty set-ups, its patience is a second, and share 0 comes after two.
            until(lambda: patience_ms(made) <= PATIENCE_LEAST_MS, 60, "it knows how long a set-up takes")
        assert client.faults == []
        with lasting(made.door, STREAMS) as streams:
            before = made.told()
            broke = time.monotonic()
            with ground.mended:
                fault.inject(ground)
                if fault.wanted in ("shut", "open"):
                    figures = watch_gate(made, fault, soak_s(fault, share))
                else:
                    figures = watch_back(made, client, fault, broke)
                    went = time.monotonic()
                    time.sleep(WATCHED_S)
                    assert set(client.since(went)) == {OLD}
                    figures["settled_s"] = round(max(0.0, client.last_of(NEW) - broke), 2)
                    assert figures["settled_s"] < fault.within_s
                told = made.told()
                more = setups_on_new(told) - setups_on_new(before)
            # What was open before goes on as if there were no move.
            for stream in streams:
                stream.sendall(b"question" * 2)
                assert receive(stream, 16) == b"question" * 2
    figures |= {
        "setups_on_new": more,
        "connections": client.answers.total(),
        "moved": told["moved"],
        "slowest_s": round(client.slowest_s, 2),
        "failed": client.failed,
        "cut": client.cut,
        "injected": ground.new.resets,
    }
    measured(**figures)
    assert client.failed == 0, client.faults
    assert client.cut <= ground.new.resets, client.faults
    assert told["lost"] == 0
    if fault.wanted == "slow" and share < 100:
        assert more <= LOOKS + client.answers.total() / 10
    elif fault.wanted == "slow":
        # All of the old outlet's set-ups are shadows now, and a look needs twenty of them; some were before the fault.
        assert figures["settled_s"] <= 2 * TIMES_LEAST / SHADOWS_PER_S + WATCHED_S
