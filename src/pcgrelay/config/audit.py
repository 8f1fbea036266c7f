"""The rules of [audit]: the log that shows whether anybody has changed it."""

from __future__ import annotations

from pcgrelay.config import schema
from pcgrelay.config.settings import AuditSettings, NodeSettings
from pcgrelay.config.source import Source


def audit(source: Source, table: schema.AuditTable | None, node: NodeSettings) -> AuditSettings | None:
    """Return what is kept of the audit log; nothing: there is none."""
    if table is None:
        return None
    if node.state is None:
        problem = "the audit log is kept in the folder of state, which [node] does not name"
        raise source.refusal(("audit",), f'{problem}; add there: state = "/var/lib/pcgrelay/{node.id.name}"')
    return AuditSettings(keep_days=table.keep_days, kept_streams=table.streams)
