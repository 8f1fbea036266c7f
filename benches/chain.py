"""A chain of gateways under test: two edges, or two edges with a relay between them, of one make; or one alone.

client of the load -> door | a | (r) | (b) | -> server of the load
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

from benches.generator import Load, prove
from benches.processes import BenchError, Process, free_port, until
from benches.settings import GATEWAY_CPU, HOST

START_S = 30.0


@dataclass(frozen=True)
class Place:
    """Where a chain stands. Of each hop: the address that it listens on, and its network namespace, if it has one."""

    folder: Path
    hops: int
    target_port: int
    hosts: tuple[str, ...] = (HOST, HOST, HOST)
    nets: tuple[str | None, ...] = (None, None, None)
    cpu: int | None = GATEWAY_CPU
    workers: int = 1
    lanes: int = 0  # connections of a link; 0: as many as workers
    connections: int = 4_500  # that a hop has to bear at once, where it wants to know
    ports: tuple[int, ...] = field(default_factory=lambda: (free_port(), free_port(), free_port()))

    @property
    def names(self) -> tuple[str, ...]:
        return {1: ("a",), 2: ("a", "b"), 3: ("a", "r", "b")}[self.hops]

    @property
    def target(self) -> str:
        return f"{self.hosts[self.hops - 1]}:{self.target_port}"

    def address(self, hop: int) -> str:
        return f"{self.hosts[hop]}:{self.ports[hop]}"

    def next_address(self, hop: int) -> str:
        """Where a hop sends what it takes: to the next one, or the last one to the target."""
        return self.target if hop == self.hops - 1 else self.address(hop + 1)

    def load(self) -> Load:
        """A load for this chain, which names the processes to watch itself."""
        return Load(
            host=self.hosts[0],
            port=self.ports[0],
            bind_host=self.hosts[self.hops - 1],
            bind_port=self.target_port,
            client_net=self.nets[0],
            server_net=self.nets[self.hops - 1],
        )


class Chain:
    """One peer (or pcgrelay itself) as a chain of processes. A subclass writes configurations and starts them."""

    name: ClassVar[str]
    suite: ClassVar[str] = "AES-256-GCM"
    # Of one process, for each connection that it carries: one towards the application, and one towards the other end.
    descriptors_each: ClassVar[int] = 2

    def __init__(self, place: Place) -> None:
        self.place = place
        self.processes: list[Process] = []
        place.folder.mkdir(parents=True, exist_ok=True)

    def start_hops(self) -> None:
        raise NotImplementedError

    def start(self) -> Self:
        """Start every hop and prove that a byte goes through and comes back."""
        try:
            self.start_hops()
            for role, port in self.listening_ports():
                process = next(each for each in self.processes if each.role == role)
                until(partial(process.listens, port), START_S, f"{role} listens")
            until(self.proves, START_S, f"a byte goes through {self.name}")
        except BaseException:
            self.end()
            raise
        return self

    def load(self) -> Load:
        return self.place.load()

    def proves(self) -> bool:
        """Whether what is sent comes through and comes back."""
        for process in self.processes:
            process.check()
        return prove(self.load())

    def listening_ports(self) -> list[tuple[str, int]]:
        """Which hops listen, and where."""
        return list(zip(self.place.names, self.place.ports, strict=False))

    def end(self) -> None:
        for process in self.processes:
            process.end()
        self.processes.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.end()

    def spawn(self, hop: int, command: Sequence[str | Path], role: str | None = None) -> Process:
        role = role or self.place.names[hop]
        log = self.place.folder / f"{role}.log"
        process = Process(role, command, log, cpu=self.place.cpu, net=self.place.nets[hop], cwd=self.place.folder)
        self.processes.append(process)
        return process

    def pids(self) -> dict[int, str]:
        """Every process of the chain and the role of the hop that it belongs to."""
        return {pid: process.role for process in self.processes for pid in process.tree()}

    def write(self, template: Path, name: str, values: Mapping[str, object]) -> Path:
        """Fill a configuration in: each @NAME@ of the template is replaced."""
        text = template.read_text()
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        path = self.place.folder / name
        path.write_text(text)
        if left := re.search(r"@[A-Z_]+@", text):
            raise BenchError(f"{template} asks for {left[0]}, which nobody gave")
        return path
