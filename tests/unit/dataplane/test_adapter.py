"""The face of the core: what it says last is heard."""

from pathlib import Path
from typing import Any

from pcgrelay import config
from pcgrelay.dataplane.adapter import Plane
from tests.pki import Realm, write_config
from tests.support import fake_core

KENT = "kent.police.example"
END = (True, 0, 1, b"echo", 64, 64, 100, 0, "done", 0xFFFF, False)


class Observer:
    """Keeps the names of what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda _: self.told.append(name)


async def test_streams_that_ended_before_the_stop_are_counted(tmp_path: Path) -> None:
    path = write_config(
        tmp_path / "node.toml", Realm(tmp_path).issue(KENT, "kent-1"), KENT, "kent-1", listens=["127.0.0.1:9"]
    )
    plane, observer = Plane(fake_core, config.load(path)), Observer()
    plane.start(observer)
    core = fake_core.Core.made[-1]
    core.say(fake_core.EVENT_STREAM_END, *END)
    core.say(fake_core.EVENT_LANE_DOWN, 1, 0, 1, 0, "socket")
    core.say(fake_core.EVENT_STREAM_END, *END)
    plane.stop()
    # That a lane is lost matters to nobody any more, and whoever heard it might begin something.
    assert observer.told == ["stream_end", "stream_end"]
    plane.stop()
    assert len(observer.told) == 2
