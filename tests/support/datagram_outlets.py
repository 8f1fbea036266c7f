"""An import of datagrams of the near edge, with the gateway and one direct outlet."""

from __future__ import annotations

from typing import Any

from pcgrelay._core.face import core as native
from tests.support.applications import Across
from tests.support.cores import carried_out
from tests.support.datagrams import TERMS, Address, Terms, export_rows, listen
from tests.support.waiting import until

GATEWAY, DIRECT = 0, 1
# Of an outlet that is not to be given up on a busy machine.
PATIENCE_MS = 5_000


class DatagramOutlets:
    """The import, and what came of its set-ups."""

    def __init__(self, across: Across, far: Address, direct: Address | None, terms: Terms = TERMS) -> None:
        self.across = across
        self.near, self.far = across.near, across.far
        self.direct, self.terms = direct, terms
        self.meter = self.near.core.meter_open(2)
        self.far.core.publish(exports=export_rows(far), imports=[], grants=[(across.session, [0])])
        carried_out(self.far)
        self.publish()
        self.address = listen(self.near)

    def rows(
        self,
        *,
        shares: int = 0,
        order: bytes = bytes([DIRECT, GATEWAY]),
        patience_ms: int = PATIENCE_MS,
        wait_ms: int = 0,
        kind: int = native.OUTLET_DIRECT,
        state: int = native.IMPORT_LIVE,
    ) -> list[tuple[Any, ...]]:
        """shares: of 200 slots, those of the direct outlet; they come last."""
        slots = bytes([GATEWAY] * (200 - shares) + [DIRECT] * shares)
        targets = [self.direct] if self.direct else []
        ways = [(native.OUTLET_GATEWAY, patience_ms, [], None), (kind, patience_ms, targets, None)]
        outlets = (self.meter, True, True, 10_000, wait_ms, slots, order, ways)
        routes = [(self.across.session, 2, 100)] if state == native.IMPORT_LIVE else []
        return [(0, b"echo", 1, 0, state, routes, outlets, tuple(self.terms))]

    def publish(self, **options: Any) -> None:
        self.near.core.publish(exports=[], imports=self.rows(**options), grants=[])
        carried_out(self.near)

    def figures(self, outlet: int, *, shadow: bool = False) -> dict[str, Any]:
        return self.near.core.meter_read(self.meter)[outlet][shadow]

    def counts(self, outlet: int, *, shadow: bool = False) -> dict[str, int]:
        """Those of its figures that are not zero, without its bytes and histograms."""
        return {
            name: number
            for name, number in self.figures(outlet, shadow=shadow).items()
            if isinstance(number, int) and number and not name.endswith("bytes")
        }

    def ends(self, count: int = 1) -> list[tuple[Any, ...]]:
        """(outlet, moved, code, cause, sent, received, dropped in all) of so many associations that have ended."""

        def seen() -> list[tuple[Any, ...]]:
            self.near.poll()
            return [
                (event[12][0], event[12][2], event[8], event[9], event[12][-3], event[12][-2], sum(event[12][-1]))
                for event in self.near.seen
                if event[0] == native.EVENT_STREAM_END
            ]

        until(lambda: len(seen()) >= count)
        return seen()

    def failures(self, count: int = 1) -> list[tuple[Any, ...]]:
        """(outlet, outcome, cause) of the attempts that failed, once there are so many."""

        def seen() -> list[tuple[Any, ...]]:
            self.near.poll()
            return [event[2:5] for event in self.near.seen if event[0] == native.EVENT_SETUP_ENDED]

        until(lambda: len(seen()) >= count)
        return seen()
