"""The judge in real moves: a gateway as fast as the old network passes the gate; one slower by the margin does not."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.kit.cut_over import PLAN, SERVICE, Client, moving, says
from tests.support.applications import Talk
from tests.support.waiting import until

pytestmark = [pytest.mark.tier_all, pytest.mark.timeout(900)]

ANSWER_S = 0.1
SIGMA = 0.2  # of the logarithm of the times
MARGIN = 0.1
SOAK_S = 12
# Each of them keeps one connection at a time, which lasts as long as an answer.
APPLICATIONS = 24
JUDGED = (
    PLAN.replace("steps = [25, 100]", "steps = [50, 100]")
    .replace('soak = "2s"', f'soak = "{SOAK_S}s"')
    .replace('failures = "10 %"', 'failures = "5 %"')
    # Only answers are compared: on one machine nothing else can be made equal.
    .replace('setup = "10 % or 50 ms"', 'setup = "1000 % or 900 ms"')
    .replace('answer = "10 % or 20 ms"', f'answer = "{MARGIN:.0%}"\nrate = "90 %"'.replace("%", " %", 1))
    .replace('pace = "60 / min"', 'pace = "6 / min"')
)


def takes(name: bytes, median_s: float, seed: int) -> Talk:
    """It answers after a while, by chance."""
    chance, lock = random.Random(seed), threading.Lock()

    def talk(connection: socket.socket) -> None:
        with lock:
            wait_s = median_s * chance.lognormvariate(0, SIGMA)
        # The time is the point.
        time.sleep(wait_s)
        says(name)(connection)

    return talk


@pytest.mark.parametrize(("slower", "is_wanted"), [(0.0, True), (MARGIN, False)], ids=["equal", "slower"])
def test_the_gate_opens_within_two_soaks_or_does_not(
    tmp_path: Path, pytestconfig: pytest.Config, slower: float, is_wanted: bool, measured: Callable[..., None]
) -> None:
    runs, seed = pytestconfig.getoption("--gate-runs"), pytestconfig.getoption("--power-cut-seed")
    new, old = takes(b"new ", ANSWER_S * (1 + slower), seed), takes(b"old ", ANSWER_S, seed + 1)
    opened, fell_back = 0, 0
    with moving(tmp_path, new=new, old=old) as made, Client(made.door, every_s=0.02, threads=APPLICATIONS) as client:
        for run in range(runs):
            made.start(JUDGED, *(["--again"] if run else []))
            began = time.monotonic()
            until(lambda: made.share == 50, 10)
            while (told := made.told())["step"] == 1 and told["phase"] == "soaking":
                if time.monotonic() > began + 2 * SOAK_S + 1:
                    break
                time.sleep(0.2)
            opened += told["step"] == 2
            fell_back += told["phase"] == "back"
            if run + 1 < runs and told["phase"] != "back":
                assert made.cutover("back", SERVICE, "--reason", "once more").returncode == 0
        setups = {each["name"]: each["setups"] for each in told["outlets"]}
    measured(runs=runs, opened=opened, fell_back=fell_back, setups=setups, failed=client.failed)
    assert client.faults == []
    # One of ten may be by chance.
    assert opened >= runs - runs // 10 if is_wanted else opened <= runs // 10
    assert fell_back == 0 or not is_wanted
