"""The families of the audit log: how much of it there is, is signed, was lost, and who has witnessed it."""

from __future__ import annotations

from pcgrelay.admin.families import Families
from pcgrelay.admin.status import Status


def audit_families(families: Families, status: Status) -> None:
    """Add all families of the audit log, if there is one."""
    audit = status.audit
    if audit is None:
        return
    family = families.family
    family("audit_records_total", "counter", "Records of the audit log since it began.", [({}, audit.records)])
    family("audit_lost_total", "counter", "Records that the audit log could not keep.", [({}, audit.lost_total)])
    family("audit_size", "gauge", "Records that are signed.", [({}, audit.signed)])
    family(
        "audit_checkpoint_timestamp_seconds",
        "gauge",
        "When the audit log was last signed; 0: not by this process.",
        [({}, audit.signed_timestamp_s)],
    )
    family("audit_queue", "gauge", "Records that wait to be written.", [({}, audit.queue)])
    family(
        "audit_failing",
        "gauge",
        "Whether the audit log cannot be written, or is not signed.",
        [({}, bool(audit.failing or audit.refusing))],
    )
    family(
        "audit_witness_timestamp_seconds",
        "gauge",
        "When a neighbour last witnessed the audit log; 0: never.",
        [({"witness": each.peer}, each.timestamp_s) for each in audit.witnesses],
    )
    family(
        "audit_witness_conflicts",
        "gauge",
        "Logs of neighbours, or this one, that were proved to have two histories.",
        [({}, len(audit.conflicts))],
    )
