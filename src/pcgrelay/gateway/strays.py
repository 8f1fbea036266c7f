"""Callers who still come the old way: accepted at an export's `also` listeners, served, and counted by organisation.

The core cannot tell organisations apart, so the control plane accepts here and gives each socket to the core, under the
import that stands for its organisation. It is not made for the traffic of a service, but for what is left of it. What
comes the old way goes past the allow list of the export, as it always has.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from contextlib import suppress

from pcgrelay.config import Address, Config
from pcgrelay.dataplane.adapter import Import
from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.dataplane.events import StreamEnd
from pcgrelay.gateway.edge_services import EdgeServices
from pcgrelay.gateway.prepared import Held, Prepared
from pcgrelay.gateway.role import NodeParts
from pcgrelay.handover.node import NodeHandover, StrayHandover
from pcgrelay.log.events import TablesRefused
from pcgrelay.model import ServiceName, organisation_number
from pcgrelay.net.descriptors import descriptors_of_streams, raise_descriptor_limit
from pcgrelay.services.descriptors import streams_most
from pcgrelay.services.outlet_meter import OutletMeter
from pcgrelay.services.services import Exported
from pcgrelay.services.strays import OTHERS, TARGET, Callers, Key, Stray, StrayNumbers

ACCEPT_AT_ONCE = 64
# Where there is no descriptor or no memory, nothing is accepted for so long.
PAUSE_S = 0.1
LINGER_NONE = b"\x01\0\0\0\0\0\0\0"


class Strays:
    """The strays of one edge."""

    def __init__(self, node: NodeParts, services: EdgeServices) -> None:
        self.refused_total = 0  # that were more than the export takes
        self._node = node
        self._services = services
        self._callers = Callers(())
        self._found: dict[Key, Stray] = {}
        self._by_number: dict[int, Stray] = {}
        self._numbers = StrayNumbers()
        self._sockets: dict[Address, socket.socket] = {}
        self._paused: dict[Address, asyncio.TimerHandle] = {}
        self._left: dict[Key, StrayHandover] = {}
        self._accepted: Counter[Key] = Counter()  # since the meters were read
        self._over_gateway: dict[int, int] = {}  # what was open then, by the export's number,
        self._of_organisation: Counter[tuple[int, int]] = Counter()  # and by that and the organisation's
        self._most = 0

    def all(self) -> list[Stray]:
        """The strays of all exports, also those whose last streams are still open."""
        return list(self._found.values())

    def of(self, service: ServiceName) -> list[Stray]:
        """The strays of one export."""
        return [stray for (owner, _), stray in self._found.items() if owner == service]

    def by_number(self, number: int) -> Stray | None:
        return self._by_number.get(number)

    def sockets(self) -> dict[Address, socket.socket]:
        """The listening sockets by address, for a hand-over."""
        return dict(self._sockets)

    def held(self) -> Held:
        """The ports that are open now."""
        return dict(self._sockets)

    def rows(self) -> list[Import]:
        """The rows for the core."""
        now = self._node.clock.wall()
        return [stray.row(self._node.plane, now) for stray in self._found.values()]

    # -- a configuration ---------------------------------------------------------------------------------------

    async def prepare(self, config: Config, prepared: Prepared, *, listens: bool) -> None:
        """Open what does not exist yet and no other process hands over. RunError: an address is not available."""
        for address in _wanted(config) if listens else ():
            if address not in self._sockets and address not in prepared.kept:
                await prepared.open_links(address)

    def apply(self, config: Config, prepared: Prepared) -> None:
        """Serve strays as the configuration says. The exports are as they will be."""
        self._most = descriptors_of_streams(raise_descriptor_limit())
        self._callers = Callers(config.callers)
        names = [*(caller.organisation for caller in config.callers), OTHERS]
        exports = {each.settings.service: each for each in self._services.exports}
        wanted = {(service, name) for service, each in exports.items() if each.settings.also for name in names}
        for key, stray in list(self._found.items()):
            if key[0] not in exports:
                self._forget(key)
                continue
            stray.exported, stray.is_left = exports[key[0]], key not in wanted
        for key in sorted(wanted, key=str):
            if key not in self._found:
                self._add(key, exports[key[0]])
        self._left = {}
        self._listen(config, prepared)

    def _add(self, key: Key, exported: Exported) -> None:
        left = self._left.get(key)
        number = left.number if left is not None else self._numbers.take([each.number for each in self._found.values()])
        try:
            if number is None:
                raise DataPlaneRefused("there are too many callers")
            stray = Stray(number, key[1], exported, OutletMeter(self._node.plane))
        except DataPlaneRefused as refused:
            self._node.emit(TablesRefused(part=f"strays of {key[0].service}", reason=str(refused)))
            return
        self._found[key] = self._by_number[number] = stray
        if left is not None:
            self._numbers.restore(left.number)
            stray.meter.restore(TARGET, left.real, left.shadow)

    def _forget(self, key: Key) -> None:
        stray = self._found.pop(key)
        del self._by_number[stray.number]
        stray.meter.close()

    def _listen(self, config: Config, prepared: Prepared) -> None:
        wanted = _wanted(config)
        for address in [address for address in self._sockets if address not in wanted]:
            self._close(address)
        for address, service in wanted.items():
            fresh = prepared.listeners.pop(address, None)
            if fresh is not None:
                self._sockets[address] = fresh
            if address in self._sockets:
                self._accept_at(address, service)
        self._note_open(wanted)

    def _note_open(self, wanted: dict[Address, ServiceName]) -> None:
        shut = {service for address, service in wanted.items() if address not in self._sockets}
        for stray in self._found.values():
            stray.is_open = stray.service not in shut and not stray.is_left

    def shut(self) -> None:
        """Accept nothing more."""
        for address in list(self._sockets):
            self._close(address)
        self._note_open(_wanted(self._node.local.config))

    def _close(self, address: Address) -> None:
        sock = self._sockets.pop(address)
        if (paused := self._paused.pop(address, None)) is not None:
            paused.cancel()
        with suppress(OSError, ValueError):
            asyncio.get_running_loop().remove_reader(sock.fileno())
        sock.close()

    def tick(self) -> None:
        """Once a second: read the meters, and let those go whose last streams have ended."""
        now_ms = self._node.clock.monotonic_ms()
        self._accepted.clear()
        self._look_at_gateway()
        for key, stray in list(self._found.items()):
            stray.meter.look(now_ms)
            if stray.is_left and not stray.meter.use(TARGET).streams:
                self._forget(key)

    # -- accepting ---------------------------------------------------------------------------------------------

    def _accept_at(self, address: Address, service: ServiceName) -> None:
        """Accept there from now on. Whatever was accepted for another service before is accepted for this one."""
        self._paused.pop(address, None)
        asyncio.get_running_loop().add_reader(self._sockets[address].fileno(), self._readable, address, service)

    def _readable(self, address: Address, service: ServiceName) -> None:
        listener = self._sockets.get(address)
        for _ in range(ACCEPT_AT_ONCE if listener is not None else 0):
            assert listener is not None
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener.fileno())
                self._paused[address] = loop.call_later(PAUSE_S, self._accept_at, address, service)
                return
            self._take(sock, str(peer[0]), service)

    def _take(self, sock: socket.socket, host: str, service: ServiceName) -> None:
        stray = self._found.get((service, self._callers.organisation_of(host))) or self._found.get((service, OTHERS))
        if stray is None or not self._has_room(stray):
            self.refused_total += 1
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
            sock.close()
            return
        sock.setblocking(False)
        self._accepted[service, stray.caller] += 1
        with suppress(DataPlaneRefused):
            # Refused or not, the socket is the core's.
            self._node.plane.import_adopt(stray.number, sock.detach())

    def _look_at_gateway(self) -> None:
        """Note what is open over the gateway, which takes from the same limits."""
        self._over_gateway, self._of_organisation = {}, Counter()
        if self._found:
            plane = self._node.plane
            self._over_gateway = plane.services()["exports"]
            for row in plane.export_streams():
                self._of_organisation[row.export, row.organisation] += row.streams

    def _has_room(self, stray: Stray) -> bool:
        """Whether the export takes one more of these: strays get what the gateway leaves of its limits.

        Streams over the gateway are not refused because of strays, which go past its allow list.
        """
        limits, number = stray.exported.settings.limits, stray.exported.number
        most = streams_most(limits.streams, self._most, direct=True)
        ones = sum(self._open_now(each) for each in self.of(stray.service))
        if ones + self._over_gateway.get(number, 0) >= most:
            return False
        if not limits.per_organisation:
            return True
        own = self._of_organisation[number, organisation_number(stray.caller)]
        return self._open_now(stray) + own < limits.per_organisation

    def _open_now(self, stray: Stray) -> int:
        return stray.meter.use(TARGET).streams + self._accepted[stray.service, stray.caller]

    def ended(self, event: StreamEnd) -> Stray | None:
        """Return whose stream it was that has ended; nothing: no stray's."""
        return self.by_number(event.number) if event.opener else None

    # -- a hand-over -------------------------------------------------------------------------------------------

    def to_handover(self) -> tuple[StrayHandover, ...]:
        """Return the strays with their figures; the core stands still."""
        found = []
        for stray in self._found.values():
            stray.meter.look_again()
            real, shadow = stray.meter.figures(TARGET)
            found.append(
                StrayHandover(
                    number=stray.number, service=str(stray.service), caller=stray.caller, real=real, shadow=shadow
                )
            )
        return tuple(found)

    def restore(self, handover: NodeHandover) -> None:
        """Go on with the numbers and figures of the process before; `apply` follows."""
        self._left = {(ServiceName.parse(each.service), each.caller): each for each in handover.strays}


def _wanted(config: Config) -> dict[Address, ServiceName]:
    return {address: export.service for export in config.exports for address in export.also}
