"""The record of a drill as lines (pure)."""

from __future__ import annotations

from pcgrelay.drills.record import BACKUP, LOSSES, RESTORE, RUNNING, DrillRecord, title
from pcgrelay.output import count, milliseconds, percent_exact

WIDTH = 24


def record_lines(record: DrillRecord) -> list[str]:
    """What came of a drill."""
    lines = []
    if record.kind in LOSSES:
        lines = _loss(record)
    elif record.kind == BACKUP:
        lines = _backup(record)
    elif record.kind == RESTORE:
        lines = [_line(file.name, file.outcome) for file in record.files]
    verdict = "It runs." if record.result == RUNNING else f"{record.result.capitalize()}: {record.sentence}."
    return [*lines, verdict]


def head(record: DrillRecord) -> str:
    """Which drill it is, and who wanted it."""
    who = "the node itself" if record.auto else record.by or (f"uid {record.uid}" if record.uid is not None else "")
    words = [f"{title(record.kind, record.subject)}, {record.begun}", f"by {who}" if who else "", record.reason]
    words.append("although something might be lost" if record.even_so else "")
    return ", ".join(filter(None, words))


def _loss(record: DrillRecord) -> list[str]:
    lines = [
        _line("links, lanes", f"{count(record.links)}, {count(record.lanes)}"),
        _line("streams that went on", f"{count(record.streams_kept)} of {count(record.streams)}"),
    ]
    if record.pause_longest_ms is not None:
        middle = "" if record.pause_median_ms is None else f" (median {milliseconds(record.pause_median_ms)})"
        sessions = sum(1 for session in record.sessions if session.pause_ms is not None)
        noun = "session" if sessions == 1 else "sessions"
        pause = f"{milliseconds(float(record.pause_longest_ms))}{middle} of {count(sessions)} {noun}"
        lines.append(_line("longest pause", pause))
    asked = record.new_streams + record.new_refused
    lines.append(_line("new streams meanwhile", f"{count(record.new_streams)} of {count(asked)}"))
    if record.back_ms is not None:
        lines.append(_line("links up again", f"{record.back_ms / 1000:.1f} s after they were let in again"))
    return lines


def _backup(record: DrillRecord) -> list[str]:
    lines = []
    for outlet in record.outlets:
        tried = outlet.setups + outlet.failed
        words = [f"{count(outlet.setups)} of {count(tried)} set up"]
        if outlet.moved:
            words.append(f"{count(outlet.moved)} led on")
        if outlet.setup_median_ms is not None:
            most = f", 95 of 100 within {milliseconds(outlet.setup_p95_ms)}" if outlet.setup_p95_ms else ""
            words.append(f"in {milliseconds(outlet.setup_median_ms)}{most}")
        shadows = outlet.shadows + outlet.shadows_failed
        if shadows:
            words.append(f"{count(outlet.shadows)} of {count(shadows)} of its own")
        lines.append(_line(f"{outlet.name} ({outlet.role})", ", ".join(words)))
    if record.usual_median_ms is not None:
        lines.append(_line("set-up time before", milliseconds(record.usual_median_ms)))
    lines.append(_line("share, odds", f"{percent_exact(record.share)}, {record.odds:,.1f} to 1 (stops at 1,000)"))
    return lines


def _line(name: str, words: str) -> str:
    return f"  {name.ljust(WIDTH)}{words}"
