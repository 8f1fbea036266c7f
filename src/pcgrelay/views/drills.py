"""Drills, as status and `pcgrelay drill` show them."""

from __future__ import annotations

from datetime import datetime

from pcgrelay.admin.drill_answers import DrillDue, DrillList
from pcgrelay.admin.status import DrillDueStatus, DrillLastStatus, DrillsStatus
from pcgrelay.drills.due import Due, moment_text
from pcgrelay.drills.record import moment, title
from pcgrelay.gateway.drills import Drills


def drill_list(drills: Drills, now: datetime) -> DrillList:
    """Return the drills that were held, the one that runs, and those that are due again and again."""
    return DrillList(
        running=drills.running,
        records=tuple(drills.records),
        dues=tuple(_due(due, now) for due in drills.dues()),
    )


def drills_status(drills: Drills, now: datetime) -> DrillsStatus:
    """Return what the status says of drills."""
    last = {(each.kind, each.subject, each.result): each for each in drills.records if each.is_over}
    running = drills.running
    return DrillsStatus(
        running="" if running is None else f"{title(running.kind, running.subject)}, since {running.begun}",
        dues=tuple(
            DrillDueStatus(
                kind=due.kind,
                subject=due.subject,
                due_s=0.0 if due.at is None else due.at.timestamp(),
                overdue=due.is_overdue(now),
                sentence=due.sentence() if due.is_overdue(now) else "",
            )
            for due in drills.dues()
        ),
        last=tuple(
            DrillLastStatus(kind=kind, subject=subject, result=result, timestamp_s=moment(each.ended).timestamp())
            for (kind, subject, result), each in last.items()
        ),
        reason=drills.reason,
    )


def _due(due: Due, now: datetime) -> DrillDue:
    is_overdue = due.is_overdue(now)
    return DrillDue(
        kind=due.kind,
        subject=due.subject,
        overdue=is_overdue,
        due="" if due.at is None else moment_text(due.at),
        last="" if due.last is None else due.last.id,
        auto=due.settings.auto,
        sentence=due.sentence() if is_overdue else "",
    )
