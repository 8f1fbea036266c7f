"""Targets of exports, and of direct outlets of imports: their addresses and their health.

Names are resolved repeatedly, because services move; numeric addresses never. A name that no longer exists counts as
gone after two such answers half a minute apart; after any other failure the known addresses stay. A probed target is
connected to at intervals, with a deadline. If the configuration has a probe text, it is sent and an answer is awaited,
checked and discarded. The connection is closed at once. If an address does not answer for a moment, the next one is
tried in parallel; streams go to the one that answered first.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from pcgrelay.config import Address
from pcgrelay.health.state import Health, HealthState
from pcgrelay.log.events import Emit
from pcgrelay.log.service_events import TargetFailing, TargetUnresolved, TargetWell
from pcgrelay.model import ServiceName
from pcgrelay.net.proxy_protocol import LOCAL_HEADER
from pcgrelay.net.resolver import NameAbsentError, Use
from pcgrelay.net.sockets import bind_source, family_of, kind_of, race_connects, resolve
from pcgrelay.services.target_causes import (
    ProbeError,
    TargetFailure,
    answer_lacks,
    failure_of,
    no_name_service,
    no_such_name,
)

INTERVAL_S = 30.0
# A name without an address yet is resolved again soon, at growing intervals.
UNRESOLVED_FIRST_S = 2.0
UNRESOLVED_MOST_S = 8.0
UNRESOLVED_GROWTH = 1.5
# A name that had addresses is gone if it still does not exist after this time.
ABSENT_S = 30.0
DEADLINE_MS = 5_000
ADDRESSES_MOST = 8
PROBE_DEADLINE_MS = 2_000
# After a first failure the next probe comes soon, so that a target that is down is recognised quickly.
PROBE_AGAIN_MS = 500
PROBE_READ_MOST_BYTES = 4_096
JITTER = 0.2

_random = random.SystemRandom()


class TargetSettings(Protocol):
    """What [[export]] and [[direct]] say of a target."""

    @property
    def service(self) -> ServiceName: ...
    @property
    def target(self) -> Address: ...
    @property
    def connect_timeout_ms(self) -> int: ...
    @property
    def sources(self) -> tuple[str, ...]: ...
    @property
    def proxy(self) -> bool: ...
    @property
    def probe(self) -> bool: ...
    @property
    def probe_send(self) -> bytes: ...
    @property
    def probe_expect(self) -> bytes: ...
    @property
    def probe_interval_ms(self) -> int: ...


class Target:
    """One target: its current numeric addresses and its health."""

    def __init__(self, export: TargetSettings, changed: Callable[[], None], emit: Emit) -> None:
        """changed is called when addresses or health change."""
        self.addresses: tuple[tuple[str, int], ...] = ()
        self.is_named = True
        self.export = export
        self._state = HealthState()
        self._failure: TargetFailure | None = None  # of the last probe
        self._name_failure: TargetFailure | None = None  # of the last look-up
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
        """Whether it answers; unknown if it is not probed, or has not been probed often enough."""
        return Health.FAILING if self._looked_up and not self.addresses else self._state.health

    @property
    def failure(self) -> TargetFailure | None:
        """Why it fails, or why it has no address although nobody said that it is gone; None if all is well."""
        if not self.addresses:
            return self._name_failure
        return self._failure if self.health is Health.FAILING else None

    @property
    def is_present(self) -> bool:
        """Whether the service is offered: always, if the target is not probed."""
        return not self.export.probe or self.health is not Health.FAILING

    def serves(self, export: TargetSettings) -> bool:
        """Return whether this target can be kept for these settings."""
        return _probed_by(self.export) == _probed_by(export)

    def remember(self, addresses: Sequence[tuple[str, int]]) -> None:
        """Use the addresses that the previous process knew, until the first look-up succeeds."""
        if self.is_named and addresses and not self.addresses:
            self.addresses = tuple((host, port) for host, port in addresses)
            self._looked_up = True
            self._resolved.set()

    async def settled(self) -> None:
        """Wait until the name is resolved or known not to exist."""
        if self.is_named:
            await self.look_up()

    async def probe(self) -> TargetFailure | None:
        """Look the name up and probe once, beside `run` or without it; return what failed."""
        if self.is_named:
            await self.look_up()
            if not self.addresses:
                return self._name_failure
        return await self._failed() if self.export.probe else None

    async def run(self) -> None:
        """Keep addresses and health up to date, until cancelled."""
        tasks = [asyncio.create_task(self._keep_addresses())]
        if self.export.probe:
            tasks.append(asyncio.create_task(self._keep_health()))
        try:
            # Both run for ever; if one ends, it has failed, and its exception is raised to the owner.
            for ended in (await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION))[0]:
                ended.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def look_up(self) -> str:
        """Resolve the name again; return the cause if that fails."""
        try:
            found = await resolve(self.export.target, DEADLINE_MS, Use.TARGET)
        except NameAbsentError:
            self._name_failure = no_such_name(self.export.target.host)
            if self._is_gone():
                self._lead_to(())
            return "the name does not exist"
        except (OSError, TimeoutError):
            self._name_failure = no_name_service(self.export.target.host)
            return "the name service does not answer"
        self._absent_s = None
        addresses = [where for _, where in found[:ADDRESSES_MOST]]
        # The address that answered last stays first.
        answered = self.addresses[:1]
        self._lead_to(tuple(sorted(addresses, key=lambda where: where not in answered)))
        return ""

    def _is_gone(self) -> bool:
        """Return whether a name that does not exist counts as gone."""
        now = asyncio.get_running_loop().time()
        if self._absent_s is None:
            self._absent_s = now
        return not self.addresses or now - self._absent_s >= ABSENT_S

    def _lead_to(self, addresses: tuple[tuple[str, int], ...]) -> None:
        if addresses:
            self._resolved.set()
        was_looked_up, before = self._looked_up, self.health
        is_new, self._looked_up, self.addresses = addresses != self.addresses, True, addresses
        self._tell(before)
        if is_new or not was_looked_up:
            self._changed()

    async def _keep_addresses(self) -> None:
        """Resolve the name repeatedly; the last addresses stay while that fails."""
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
                # A name that seems gone is resolved again after the time that makes it certain.
                await asyncio.sleep(INTERVAL_S if self._absent_s is None else ABSENT_S + 0.5)
            else:
                await asyncio.sleep(interval_s * _random.uniform(1 - JITTER, 1 + JITTER))
                interval_s = min(interval_s * UNRESOLVED_GROWTH, UNRESOLVED_MOST_S)

    async def _keep_health(self) -> None:
        await self._resolved.wait()
        while True:
            self._failure = await self._failed()
            self._judged(self._state.after(self._failure is None))
            interval_ms = self.export.probe_interval_ms
            if self._state.is_doubtful:
                interval_ms = min(interval_ms, PROBE_AGAIN_MS)
            # With jitter, so that many edges do not probe at the same moment.
            await asyncio.sleep(interval_ms / 1000 * _random.uniform(1 - JITTER, 1 + JITTER))

    def _judged(self, state: HealthState) -> None:
        before, self._state = self.health, state
        if self._tell(before):
            self._changed()

    def _tell(self, before: Health) -> bool:
        """Log a change of health; whether there was one."""
        health, service = self.health, str(self.export.service)
        if health is Health.FAILING and before is not health:
            failure = self.failure
            cause, detail = (failure.cause, failure.detail) if failure else ("", "")
            self._emit(TargetFailing(service=service, cause=cause, detail=detail))
        elif before is Health.FAILING and before is not health:
            self._emit(TargetWell(service=service))
        return health is not before

    async def _failed(self) -> TargetFailure | None:
        """Return None if any address accepts a connection and answers as expected; that address becomes the first.

        Otherwise return why the one that failed last did.
        """
        deadline_ms = min(self.export.connect_timeout_ms, PROBE_DEADLINE_MS)
        addresses = self.addresses
        try:
            where = await race_connects((self._probed(where, deadline_ms) for where in addresses), lambda late: None)
        except OSError as error:
            return failure_of(error, str(self.export.target), deadline_ms)
        if self.addresses == addresses and where != addresses[0]:
            self.addresses = (where, *(each for each in addresses if each != where))
            self._changed()
        return None

    async def _probed(self, where: tuple[str, int], deadline_ms: int) -> tuple[str, int]:
        """Return the address if it answers. ProbeError: it does not."""
        at, expect = str(Address(*where)), self.export.probe_expect
        # A target that waits for a header gets one, which says that this is a probe.
        send = (LOCAL_HEADER if self.export.proxy else b"") + self.export.probe_send
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                kind = kind_of(self.export.target)
                is_said = await _said(where, kind, send, expect, self.export.sources)
        except OSError as error:
            raise ProbeError(failure_of(error, at, deadline_ms)) from None
        if not is_said:
            raise ProbeError(answer_lacks(expect, at))
        return where


def _probed_by(export: TargetSettings) -> tuple[object, ...]:
    probe = (export.probe, export.probe_send, export.probe_expect, export.probe_interval_ms)
    return export.target, export.sources, export.proxy, *probe


async def _said(
    where: tuple[str, int], kind: socket.SocketKind, send: bytes, expect: bytes, sources: Sequence[str]
) -> bool:
    """Connect once, send, and read until what is expected was there, or cannot come any more.

    Of datagrams the first answer decides: what it lacks no further one brings.
    """
    loop = asyncio.get_running_loop()
    family = family_of(where[0])
    with socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
        bind_source(sock, sources)
        await loop.sock_connect(sock, where[0] if family is socket.AF_UNIX else where)
        if send:
            await loop.sock_sendall(sock, send)
        answer = b""
        while expect not in answer and len(answer) < PROBE_READ_MOST_BYTES:
            data = await loop.sock_recv(sock, PROBE_READ_MOST_BYTES - len(answer))
            if not data:
                break
            answer += data
            if kind is socket.SOCK_DGRAM:
                break
        return expect in answer


def _number(address: Address) -> tuple[str, int] | None:
    if not address.is_unix:
        try:
            ipaddress.ip_address(address.host)
        except ValueError:
            return None
    return address.host, address.port
