"""Export targets: their addresses and their health.

Names are looked up again and again, because services move; numbers never. A name that does not exist any more is
believed to be gone when that was said twice, half a minute apart; whatever else a look-up comes to, what was known
stays. A target that is probed is connected to now and then, with a deadline. If the configuration has words for it they
are sent, and an answer is awaited; what it holds is looked at and forgotten. The connection is closed at once. When an
address is silent for a moment the next one is tried beside it; streams go to the one that answered first.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
from collections.abc import Callable, Sequence

from pcgrelay.config import Address, ExportSettings
from pcgrelay.health.state import Health, HealthState
from pcgrelay.log.events import Emit, TargetFailing, TargetUnresolved, TargetWell
from pcgrelay.net.resolver import NameAbsentError, Use
from pcgrelay.net.sockets import race_connects, resolve

INTERVAL_S = 30.0
# What has no address yet is asked for again soon, and less and less.
UNRESOLVED_FIRST_S = 2.0
UNRESOLVED_MOST_S = 8.0
UNRESOLVED_GROWTH = 1.5
# A name that led somewhere is gone if it is still gone after this long.
ABSENT_S = 30.0
DEADLINE_MS = 5_000
ADDRESSES_MOST = 8
PROBE_DEADLINE_MS = 2_000
# A first failure is looked at again soon, so that what is down is known to be down.
PROBE_AGAIN_MS = 500
PROBE_READ_MOST_BYTES = 4_096
JITTER = 0.2

_random = random.SystemRandom()


class Target:
    """One export's target, the numeric addresses that it has now, and how it is."""

    def __init__(self, export: ExportSettings, changed: Callable[[], None], emit: Emit) -> None:
        """changed is called when addresses or health are others than before."""
        self.addresses: tuple[tuple[str, int], ...] = ()
        self.is_named = True
        self.export = export
        self._state = HealthState()
        self._changed = changed
        self._emit = emit
        self._looked_up = False
        self._absent_s: float | None = None  # since when its name does not exist
        self._resolved = asyncio.Event()
        if number := _number(export.target):
            self.is_named = False
            self.addresses = (number,)
            self._resolved.set()

    @property
    def health(self) -> Health:
        """Whether it answers; unknown if it is not probed, or was not often enough."""
        return Health.FAILING if self._looked_up and not self.addresses else self._state.health

    @property
    def is_present(self) -> bool:
        """Whether the service is offered: always, if nobody looks whether it is well."""
        return not self.export.probe or self.health is not Health.FAILING

    def serves(self, export: ExportSettings) -> bool:
        """Whether it can go on for an export with these settings."""
        return _probed_by(self.export) == _probed_by(export)

    def remember(self, addresses: Sequence[tuple[str, int]]) -> None:
        """Where its name led before this was made, as long as nobody says anything else."""
        if self.is_named and addresses and not self.addresses:
            self.addresses = tuple((host, port) for host, port in addresses)
            self._looked_up = True
            self._resolved.set()

    async def settled(self) -> None:
        """Wait until the name is resolved or known not to exist."""
        if self.is_named:
            await self.look_up()

    async def run(self) -> None:
        """Keep addresses and health fresh."""
        tasks = [asyncio.create_task(self._keep_addresses())]
        if self.export.probe:
            tasks.append(asyncio.create_task(self._keep_health()))
        try:
            # Both run for ever; the first to end has failed, and its owner says so.
            for ended in (await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION))[0]:
                ended.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def look_up(self) -> str:
        """Find the addresses of a name again; answers the cause if there are none."""
        try:
            found = await resolve(self.export.target, DEADLINE_MS, Use.TARGET)
        except NameAbsentError:
            if self._is_gone():
                self._lead_to(())
            return "the name does not exist"
        except (OSError, TimeoutError):
            return "the name service does not answer"
        self._absent_s = None
        addresses = [where for _, where in found[:ADDRESSES_MOST]]
        # What answered last stays first.
        answered = self.addresses[:1]
        self._lead_to(tuple(sorted(addresses, key=lambda where: where not in answered)))
        return ""

    def _is_gone(self) -> bool:
        """Whether a name that does not exist is believed to be gone."""
        now = asyncio.get_running_loop().time()
        if self._absent_s is None:
            self._absent_s = now
        return not self.addresses or now - self._absent_s >= ABSENT_S

    def _lead_to(self, addresses: tuple[tuple[str, int], ...]) -> None:
        if addresses:
            self._resolved.set()
        was_looked_up, self._looked_up = self._looked_up, True
        if addresses != self.addresses or not was_looked_up:
            self.addresses = addresses
            self._changed()

    async def _keep_addresses(self) -> None:
        """One that cannot be looked up any more keeps its last ones."""
        told = False
        interval_s = UNRESOLVED_FIRST_S
        while self.is_named:
            cause = await self.look_up()
            if not self.addresses and not told:
                told = True
                self._emit(TargetUnresolved(service=str(self.export.service), cause=cause))
            told = told and not self.addresses
            if self.addresses:
                interval_s = UNRESOLVED_FIRST_S
                # A name that is gone is asked for after as long as makes it certain.
                await asyncio.sleep(INTERVAL_S if self._absent_s is None else ABSENT_S + 0.5)
            else:
                await asyncio.sleep(interval_s * _random.uniform(1 - JITTER, 1 + JITTER))
                interval_s = min(interval_s * UNRESOLVED_GROWTH, UNRESOLVED_MOST_S)

    async def _keep_health(self) -> None:
        await self._resolved.wait()
        while True:
            self._judged(self._state.after(await self._answers()))
            interval_ms = self.export.probe_interval_ms
            if self._state.is_doubtful:
                interval_ms = min(interval_ms, PROBE_AGAIN_MS)
            # Spread out, so that a crowd of edges does not knock at one moment.
            await asyncio.sleep(interval_ms / 1000 * _random.uniform(1 - JITTER, 1 + JITTER))

    def _judged(self, state: HealthState) -> None:
        before, self._state = self._state.health, state
        if state.health is before:
            return
        if state.health is Health.FAILING:
            self._emit(TargetFailing(service=str(self.export.service)))
        elif before is Health.FAILING:
            self._emit(TargetWell(service=str(self.export.service)))
        self._changed()

    async def _answers(self) -> bool:
        """Whether any of its addresses takes a connection, and says what it should. It is the first from then on."""
        deadline_ms = min(self.export.connect_timeout_ms, PROBE_DEADLINE_MS)
        addresses = self.addresses
        try:
            where = await race_connects((self._probed(where, deadline_ms) for where in addresses), lambda late: None)
        except (OSError, TimeoutError):
            return False
        if self.addresses == addresses and where != addresses[0]:
            self.addresses = (where, *(each for each in addresses if each != where))
            self._changed()
        return True

    async def _probed(self, where: tuple[str, int], deadline_ms: int) -> tuple[str, int]:
        async with asyncio.timeout(deadline_ms / 1000):
            if not await _said(where, self.export.probe_send, self.export.probe_expect):
                raise OSError("it says something else")
        return where


def _probed_by(export: ExportSettings) -> tuple[object, ...]:
    return export.target, export.probe, export.probe_send, export.probe_expect, export.probe_interval_ms


async def _said(where: tuple[str, int], send: bytes, expect: bytes) -> bool:
    """Connect once, send, and read until what is expected was there, or cannot come any more."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
        await loop.sock_connect(sock, where)
        if send:
            await loop.sock_sendall(sock, send)
        answer = b""
        while expect not in answer and len(answer) < PROBE_READ_MOST_BYTES:
            data = await loop.sock_recv(sock, PROBE_READ_MOST_BYTES - len(answer))
            if not data:
                break
            answer += data
        return expect in answer


def _number(address: Address) -> tuple[str, int] | None:
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        return None
    return address.host, address.port
