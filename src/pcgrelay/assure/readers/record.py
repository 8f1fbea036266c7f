"""M1, M4, M5: the clock, and the audit log as it lies on the disk."""

from __future__ import annotations

import asyncio
import ctypes
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pcgrelay.assure.judgement import NotHereError
from pcgrelay.assure.readers.records import log_folder, newest_records
from pcgrelay.assure.record_facts import ClockFacts, Kept, LogVerified, WitnessFact
from pcgrelay.assure.scene import Scene
from pcgrelay.audit.report import Report
from pcgrelay.audit.segments import segments_of
from pcgrelay.audit.trust import keys_of_trust
from pcgrelay.audit.verify import verify_log
from pcgrelay.errors import RunError
from pcgrelay.files import reason_of
from pcgrelay.identity.credentials import load_certificates

DAY_S = 86_400
CLOCK_STATE = "clock.state"
STA_UNSYNC = 0x0040  # linux/timex.h
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


# -- the clock (M1) --------------------------------------------------------------------------------------------------


class _Timex(ctypes.Structure):
    """The beginning of struct timex of adjtimex(2), and room for the rest."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),  # in microseconds
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    ]


async def read_clock(scene: Scene) -> ClockFacts:
    """M1."""
    status = await asyncio.to_thread(scene.status)
    synchronised, error_ms = kernel_clock()
    try:
        found = await asyncio.to_thread(newest_records, log_folder(scene), (CLOCK_STATE,), 1)
    except NotHereError:
        found = []
    recorded = _moment(str(found[0].get("ts", ""))) if found else None
    return ClockFacts(
        synchronised=synchronised,
        error_ms=error_ms,
        recorded_s=None if recorded is None else (scene.clock.wall() - recorded).total_seconds(),
        peers=len(status.clocks),
        skewed=tuple(each.peer for each in status.clocks if each.large),
    )


def kernel_clock() -> tuple[bool, float]:
    """Return whether the kernel's clock is synchronised, and the most that it may be wrong, in milliseconds.

    RunError: this process may not ask.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    found = _Timex()
    if libc.adjtimex(ctypes.byref(found)) < 0:
        reason = reason_of(OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno())))
        raise RunError(f"The kernel does not say how its clock is kept ({reason}).")
    return not found.status & STA_UNSYNC, found.maxerror / 1000


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


# -- the log (M4, M5) ------------------------------------------------------------------------------------------------


async def read_log(scene: Scene) -> LogVerified:
    """M4: the whole log is examined, by the keys that the realm's CA vouches for."""
    folder = log_folder(scene)
    keys = keys_of_trust(load_certificates(scene.config.identity.trust, "trusted certificate"))
    report = await asyncio.to_thread(verify_log, folder, keys)
    return log_fact(report, scene.clock.wall())


def log_fact(report: Report, now: datetime) -> LogVerified:
    """Return what is judged of a report."""
    problem = report.problems[0].sentence if report.problems else ""
    signed = _moment(report.signed_at)
    return LogVerified(
        verdict=report.verdict,
        problem=problem.rstrip("."),
        records=report.records,
        unsigned=report.unsigned,
        checkpoint_age_s=None if signed is None else (now - signed).total_seconds(),
        witnesses=tuple(
            WitnessFact(name=each.name, age_s=(now - moment).total_seconds())
            for each in report.witnesses
            if (moment := _moment(each.ts)) is not None
        ),
        lost=sum(each.count for each in report.holes),
    )


async def read_kept(scene: Scene) -> Kept:
    """M5."""
    return await asyncio.to_thread(_kept, scene)


def _kept(scene: Scene) -> Kept:
    folder = log_folder(scene)
    audit = scene.config.audit
    segments = segments_of(folder)
    oldest = _first_time(segments[0].path) if segments else None
    return Kept(
        keep_days=audit.keep_days if audit else 0,
        oldest_days=None if oldest is None else (scene.clock.wall() - oldest).total_seconds() / DAY_S,
        pruned=bool(segments) and segments[0].first > 0,
        writable=tuple(_writable(folder)),
    )


def _first_time(path: Path) -> datetime | None:
    """Return the time of the first record of a segment."""
    with open(path, "rb") as source:
        head = source.readline(65_536)
    marker = b'"ts":"'
    at = head.find(marker)
    return None if at < 0 else _moment(head[at + len(marker) :].partition(b'"')[0].decode("ascii", "replace"))


def _writable(folder: Path) -> Iterator[str]:
    """Yield what others may write: the log's folders, segments, checkpoints and keys, by names below the folder."""
    for path in (folder, *sorted(folder.rglob("*"))):
        if "tile" in path.relative_to(folder).parts[:1]:
            continue  # these are made again from the records
        if not path.is_symlink() and path.lstat().st_mode & OTHERS_WRITE:
            yield str(path.relative_to(folder.parent))
