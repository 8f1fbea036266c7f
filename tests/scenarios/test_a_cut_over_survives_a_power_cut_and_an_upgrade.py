"""The edge is killed, or replaced, in the middle of a move: it goes on from what was written, and never further."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.state import CutoverState
from pcgrelay.gateway.cutover_files import CutoverFiles
from tests.scenarios.kit.cut_over import PLAN, SERVICE, Client, Moving, gateway_is_ready, moving
from tests.scenarios.kit.echo_witness import received
from tests.support.waiting import receive, until

pytestmark = [pytest.mark.tier_test, pytest.mark.timeout(600)]

# Five steps, so that a kill meets many of them; margins so wide that a busy machine is no slow outlet.
STEPS = (20.0, 40.0, 60.0, 80.0, 100.0)
WIDE = (
    PLAN.replace("steps = [25, 100]", "steps = [20, 40, 60, 80, 100]")
    .replace('soak = "2s"', 'soak = "1s"')
    .replace("streams = 30", "streams = 5")
    .replace('failures = "10 %"', 'failures = "60 %"')
    .replace('setup = "10 % or 50 ms"', 'setup = "100 % or 900 ms"')
    .replace('answer = "10 % or 20 ms"', 'answer = "100 % or 900 ms"')
)
# Half of the lives end by chance, and half of them around a step forward.
LIFE_MOST_S = 2.0
STEP_MOST_S = 6.0
AROUND_S = 0.05
BYTES = 100_000


def kept(made: Moving) -> CutoverState:
    """What the files say; every one of them is whole."""
    found, lost = CutoverFiles(made.state).read()
    assert not lost, lost
    folder = made.state / "cutover"
    for file in folder.glob("[!.]*"):
        whole = file.read_bytes()
        raw = whole.partition(b'"body":')[2].strip().removesuffix(b"}")
        assert hashlib.sha256(raw).hexdigest() == json.loads(whole)["sha256"], f"{file} is torn"
    return found[SERVICE]


def approved(state: CutoverState) -> float:
    """The share that was written for the new outlet, in percent."""
    if state.progress.phase in (Phase.PLANNED, Phase.BACK):
        return 0.0
    return STEPS[state.progress.step]


def place_of(state: CutoverState) -> tuple[Phase, int]:
    return state.progress.phase, state.progress.step


def live(made: Moving, chance: random.Random) -> None:
    """Let it move until the moment of the power cut; its share is never above what was written."""
    around_step = chance.random() < 0.5
    place, until_s = place_of(kept(made)), time.monotonic() + chance.uniform(0, LIFE_MOST_S)
    if around_step:
        until_s = time.monotonic() + STEP_MOST_S
    while time.monotonic() < until_s:
        # Asked before the file is read: forward is written first.
        share = made.share
        state = kept(made)
        assert share <= approved(state)
        if around_step and place_of(state) != place:
            break
        time.sleep(0.02)
    if around_step:
        time.sleep(chance.uniform(0, AROUND_S))


def await_moving(made: Moving) -> None:
    """Ready again, with both outlets."""
    made.met.await_ready()
    until(lambda: made.met.service("named").state == "ready", 30)
    until(lambda: gateway_is_ready(made), 30)


@pytest.mark.tier_all
def test_it_is_never_further_than_was_written_after_a_power_cut(
    tmp_path: Path, pytestconfig: pytest.Config, figure: Callable[[str], None]
) -> None:
    chance = random.Random(pytestconfig.getoption("--power-cut-seed"))
    cuts = pytestconfig.getoption("--power-cuts")
    seen = set()
    with moving(tmp_path) as made:
        made.start(WIDE)
        for _ in range(cuts):
            if made.phase == "arrived":
                assert made.cutover("back", SERVICE, "--reason", "once more").returncode == 0
                made.start(WIDE, "--again")
            with Client(made.door) as client:
                live(made, chance)
                killed = time.monotonic()
                made.met.kill()
            assert not [fault for _, seen, fault in client.moments if seen < killed], client.faults
            written = kept(made)
            seen.add(place_of(written))
            made.met.spawn()
            made.met.await_ready()
            told = made.told()
            news = told["decisions"][len(written.decisions) :]
            where = (told["phase"], told["step"] - 1)
            if not news:
                assert where == (written.progress.phase.value, written.progress.step)
            assert [each["sentence"] for each in told["decisions"][: len(written.decisions)]] == [
                each.sentence for each in written.decisions
            ]
            assert told["share"] <= approved(kept(made))
            await_moving(made)
        with Client(made.door) as client:
            until(lambda: made.phase == "arrived", 90, "it goes on by itself")
        assert client.faults == []
        assert made.told()["lost"] == 0
    figure(f"{cuts} power cuts at {len(seen)} different places, 0 torn files, never further than was written")


@contextmanager
def lasting(made: Moving, count: int) -> Iterator[list[tuple[bytes, socket.socket]]]:
    """Connections that stay, each with who answers it."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(made.door, timeout=15))
            found.append((receive(connection, 4), connection))
        yield found


def test_an_upgrade_in_the_middle_of_a_step_loses_nothing(
    tmp_path: Path, pytestconfig: pytest.Config, figure: Callable[[str], None]
) -> None:
    chance = random.Random(pytestconfig.getoption("--power-cut-seed"))
    upgrades = pytestconfig.getoption("--cut-over-upgrades")
    with moving(tmp_path) as made:
        made.start(WIDE.replace("steps = [20, 40, 60, 80, 100]", "steps = [50, 100]").replace('"1s"', '"10m"'))
        until(lambda: made.share == 50, 10)
        with lasting(made, 20) as streams:
            assert {name for name, _ in streams} == {b"new ", b"old "}
            with Client(made.door) as client:
                for _ in range(upgrades):
                    time.sleep(chance.uniform(0, 1.5))
                    before = made.told()
                    done = made.met.upgrade(seconds=60)
                    assert done.returncode == 0, done.stderr
                    after = made.told()
                    assert (after["phase"], after["step"], after["share"]) == ("soaking", 1, 50)
                    assert after["soaked_s"] >= before["soaked_s"]
                    block = chance.randbytes(BYTES)
                    for _, stream in streams:
                        stream.sendall(block[:10_000])
                        assert received(stream, 10_000) == block[:10_000]
            assert client.faults == []
        # Every connection was counted exactly once, before and after.
        counted = Counted(client, streams)
        until(lambda: counted.by_outlet(made) == counted.wanted, 10, "all sums are equal")
        assert made.told()["lost"] == 0
    figure(f"{upgrades} upgrades under {sum(client.answers.values())} connections: 0 failed, sums equal")


class Counted:
    """What the applications saw, and what the node has counted."""

    def __init__(self, client: Client, streams: list[tuple[bytes, socket.socket]]) -> None:
        names = [name for name, _ in streams]
        answers = client.answers
        self.wanted = {
            "gateway": answers[b"new "] + names.count(b"new "),
            "cjx": answers[b"old "] + names.count(b"old "),
        }

    def by_outlet(self, made: Moving) -> dict[str, int]:
        return {each["name"]: each["setups"] for each in made.told()["outlets"]}
