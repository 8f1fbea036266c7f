"""iperf3, unchanged, through every topology: its data connections up, down, and both at once."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.kit.nodes import Line
from tests.scenarios.kit.real_programs import iperf, run

pytestmark = pytest.mark.tier_test

SECONDS = 1
# What even a crowded machine must reach, in bits a second; an idle one does twenty times as much.
LEAST = 100e6


@pytest.mark.parametrize(
    ("options", "sums"),
    [
        pytest.param((), ("sum_received",), marks=pytest.mark.tier_all),
        pytest.param(("-R",), ("sum_received",), marks=pytest.mark.tier_all),
        (("--bidir",), ("sum_received", "sum_received_bidir_reverse")),
    ],
    ids=["up", "down", "both ways"],
)
def test_bytes_flow(
    path: Line, options: tuple[str, ...], sums: tuple[str, ...], tmp_path: Path, figure: Callable[[str], None]
) -> None:
    host, port = path.door("iperf")
    with iperf(tmp_path / "iperf", path.target("iperf")):
        said = run("iperf3", "-c", host, "-p", str(port), "-t", str(SECONDS), "-J", *options)
    end = json.loads(said)["end"]
    rates = [end[name]["bits_per_second"] for name in sums]
    assert min(rates) > LEAST
    figure(" and ".join(f"{rate / 8e6:.0f} MB/s" for rate in rates))
