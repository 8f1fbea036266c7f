"""Records of the audit log as files, the newest first. No running node is needed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from pcgrelay.assure.judgement import NotHereError
from pcgrelay.assure.scene import Scene
from pcgrelay.audit.segments import read_lines, segments_of

FOLDER = "audit"  # below [node] state
AUDIT_EVENT = '"event":"{}"'


def log_folder(scene: Scene) -> Path:
    """Return the folder of the node's audit log. NotHereError: it keeps none."""
    state = scene.config.node.state
    if state is None or scene.config.audit is None:
        raise NotHereError("this node keeps no audit log ([audit])")
    return state / FOLDER


def newest_records(folder: Path, events: Collection[str], most: int) -> list[dict[str, Any]]:
    """Return the last `most` records of these kinds, the newest first. PcgrelayError: a segment cannot be read."""
    found: list[dict[str, Any]] = []
    for segment in reversed(segments_of(folder)):
        marks = [AUDIT_EVENT.format(event).encode() for event in events]
        # One segment at a time, and of it the last ones: it is read forwards.
        mine = list(_matching((line.data for line in read_lines(segment) if not line.is_torn), marks))[-most:]
        found += [record for record in reversed(mine) if record.get("event") in events]
        if len(found) >= most:
            break
    return found[:most]


def begins_at(folder: Path) -> str:
    """Return when the oldest record that is kept was written, UTC; "": there is none."""
    for segment in segments_of(folder):
        for line in read_lines(segment):
            for record in _matching([line.data], [b""]):
                return str(record.get("ts", ""))
    return ""


def records_after(folder: Path, number: int) -> list[dict[str, Any]]:
    """Return the records of the last segment from that number on."""
    segments = segments_of(folder)[-2:]
    lines = (line for segment in segments for line in read_lines(segment) if not line.is_torn)
    return [record for line in lines if line.number >= number for record in _matching([line.data], [b""])]


def next_number(folder: Path) -> int:
    """Return the number that the next record gets."""
    segments = segments_of(folder)
    if not segments:
        return 0
    number = segments[-1].first
    for line in read_lines(segments[-1]):
        number = line.number + (not line.is_torn)
    return number


def _matching(lines: Collection[bytes] | Iterator[bytes], marks: Collection[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if any(mark in line for mark in marks):
            try:
                yield msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # what is no record is M4's business
