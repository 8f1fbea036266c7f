"""What a report is made from: all figures of one cut-over, as they stand in `facts.json` (pure).

It holds whatever an assurer needs to compute each verdict again, so it is restricted as Part 2 is.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from pathlib import Path

import msgspec
from msgspec import Struct

from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.plan import Plan, parse_plan
from pcgrelay.cutover.samples import Outlet
from pcgrelay.cutover.state import Counts, CutoverState, KeptDecision
from pcgrelay.errors import ConfigError
from pcgrelay.ranges import Bytes, Count, Seconds, Share

VERSION = 1
FACTS_LIMIT_BYTES = 64 << 20


class OutletFacts(Struct, frozen=True, kw_only=True):
    """One outlet of the service."""

    name: str
    kind: str  # gateway, direct
    bearer: str = ""
    marking: str = ""
    supported_until: date | None = None
    addresses: tuple[str, ...] = ()  # of a direct one
    sums: Outlet | None = None  # what the judge compares
    counts: Counts = Counts()


class QuietFacts(Struct, frozen=True, kw_only=True):
    """What the day records of the old outlet prove."""

    days: Count = 0
    since: date | None = None
    coverage: Share | None = None  # 0 to 1
    last_use: str = ""  # wall time, UTC
    why_not: str = ""


class StatementFacts(Struct, frozen=True, kw_only=True):
    """What somebody else says to have seen of the old network."""

    bearer: str
    observer: str
    since: date
    until: date
    transferred: Bytes  # bytes
    at: str = ""
    by: str = ""


class DrillFacts(Struct, frozen=True, kw_only=True):
    """One drill of a back-up of the service."""

    on: date
    kind: str
    passed: bool
    lost: Count = 0  # connections
    sentence: str = ""
    id: str = ""  # its record's
    outlet: str = ""  # that was put to the test; "": the record does not know any more
    result: str = ""  # passed, failed, stopped, broken
    share: float = 0.0  # of new streams, in percent
    lasted_s: Seconds = 0.0
    streams: Count = 0  # of applications that it carried


class AdviceFacts(Struct, frozen=True, kw_only=True):
    """Advice that was taken: a role of the plan, and who signed for it."""

    role: str
    on: date
    by: str = ""
    at: str = ""  # when it was noted, wall time, UTC
    reason: str = ""


class ReportFacts(Struct, frozen=True, kw_only=True):
    """Everything a report says, and what it rests on. Wall times are UTC."""

    version: int = VERSION
    written: str  # 2020-03-31T09:00:00Z
    node: str  # as its certificate names it
    organisation: str
    service: str
    plan_text: str
    plan_sha256: str
    title: str = ""  # in the place of the plan's
    phase: Phase
    step: Count = 0  # index into the plan's steps
    began: str = ""
    since: str = ""
    arrived: str = ""
    retired: str = ""
    waited_ms: Count = 0
    outlets: tuple[OutletFacts, ...] = ()
    decisions: tuple[KeptDecision, ...] = ()
    quiet: QuietFacts = QuietFacts()
    statements: tuple[StatementFacts, ...] = ()
    drills: tuple[DrillFacts, ...] = ()
    advice: tuple[AdviceFacts, ...] = ()
    # Labels of the configuration, which Part 1 must not have: nodes, organisations, networks, names of hosts.
    names: tuple[str, ...] = ()

    @property
    def plan(self) -> Plan:
        """The plan that was started."""
        return _plan_of(self.plan_text)

    def outlet(self, name: str) -> OutletFacts | None:
        """One outlet's facts."""
        return next((each for each in self.outlets if each.name == name), None)


@lru_cache(maxsize=4)
def _plan_of(text: str) -> Plan:
    """The plan of a text. A report asks for it several times."""
    return parse_plan(text, Path("plan.toml"))[0]


def facts_of(
    state: CutoverState,
    *,
    written: str,
    node: str,
    organisation: str,
    outlets: tuple[OutletFacts, ...],
    quiet: QuietFacts,
    statements: tuple[StatementFacts, ...] = (),
    drills: tuple[DrillFacts, ...] = (),
    advice: tuple[AdviceFacts, ...] = (),
    names: tuple[str, ...] = (),
) -> ReportFacts:
    """The facts of a cut-over from what is kept of it; the outlets' figures are taken from there too."""
    return ReportFacts(
        written=written,
        node=node,
        organisation=organisation,
        service=state.service,
        plan_text=state.plan_text,
        plan_sha256=state.plan_sha256,
        phase=state.progress.phase,
        step=state.progress.step,
        began=state.began,
        since=state.since,
        arrived=state.arrived,
        retired=state.retired,
        waited_ms=state.waited_ms,
        outlets=tuple(
            msgspec.structs.replace(
                each,
                sums=state.compared(each.name) if each.name in state.sums else None,
                counts=state.counts.get(each.name, Counts()),
            )
            for each in outlets
        ),
        decisions=state.decisions,
        quiet=quiet,
        statements=statements,
        drills=drills,
        advice=advice,
        names=names,
    )


def encode_facts(facts: ReportFacts) -> bytes:
    """The facts as they stand in the file: one fact a line, so that two reports can be compared."""
    return msgspec.json.format(msgspec.json.encode(facts), indent=1) + b"\n"


def decode_facts(data: bytes, path: Path) -> ReportFacts:
    """Read facts; path stands in the refusal. ConfigError: they are none, or of a newer version."""
    try:
        facts = msgspec.json.decode(data, type=ReportFacts)
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(f"{path}: these are no facts of a report ({error}); name facts.json of one.") from None
    if facts.version != VERSION:
        problem = f"these are facts of version {facts.version}, and this pcgrelay reads {VERSION}"
        raise ConfigError(f"{path}: {problem}; use the pcgrelay that wrote them.")
    return facts
