"""What may befall a move beside a broken gateway: a target that is down on both sides, a service hardly used."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scenarios.kit.cut_over import (
    LONG,
    WIDE,
    Client,
    await_phase,
    gateway_is_ready,
    moving,
    says,
    target,
)
from tests.scenarios.kit.nodes import HOST
from tests.scenarios.kit.reload_setup import reload
from tests.support.ports import free_port
from tests.support.waiting import receive, until

pytestmark = [pytest.mark.tier_test, pytest.mark.timeout(600)]

ALL = LONG.replace("steps = [25, 100]", "steps = [100]")
DOWN_S = 3.0
RESTARTS = 3
FIVE = (1, 5, 25, 50, 100)
SOAK_S = 20


@pytest.mark.tier_all
def test_a_target_that_is_down_on_both_sides_moves_nobody_back(tmp_path: Path, figure: Callable[[str], None]) -> None:
    port = free_port()
    with ExitStack() as up:
        up.enter_context(target(port, says(b"both")))
        with moving(tmp_path, new_at=(HOST, port), old_at=(HOST, port)) as made:
            with Client(made.door) as client:
                # It begins anew each time, so it need only be longer than what is done before the next restart.
                made.start(WIDE.replace('soak = "2s"', 'soak = "8s"'))
                until(lambda: made.share == 25, 10)
                for _ in range(RESTARTS):
                    before = made.told()
                    assert (before["phase"], before["step"]) == ("soaking", 1), before["decisions"]
                    up.close()
                    time.sleep(DOWN_S / RESTARTS)
                    assert made.phase == "soaking"
                    up.enter_context(target(port, says(b"both")))
                    until(lambda: made.share == 25, 30, "it is well again")
                # What failed on both says nothing of either, so it goes on by itself.
                await_phase(made, "arrived", 120)
            told = made.told()
            assert "fell_back" not in [each["what"] for each in told["decisions"]]
            assert client.faults
    figure(f"{RESTARTS} restarts of the target in one soak: 0 fall-backs")


@pytest.mark.only_acceptance
def test_a_target_that_is_down_in_every_step_only_makes_it_later(
    tmp_path: Path, pytestconfig: pytest.Config, measured: Callable[..., None]
) -> None:
    """As long as `--target-down` says, in each of five steps; the soak begins anew each time, and it arrives."""
    port, down_s = free_port(), pytestconfig.getoption("--target-down")
    plan = WIDE.replace("steps = [25, 100]", f"steps = {list(FIVE)}").replace('soak = "2s"', f'soak = "{SOAK_S}s"')
    soaked: dict[int, tuple[float, float]] = {}
    with ExitStack() as up:
        up.enter_context(target(port, says(b"both")))
        with moving(tmp_path, new_at=(HOST, port), old_at=(HOST, port)) as made, Client(made.door) as client:
            made.start(plan)
            for number, share in enumerate(FIVE, 1):
                until(lambda number=number: made.told()["step"] == number, 300, "it is that step's turn")
                time.sleep(SOAK_S / 2)
                before = made.told()
                up.close()
                time.sleep(down_s)
                told = made.told()
                assert (told["phase"], told["step"]) == ("soaking", number), told["decisions"][-1]
                up.enter_context(target(port, says(b"both")))
                until(lambda share=share: made.share == share, 60, "it is well again")
                soaked[share] = before["soaked_s"], made.told()["soaked_s"]
            await_phase(made, "arrived", 300)
            told = made.told()
            what = [each["what"] for each in told["decisions"]]
    measured(
        down_s=down_s,
        steps=len(FIVE),
        fall_backs=what.count("fell_back"),
        soaked_before_and_after=soaked,
        refused_while_down=len(client.faults),
    )
    assert "fell_back" not in what
    assert [each for each in what if each in ("started", "stepped", "arrived")] == [
        "started", *["stepped"] * (len(FIVE) - 1), "arrived",
    ]  # fmt: skip
    # The soak began anew.
    assert all(after < before for before, after in soaked.values())


@pytest.mark.parametrize("run", [1, *(pytest.param(run, marks=pytest.mark.only_acceptance) for run in range(2, 6))])
def test_a_rare_service_goes_back_after_one_connection_that_succeeds(
    tmp_path: Path, run: int, measured: Callable[..., None]
) -> None:
    with moving(tmp_path) as made:
        made.start(ALL.replace("60 / min", "1 / h"))
        until(lambda: made.share == 100, 10)
        port = free_port()
        made.target(port, probe="none")
        assert reload(made.kent).ok
        until(lambda: gateway_is_ready(made), 10)
        assert made.phase == "soaking"
        began = time.monotonic()
        with socket.create_connection(made.door, timeout=15) as connection:
            assert receive(connection, 4) == b"old "
        answered = time.monotonic()
        await_phase(made, "back", 5)
        back_s = time.monotonic() - answered
        assert made.told()["lost"] == 0
        assert back_s < 2 + 3
    measured(connection_s=round(answered - began, 2), back_s=round(back_s, 2))
