"""Instructions of one accept, from the socket to the stream, of an import that has the gateway alone.

    python -m benches.count_accept      print how many; `count` compares them with baseline.json

callgrind counts what the core does with an accepted socket, without libc. A short run is subtracted from a long one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benches.settings import ROOT

FUNCTION = "__pyx_f_8pcgrelay_5_core_6worker_6app_io_app_adopt"
SHORT, LONG = 20, 120


def connect(count: int) -> None:
    """Accept so many connections, one after the other. Each is echoed, so that it was set up before the next."""
    from tests.support.applications import Across, client, echo, server  # noqa: PLC0415

    with server(echo) as target, Across(relays=0) as across:
        address = across.serve(target)
        for _ in range(count):
            with client(address) as connection:
                connection.sendall(b"x")
                connection.recv(1)


def instructions(count: int) -> int:
    """The instructions of all accepts of a run in which so many connections come."""
    with tempfile.TemporaryDirectory(prefix="pcgrelay-accept-") as folder:
        out = Path(folder) / "out"
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", f"--toggle-collect={FUNCTION}"]
        command += ["--compress-strings=no", "--compress-pos=no"]
        program = [sys.executable, "-c", f"from benches.count_accept import connect; connect({count})"]
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [*command, *program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"count: {done.stderr[-2000:]}")
        return _own(out.read_text())


def _own(dump: str) -> int:
    """The core's own instructions: what malloc does depends on what was freed before."""
    total, module, is_call = 0, "", False
    for line in dump.splitlines():
        if line.startswith("ob="):
            module = line
        elif line.startswith("calls="):
            is_call = True
        elif line[:1].isdigit():
            # The line behind a call has what the called function cost, which stands at that function too.
            total += 0 if is_call or "/_core/" not in module else int(line.split()[1])
            is_call = False
    if not total:
        raise SystemExit("count: callgrind saw no accept")
    return total


def cost() -> float:
    return (instructions(LONG) - instructions(SHORT)) / (LONG - SHORT)


if __name__ == "__main__":
    print(f"accept: {cost():,.1f} instructions")
