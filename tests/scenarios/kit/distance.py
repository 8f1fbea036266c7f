"""Two networks of the test's own, a distance apart: what one sends reaches the other later, and some of it never.

The distance is the small program of the benches: a device of packets in each network, and a delay between the two. Loss
is by chance, where packets arrive. Root is needed, as it is for the packets of any network.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.scenarios.kit.real_programs import run
from tests.support.waiting import until

SOURCE = Path(__file__).parents[3] / "benches" / "load" / "distance.c"
DEVICE = "distance"
NEAR, FAR = "10.87.0.1", "10.87.0.2"
RULES = """
table inet loss {{
  chain arriving {{
    type filter hook input priority 0;
    iifname "{device}" numgen random mod 1000 < {of_a_thousand} drop
  }}
}}
"""


@dataclass(frozen=True)
class Side:
    """One of the networks: its address, and what a command begins with to run there."""

    name: str
    address: str

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name)


@contextmanager
def far_apart(folder: Path, round_trip_ms: float, lost_of_a_thousand: int = 0) -> Iterator[tuple[Side, Side]]:
    """Both networks, for as long as the block lasts."""
    program = folder / "distance"
    run("gcc", "-O2", "-Wall", "-o", program, SOURCE)
    sides = tuple(Side(f"pcgrelay-{name}-{os.getpid()}", at) for name, at in (("near", NEAR), ("far", FAR)))
    with ExitStack() as stack:
        for side in sides:
            run("ip", "netns", "add", side.name)
            stack.callback(run, "ip", "netns", "delete", side.name)
        log = folder / "distance.log"
        stack.enter_context(_running([program, *(f"/run/netns/{side.name}" for side in sides)], round_trip_ms / 2, log))
        until(lambda: "ready" in log.read_text(), 20, "the distance stands")
        for side in sides:
            run("ip", "-n", side.name, "link", "set", "lo", "up")
            run("ip", "-n", side.name, "link", "set", DEVICE, "mtu", "1500", "txqueuelen", "20000", "up")
            run("ip", "-n", side.name, "addr", "add", f"{side.address}/24", "dev", DEVICE)
            if lost_of_a_thousand:
                rules = RULES.format(device=DEVICE, of_a_thousand=lost_of_a_thousand)
                run(*side.prefix, "nft", "-f", "-", data=rules.encode())
        yield sides[0], sides[1]


@contextmanager
def _running(command: list[Path | str], delay_ms: float, log: Path) -> Iterator[None]:
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*command, DEVICE, str(delay_ms)], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
        )
    try:
        yield
    finally:
        process.kill()
        process.wait(5)
