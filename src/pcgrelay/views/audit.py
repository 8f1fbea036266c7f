"""How the audit log stands, for status and metrics."""

from __future__ import annotations

from pcgrelay.admin.status import AuditStatus
from pcgrelay.gateway.node import Node


def audit_status(node: Node) -> AuditStatus | None:
    """Return how the audit log stands; nothing: there is none."""
    figures = node.audit.figures
    if figures is None:
        return None
    return AuditStatus(
        records=figures.size,
        signed=figures.signed,
        signed_timestamp_s=figures.signed_at_s,
        lost_total=figures.lost,
        queue=figures.queue,
        failing=figures.failing,
        refusing=figures.refusing,
    )
