"""This machine: room on the disks that a node writes to, who may change its files, and the node if it runs."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pcgrelay.admin.client import read_status
from pcgrelay.admin.condition import Condition, condition_of, troubles
from pcgrelay.admin.waiting import waiting_words
from pcgrelay.check import answers
from pcgrelay.config import Config
from pcgrelay.doctor.findings import doubtful, good
from pcgrelay.doctor.udp_lanes import udp_lane_findings
from pcgrelay.errors import PcgrelayError
from pcgrelay.finding import ERROR, WARNING, Finding
from pcgrelay.output import percent, size

# The journal, if it is kept on disk; standard error of a unit goes there.
JOURNAL_FOLDERS = (Path("/var/log/journal"), Path("/run/log/journal"))
FREE_LEAST_BYTES = 64 << 20
FREE_LEAST_SHARE = 0.02

# adjtimex(2): struct timex is 208 bytes; its first member, modes = 0, only reads. The status is behind four longs and
# modes, filled up to a long. STA_UNSYNC (linux/timex.h) is set until a program keeps the clock, and after it stopped.
_TIMEX_BYTES, _TIMEX_STATUS, _STA_UNSYNC = 208, 5 * ctypes.sizeof(ctypes.c_long), 0x40


def examine_machine(config: Config) -> Iterator[Finding]:
    """Examine what needs no network and is no matter of `check`."""
    yield from _disks(config)
    yield from _clock()
    yield from _files(config)
    yield from _node(config)


def _disks(config: Config) -> Iterator[Finding]:
    journal = next((folder for folder in JOURNAL_FOLDERS if folder.is_dir()), None)
    for where, folder in (("node.state", config.node.state), ("log", journal)):
        if folder is not None and folder.is_dir():
            yield _disk(where, folder)


def _disk(where: str, folder: Path) -> Finding:
    figures = os.statvfs(folder)
    free, whole = figures.f_bavail * figures.f_frsize, figures.f_blocks * figures.f_frsize
    share = free / whole if whole else 1.0
    if free < FREE_LEAST_BYTES or share < FREE_LEAST_SHARE:
        sentence = f"The disk of {folder} has only {size(free)} left ({percent(share)})."
        return doubtful(where, sentence, "Make room there; a log that cannot be written is lost.")
    if figures.f_files and not figures.f_favail:
        return doubtful(where, f"The disk of {folder} has no inode left.", "Remove small files there.")
    return good(where, f"The disk of {folder} has {size(free)} left.")


def _clock() -> Iterator[Finding]:
    is_synchronised = clock_is_synchronised()
    if is_synchronised:
        yield good("clock", "The clock of this machine is synchronised.")
    elif is_synchronised is not None:
        sentence = "Nothing synchronises the clock of this machine; certificates and lists are judged by it."
        yield doubtful("clock", sentence, "Run chrony or systemd-timesyncd, and see: timedatectl")


def clock_is_synchronised() -> bool | None:
    """Return whether the kernel knows of a program that keeps the clock; None if it does not say (a sandbox)."""
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    if ctypes.CDLL(None).adjtimex(timex) < 0:
        return None
    status = ctypes.c_int.from_buffer(timex, _TIMEX_STATUS).value
    return not status & _STA_UNSYNC


def _files(config: Config) -> Iterator[Finding]:
    """Whoever may write these files decides whom the node trusts."""
    files = [("configuration", config.path), ("identity.trust", config.identity.trust)]
    if config.identity.crl is not None:
        files.append(("identity.crl", config.identity.crl))
    if config.approvals is not None:
        files.append(("approvals.signers", config.approvals.signers))
    for where, path in files:
        try:
            mode = path.stat().st_mode
        except OSError:
            continue  # `check` says what is wrong with it
        if mode & stat.S_IWOTH:
            yield doubtful(where, f"Everybody on this machine may write {path}.", f"Run: chmod o-w {path}")


def _node(config: Config) -> Iterator[Finding]:
    """What a running node says of itself."""
    if not answers(config.node.admin):
        yield good("node", "No node runs with this file now.")
        return
    try:
        status = read_status(config.node.admin)
    except PcgrelayError as error:
        yield doubtful("node", f"A node runs, and does not say how it is: {error}", "See the log of the node.")
        return
    found = troubles(status)
    condition = condition_of(status, found)
    for trouble in found:
        level = ERROR if trouble.is_grave else WARNING
        yield Finding(level=level, where="node", sentence=trouble.sentence, passing=trouble.is_grave)
    yield from udp_lane_findings(config, status)
    for each in status.approvals.waiting:
        yield good("approvals", f"A text waits: {waiting_words(each)}.")
    if not found:
        words = "is running and ready" if condition is Condition.READY else f"is running and {condition.value}"
        yield good("node", f"The node {words}.")
