"""How many workers a node has that is not told: what its control groups leave of the machine."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from pcgrelay.config.processors import cpu_quota, processors

V2 = "29 23 0:26 {of} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "24 23 0:22 {of} /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n"
    "25 23 0:23 {of} /sys/fs/cgroup/memory rw shared:6 - cgroup cgroup rw,memory\n"
)
OTHERS = "23 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\n36 nonsense\n"


def machine(root: Path, groups: str, mounts: str, **limits: str) -> Path:
    """Files of a machine; limits are by the path below /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    (root / "proc/self/mountinfo").write_text(OTHERS + mounts)
    for name, text in limits.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


@pytest.mark.parametrize(
    ("limits", "quota"),
    [
        ({}, math.inf),
        ({"a.slice/b.service/cpu.max": "max 100000"}, math.inf),
        ({"a.slice/b.service/cpu.max": "150000 100000"}, 1.5),
        ({"a.slice/b.service/cpu.max": "50000 100000"}, 0.5),
        ({"a.slice/cpu.max": "200000 100000"}, 2.0),  # of a group above
        ({"a.slice/cpu.max": "200000 100000", "a.slice/b.service/cpu.max": "400000 100000"}, 2.0),
        ({"other.slice/cpu.max": "100000 100000"}, math.inf),
        ({"a.slice/b.service/cpu.max": "junk"}, math.inf),
        ({"a.slice/b.service/cpu.max": "100000 0"}, math.inf),
        ({"a.slice/b.service/cpu.max": ""}, math.inf),
    ],
)
def test_version_2(tmp_path: Path, limits: dict[str, str], quota: float) -> None:
    assert cpu_quota(machine(tmp_path, "0::/a.slice/b.service\n", V2.format(of="/"), **limits)) == quota


@pytest.mark.parametrize(
    ("limits", "quota"),
    [
        ({"b/cpu.cfs_quota_us": "-1", "b/cpu.cfs_period_us": "100000"}, math.inf),
        ({"b/cpu.cfs_quota_us": "250000", "b/cpu.cfs_period_us": "100000"}, 2.5),
        ({"cpu.cfs_quota_us": "100000", "cpu.cfs_period_us": "100000"}, 1.0),
        ({"b/cpu.cfs_quota_us": "250000"}, math.inf),
    ],
)
def test_version_1(tmp_path: Path, limits: dict[str, str], quota: float) -> None:
    named = {f"cpu,cpuacct/{name}": text for name, text in limits.items()}
    groups = "4:memory:/x\n3:cpu,cpuacct:/b\n1:name=systemd:/c\n0::/\n"
    assert cpu_quota(machine(tmp_path, groups, V1.format(of="/"), **named)) == quota


@pytest.mark.parametrize(
    ("group", "of"),
    [
        ("/", "/"),  # a namespace of its own
        ("/docker/0123", "/docker/0123"),  # only its own group is mounted
        ("/docker/0123", "/kubepods/4567"),  # another one is, which does not tell where this process is
        ("/../../elsewhere", "/"),  # beyond what can be seen
    ],
)
def test_in_a_container_what_is_mounted_counts(tmp_path: Path, group: str, of: str) -> None:
    root = machine(tmp_path, f"0::{group}\n", V2.format(of=of), **{"cpu.max": "100000 100000"})
    assert cpu_quota(root) == 1.0


def test_the_smaller_of_both_versions_counts(tmp_path: Path) -> None:
    limits = {"b/cpu.max": "300000 100000", "cpu,cpuacct/b/cpu.cfs_quota_us": "200000"}
    limits["cpu,cpuacct/b/cpu.cfs_period_us"] = "100000"
    groups = "3:cpu,cpuacct:/b\n0::/b\n"
    assert cpu_quota(machine(tmp_path, groups, V1.format(of="/") + V2.format(of="/"), **limits)) == 2.0


@pytest.mark.parametrize(("quota", "most"), [("10000", 1), ("100000", 1), ("110000", 2), ("6400000", 64), ("max", 64)])
def test_a_share_counts_as_a_whole_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, most: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    root = machine(tmp_path, "0::/\n", V2.format(of="/"), **{"cpu.max": f"{quota} 100000"})
    assert processors(root) == most
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    assert processors(root) == 1


def test_a_machine_that_says_nothing_has_its_cores(tmp_path: Path) -> None:
    assert processors(tmp_path) == len(os.sched_getaffinity(0))
    assert processors() >= 1
