"""What is done with a log is put on record by its node, before anything is shown or written."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from pcgrelay import config
from pcgrelay.admin.audit_answers import QueriedAnswer
from pcgrelay.admin.client import ask
from pcgrelay.audit.segments import SegmentGone, read_lines, segments_of
from pcgrelay.errors import PcgrelayError, UsageProblem
from pcgrelay.output import count

TELL_S = 10.0
FIND_S = 5.0
FIND_INTERVAL_S = 0.1
TEXT_MOST = 320


class OnRecord(Struct, frozen=True):
    """Whether it is on record."""

    sentence: str
    number: int | None = None


def check_texts(*texts: str) -> None:
    """UsageProblem: a text is too long to be put on record."""
    if any(len(text) > TEXT_MOST for text in texts):
        raise UsageProblem(f"A name or a reason has at most {TEXT_MOST} characters.")


def put_on_record(noun: str, admin: str, said: Mapping[str, str], path: Path | None, place: Path) -> OnRecord:
    """Have the node of a configuration put on record what is about to be done.

    noun: query, export or proof. admin: the path at the admin socket. place: the folder of the log that is read.
    """
    if path is None:
        return OnRecord(f"This {noun} is not on record: no node was named (-c).")
    try:
        answer = ask(config.admin_path(path), "POST", f"{admin}?{urlencode(said)}", QueriedAnswer, TELL_S, body=b"")
    except PcgrelayError as error:
        return OnRecord(f"This {noun} is not on record: {error}")
    if not answer.is_kept:
        return OnRecord(f"This {noun} is not on record: {answer.reason}")
    number = _number_of(place, answer.id)
    if number is None:
        return OnRecord(f"This {noun} is on record at the node, and not in the log that was read.")
    return OnRecord(f"This {noun} is record {count(number)}.", number)


class _Told(Struct, frozen=True):
    n: int
    id: str = ""


def _number_of(place: Path, identity: str) -> int | None:
    """The number of the record with that id, which is among the last of the log."""
    until = time.monotonic() + FIND_S
    while True:
        with suppress(SegmentGone):
            for segment in reversed(segments_of(place)[-2:]):
                for line in read_lines(segment):
                    if identity.encode() in line.data and not line.is_torn:
                        return msgspec.json.decode(line.data, type=_Told).n
        if time.monotonic() > until:
            return None
        time.sleep(FIND_INTERVAL_S)
