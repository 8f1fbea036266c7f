"""What a test may use: the configuration, the running node, the parameters, and a place for files that are removed."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from pathlib import Path

from pcgrelay.admin.client import TIMEOUT_S, read_status
from pcgrelay.admin.status import Status
from pcgrelay.assure.parameters import Parameters
from pcgrelay.clock import SYSTEM_CLOCK, Clock
from pcgrelay.config import Config
from pcgrelay.errors import StatusProblem
from pcgrelay.files import reason_of

ATTEMPTS_EACH_SECOND = 5
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


class Pace:
    """At most so many handshakes in a second, whichever test makes them."""

    def __init__(self, each_second: float = ATTEMPTS_EACH_SECOND) -> None:
        self._interval_s = 1 / each_second
        self._next_s = 0.0

    async def turn(self) -> None:
        """Wait until the next one may begin."""
        now = time.monotonic()
        begin = max(now, self._next_s)
        self._next_s = begin + self._interval_s
        await asyncio.sleep(begin - now)


class Scene:
    """One run: what is the same for all of its tests."""

    def __init__(
        self,
        config: Config,
        parameters: Parameters,
        folder: Path,
        *,
        disrupt: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """folder: for a test's files; it is empty before and after each. disrupt: tests may take a link away."""
        self.config = config
        self.parameters = parameters
        self.folder = folder
        self.disrupt = disrupt
        self.clock = clock
        self.pace = Pace()

    def status(self) -> Status:
        """Return what the node says of itself now. StatusProblem: it does not answer."""
        return read_status(self.config.node.admin)

    def pid(self) -> int:
        """Return the number of the node's process, as the kernel names who listens at the admin socket.

        StatusProblem: nobody does.
        """
        admin = self.config.node.admin
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.settimeout(TIMEOUT_S)
                sock.connect(os.fspath(admin))
                packed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError as error:
            raise StatusProblem(
                f"{admin}: no node answers here ({reason_of(error)}); start it with: pcgrelay run -c FILE"
            ) from None
        pid: int = _CREDENTIALS.unpack(packed)[0]
        return pid
