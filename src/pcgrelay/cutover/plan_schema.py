"""A plan as it is written: one Struct for each table, with the names that people type, and a right line for each."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import Annotated

from msgspec import Meta, Struct, field
from msgspec.structs import fields


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of a plan."""


class CutoverTable(Table, frozen=True, kw_only=True):
    service: str
    from_: str = field(name="from")
    to: str = "gateway"
    back: tuple[str, ...]
    steps: tuple[float, ...] = (1, 5, 25, 50, 100)
    soak: str = "30m"
    deadline: date
    advance: str = ""
    zone: str = "UTC"
    freeze: tuple[str, ...] = ()
    change: str = ""
    owner: str = ""


class GateTable(Table, frozen=True, kw_only=True):
    streams: Annotated[int, Meta(ge=0, le=100_000)] = 30
    failures: str = "1 %"
    setup: str = "10 % or 5 ms"
    answer: str = "10 % or 5 ms"
    rate: str = "10 %"


class ShadowTable(Table, frozen=True, kw_only=True):
    pace: str = "6 / min"
    send: str = ""
    expect: str = ""


class QuietTable(Table, frozen=True, kw_only=True):
    days: Annotated[int, Meta(ge=1, le=399)] = 35  # of the 400 day records one is today's


class ReportTable(Table, frozen=True, kw_only=True):
    title: str = ""
    part1: str = "OFFICIAL - PUBLIC"
    part2: str = "OFFICIAL-SENSITIVE"
    exempt: tuple[str, ...] = ()
    defer_until: str = ""
    defer_reason: str = ""
    advice: tuple[str, ...] = ()


class PlanTable(Table, frozen=True, kw_only=True):
    """The whole file."""

    cutover: CutoverTable
    gate: GateTable = GateTable()
    shadow: ShadowTable = ShadowTable()
    quiet: QuietTable = QuietTable()
    report: ReportTable = ReportTable()


TABLES: dict[str, type[Table]] = {
    "cutover": CutoverTable,
    "gate": GateTable,
    "shadow": ShadowTable,
    "quiet": QuietTable,
    "report": ReportTable,
}


@lru_cache
def known_keys(table: str) -> tuple[str, ...]:
    """The keys of a table, as they are written."""
    return tuple(field.encode_name for field in fields(TABLES[table]))


EXAMPLES = {
    "cutover": "[cutover]",
    "cutover.service": 'service = "custody@kent.police.example"',
    "cutover.from": 'from = "cjx"',
    "cutover.to": 'to = "gateway"',
    "cutover.back": 'back = ["cjx", "psnp-b"]',
    "cutover.steps": "steps = [1, 5, 25, 50, 100]",
    "cutover.soak": 'soak = "30m"',
    "cutover.deadline": "deadline = 2020-03-31",
    "cutover.advance": 'advance = "mon-fri 08:00-16:00"',
    "cutover.zone": 'zone = "Europe/London"',
    "cutover.freeze": 'freeze = ["2019-12-20/2020-01-05"]',
    "cutover.change": 'change = "CR-1042"',
    "cutover.owner": 'owner = "j.smith@met.police.example"',
    "gate": "[gate]",
    "gate.streams": "streams = 30",
    "gate.failures": 'failures = "1 %"',
    "gate.setup": 'setup = "10 % or 5 ms"',
    "gate.answer": 'answer = "10 % or 5 ms"',
    "gate.rate": 'rate = "10 %"',
    "shadow": "[shadow]",
    "shadow.pace": 'pace = "6 / min"',
    "shadow.send": r"send = '\x00\x00\x00\x08\x04\xd2\x16\x2f'",
    "shadow.expect": "expect = 'N'",
    "quiet": "[quiet]",
    "quiet.days": "days = 35",
    "report": "[report]",
    "report.title": 'title = "Custody records: transition to the gateway"',
    "report.part1": 'part1 = "OFFICIAL - PUBLIC"',
    "report.part2": 'part2 = "OFFICIAL-SENSITIVE [OPERATIONAL]"',
    "report.exempt": 'exempt = ["FOIA s.31 Law Enforcement"]',
    "report.defer_until": 'defer_until = "2020-06-30"',
    "report.defer_reason": 'defer_reason = "a procurement is open"',
    "report.advice": 'advice = ["information assurance", "service owner"]',
}
