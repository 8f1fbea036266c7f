"""One node of the demonstration: a process of `pcgrelay run`, its files, its status and its log."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pcgrelay.admin.client import read_status
from pcgrelay.admin.status import Status
from pcgrelay.errors import RunError
from pcgrelay.files import reason_of

READY_S = 120.0  # a busy machine starts processes slowly
STOP_S = 5.0


@dataclass
class Node:
    """One process."""

    name: str
    is_relay: bool
    folder: Path
    process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def config(self) -> Path:
        return self.folder / f"{self.name}.toml"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def admin(self) -> Path:
        return self.folder / f"{self.name}.sock"

    def start(self) -> None:
        """Start the process in a group of its own, so that Ctrl-C reaches only this process."""
        command = [sys.executable, "-m", "pcgrelay.cli", "run", "-c", os.fspath(self.config), "--drain", "1"]
        with self.log.open("w") as log:
            try:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    process_group=0,
                )
            except OSError as error:
                raise RunError(f"{self.name} cannot be started ({reason_of(error)}): {sys.executable}") from None

    def wait_ready(self, deadline: float) -> None:
        """Wait for the ready line. RunError: it does not come before the deadline."""
        assert self.process is not None
        assert self.process.stdout is not None
        select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        if self.process.poll() is None and select.select([self.process.stdout], [], [], 0)[0]:
            if self.process.stdout.readline():
                return
            self.process.wait(STOP_S)
        self.refuse_dead()
        raise RunError(f"{self.name} was not ready within {READY_S:g} s; the last line of its log: {self.last_line()}")

    def refuse_dead(self) -> None:
        if self.process is not None and self.process.poll() is not None:
            code = self.process.returncode
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise RunError(f"{self.name} {how}; the last line of its log: {self.last_line()}")

    def status(self) -> Status:
        return read_status(self.admin)

    def last_line(self) -> str:
        lines = self.log.read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line), "nothing")

    def sessions(self) -> dict[str, tuple[str, str]]:
        """Return suite and group of each end-to-end session by its peer's organisation, from the node's own log."""
        found = {}
        for line in self.log.read_text().splitlines():
            with suppress(msgspec.DecodeError):
                event = msgspec.json.decode(line)
                if event.get("event") == "session.up":
                    found[event["peer"].partition(".")[2]] = (event["suite"], event["group"])
        return found
