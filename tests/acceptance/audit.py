"""Write and examine large audit logs, and such of which one bit was changed: python -m tests.acceptance.audit.

`write` writes --runs records as a node does, as fast as they are taken. `flips` changes one bit of a record, of a tile
and of a checkpoint, --runs times each. `verify` makes a log of --runs records and examines it in a process of its own.
`year` does the same with --runs heads, ten records apart, as a quiet node has them. It exits with 1 if something was
missed. What was found is written as JSON where --figures says. The log of ten million records has 4 GiB: TMPDIR says
where.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from pcgrelay.audit.audit_log import QUEUE_MOST
from pcgrelay.audit.audit_log import AuditLog as WrittenLog
from pcgrelay.audit.policy import parse_policy, read_policy
from pcgrelay.audit.report import Report
from pcgrelay.audit.store import HISTORY_WHOLE_EACH
from pcgrelay.audit.verify import keys_of_policy, verify_log
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.config import AuditSettings
from pcgrelay.log.stream_events import StreamEnd
from tests.support.audit_logs import AuditLog
from tests.support.written_logs import NODE, Endorser, check_log

SEGMENT = 5_000
RECORDS = 20_000
VERIFY_MOST_S = 60.0
MEMORY_MOST_MIB = 100
PORTION = 20_000  # records between two heads of a large log
WRITTEN_LEAST = 20_000  # records in a second
WRITTEN_MOST_S = 600
BURST = 4_096

Figures = dict[str, float]
END = StreamEnd(
    id="00112233445566778899", started="2026-11-03T02:14:07.113Z", from_organisation="met.police.example",
    to_organisation="kent.police.example", service="custody@kent.police.example", direction="export", session=1,
    sent_bytes=18_237, received_bytes=512, duration_ms=312.5, suite="AES-256-GCM", group="X25519MLKEM768",
    code="closed", cause="done",
)  # fmt: skip


def flips(seed: int, runs: int, folder: Path) -> tuple[Figures, bool]:
    """One bit at random places, of signed records, of tiles of signed records, and of checkpoints."""
    log = AuditLog(folder / "audit", SEGMENT)
    for _ in range(10):
        log.grow(RECORDS // 10)
        log.sign(is_witnessed=True)
    random = Random(seed)
    counts = {"records": 0, "tiles": 0, "checkpoints": 0}
    for _ in range(runs):
        number = random.randrange(RECORDS)
        path = log.folder / "log" / f"{number - number % SEGMENT:012d}.jsonl"
        lines = path.read_bytes().split(b"\n")
        at = sum(len(line) + 1 for line in lines[: number % SEGMENT])
        bit = 8 * (at + random.randrange(len(lines[number % SEGMENT]))) + random.randrange(8)
        report = flipped(log, path, bit)
        counts["records"] += report.problems_count > 0 and report.problems[0].number == number
        path = random.choice(sorted(each for each in (log.folder / "tile").rglob("*") if each.is_file()))
        report = flipped(log, path, random.randrange(8 * path.stat().st_size))
        counts["tiles"] += [problem.kind for problem in report.problems] == ["tile"]
        path = log.folder / "checkpoint"
        end = path.read_bytes().index("\u2014".encode())
        counts["checkpoints"] += flipped(log, path, random.randrange(8 * end)).verdict == "changed"
    return {**counts, "of": runs}, all(count == runs for count in counts.values())


def flipped(log: AuditLog, path: Path, bit: int) -> Report:
    """Examine the log with that bit changed, and put it back."""
    kept = path.read_bytes()
    data = bytearray(kept)
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    try:
        return verify_log(log.folder, keys_of_policy(parse_policy(log.policy.encode(), "policy")))
    finally:
        path.write_bytes(kept)


def verify(seed: int, runs: int, folder: Path) -> tuple[Figures, bool]:
    """A log of so many records is whole, within time and memory."""
    log = AuditLog(folder / "audit", 150_000)
    while log.size < runs:
        log.grow(min(PORTION, runs - log.size))
        log.sign(is_witnessed=True)
    (folder / "realm.policy").write_text(log.policy)
    figures = examined(folder)
    is_met = figures.get("records") == runs and figures["processor_s"] < VERIFY_MOST_S * max(1, runs / 10_000_000)
    return figures, is_met and figures["memory_mib"] < MEMORY_MOST_MIB


def examined(folder: Path) -> Figures:
    """What a process of its own finds; nothing: the log is not whole."""
    words = ["--part", "examine", "--folder", str(folder), "--figures", str(folder / "figures")]
    done = subprocess.run([sys.executable, "-m", "tests.acceptance.audit", *words], check=False)
    figures: Figures = json.loads((folder / "figures").read_text()) if done.returncode == 0 else {}
    return figures


def year(seed: int, runs: int, folder: Path) -> tuple[Figures, bool]:
    """A log with so many heads, each with what a node keeps of it, is whole; what a head costs."""
    log = AuditLog(folder / "audit", 150_000)
    for number in range(runs):
        log.grow(10)
        log.sign(is_witnessed=True, is_whole=number % HISTORY_WHOLE_EACH == 0)
    (folder / "realm.policy").write_text(log.policy)
    figures = examined(folder)
    if figures:
        figures["ms_each_head"] = round(figures["processor_s"] / runs * 1_000, 3)
    return figures, figures.get("records") == 10 * runs and figures["memory_mib"] < MEMORY_MOST_MIB


def write(seed: int, runs: int, folder: Path) -> tuple[Figures, bool]:
    """So many records are taken, written, synced and signed in time, and none is lost."""
    figures = asyncio.run(written(runs, folder / "audit"))
    is_met = figures["each_second"] >= WRITTEN_LEAST and not figures["lost"]
    return figures, is_met and len(check_log(folder / "audit")) >= runs


async def written(runs: int, folder: Path) -> Figures:
    settings = AuditSettings(keep_days=400, kept_streams="all")
    log = WrittenLog(folder, NODE, settings, Endorser(), lambda record: None, SYSTEM_CLOCK)
    log.start()
    began, processor = time.monotonic(), time.process_time()
    for number in range(runs):
        log.emit(END, "7f3ac1aa0912")
        if number % BURST == 0:
            # The writer tells nobody how far it is.
            while log.figures.queue > QUEUE_MOST // 2:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
    async with asyncio.timeout(WRITTEN_MOST_S):
        while log.figures.synced < runs and not log.figures.lost:
            await log.settle(5)
    seconds, processor = time.monotonic() - began, time.process_time() - processor
    lost = log.figures.lost
    await log.stop()
    return {
        "records": runs,
        "each_second": round(runs / seconds),
        "us_each": round(processor / runs * 1e6, 1),
        "lost": lost,
    }


def examine(folder: Path) -> tuple[Figures, bool]:
    """In a process that did nothing else."""
    began = time.process_time()
    report = verify_log(folder / "audit", keys_of_policy(read_policy(folder / "realm.policy")))
    figures = {
        "records": report.size,
        "processor_s": round(time.process_time() - began, 2),
        "us_each": round((time.process_time() - began) / max(1, report.size) * 1e6, 2),
        "memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024, 1),
    }
    return figures, report.verdict == "whole"


def main() -> int:
    """Run one part."""
    parser = argparse.ArgumentParser(prog="audit", description="Examine large and changed audit logs.")
    parser.add_argument("--part", choices=["flips", "verify", "year", "write", "examine"], required=True)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--figures", type=Path)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pcgrelay-audit-") as made:
        folder = Path(made)
        if arguments.part == "examine":
            figures, is_met = examine(arguments.folder)
        else:
            part = {"flips": flips, "verify": verify, "year": year, "write": write}[arguments.part]
            figures, is_met = part(arguments.seed, arguments.runs, folder)
    print(json.dumps(figures))
    if arguments.figures:
        arguments.figures.write_text(json.dumps(figures))
    return int(not is_met)


if __name__ == "__main__":
    sys.exit(main())
