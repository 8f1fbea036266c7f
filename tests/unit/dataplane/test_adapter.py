"""The face of the core: what it says last is heard."""

from pathlib import Path

import pytest
from msgspec import Struct

from pcgrelay import config
from pcgrelay.dataplane import events
from pcgrelay.dataplane.adapter import Plane
from pcgrelay.dataplane.api import DataPlaneRefused
from tests.support import fake_core
from tests.support.pki import RealmPki, write_config

KENT = "kent.police.example"
END = (True, 0, 1, b"echo", 64, 64, 100, 0, "done", 0xFFFF, False)


class Observer:
    """Keeps the names of what it is told; a handler of a lane that is up raises."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.failures: list[Exception] = []

    def handlers(self) -> events.Handlers:
        kinds = (
            kind for kind in vars(events).values() if isinstance(kind, type) and kind.__module__ == events.__name__
        )
        return dict.fromkeys(kinds, self._told)

    def _told(self, event: Struct) -> None:
        if isinstance(event, events.LaneUp):
            raise ValueError
        self.told.append(type(event).__name__)


async def test_streams_that_ended_before_the_stop_are_counted(tmp_path: Path) -> None:
    path = write_config(
        tmp_path / "node.toml", RealmPki(tmp_path).issue(KENT, "kent-1"), KENT, "kent-1", listens=["127.0.0.1:9"]
    )
    plane, observer = Plane(fake_core, config.load(path)), Observer()
    plane.start(observer.handlers(), observer.failures.append)
    core = fake_core.Core.made[-1]
    core.emit(fake_core.EVENT_STREAM_END, *END)
    core.emit(fake_core.EVENT_LANE_DOWN, 1, 0, 1, 0, "socket")
    core.emit(fake_core.EVENT_STREAM_END, *END)
    core.emit(fake_core.EVENT_STREAMS_DONE, True, 0, 1, 20, 5_000, (1, 2, 3, 4, [0] * 40, [0] * 40))
    plane.stop()
    # That a lane is lost matters to nobody any more, and whoever heard it might begin something.
    assert observer.told == ["StreamEnd", "StreamEnd", "StreamsDone"]
    plane.stop()
    assert len(observer.told) == 3


async def test_a_handler_that_raises_does_not_stop_the_others(tmp_path: Path) -> None:
    path = write_config(
        tmp_path / "node.toml", RealmPki(tmp_path).issue(KENT, "kent-1"), KENT, "kent-1", listens=["127.0.0.1:9"]
    )
    plane, observer = Plane(fake_core, config.load(path)), Observer()
    handlers = {kind: handler for kind, handler in observer.handlers().items() if kind is not events.SessionUp}
    plane.start(handlers, observer.failures.append)
    core = fake_core.Core.made[-1]
    core.emit(fake_core.EVENT_LANE_UP, 1, 0, 1)
    core.emit(fake_core.EVENT_SESSION_UP, 1)  # a type for which nobody has registered
    core.emit(fake_core.EVENT_STREAM_END, *END)
    plane.deliver()
    assert observer.told == ["StreamEnd"]
    assert [type(error) for error in observer.failures] == [ValueError]
    plane.stop()


async def test_what_is_told_of_outlets_has_types(tmp_path: Path) -> None:
    path = write_config(
        tmp_path / "node.toml", RealmPki(tmp_path).issue(KENT, "kent-1"), KENT, "kent-1", listens=["127.0.0.1:9"]
    )
    plane = Plane(fake_core, config.load(path))
    told: list[Struct] = []
    plane.start({events.StreamEnd: told.append, events.SetupEnded: told.append}, lambda error: None)
    core = fake_core.Core.made[-1]
    core.emit(fake_core.EVENT_STREAM_END, *END, (1, 2_500, 1, True, 7))
    core.emit(fake_core.EVENT_STREAM_END, *END)
    for client in (b"a" * 28, b"a" * 28, b"b" * 28):
        core.emit(fake_core.EVENT_SETUP_ENDED, 0, 1, "silent", "timeout", 7, 0xFFFF, 3, client, 0, 300_000)
    plane.deliver()
    first, second, *failed = told
    assert isinstance(first, events.StreamEnd)
    assert (first.outlet, first.setup_us, first.moved, first.up, first.shadow) == (1, 2_500, 1, True, 7)
    assert isinstance(second, events.StreamEnd)
    assert (second.outlet, second.moved, second.shadow) == (0, 0, 0)
    clients = [event.client for event in failed if isinstance(event, events.SetupEnded)]
    # Told apart, and nothing else is left of the address.
    assert clients[0] == clients[1] != clients[2]
    assert all(0 <= client < 1 << 64 for client in clients)
    meter = plane.meter_open(2)
    core.meters[meter][1][0].update(up=3, setup_us={7: 3})
    real, shadow = plane.meter_read(meter)[1]
    assert (real.up, real.setup_us, shadow.up) == (3, {7: 3}, 0)
    plane.meter_close(meter)
    with pytest.raises(DataPlaneRefused):
        plane.meter_read(meter)
    plane.stop()
