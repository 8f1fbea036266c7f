"""The load of the benches: compiled when its sources are newer, run on its own processor, its answer read."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from benches.processes import BenchError
from benches.settings import BUILD, HOST, LOAD_CPU

SOURCES = Path(__file__).with_name("load")
PROGRAMS = {
    "load": ("main.c", "connections.c", "traffic.c", "figures.c"),
    "datagrams": ("datagrams.c", "figures.c"),
    "distance": ("distance.c",),
    # For LD_PRELOAD.
    "timed_connect.so": ("timed_connect.c",),
}
# Figures of one answer in which others took more than this many cores are measured once more.
OTHERS_CORES = 0.4


@dataclass(frozen=True)
class Load:
    """Where clients connect, and where their server listens."""

    name: ClassVar[str] = "load"

    host: str
    port: int
    bind_host: str = HOST
    bind_port: int = 0
    client_net: str | None = None
    server_net: str | None = None
    cpu: int | None = LOAD_CPU

    def command(self, **options: object) -> list[str]:
        words = ["ip", "netns", "exec", self.client_net] if self.client_net else []
        words += [str(program(self.name)), "--host", self.host, "--port", str(self.port)]
        words += ["--bind-host", self.bind_host, "--bind-port", str(self.bind_port)]
        if self.server_net:
            words += ["--server-net", f"/run/netns/{self.server_net}"]
        if self.cpu is not None:
            words += ["--cpu", str(self.cpu)]
        for name, value in options.items():
            if value is True:
                words.append(f"--{name}")
            elif value is not False:
                words += [f"--{name}", str(value)]
        return words

    def proof(self) -> list[str]:
        """A command that ends well if a connection comes through and a byte comes back."""
        return self.command(idle=1, hold=True, patience=1)

    def options(self) -> dict[str, object]:
        """What a measurement by this load has beside its own options."""
        # Only where there are so many that the ports of one address would not do.
        return {"spread": self.client_net is None}


class DatagramLoad(Load):
    """The same for datagrams."""

    name = "datagrams"

    def proof(self) -> list[str]:
        return self.command(prove=True, patience=1)

    def options(self) -> dict[str, object]:
        return {}


def program(name: str) -> Path:
    """The path of one of our small C programs, compiled now if a source is newer."""
    out = BUILD / name
    sources = [SOURCES / source for source in PROGRAMS[name]]
    newest = max(path.stat().st_mtime for path in [*sources, *SOURCES.glob("*.h")])
    if not out.exists() or out.stat().st_mtime < newest:
        BUILD.mkdir(parents=True, exist_ok=True)
        kind = ["-shared", "-fPIC"] if name.endswith(".so") else []
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", *kind, "-o", out, *sources], check=True)
    return out


def prove(load: Load) -> bool:
    """Whether something comes through and comes back."""
    done = subprocess.run(load.proof(), stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    return done.returncode == 0


def measure(load: Load, roles: Mapping[int, str], **options: object) -> dict[str, Any]:
    """Run the load once, and once more if others disturbed it; answer its figures, processor time by role."""
    command = load.command(**load.options(), **options) + [word for pid in roles for word in ("--pid", str(pid))]
    figures: dict[str, Any] = {}
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        if done.returncode:
            raise BenchError(done.stderr.strip() or f"the load ended with {done.returncode}")
        found = json.loads(done.stdout)
        if not figures or found["others_cores"] < figures["others_cores"]:
            figures = found
        if figures["others_cores"] <= OTHERS_CORES:
            break
    cpu: dict[str, float] = {}
    for pid, seconds in figures.pop("cpu_s").items():
        role = roles[int(pid)]
        cpu[role] = round(cpu.get(role, 0.0) + seconds, 3)
    return {**figures, "cpu_s": cpu}


@contextmanager
def held(load: Load, idle: int, patience_s: int = 90) -> Iterator[dict[str, Any]]:
    """Hold so many idle connections open while the block lasts. Client and server are processes of their own.

    So the limit of descriptors bears twice as many.
    """
    server = _holding(replace(load, port=0).command(hold=True))
    try:
        clients = _holding(replace(load, bind_port=0).command(idle=idle, hold=True, patience=patience_s, spread=True))
        try:
            yield clients[1]
        finally:
            _let_go(clients[0])
    finally:
        _let_go(server[0])


def _holding(command: list[str]) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert popen.stdout is not None
    assert popen.stderr is not None
    line = popen.stdout.readline()
    if not line:
        popen.wait(5)
        raise BenchError(popen.stderr.read().strip())
    return popen, json.loads(line)


def _let_go(popen: subprocess.Popen[str]) -> None:
    try:
        popen.communicate("", timeout=20)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait(5)
