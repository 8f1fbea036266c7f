"""The outlets of the fake core: rows are checked, and meters say what tests write into them."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Any

OUTLET_NONE, OUTLET_GATEWAY, OUTLET_DIRECT, OUTLET_FORBIDDEN, OUTLET_ENDED = 0, 1, 2, 3, 4
OUTLETS_MOST, SLOTS = 4, 200
EVENT_SETUP_ENDED = 16


class CoreError(Exception):
    """As the core's."""


class Outlets:
    """Outlets and meters. No stream is ever carried."""

    def __init__(self) -> None:
        self.meters: dict[int, list[tuple[dict[str, Any], dict[str, Any]]]] = {}  # tests write figures here
        self.adopted: list[int] = []  # imports
        self.shadows: list[tuple[int, int, int]] = []  # import, outlet and number
        self.shadow_ends: dict[int, str] = {}  # by outlet, what shadows come to; none: nothing is told of them
        self.listener_counts: dict[int, tuple[int, int, int, int]] = {}  # tests write here
        self.named: dict[int, tuple[int, bytes]] = {}  # sessions of a process before
        self.streams_of: list[tuple[int, int, int, int, int]] = []  # tests write here
        self.local_ports_set = (b"", 1)
        self.rounds: list[tuple[int, int, int, int, bool]] = []  # import, outlet, idle_us, most, hard

    def local_ports(self, allowed: bytes, first_half: int = 1) -> None:
        self.local_ports_set = (allowed, first_half)

    def bounds(
        self,
        *,
        imports: Sequence[tuple[int, ...]],
        exports: Sequence[tuple[int, ...]],
        descriptors: int = 0,
        organisation: tuple[int, int] = (0, 0),
    ) -> None:
        self.bounds_set = {
            "imports": {number: figures for number, *figures in imports},
            "exports": {number: figures for number, *figures in exports},
            "descriptors": descriptors,
            "organisation": organisation,
        }

    def export_streams(self) -> list[tuple[int, int, int, int, int]]:
        return self.streams_of

    def session_name(self, session: int, id_head: int, caller: bytes) -> None:
        self.named[session] = (id_head, caller)

    def _rows_check(self, imports: Sequence[tuple[Any, ...]], hosts_refused: Collection[str]) -> None:
        for *_, outlets, _ in imports:
            if outlets is not None:
                self._outlets_check(hosts_refused, *outlets)

    def _outlets_check(
        self,
        hosts_refused: Collection[str],
        meter: int,
        careful: bool,
        leads_denied: bool,
        deadline_ms: int,
        wait_ms: int,
        slots: bytes,
        order: bytes,
        ways: Sequence[tuple[int, int, Sequence[tuple[str, int]], tuple[str, int] | None]],
    ) -> None:
        if meter not in self.meters or not 1 <= len(ways) <= OUTLETS_MOST:
            raise CoreError("an import has 1 to 4 outlets and a meter that is open for them")
        if len(slots) != SLOTS or len(order) > OUTLETS_MOST or max(slots + order) >= len(ways):
            raise CoreError("outlets have 200 slots and an order, and name no outlet that is not there")
        assert 0 <= wait_ms <= deadline_ms <= 60_000
        assert len(set(order)) == len(order)
        assert ways[0][0] == OUTLET_GATEWAY
        for kind, patience_ms, targets, sources in ways:
            assert 1 <= patience_ms <= 60_000
            assert len(targets) <= 8
            assert kind == OUTLET_DIRECT or not targets
            for host in [host for host, _ in targets] + [*sources]:
                if host in hosts_refused:
                    raise CoreError(f"{host!r} is not a numeric address")

    def meter_open(self, outlets: int) -> int:
        number = max(self.meters, default=0) + 1
        self.meters[number] = [({}, {}) for _ in range(outlets)]
        return number

    def meter_close(self, meter: int) -> None:
        del self.meters[meter]

    def meter_read(self, meter: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        if meter not in self.meters:
            raise CoreError(f"there is no meter {meter}")
        return self.meters[meter]

    def import_adopt(self, number: int, fd: int) -> None:
        os.close(fd)
        self.adopted.append(number)

    def import_connect(self, number: int, fd: int, outlet: int, shadow: int) -> None:
        os.close(fd)
        self.shadows.append((number, outlet, shadow))
        if outlet in self.shadow_ends:
            said = self.shadow_ends[outlet]
            self.emit(EVENT_SETUP_ENDED, number, outlet, said, said, 0, 0, 0, bytes(16), shadow, 900)

    def emit(self, *event: object) -> None:
        """Report an event; the core has it."""
        raise NotImplementedError

    def listener(self, listener: int) -> tuple[int, int, int, int]:
        return self.listener_counts.get(listener, (0, 0, 0, 0))

    def streams_nudge(self, number: int, outlet: int, *, idle_us: int, most: int, hard: bool) -> int:
        self.rounds.append((number, outlet, idle_us, most, hard))
        return len(self.rounds)
