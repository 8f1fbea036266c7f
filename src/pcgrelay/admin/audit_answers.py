"""Answers about the audit log. Other tools read this JSON: fields are only added."""

from __future__ import annotations

from msgspec import Struct

AUDIT_QUERIED_PATH = "/v1/audit/queried"
AUDIT_EXPORTED_PATH = "/v1/audit/exported"
AUDIT_RESTART_PATH = "/v1/audit/restart"


class QueriedAnswer(Struct, frozen=True, kw_only=True):
    """Whether a query or an export of the audit log is on record."""

    id: str = ""  # in the record
    is_kept: bool = False  # the record is on the disk
    reason: str = ""  # why there is none


class AuditRestartAnswer(Struct, frozen=True, kw_only=True):
    """Whether a new log was begun."""

    ok: bool
    reason: str = ""
    exit_code: int = 0
