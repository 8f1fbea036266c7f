"""Answers about the audit log. Other tools read this JSON: fields are only added."""

from __future__ import annotations

from msgspec import Struct

AUDIT_QUERIED_PATH = "/v1/audit/queried"


class QueriedAnswer(Struct, frozen=True, kw_only=True):
    """Whether a query of the audit log is on record."""

    id: str = ""  # in the record
    is_kept: bool = False  # the record is on the disk
    reason: str = ""  # why there is none
