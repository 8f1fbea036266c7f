"""Kill a process that writes an audit log at random moments: python -m tests.acceptance.audit_kills --runs 500.

After each kill the log is read as a node reads it when it starts. Every record that was said to be on the disk is
there, every head that was signed is that of the records, and nothing is ever "changed". It exits with 1 if not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pcgrelay.audit.audit_log import AuditLog
from pcgrelay.audit.disk import Disk
from pcgrelay.audit.store import LogStore
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.config import AuditSettings
from pcgrelay.log.events import NodeDrainUndone
from tests.support.written_logs import NODE, Endorser, check_log, keys_in

LIFE_MOST_S = 0.3


async def write(folder: Path) -> None:
    """Write without an end, and say how many records are on the disk."""
    log = AuditLog(
        folder,
        NODE,
        AuditSettings(keep_days=400, kept_streams="all"),
        Endorser(),
        lambda record: None,
        SYSTEM_CLOCK,
    )
    log.start()
    chance = random.Random()
    while True:
        for _ in range(chance.randrange(100)):
            log.emit(NodeDrainUndone(node="x" * chance.randrange(300)), "")
        is_kept = await (log.flush() if chance.random() < 0.3 else log.settle(5))
        if is_kept:
            print(log.figures.synced, flush=True)


def kill(folder: Path, runs: int, seed: int) -> int:
    """Kill it so many times; return how many records there are at the end."""
    chance = random.Random(seed)
    size = 0
    for _ in range(runs):
        with subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.acceptance.audit_kills", "--write", str(folder)],
            stdout=subprocess.PIPE,
            text=True,
        ) as victim:
            assert victim.stdout is not None
            said = victim.stdout.readline()
            time.sleep(chance.random() * LIFE_MOST_S)
            victim.kill()
            said += victim.stdout.read()
        # The last line may be torn.
        kept = max((int(line) for line in said.split("\n")[:-1]), default=0)
        store = LogStore(folder, keys_in(folder), Disk())
        assert store.size >= kept, f"{store.size} records are there, and {kept} were said to be"
        size = store.size
        store.close()
        assert len(check_log(folder)) == size
    return size


def main() -> int:
    """Run it, and answer the exit code."""
    parser = argparse.ArgumentParser(prog="audit_kills", description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--figures", type=Path, help="where they are written, as JSON")
    parser.add_argument("--write", type=Path, default=None, help="be the process that is killed")
    words = parser.parse_args()
    if words.write is not None:
        asyncio.run(write(words.write))
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        size = kill(Path(folder) / "audit", words.runs, words.seed)
        seconds = round(time.monotonic() - began, 1)
        if words.figures:
            words.figures.write_text(json.dumps({"kills": words.runs, "records": size, "seconds": seconds}))
        print(f"{words.runs} kills, {size:,} records, {seconds:.0f} s: whole each time.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
