"""A node that is told another time of day."""

from __future__ import annotations

import glob
import time
from datetime import datetime
from pathlib import Path

from tests.scenarios.kit.nodes import Node
from tests.scenarios.kit.reload_setup import reload


def library() -> str:
    """Where Debian has the library that tells a process another time."""
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    assert found, "libfaketime is missing; run: scripts/setup test"
    return found[0]


class Clocked:
    """A node whose time of day the test sets."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node = node
        self._file = folder / f"{node.name}.clock"
        self.set(0)
        node.environment = {
            "LD_PRELOAD": library(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset_s: int) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset_s:+d}\n")
        fresh.replace(self._file)

    def jump(self, offset_s: int) -> None:
        """Set it, and wait until the node stamps its lines by it."""
        self.set(offset_s)
        # Before its own certificate is valid it refuses to reload, and says so by the same clock.
        reload(self.node)
        line = [line for line in self.node.log() if line["event"] in ("config.reloaded", "config.refused")][-1]
        assert abs(datetime.fromisoformat(line["ts"]).timestamp() - time.time() - offset_s) < 5
