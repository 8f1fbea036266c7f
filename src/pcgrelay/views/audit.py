"""How the audit log stands, for status and metrics."""

from __future__ import annotations

from pcgrelay.admin.status import AuditStatus, WitnessStatus
from pcgrelay.gateway.node import Node


def audit_status(node: Node) -> AuditStatus | None:
    """Return how the audit log stands; nothing: there is none."""
    figures = node.audit.figures
    if figures is None:
        return None
    linked = {link.peer for link in node.link_table.links.values()}
    return AuditStatus(
        records=figures.size,
        signed=figures.signed,
        signed_timestamp_s=figures.signed_at_s,
        lost_total=figures.lost,
        queue=figures.queue,
        failing=figures.failing,
        refusing=figures.refusing,
        witnesses=tuple(
            WitnessStatus(
                peer=peer.dotted, size=asked.cosigned_size, timestamp_s=asked.cosigned_s, linked=peer in linked
            )
            for peer, asked in sorted(node.witnesses.asked.items())
        ),
        stale=node.witnesses.is_stale,
        conflicts=tuple(sorted(node.witnesses.conflicts)),
    )
