"""The number of processors that this process may use: its CPU affinity, limited by the quota of its control groups.

A container with half a core on a machine of sixty-four would otherwise get a thread for each, and be stopped for most
of each tenth of a second, because all of them use up the one quota.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_OCTAL = re.compile(r"\\([0-7]{3})")
_UNLIMITED = math.inf


def processors(root: Path = Path("/")) -> int:
    """Return the number of usable processors, at least one; a fraction of a processor counts as a whole one."""
    return max(1, min(len(os.sched_getaffinity(0)), math.ceil(min(cpu_quota(root), 1 << 16))))


def cpu_quota(root: Path) -> float:
    """Return the CPU quota of this process's control groups (version 1 or 2), in processors; infinity if unlimited."""
    return min((_limit(folder) for folder in _folders(root)), default=_UNLIMITED)


def _folders(root: Path) -> Iterator[Path]:
    """Yield the folders of this process's CPU control group, and of its visible ancestors."""
    groups = _groups(_text(root / "proc/self/cgroup"))
    for line in _text(root / "proc/self/mountinfo").splitlines():
        # 36 35 98:0 /of /mounted rw,noatime shared:1 - cgroup2 cgroup rw
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        group = groups.get("" if kind[0] == "cgroup2" else "cpu")
        if group is None or (kind[0] == "cgroup" and "cpu" not in kind[2].split(",")):
            continue
        mounted = root / _plain(fields[4]).lstrip("/")
        folder = mounted
        # The mount may itself be a group, as in a container, and need not be an ancestor of this process's group.
        with suppress(ValueError):
            folder = mounted / Path(group).relative_to(_plain(fields[3]))
        if ".." in folder.parts:
            folder = mounted
        yield folder
        yield from (above for above in folder.parents if above.is_relative_to(mounted))


def _groups(text: str) -> dict[str, str]:
    """Return this process's group by controller; that of version 2 has an empty name."""
    found = {}
    for line in text.splitlines():
        controllers, _, group = line.partition(":")[2].partition(":")
        found.update(dict.fromkeys(controllers.split(","), group))
    return found


def _limit(folder: Path) -> float:
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = (_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    # "max" and -1 mean no limit, and so does what cannot be read.
    if quota.isascii() and quota.isdigit() and period.isascii() and period.isdigit() and int(period):
        return int(quota) / int(period)
    return _UNLIMITED


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
