"""Answers about drills. Other tools read this JSON: fields are only added. Wall times are UTC."""

from __future__ import annotations

from msgspec import Struct

from pcgrelay.drills.record import DrillRecord

DRILL_PATH = "/v1/drill"


class DrillAnswer(Struct, frozen=True, kw_only=True):
    """The answer to POST /v1/drill, and to GET of one drill or of what one would touch."""

    sentence: str = ""  # what it touches
    losses: tuple[str, ...] = ()  # what might be lost, or speaks against it: only with even_so=1
    record: DrillRecord | None = None
    reason: str = ""  # why it was refused
    exit_code: int = 0


class DrillDue(Struct, frozen=True, kw_only=True):
    """A drill that is due again and again."""

    kind: str
    subject: str
    overdue: bool
    due: str = ""  # when; "": it was never held
    last: str = ""  # the latest drill, whatever became of it
    auto: bool = False
    sentence: str = ""  # what is wrong, if it is overdue


class DrillList(Struct, frozen=True, kw_only=True):
    """The answer to GET /v1/drill."""

    running: DrillRecord | None = None
    records: tuple[DrillRecord, ...] = ()  # that are over, oldest first
    dues: tuple[DrillDue, ...] = ()
