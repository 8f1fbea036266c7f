"""Addresses of export targets. Names are looked up again and again, because services move; numbers never."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable

from pcgrelay.audit.record import Say, TargetUnresolved
from pcgrelay.config import Address, ExportSettings
from pcgrelay.session.sockets import resolved

INTERVAL_S = 30.0
INTERVAL_UNRESOLVED_S = 2.0
DEADLINE_MS = 5_000
ADDRESSES_MOST = 8


class Target:
    """One export's target and the numeric addresses that it has now."""

    def __init__(self, export: ExportSettings, changed: Callable[[], None], say: Say) -> None:
        self.addresses: tuple[tuple[str, int], ...] = ()
        self.is_named = True
        self._export = export
        self._changed = changed
        self._say = say
        if number := _number(export.target):
            self.is_named = False
            self.addresses = (number,)

    async def run(self) -> None:
        """Keep the addresses of a name fresh; one that cannot be looked up any more keeps its last ones for a while."""
        told = False
        while self.is_named:
            cause = await self._look_up()
            if not self.addresses and not told:
                told = True
                self._say(TargetUnresolved(service=str(self._export.service), cause=cause))
            told = told and not self.addresses
            await asyncio.sleep(INTERVAL_S if self.addresses else INTERVAL_UNRESOLVED_S)

    async def _look_up(self) -> str:
        try:
            found = await resolved(self._export.target, DEADLINE_MS)
        except TimeoutError:
            return "the name service does not answer"
        except OSError:
            found = []
        addresses = tuple(where for _, where in found[:ADDRESSES_MOST])
        if addresses != self.addresses:
            self.addresses = addresses
            self._changed()
        return "the name does not exist"


def _number(address: Address) -> tuple[str, int] | None:
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        return None
    return address.host, address.port
