"""Strays: callers of a service of this organisation who still come the old way, counted by their organisation.

For the core each of them is an import of its own that has no gateway and one direct outlet: the export's target. So
strays are carried and counted by what carries and counts direct outlets. An address is looked at once, to find its
organisation, and kept nowhere.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pcgrelay.config import CallerSettings
from pcgrelay.dataplane.adapter import Import, OutletsRow, Plane, WayRow
from pcgrelay.model import Priority, ServiceName
from pcgrelay.policy.in_force import has_ended
from pcgrelay.policy.rules import MARKING_NUMBERS
from pcgrelay.services.outlet_meter import OutletMeter
from pcgrelay.services.services import Exported

OTHERS = "others"  # callers of no network that is known
TARGET = 1  # the index of the outlet that leads to the export's target
SLOTS = bytes([TARGET]) * 200
DEADLINE_MOST_MS = 60_000
# Numbers of imports are given from 0 on, and each import needs a port: these are beyond.
NUMBER_FIRST, NUMBER_MOST = 65_024, 65_535

Key = tuple[ServiceName, str]  # the export and the caller


def record_name(caller: str) -> str:
    """Return the name of a caller's day records; no outlet has a blank in its name."""
    return f"from {caller}"


class Callers:
    """Whose an address is, by the networks of [[caller]]: the smallest network that has it."""

    def __init__(self, callers: Iterable[CallerSettings]) -> None:
        self._found: dict[tuple[int, int], dict[int, str]] = {}  # by version and length of the prefix
        for caller in callers:
            for network in caller.networks:
                known = self._found.setdefault((network.version, network.prefixlen), {})
                known[int(network.network_address)] = caller.organisation
        self._lengths = sorted(self._found, reverse=True)

    def organisation_of(self, host: str) -> str:
        """Return the organisation that an address is of, or OTHERS."""
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return OTHERS
        if address.version == 6 and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        for version, length in self._lengths:
            if version == address.version:
                shift = address.max_prefixlen - length
                organisation = self._found[version, length].get(int(address) >> shift << shift)
                if organisation is not None:
                    return organisation
        return OTHERS


@dataclass(slots=True)
class Stray:
    """The callers of one organisation who come to one export the old way."""

    number: int
    caller: str
    exported: Exported
    meter: OutletMeter
    is_open: bool = False  # whether a listener is open for it
    is_left: bool = False  # the configuration has it no more: it lasts as long as its streams

    @property
    def service(self) -> ServiceName:
        return self.exported.settings.service

    def row(self, plane: Plane, now: datetime) -> Import:
        """Return the row for the core. After the last day of the export nothing of it goes on."""
        settings = self.exported.settings
        deadline_ms = min(settings.connect_timeout_ms, DEADLINE_MOST_MS)
        way: WayRow = (plane.OUTLET_DIRECT, deadline_ms, self.exported.target.addresses, settings.sources)
        if has_ended(settings.paper, now):
            way = (plane.OUTLET_ENDED, deadline_ms, (), ())
        ways = ((plane.OUTLET_GATEWAY, 1, (), ()), way)
        outlets: OutletsRow = (self.meter.number, True, False, deadline_ms, 0, SLOTS, bytes([TARGET]), ways)
        marking, name = MARKING_NUMBERS[settings.marking], settings.service.service.encode()
        return (self.number, name, marking, int(Priority.NORMAL), plane.IMPORT_DOWN, (), outlets, None)


class StrayNumbers:
    """The numbers by which the core knows strays. One that is given up is the last to be given again."""

    def __init__(self) -> None:
        self._last = NUMBER_MOST

    def take(self, taken: Sequence[int]) -> int | None:
        """Return a number that nobody has, if there is any."""
        for _ in range(NUMBER_FIRST, NUMBER_MOST + 1):
            self._last = self._last + 1 if self._last < NUMBER_MOST else NUMBER_FIRST
            if self._last not in taken:
                return self._last
        return None

    def restore(self, number: int) -> None:
        """Go on behind the numbers of the process before this one."""
        self._last = number
