"""When drills are due again (pure).

Only one that passed counts. One that was never held is overdue from the first day on: nobody knows whether it would
pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from pcgrelay.config import EVERY, DrillSettings
from pcgrelay.cutover.windows import Calendar, find_zone, window_text
from pcgrelay.drills.record import BACKUP, LOSSES, PASSED, RESTORE, DrillRecord, moment, title


class Due(Struct, frozen=True, kw_only=True):
    """One drill that is due again and again."""

    kind: str
    subject: str
    settings: DrillSettings
    last: DrillRecord | None = None  # the latest, whatever became of it
    passed: datetime | None = None  # when the latest one that passed ended

    @property
    def at(self) -> datetime | None:
        """When it is due; nothing: it was never held, and is due now."""
        return None if self.passed is None else self.passed + timedelta(seconds=self.settings.every_s)

    def is_overdue(self, now: datetime) -> bool:
        """Whether it should have been held."""
        return self.at is None or now >= self.at

    def sentence(self) -> str:
        """What is wrong with one that is overdue."""
        what = f"The drill {title(self.kind, self.subject)}"
        if self.last is None:
            return f"{what} was never held."
        if self.last.result != PASSED:
            return f"{what} is overdue, and the last one, {self.last.id}, {self.last.result}: {self.last.sentence}"
        return f"{what} is overdue since {self.at:%Y-%m-%d %H:%M} UTC." if self.at else f"{what} is overdue."


def dues(
    drills: Iterable[DrillSettings], subjects: Mapping[str, Sequence[str]], records: Iterable[DrillRecord]
) -> list[Due]:
    """All drills that are due again and again. subjects: those that there are, by kind; records: oldest first.

    A table that names its subject wins over one for each.
    """
    wanted: dict[tuple[str, str], DrillSettings] = {}
    for drill in sorted(drills, key=lambda drill: drill.subject != EVERY):
        names = subjects.get(drill.kind, ()) if drill.subject == EVERY else (drill.subject,)
        wanted.update({(drill.kind, name): drill for name in names})
    last: dict[tuple[str, str], DrillRecord] = {}
    passed: dict[tuple[str, str], datetime] = {}
    for record in records:
        if record.is_over:
            last[record.kind, record.subject] = record
        if record.result == PASSED:
            passed[record.kind, record.subject] = moment(record.ended)
    return [
        Due(kind=key[0], subject=key[1], settings=drill, last=last.get(key), passed=passed.get(key))
        for key, drill in sorted(wanted.items(), key=lambda item: item[0])
    ]


def settings_of(drills: Iterable[DrillSettings], kind: str, subject: str) -> DrillSettings | None:
    """The table that a drill is under; nothing: no one."""
    found = [drill for drill in drills if drill.kind == kind and drill.subject in (subject, EVERY)]
    return min(found, key=lambda drill: drill.subject == EVERY, default=None)


def window_problem(calendar: Calendar, now: datetime) -> str:
    """Why a drill may not begin now; nothing if it may."""
    if calendar.is_open(now):
        return ""
    opens = calendar.next_open(now)
    when = f", and opens {opens:%Y-%m-%d %H:%M} UTC" if opens is not None else ""
    return f"its window is {window_text(calendar.windows)} {calendar.zone}{when}"


def begins_now(due: Due, now: datetime) -> bool:
    """Whether the node begins a drill by itself now: in the last window before it is overdue."""
    settings = due.settings
    if not settings.auto or not settings.calendar.is_open(now):
        return False
    if due.at is None:
        return True
    # One that did not pass is not tried again and again in the same window.
    local = now.astimezone(find_zone(settings.calendar.zone))
    tomorrow = (local + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    following = settings.calendar.next_open(tomorrow.astimezone(UTC))
    return following is None or due.at < following


def was_tried_today(due: Due, now: datetime) -> bool:
    """Whether it was held on this day already, whatever became of it."""
    return due.last is not None and due.last.begun[:10] == now.astimezone(UTC).strftime("%Y-%m-%d")


def moment_text(wall: datetime) -> str:
    """A wall time as records have it."""
    return wall.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_known(kind: str) -> bool:
    """Whether a node holds drills of this kind itself."""
    return kind in (BACKUP, *LOSSES)


def restorable(kind: str) -> bool:
    """Whether a command holds it, and the node only keeps its record."""
    return kind == RESTORE
