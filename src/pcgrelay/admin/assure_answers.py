"""Answers of a node to those who gather evidence about it. Other tools read this JSON: fields are only added."""

from __future__ import annotations

from msgspec import Struct

SELFTEST_PATH = "/v1/selftest"
SEALED_PATH = "/v1/assure/sealed"


class SelfTestAnswer(Struct, frozen=True, kw_only=True):
    """The answer to GET /v1/selftest: known-answer tests in this process, by algorithm."""

    frames: dict[str, bool]  # of the library that seals and opens frames
    sessions: dict[str, bool]  # of the library that makes handshakes


class SealedAnswer(Struct, frozen=True, kw_only=True):
    """The answer to POST /v1/assure/sealed?sha256=...&profile=..."""

    kept: bool = False  # the audit log has the record on the disk
    reason: str = ""  # why there is no record
    exit_code: int = 0
