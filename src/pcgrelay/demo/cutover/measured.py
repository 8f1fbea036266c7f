"""What the demonstration measured: stages from what applications saw, and whether all is as it should be (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from msgspec import Struct

from pcgrelay.demo.cutover.applications import Seen

# New connections take the old outlet so soon after the fault.
BACK_WITHIN_S = 2.0
# A step and the connections that it deals are told by two clocks that are so far apart at most.
EDGE_S = 0.25


class Moment(Struct, frozen=True):
    """From here on so much goes over the new outlet."""

    at_s: float
    name: str
    planned: float | None  # percent; nothing: nobody can say


class Stage(Struct, frozen=True, kw_only=True):
    """What applications saw between two moments, by when their connections began. Seconds are those of the demo."""

    name: str
    from_s: float
    to_s: float
    planned_percent: float | None
    connections: int
    over_new: int
    over_old: int
    failed: int
    new_median_ms: float | None
    old_median_ms: float | None
    slowest_ms: float

    @property
    def measured_percent(self) -> float | None:
        """The share that took the new outlet."""
        answered = self.over_new + self.over_old
        return 100 * self.over_new / answered if answered else None

    @property
    def as_planned(self) -> bool:
        """Whether the share is the planned one, but for what began about the moments themselves."""
        if self.planned_percent is None or not self.connections:
            return True
        pace = self.connections / max(self.to_s - self.from_s, EDGE_S)
        return abs(self.over_new - self.connections * self.planned_percent / 100) <= 2 + 2 * EDGE_S * pace


class Fault(Struct, frozen=True, kw_only=True):
    """The fault, and what came of it."""

    at_s: float
    back_after_s: float
    began: int  # connections of the moving application between the fault and the fall-back
    failed: int
    moved: int  # led on until then
    waited_ms: int
    why: str  # as the node says


class Paper(Struct, frozen=True, kw_only=True):
    """The report."""

    folder: str
    files: tuple[str, ...]
    sums_right: bool
    names_found: tuple[str, ...]  # of the realm, in Part 1
    names_sought: int
    verdicts: int
    verdicts_same: int


class Rehearsed(Struct, frozen=True, kw_only=True):
    """The rehearsal."""

    each: int
    old_ms: float | None  # median set-up
    new_ms: float | None
    could_begin: bool


class Others(Struct, frozen=True, kw_only=True):
    """What a second organisation and the connections that were kept saw."""

    connections: int
    failed: int
    moved: int
    kept: int
    kept_answers: int
    kept_broken: int


class Quiet(Struct, frozen=True, kw_only=True):
    """The old network afterwards."""

    used: str  # when it was last used, as the node says; "": never
    used_s: float | None  # the same as a second of the demonstration
    left: int  # streams
    days_wanted: int
    refused: str  # what `retire` answers now


class Measured(Struct, frozen=True, kw_only=True):
    """Everything, and the output of --json."""

    ok: bool = False
    problems: tuple[str, ...] = ()
    total_s: float = 0.0
    began_again: int = 0
    arrived: bool = False
    lost: int = 0  # as the node counts
    moved: int = 0  # led on, of all applications of the node, as it counts
    waited_ms: int = 0  # the longest of them was kept by so much
    faults: tuple[str, ...] = ()  # the first of the applications', in words
    stages: tuple[Stage, ...] = ()
    rehearsed: Rehearsed | None = None
    fault: Fault | None = None
    others: Others | None = None
    quiet: Quiet | None = None
    report: Paper | None = None


def stages_of(seen: Iterable[Seen], moments: Sequence[Moment], start_s: float, end_s: float) -> list[Stage]:
    """Deal the connections to the stages that they began in; start_s is the demo's own beginning."""
    if not moments:
        return []
    moments = sorted(moments, key=lambda moment: moment.at_s)
    ends = [moment.at_s for moment in moments[1:]] + [end_s]
    dealt: list[list[Seen]] = [[] for _ in moments]
    ordered = sorted(seen, key=lambda each: each.began_s)
    at = 0
    for each in ordered:
        if each.began_s < moments[0].at_s:
            continue
        while at + 1 < len(moments) and each.began_s >= moments[at + 1].at_s:
            at += 1
        dealt[at].append(each)
    return [
        _stage(moment, found, moment.at_s - start_s, end - start_s)
        for moment, end, found in zip(moments, ends, dealt, strict=True)
    ]


def _stage(moment: Moment, found: Sequence[Seen], from_s: float, to_s: float) -> Stage:
    old = [each.took_s for each in found if each.network not in ("", "gateway")]
    new = [each.took_s for each in found if each.network == "gateway"]
    return Stage(
        name=moment.name,
        from_s=round(from_s, 1),
        to_s=round(to_s, 1),
        planned_percent=moment.planned,
        connections=len(found),
        over_new=len(new),
        over_old=len(old),
        failed=len(found) - len(old) - len(new),
        new_median_ms=_milliseconds(new),
        old_median_ms=_milliseconds(old),
        slowest_ms=round(1000 * max((each.took_s for each in found), default=0.0), 1),
    )


def _milliseconds(times: Sequence[float]) -> float | None:
    return round(1000 * median(times), 2) if times else None


def problems_of(found: Measured) -> Iterator[str]:
    """Everything that is not as it should be, a sentence each."""
    yield from noticed(found)
    for stage in found.stages:
        if not stage.as_planned:
            yield f"Another share took the gateway than was planned: {stage.name}."
    yield from _of_fault(found.fault)
    if not found.arrived:
        yield "The service did not arrive at the gateway."
    elif found.quiet is None or found.quiet.left:
        yield "Streams are left on the old network."
    yield from _of_report(found.report)


def noticed(found: Measured) -> Iterator[str]:
    """What applications noticed, which should be nothing, whoever moves the service."""
    for stage in found.stages:
        if stage.failed:
            yield f"{stage.failed} of {stage.connections} connections failed: {stage.name}."
    if found.lost:
        yield f"The node refused {found.lost} connections, because no outlet was left."
    yield from (f"An application saw: {fault}." for fault in found.faults)
    if (others := found.others) and (others.failed or others.kept_broken):
        yield f"{others.failed} connections of Surrey failed, and {others.kept_broken} that were kept broke."


def _of_fault(fault: Fault | None) -> Iterator[str]:
    if fault is None:
        yield "It did not fall back."
    elif fault.back_after_s > BACK_WITHIN_S:
        yield f"It fell back {fault.back_after_s:.1f} s after the fault, and {BACK_WITHIN_S:g} s is the most."


def _of_report(report: Paper | None) -> Iterator[str]:
    if report is None:
        yield "There is no report."
        return
    if not report.sums_right:
        yield "A file of the report is not what its SHA256SUMS says."
    for name in report.names_found:
        yield f"Part 1 of the report is to be published, and names {name}."
    if report.verdicts_same != report.verdicts:
        yield f"{report.verdicts - report.verdicts_same} verdicts do not come out the same."
