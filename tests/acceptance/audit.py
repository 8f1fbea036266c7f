"""Examine large audit logs, and logs of which one bit was changed: python -m tests.acceptance.audit --part flips.

`flips` changes one bit of a record, of a tile and of a checkpoint, --runs times each. `verify` makes a log of --runs
records and examines it in a process of its own. It exits with 1 if something was missed. What was found is written as
JSON where --figures says. The log of ten million records has 4 GiB: TMPDIR says where.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from pcgrelay.audit.policy import parse_policy, read_policy
from pcgrelay.audit.report import Report
from pcgrelay.audit.verify import keys_of_policy, verify_log
from tests.support.audit_logs import AuditLog

SEGMENT = 5_000
RECORDS = 20_000
VERIFY_MOST_S = 60.0
MEMORY_MOST_MIB = 100
PORTION = 20_000  # records between two heads of a large log

Figures = dict[str, float]


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
    command = [
        sys.executable,
        "-m",
        "tests.acceptance.audit",
        "--part",
        "examine",
        "--figures",
        str(folder / "figures"),
    ]
    done = subprocess.run([*command, "--folder", str(folder)], check=False)
    figures: Figures = json.loads((folder / "figures").read_text()) if done.returncode == 0 else {}
    is_met = figures.get("records") == runs and figures["processor_s"] < VERIFY_MOST_S * max(1, runs / 10_000_000)
    return figures, is_met and figures["memory_mib"] < MEMORY_MOST_MIB


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
    parser.add_argument("--part", choices=["flips", "verify", "examine"], required=True)
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
            part = {"flips": flips, "verify": verify}[arguments.part]
            figures, is_met = part(arguments.seed, arguments.runs, folder)
    print(json.dumps(figures))
    if arguments.figures:
        arguments.figures.write_text(json.dumps(figures))
    return int(not is_met)


if __name__ == "__main__":
    sys.exit(main())
