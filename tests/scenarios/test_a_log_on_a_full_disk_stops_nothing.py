"""The disk of the log is full: lines are lost and counted, nothing else happens, and the log goes on by itself."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest

from tests.scenarios.kit.echo_witness import Echo
from tests.scenarios.kit.nodes import Stage
from tests.scenarios.kit.reload_setup import Scene, applications, command, reload
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

# A file system of the process's own, gone with it, and the log on it.
ON_A_SMALL_DISK = 'mount -t tmpfs -o size=64k none "$0" && exec "$@" 2>"$0/log"'
UNDISTURBED_S = 1.0


def test_a_log_on_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with Stage(tmp_path) as stage:
        scene = Scene(stage, 1)
        node = scene.relays[0]
        node.prefix = ("unshare", "--mount", "sh", "-c", ON_A_SMALL_DISK, disk)
        stage.start()
        stage.await_well()
        seen_inside = Path(f"/proc/{node.pid}/root{disk}")
        with Echo(scene.target), applications(scene.door, 2) as witnesses:
            assert not node.status().log.lost_total
            with (seen_inside / "fill").open("wb", buffering=0) as fill, suppress(OSError):
                while fill.write(bytes(512)):
                    pass
            # What is left of the last block of the log takes a few lines yet.
            until(lambda: reload(node).ok and node.status().log.failing, 20, "a line is lost")
            for _ in range(3):
                assert reload(node).ok
            lost = node.status().log
            assert lost.lost_total >= 3
            assert node.metrics()["log_lines_lost_total"] == lost.lost_total
            assert "The log cannot be written" in _status_text(node.config)

            (seen_inside / "fill").unlink()
            assert reload(node).ok
            assert not node.status().log.failing
            assert max(witness.worst_s for witness in witnesses) < UNDISTURBED_S
        lines = [
            json.loads(line)
            for line in (seen_inside / "log").read_text().splitlines()
            if line.startswith("{") and line.endswith("}")
        ]
        told = [line for line in lines if line["event"] == "log.lost"]
        assert [line["count"] for line in told] == [lost.lost_total]
        assert lines[-1]["event"] == "config.reloaded"


def _status_text(config: Path) -> str:
    answer = command("status", "-c", config)
    # It serves, and somebody has to look.
    assert answer.returncode == 4
    return answer.stdout
