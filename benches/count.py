"""Instruction counts of rungs 1 to 3 and of an accept, which no other load on the machine disturbs.

    python -m benches.count                       compare with baseline.json; exit 1 if something costs 3 % more
    python -m benches.count --accept "REASON"     make these counts the baseline, with the reason for the move

A short run is subtracted from a long one, so only what each further frame or accept costs is left. The core's own
instructions are compared everywhere. Those of libcrypto depend on its version and on the processor, and are compared
where both are alike. The accept is that of an import without [[direct]]; its baseline is what it cost before imports
had outlets.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benches import count_accept
from benches.counted import LONG, MARKS, OPERATIONS, SHORT
from benches.settings import ROOT

BASELINE = Path(__file__).with_name("baseline.json")
TOLERANCE = 0.03
ACCEPT = "accept"
Counts = dict[str, dict[str, float]]


def count() -> Counts:
    """Instructions of each operation for one frame: of the core, and of everything with libcrypto and libc.

    And those of an accept: of the core alone.
    """
    with tempfile.TemporaryDirectory(prefix="pcgrelay-count-") as name:
        marks = [f"--{what}={function}" for function in _marked() for what in ("zero-before", "dump-after")]
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={name}/out",
            "--compress-strings=no",
            "--compress-pos=no",
            *marks,
            sys.executable,
            "-m",
            "benches.counted",
        ]
        env = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"count: {done.stderr[-2000:]}")
        dumps = sorted(Path(name).glob("out.*"), key=lambda path: int(path.suffix[1:]))
        calls = [found for path in dumps if (found := _read(path))]
    return {**_differences(calls), ACCEPT: {"core": round(count_accept.cost(), 1)}}


def _marked() -> list[str]:
    """The names that the compiler gave to the functions of MARKS: callgrind wants them whole."""
    module = next((ROOT / "tests" / "native").glob("probe_bench.*.so"))
    symbols = subprocess.run(["nm", str(module)], capture_output=True, text=True, check=True).stdout
    found = re.findall(rf" t (__pyx_pw_\w*?_\d+(?:{'|'.join(MARKS)}))$", symbols, re.MULTILINE)
    if len(found) != len(MARKS):
        raise SystemExit(f"count: {module} has {found}")
    return found


def _read(path: Path) -> tuple[str, float, float] | None:
    """Which mark a dump belongs to, and its instructions: of the core, and all."""
    text = path.read_text()
    trigger = re.search(r"^desc: Trigger: --dump-after=(\S+)$", text, re.MULTILINE)
    if not trigger:
        return None
    core = whole = 0
    is_core = skip = False
    for line in text.splitlines():
        if line.startswith("ob="):
            # The loops that call it are part of what was always counted.
            is_core = "/_core/" in line or "/tests/native/" in line
        elif line.startswith("calls="):
            # The next line is what the callee cost, which is counted in its own place.
            skip = True
        elif line[:1].isdigit():
            if not skip:
                # A line without a cost costs nothing.
                cost = int([*line.split(), "0"][1])
                whole += cost
                core += cost if is_core else 0
            skip = False
    return trigger[1], core, whole


def _differences(calls: list[tuple[str, float, float]]) -> Counts:
    found: Counts = {}
    at = 1
    for name in OPERATIONS:
        opens, link = " open " in name, name.startswith("link")
        # Opening seals first, a link proves itself not: one or two dumps for each run.
        step = 2 if opens and not link else 1
        short, long = calls[at + step - 1], calls[at + 2 * step - 1]
        at += 2 * step
        per = LONG - SHORT
        found[name] = {"core": round((long[1] - short[1]) / per, 1), "all": round((long[2] - short[2]) / per, 1)}
    if at != len(calls):
        raise SystemExit(f"count: {len(calls)} calls were counted, {at} were expected")
    return found


def machine() -> dict[str, str]:
    """What the instructions of libcrypto depend on."""
    version = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout.strip()
    flags = set(re.findall(r"\b(?:aes|avx|avx2|pclmulqdq|vaes|sha_ni|bmi2|adx)\b", Path("/proc/cpuinfo").read_text()))
    return {"openssl": version, "processor": " ".join([platform.machine(), *sorted(flags)])}


def refusals(found: Counts, baseline: dict[str, Any]) -> list[str]:
    """What costs more than the baseline allows, in words."""
    kinds = ["core", "all"] if baseline["machine"] == machine() else ["core"]
    return [
        f"{name}: {counts[kind]:.0f} instructions ({kind}), {counts[kind] / was[kind] - 1:+.1%}"
        for name, counts in found.items()
        for kind in kinds
        if kind in counts and (was := baseline["counts"].get(name)) and counts[kind] > was[kind] * (1 + TOLERANCE)
    ]


def main(words: list[str]) -> int:
    found = count()
    for name, counts in found.items():
        print(f"{name:28}", *(f"{cost:12.1f} {kind}" for kind, cost in counts.items()))
    if words[:1] == ["--accept"] and len(words) == 2:
        content = {"reason": words[1], "machine": machine(), "counts": found}
        BASELINE.write_text(json.dumps(content, indent=1) + "\n")
        return 0
    if words:
        print(__doc__)
        return 2
    too_dear = refusals(found, json.loads(BASELINE.read_text()))
    for line in too_dear:
        print(line, file=sys.stderr)
    return 1 if too_dear else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
