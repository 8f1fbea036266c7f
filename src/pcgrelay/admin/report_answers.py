"""The answer about a report. Other tools read this JSON: fields are only added."""

from __future__ import annotations

from msgspec import Struct

from pcgrelay.cutover.report_facts import ReportFacts

REPORT_PATH = "/v1/cutover/report"


class ReportAnswer(Struct, frozen=True, kw_only=True):
    """The answer to GET /v1/cutover/report?service=S: what a report is made from."""

    service: str
    facts: ReportFacts | None = None
    reason: str = ""  # why there are none
    exit_code: int = 0
