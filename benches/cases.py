"""What rung 4 measures: a load, and programs that others wrote and people know."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benches.chain import Chain
from benches.generator import measure
from benches.processes import BenchError, Process, cpu_seconds, until
from benches.settings import LOAD_CPU, Settings

Figures = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """kind: what counts in it, which is what the report makes ratios of."""

    name: str
    kind: str  # bulk, request, open, mix, program
    run: Callable[[Chain, Settings], Figures]
    relayed: bool = False  # measured with a relay between the edges as well
    server: Callable[[int, Path], Process] | None = None  # of a program; the load is its own server


def load(**options: int) -> Callable[[Chain, Settings], Figures]:
    """A measurement by our own load, with these options."""

    def run(chain: Chain, settings: Settings) -> Figures:
        times = {"warm": settings.warm_s, "seconds": settings.window_s}
        return measure(chain.place.load(), chain.pids(), **times, **options)

    return run


# -- programs that people know ----------------------------------------------------------------------------------------


def _program(count: int, command: Sequence[str], pattern: str) -> Callable[[Chain, Settings], Figures]:
    """Run a client that says how many requests it made in a second; count: how many, where it wants a number."""

    def run(chain: Chain, settings: Settings) -> Figures:
        host, port = chain.place.hosts[0], chain.place.ports[0]
        values = {"host": host, "port": port, "count": max(1_000, int(count * settings.window_s))}
        values["seconds"] = max(1, round(settings.window_s))
        words = ["taskset", "-c", str(LOAD_CPU), *(word.format(**values) for word in command)]
        roles = chain.pids()
        before, began = cpu_seconds(roles), time.monotonic()
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        seconds, after = time.monotonic() - began, cpu_seconds(roles)
        # redis-benchmark writes its progress over and over in one line; the last word counts.
        found = re.findall(pattern, done.stdout)
        if done.returncode or not found:
            raise BenchError(f"{command[0]}: {done.stderr.strip() or done.stdout.strip() or done.returncode}"[:500])
        rate = float(found[-1])
        cpu = {role: round(after[role] - before[role], 3) for role in after}
        return {"seconds": seconds, "requests": rate * seconds, "cpu_s": cpu}

    return run


def _redis(port: int, folder: Path) -> Process:
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    return Process("redis", ["redis-server", *options], folder / "redis.log", cpu=LOAD_CPU)


def _web(port: int, folder: Path) -> Process:
    """A web server that answers with 1 KiB from its configuration."""
    config = folder / "web.conf"
    config.write_text(
        f"daemon off; master_process off; pid {folder}/web.pid; error_log {folder}/web.error;\n"
        "events { worker_connections 4096; }\n"
        f"http {{ access_log off; keepalive_requests 1000000;\n"
        + "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in "client_body proxy fastcgi uwsgi scgi".split())
        + f"server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{'x' * 1024}'; }} }} }}\n"
    )
    return Process("web", ["nginx", "-c", config, "-p", folder, "-e", folder / "web.error"], folder / "web.log", cpu=0)


@contextmanager
def serving(case: Case, port: int, folder: Path) -> Iterator[None]:
    """The server of a case that is a program, for as long as the block lasts."""
    if case.server is None:
        yield
        return
    process = case.server(port, folder)
    try:
        until(lambda: process.listens(port), 10, f"{process.role} listens")
        yield
    finally:
        process.end()


CASES = [
    Case("bulk 1", "bulk", load(bulk=1), relayed=True),
    Case("bulk 8", "bulk", load(bulk=8), relayed=True),
    Case("bulk 64", "bulk", load(bulk=64), relayed=True),
    Case("request 1 x 64 B", "request", load(request=1), relayed=True),
    Case("request 64 x 64 B", "request", load(request=64), relayed=True),
    Case("request 512 x 512 B", "request", load(request=512, size=512)),
    Case("request 64 x 16 KiB", "request", load(request=64, size=16384)),
    Case("open 1", "open", load(churn=1)),
    Case("open 32", "open", load(churn=32), relayed=True),
    Case("mix", "mix", load(bulk=8, request=1)),
    Case(
        "redis-benchmark 50",
        "program",
        _program(
            10_000,
            "redis-benchmark -h {host} -p {port} -c 50 -n {count} -t get -q".split(),
            r"GET: ([\d.]+) requests per second",
        ),
        server=_redis,
    ),
    Case(
        "wrk 32",
        "program",
        _program(0, "wrk -t 1 -c 32 -d {seconds}s http://{host}:{port}/".split(), r"Requests/sec:\s+([\d.]+)"),
        server=_web,
    ),
]
