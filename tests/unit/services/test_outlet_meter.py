"""The figures of outlets: counted on over hand-overs and reloads; patience goes by the latest of them."""

from __future__ import annotations

from typing import Any

import pytest

from pcgrelay.cutover.histogram import bucket_of
from pcgrelay.figures import OutletFigures
from pcgrelay.services.outlet_meter import WINDOW_MS, OutletMeter


class Core:
    """The core's meters."""

    def __init__(self) -> None:
        self.reads = 0
        self.real = [OutletFigures()] * 4
        self.closed: list[int] = []

    def meter_open(self, outlets: int) -> int:
        assert outlets == 4
        return 7

    def meter_close(self, meter: int) -> None:
        self.closed.append(meter)

    def meter_read(self, meter: int) -> list[tuple[OutletFigures, OutletFigures]]:
        self.reads += 1
        return [(each, OutletFigures()) for each in self.real]


@pytest.fixture
def core() -> Core:
    return Core()


@pytest.fixture
def meter(core: Core) -> OutletMeter:
    plane: Any = core
    return OutletMeter(plane)


def times(**counts: int) -> dict[int, int]:
    return {bucket_of(int(name[2:]) * 1_000): number for name, number in counts.items()}


def test_it_is_read_once_a_second(core: Core, meter: OutletMeter) -> None:
    for now_ms in (5_000, 5_400, 5_999, 6_000):
        meter.look(now_ms)
    assert core.reads == 2
    meter.close()
    assert core.closed == [7]


def test_figures_go_on_from_where_the_process_before_was(core: Core, meter: OutletMeter) -> None:
    meter.restore(1, OutletFigures(up=7, active=3, setup_us={5: 7}), OutletFigures(up=1))
    core.real[1] = OutletFigures(up=2, active=3, setup_us={5: 1, 6: 1})
    meter.look(0)
    real, shadow = meter.figures(1)
    # Streams that are open are in the core's own count.
    assert real == OutletFigures(up=9, active=3, setup_us={5: 8, 6: 1})
    assert shadow == OutletFigures(up=1)


def test_another_outlet_of_the_same_index_begins_with_nothing(core: Core, meter: OutletMeter) -> None:
    core.real[2] = OutletFigures(up=9, silent=1, active=4, sent_bytes=5)
    meter.begin(2)
    assert meter.figures(2)[0] == OutletFigures(active=4)
    core.real[2] = OutletFigures(up=10, silent=1, active=3, sent_bytes=8)
    meter.look_again()
    assert meter.figures(2)[0] == OutletFigures(up=1, active=3, sent_bytes=3)


def test_patience_goes_by_the_latest_set_ups(core: Core, meter: OutletMeter) -> None:
    assert meter.patience_ms(1, 0) == 1_000
    core.real[1] = OutletFigures(up=1_000, setup_us=times(ms100=1_000))
    meter.look_again()
    slow = meter.patience_ms(1, 1)
    assert 780 <= slow <= 850
    # A little slower is no news for the core.
    core.real[1] = OutletFigures(up=1_400, setup_us=times(ms100=1_000, ms104=400))
    meter.look_again()
    assert meter.patience_ms(1, 2) == slow
    # Much faster since two windows: what was before is forgotten.
    core.real[1] = OutletFigures(up=2_400, setup_us=times(ms100=1_000, ms104=400, ms10=1_000))
    meter.look_again()
    meter.patience_ms(1, WINDOW_MS)
    core.real[1] = OutletFigures(up=3_400, setup_us=times(ms100=1_000, ms104=400, ms10=2_000))
    meter.look_again()
    meter.patience_ms(1, 2 * WINDOW_MS)
    assert meter.patience_ms(1, 2 * WINDOW_MS + 1) == 300
    assert meter.patience_ms(1, 2 * WINDOW_MS + 2, 200) == 200
