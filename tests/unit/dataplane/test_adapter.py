"""The face of the core: what it says last is heard."""

from pathlib import Path

from msgspec import Struct

from pcgrelay import config
from pcgrelay.dataplane import events
from pcgrelay.dataplane.adapter import Plane
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
    plane.stop()
    # That a lane is lost matters to nobody any more, and whoever heard it might begin something.
    assert observer.told == ["StreamEnd", "StreamEnd"]
    plane.stop()
    assert len(observer.told) == 2


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
