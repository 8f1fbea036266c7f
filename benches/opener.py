"""New connections at an even pace: python -m benches.opener PORT TARGET_PORT EACH_SECOND.

One process is client and server: each connection carries a byte to the server and one back. It says "ready" once the
first got through, then goes on until its input ends, and answers how many did and how many failed, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvloop

from benches.processes import BenchError
from benches.settings import HOST, LOAD_CPU, ROOT

STEP_S = 0.005
PATIENCE_S = 10.0
OPEN_MOST = 2_000  # at once: a gateway that is behind is not buried


@dataclass
class Counts:
    """What became of the connections."""

    done: int = 0
    failed: int = 0
    skipped: int = 0  # because too many were open


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if data := await reader.read(1):
        writer.write(data)
    writer.close()


async def _one(port: int, counts: Counts) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(b"x")
            counts.done += await reader.read() == b"x"
            writer.close()
    except (OSError, TimeoutError):
        counts.failed += 1


async def _paced(port: int, each_second: int, counts: Counts) -> None:
    running: set[asyncio.Task[None]] = set()
    began, begun = time.monotonic(), 0
    while True:
        for _ in range(int((time.monotonic() - began) * each_second) - begun):
            begun += 1
            if len(running) >= OPEN_MOST:
                counts.skipped += 1
                continue
            task = asyncio.create_task(_one(port, counts))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.sleep(STEP_S)


async def _run(port: int, target: int, each_second: int) -> None:
    server = await asyncio.start_server(_echo, HOST, target)
    first = Counts()
    for _ in range(50):
        await _one(port, first)
        if first.done:
            break
        await asyncio.sleep(0.1)
    print("ready" if first.done else "no connection gets through", flush=True)
    counts = Counts()
    paced = asyncio.create_task(_paced(port, each_second, counts))
    await asyncio.to_thread(sys.stdin.read)
    paced.cancel()
    server.close()
    print(json.dumps({"done": counts.done, "failed": counts.failed, "skipped": counts.skipped}), flush=True)


@contextmanager
def opening(port: int, target: int, each_second: int) -> Iterator[dict[str, Any]]:
    """Open so many in a second while the block lasts; the counts are there at its end."""
    command = ["taskset", "-c", str(LOAD_CPU), sys.executable, "-m", "benches.opener"]
    words = [*command, str(port), str(target), str(each_second)]
    counts: dict[str, Any] = {}
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as popen:
        assert popen.stdout is not None
        try:
            if (said := popen.stdout.readline().strip()) != "ready":
                raise BenchError(f"the opener: {said}")
            began = time.monotonic()
            yield counts
            answer, _ = popen.communicate("", timeout=20)
            counts |= {**json.loads(answer), "seconds": time.monotonic() - began}
        finally:
            if popen.poll() is None:
                popen.kill()


if __name__ == "__main__":
    uvloop.run(_run(*map(int, sys.argv[1:4])))
