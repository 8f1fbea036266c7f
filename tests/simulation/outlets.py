"""Outlets of an edge's imports: beside the gateway each has plain TCP or UDP to the same service, over another network.
What the core says of them is summed up here, over all processes of an edge, and must agree with what else is known."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pcgrelay._core.face import core as native
from pcgrelay.cutover.slots import Dealing, deal
from tests.simulation.clients import NUMBER as DATAGRAMS
from tests.simulation.virtual import FAULTS

if TYPE_CHECKING:
    from tests.simulation.edges import Edge

GATEWAY, DIRECT = range(2)
REAL, SHADOW = range(2)
OUTLETS = 2
DIRECT_PORT = 1_000  # so much above the port of an export is what its direct outlet leads to, as virtual.h has it
SOURCES = ("127.0.0.1",)
DEADLINE_MS = 10_000
OUTCOMES = ("up", "refused", "silent", "away", "denied", "local", "left", "lost")
# An association that is not answered makes room, or is idle, at either end.
OF_CLIENTS = ("limit", "done")
COUNTS = ("tried", *OUTCOMES, "moved", "early", "cut", "active", "sent_bytes", "received_bytes", "nudged")


class Outlets:
    """The outlets of all imports of one edge, in all of its processes."""

    def __init__(self, edge: Edge, numbers: Sequence[int], ports: list[int]) -> None:
        self._edge = edge
        self._world = edge.world
        self._numbers = numbers
        self._ports = ports  # of each import: where its service listens beside the gateway
        self._meters: dict[int, int] = {}
        self._dealings: dict[int, Dealing] = {}
        self._figures: Counter[tuple[int, int, int, str]] = Counter()  # of processes before
        self._told: Counter[tuple[int, int, int, str]] = Counter()  # what events came to
        self._shadows: dict[int, list[str]] = {}  # what was said of each
        self._rounds: dict[tuple[int, int], int] = {}  # of each process: how often the end of each was told
        self._ill_until_us: Counter[int] = Counter()
        self._still_until_us = 0
        self.kinds = dict.fromkeys(numbers, native.OUTLET_DIRECT)
        self.unresolved: set[int] = set()
        self.down: set[int] = set()
        self.ends = 0  # of applications' streams
        if self._world.scenario.outlets:
            for number in numbers:
                self.share(number, self._world.scenario.share)
            self.process_began()

    def number_of(self, b: int) -> int:
        """One of the imports."""
        return self._numbers[b % len(self._numbers)]

    # -- tables

    def process_began(self) -> None:
        """Figures are kept by a process: each begins at zero."""
        self._meters = {number: self._edge.core.meter_open(OUTLETS) for number in self._dealings}

    def process_ended(self, old: native.Core) -> None:
        """Another process goes on with what this one had; what this one counted stays true."""
        self._figures += self._read(old)
        for key in list(self._figures):
            if key[-1] == "active":
                # They are counted as open where they are now.
                del self._figures[key]

    def share(self, number: int, percent: float) -> None:
        """So much of an import's new streams goes to the direct outlet."""
        self._dealings[number] = deal((100 - percent, percent), self._world.dice, self._dealings.get(number))

    def row(self, number: int) -> tuple[Any, ...] | None:
        if number not in self._meters:
            return None
        shape = self._world.scenario
        targets = [] if number in self.unresolved else [("127.0.0.1", self._ports[number])] * 2
        ways = [
            (native.OUTLET_GATEWAY, shape.patience_ms, [], None),
            (self.kinds[number], shape.patience_ms, targets, SOURCES),
        ]
        return (
            self._meters[number], shape.careful, shape.leads_denied, DEADLINE_MS, 0, self._dealings[number].slots,
            bytes([DIRECT, GATEWAY]), ways,
        )  # fmt: skip

    # -- what is known to hinder a set-up

    def ill(self, number: int, ms: float) -> None:
        """The direct outlet of an import is not what it should be for so long."""
        self._ill_until_us[number] = max(self._ill_until_us[number], self._world.later.now_us + int(ms * 1000))

    def still(self, ms: float) -> None:
        """The edge does nothing for so long."""
        self._still_until_us = max(self._still_until_us, self._world.later.now_us + int(ms * 1000))

    def _had_to_be_set_up(self, number: int, began_us: int) -> bool:
        """Was the direct outlet there all the time?"""
        return began_us > max(self._ill_until_us[number], self._still_until_us)

    # -- orders

    def shadow(self, number: int, outlet: int, fd: int, name: int) -> None:
        self._shadows[name] = []
        self._edge.core.import_connect(number, fd, outlet, name)

    def nudge(self, number: int, outlet: int, *, idle_ms: int, most: int, hard: bool) -> None:
        turn = self._edge.core.streams_nudge(number, outlet, idle_us=idle_ms * 1000, most=most, hard=hard)
        self._rounds[self._edge.owner, turn] = 0

    # -- what the core says

    def setup_ended(self, number: int, outlet: int, outcome: str, *rest: Any) -> None:
        shadow = rest[5]
        if self._is_unheard():
            return
        self._world.count(f"set-up {outcome}")
        self._told[number, outlet, SHADOW if shadow else REAL, outcome] += 1
        if shadow:
            self._shadows[shadow].append(outcome)

    def stream_ended(self, number: int, sent: int, received: int, cause: str, about: tuple[Any, ...]) -> None:
        if self._is_unheard():
            return
        self.ends += not about[4]
        if self._meters and self._sum(number, sent, received, cause, about) and self._world.scenario.careful \
                and cause != "application-reset":  # fmt: skip
            self._not_set_up(number, cause, about)

    def association_ended(self, sent: int, received: int, cause: str, about: tuple[Any, ...]) -> None:
        if self._meters and self._sum(DATAGRAMS, sent, received, cause, about) and cause not in OF_CLIENTS:
            self._not_set_up(DATAGRAMS, cause, about)

    def _sum(self, number: int, sent: int, received: int, cause: str, about: tuple[Any, ...]) -> bool:
        """Whether it was an application's, and was not set up."""
        outlet, _, moved, up, shadow, *_ = about
        kind = SHADOW if shadow else REAL
        self._told[number, outlet, kind, "ends"] += 1
        self._told[number, outlet, kind, "whole"] += cause == "done"
        if moved:
            self._world.count("association led on" if number == DATAGRAMS else "stream led on")
        if up:
            self._told[number, outlet, kind, "up ends"] += 1
            self._told[number, outlet, kind, "sent_bytes"] += sent
            self._told[number, outlet, kind, "received_bytes"] += received
            self._told[number, outlet, kind, "nudged ends"] += cause == "nudged"
        # A shadow has its patience, and is not led on.
        return not up and not shadow

    def _not_set_up(self, number: int, cause: str, about: tuple[Any, ...]) -> None:
        _, setup_us, moved, *_ = about
        if self._world.scenario.is_gentle and self._had_to_be_set_up(number, self._world.later.now_us - setup_us):
            self._world.broken(
                f"led: a stream of service {number} was not set up ({cause}, led on {moved} times), and the direct "
                "outlet was there all the time"
            )

    def nudged(self, number: int, outlet: int, turn: int, *rest: Any) -> None:
        self._rounds[self._edge.owner, turn] += 1
        self._told[number, outlet, REAL, "nudged"] += rest[0]
        self._world.counts["nudged"] += rest[0]

    def rounds_left(self) -> int:
        """How many rounds are not over."""
        return sum(not times for times in self._rounds.values())

    def shadows_left(self) -> int:
        """How many shadows nothing was said of."""
        return sum(not said for said in self._shadows.values())

    def _is_unheard(self) -> bool:
        """A fault on purpose."""
        return bool(self._world.library.virtual_strikes(FAULTS.index("unheard_end")))

    # -- what must hold in the end

    def _read(self, core: native.Core) -> Counter[tuple[int, int, int, str]]:
        found: Counter[tuple[int, int, int, str]] = Counter()
        for number, meter in self._meters.items():
            for outlet, kinds in enumerate(core.meter_read(meter)):
                for kind, figures in enumerate(kinds):
                    for name in COUNTS:
                        found[number, outlet, kind, name] = figures[name]
                    found[number, outlet, kind, "answered"] = sum(figures["setup_us"].values())
        return found

    def check(self) -> None:
        """All streams have ended: the counts of meters, the events and what applications heard are one story."""
        for name, said in self._shadows.items():
            if len(said) != 1:
                self._world.broken(f"told: of shadow {name} of {self._edge.name} was said: {said}")
        for turn, times in self._rounds.items():
            if times != 1:
                self._world.broken(f"told: round {turn} of {self._edge.name} was said to be over {times} times")
        figures = self._figures + self._read(self._edge.core)
        for number in self._meters:
            for outlet in (GATEWAY, DIRECT):
                for kind in (REAL, SHADOW):
                    self._check(
                        {name: figures[number, outlet, kind, name] for name in (*COUNTS, "answered")},
                        {name: n for (*key, name), n in self._told.items() if key == [number, outlet, kind]},
                        kind, number, outlet,
                    )  # fmt: skip
                if number != DATAGRAMS:
                    self._check_heard(figures, number, outlet)
                elif outlet == DIRECT:
                    self._check_told(figures)
            self._check_ends(figures, number)

    def _check(self, figures: dict[str, int], told: dict[str, int], kind: int, number: int, outlet: int) -> None:
        whose = f"{'shadows' if kind else 'streams'} of service {number} at outlet {outlet}"
        story = f"{whose}: figures {figures}, events {told}"
        if figures["tried"] != sum(figures[outcome] for outcome in OUTCOMES) or figures["active"]:
            self._world.broken(f"outcomes: not one for each attempt: {story}")
        # Of datagrams what is not refused is up, whether it is answered or not.
        if figures["up"] != told.get("up ends", 0) or figures["up"] < figures["answered"] \
                or (number != DATAGRAMS and figures["up"] != figures["answered"]):  # fmt: skip
            self._world.broken(f"outcomes: not one end for each that was up: {story}")
        # A shadow that finds no import is told of and not counted; how applications' streams break is told.
        of_kind = ("early", "cut", "away", "local") if kind == REAL else ("up",)
        for name in ("sent_bytes", "received_bytes", "nudged", "refused", "silent", "denied", "left", "lost", *of_kind):
            if figures[name] != told.get(name, 0):
                self._world.broken(f"sums: {name} differs: {story}")
        if figures["nudged"] != told.get("nudged ends", 0):
            self._world.broken(f"sums: not one end for each that was nudged: {story}")

    def _check_ends(self, figures: Counter[tuple[int, int, int, str]], number: int) -> None:
        """Each attempt is a stream's first, or follows another: no stream is lost, and none comes twice."""
        tried = sum(figures[number, outlet, REAL, "tried"] for outlet in (GATEWAY, DIRECT))
        moved = sum(figures[number, outlet, REAL, "moved"] for outlet in (GATEWAY, DIRECT))
        ends = sum(self._told[number, outlet, REAL, "ends"] for outlet in (GATEWAY, DIRECT))
        # What was refused before it was a stream has an end and no attempt.
        if tried - moved > ends or (self._world.scenario.is_gentle and tried - moved != ends):
            self._world.broken(f"outcomes: of service {number} {ends} streams ended; {tried} tried, {moved} led on")

    def _check_heard(self, figures: Counter[tuple[int, int, int, str]], number: int, outlet: int) -> None:
        """What applications at both ends of an outlet heard, beside what was counted."""
        if not self._world.scenario.careful:
            # What was sent early may be heard by a target whose answer never came.
            return
        servers, clients = ctypes.c_uint64(), ctypes.c_uint64()
        port = self._ports[number] - DIRECT_PORT
        self._world.library.virtual_heard(port, outlet == DIRECT, ctypes.byref(servers), ctypes.byref(clients))
        sent, received = (figures[number, outlet, REAL, name] for name in ("sent_bytes", "received_bytes"))
        ends, whole = (self._told[number, outlet, REAL, name] for name in ("ends", "whole"))
        story = f"service {number} at outlet {outlet}: counted {sent} and {received} bytes, heard {servers.value} " \
            f"and {clients.value}, {whole} of {ends} whole"  # fmt: skip
        if sent < servers.value or received < clients.value:
            self._world.broken(f"sums: more was heard than counted: {story}")
        # Who resets after a stream is done drops what its own socket still held.
        if ends == whole and not self._world.resets and (sent != servers.value or received != clients.value):
            self._world.broken(f"sums: more was counted than heard: {story}")

    def _check_told(self, figures: Counter[tuple[int, int, int, str]]) -> None:
        """What a direct target of datagrams heard and said, beside what was counted of associations that were up."""
        heard, told = ctypes.c_uint64(), ctypes.c_uint64()
        port = self._ports[DATAGRAMS]
        self._world.library.virtual_target_sums(port, ctypes.byref(heard), ctypes.byref(told))
        sent, received = (figures[DATAGRAMS, DIRECT, REAL, name] for name in ("sent_bytes", "received_bytes"))
        if sent > heard.value or received > told.value:
            self._world.broken(
                f"sums: more was counted than heard: of datagrams {sent} and {received} bytes, {heard.value} and "
                f"{told.value}"
            )
