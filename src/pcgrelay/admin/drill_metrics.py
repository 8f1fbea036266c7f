"""The families of drills: when one last ended, and when one is due."""

from __future__ import annotations

from pcgrelay.admin.families import Families
from pcgrelay.admin.status import Status


def drill_families(families: Families, status: Status) -> None:
    """Add all families of drills."""
    drills = status.drills
    families.family("drill_running", "gauge", "Whether a drill is under way.", [({}, bool(drills.running))])
    families.family(
        "drill_last_timestamp_seconds",
        "gauge",
        "When a drill last ended so.",
        [
            ({"kind": each.kind, "subject": each.subject, "result": each.result}, each.timestamp_s)
            for each in drills.last
        ],
    )
    families.family(
        "drill_due_timestamp_seconds",
        "gauge",
        "When a drill is due; 0: it was never held.",
        [({"kind": each.kind, "subject": each.subject}, each.due_s) for each in drills.dues],
    )
