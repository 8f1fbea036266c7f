"""How the audit log stands, in one line for people (pure)."""

from __future__ import annotations

from pcgrelay.admin.status import AuditStatus
from pcgrelay.quantities import duration

WITNESSES_SHOWN = 3


def audit_line(audit: AuditStatus, now_s: float) -> str:
    """How much of it there is, is signed and witnessed, and since when. now_s: seconds since 1970."""
    parts = [f"{audit.records:,} record{'' if audit.records == 1 else 's'}", _signed(audit, now_s)]
    parts.append(_witnessed(audit, now_s))
    if audit.lost_total:
        parts.append(f"{audit.lost_total:,} lost since the start")
    if audit.queue:
        parts.append(f"{audit.queue:,} not written yet")
    return "; ".join(parts)


def _signed(audit: AuditStatus, now_s: float) -> str:
    if audit.refusing:
        return "not signed any more"
    if not audit.signed:
        return "none signed yet"
    when = _ago(audit.signed_timestamp_s, now_s) if audit.signed_timestamp_s else "by the process before"
    return f"{audit.signed:,} signed {when}"


def _witnessed(audit: AuditStatus, now_s: float) -> str:
    seen = sorted((each for each in audit.witnesses if each.size), key=lambda each: -each.timestamp_s)
    if not seen:
        return "witnessed by nobody yet"
    words = ", ".join(f"{each.peer} {_ago(each.timestamp_s, now_s)}" for each in seen[:WITNESSES_SHOWN])
    more = len(seen) - WITNESSES_SHOWN
    return f"witnessed by {words}" + (f" and {more} more" if more > 0 else "")


def _ago(timestamp_s: float, now_s: float) -> str:
    return f"{duration(max(0.0, now_s - timestamp_s))} ago"
