"""Idle connections beside the peers: the memory of both ends for each, on fresh processes.

What earlier loads left in pools would be counted as theirs, so this is a rung of its own, and every peer begins again
for each count. What the kernel holds for sockets is not counted: it is more where each connection has one of its own
between the ends. A peer that cannot hold so many is a row too, with the reason.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benches import results
from benches.bench_node import PAIR, peers_of
from benches.chain import Chain, Place
from benches.generator import held
from benches.processes import BenchError, free_port, memory_bytes
from benches.settings import Settings, allow_many_descriptors, chosen

# Descriptors of a process that are left for everything else.
SPARE = 1_000
# Until all connections are open. Some peers look at all of them for each new one.
OPENING_S = 60


def run(settings: Settings) -> None:
    limit = allow_many_descriptors()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="pcgrelay-bench-") as name:
        for count in settings.idle:
            for peer in peers_of(PAIR, settings):
                folder = Path(name) / f"{count}-{peer.name.replace(' ', '')}"
                row = {"topology": PAIR, "case": f"idle {count}", "kind": "idle", "peer": peer.name, "round": 0}
                rows.append({**row, **_measured(peer, folder, count, limit)})
                print(_line(rows[-1]), flush=True)
                results.write("idle", settings, rows, [])


def _measured(peer: type[Chain], folder: Path, count: int, limit: int) -> dict[str, Any]:
    """The memory of each connection, or why there is none. Where no process may have so many, all get fewer."""
    possible = min(count, limit - SPARE)
    needed = possible * peer.descriptors_each
    if needed > limit - SPARE:
        reason = f"one process would need {needed:,} descriptors, and may have {limit:,} here"
        return {"idle": possible, "lacking": reason}
    try:
        with peer(Place(folder, 2, free_port(), connections=possible + SPARE)) as chain:
            before = memory_of(chain)
            with held(chain.place.load(), possible, OPENING_S) as opened:
                after = memory_of(chain)
    except (BenchError, OSError) as error:
        return {"idle": possible, "lacking": str(error)}
    each = {role: (after[role] - before[role]) / possible for role in after}
    return {"idle": possible, "bytes_each": sum(each.values()), "ends": each, "opening_s": opened["opening_s"]}


def memory_of(chain: Chain) -> dict[str, int]:
    """What each hop holds, by its role."""
    roles = chain.pids()
    return {
        name: memory_bytes([pid for pid, role in roles.items() if role == name]) for name in sorted(set(roles.values()))
    }


def _line(row: dict[str, Any]) -> str:
    figure = f"{row['bytes_each'] / 1024:.2f} KiB each" if "bytes_each" in row else f"cannot: {row['lacking']}"
    return f"{row['case']:12} {row['idle']:7,} {row['peer']:13} {figure}"


if __name__ == "__main__":
    run(chosen())
