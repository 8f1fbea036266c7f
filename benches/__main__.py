"""Climb the ladder: python -m benches [RUNG ...]. Results: build/bench/*.json. BENCH=short and =tiny take less time.

Exit code 1: a rung could not run, or pcgrelay was behind a peer where it should lead.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

from benches import bench_distance, bench_idle, bench_node, bench_plane, bench_scale, own_network, report
from benches.settings import LIBCRYPTO, RESULTS, ROOT, Settings, chosen


def core(settings: Settings) -> None:
    """Rungs 1 to 3, and handshakes, by pytest-benchmark."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    files = [f"benches/bench_{name}.py" for name in ("aead", "frame", "link", "handshake")]
    options = ["-q", "-p", "no:cacheprovider", "--benchmark-only", "--benchmark-columns=min,median,rounds"]
    command = [sys.executable, "-m", "pytest", *files, *options, f"--benchmark-json={RESULTS / 'core.json'}"]
    # Hundreds of rows for people to scroll by help nobody; the report has what they say.
    with (RESULTS / "core.log").open("w") as log:
        done = subprocess.run(command, cwd=ROOT, stdout=log, env={**os.environ, "BENCH": settings.name}, check=False)
    if done.returncode:
        raise SystemExit((RESULTS / "core.log").read_text()[-3000:])


RUNGS: dict[str, Callable[[Settings], None]] = {
    "core": core,
    "node": bench_node.run,
    "idle": bench_idle.run,
    "scale": bench_scale.run,
    "distance": bench_distance.run,
    "plane": bench_plane.run,
}


def main(words: list[str]) -> int:
    settings = chosen()
    if unknown := set(words) - RUNGS.keys():
        print(f"there is no rung {', '.join(sorted(unknown))}; there are {', '.join(RUNGS)}", file=sys.stderr)
        return 2
    if LIBCRYPTO:
        # What is started from here on finds it before that of the system.
        os.environ["LD_LIBRARY_PATH"] = LIBCRYPTO
    for name in words or list(RUNGS):
        began = time.monotonic()
        print(f"-- {name} ({settings.name})", flush=True)
        RUNGS[name](settings)
        print(f"-- {name}: {time.monotonic() - began:.0f} s", flush=True)
    return report.print_ratios()


if __name__ == "__main__":
    own_network.enter()
    raise SystemExit(main(sys.argv[1:]))
