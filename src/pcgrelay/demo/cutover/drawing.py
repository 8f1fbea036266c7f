"""What the demonstration draws and tabulates: where everything is, the shares, what was measured (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from pcgrelay.demo.cutover.measured import Fault, Measured, Others, Paper, Quiet, Rehearsed, Stage
from pcgrelay.demo.cutover.realm import ADDRESSES, NEW, OLD
from pcgrelay.demo.cutover.telling import folded
from pcgrelay.output import GAP, Layout, Row, count, milliseconds, table_lines

BAR = 14
DRAWING = (
    f"              +-- {OLD}, the old network: TCP to {ADDRESSES[OLD]} ----+",
    "  met-1 ------+                                              |",
    "              +-- the gateway: relay-2 == relay-1 == kent-1 -+-- Kent's database",
    "  surrey-1 ---+",
)


def shares(stages: Sequence[Stage], width: int) -> Iterator[Text]:
    """The table of shares, stage by stage."""
    wide, narrow = [], []
    for stage in stages:
        when = f"{stage.from_s:.1f}"
        planned, measured = _percent(stage.planned_percent), _percent(stage.measured_percent, 1)
        numbers = [count(stage.over_new), count(stage.over_old), count(stage.failed)]
        medians = [milliseconds(stage.new_median_ms), milliseconds(stage.old_median_ms)]
        slowest = milliseconds(stage.slowest_ms if stage.connections else None)
        narrow.append(Row([when, stage.name, planned, measured, *numbers]))
        wide.append(Row([when, stage.name, planned, measured, bar(stage), *numbers, *medians, slowest]))
    columns = [">from s", "", ">planned", ">measured", f">{NEW}", f">{OLD}", ">failed"]
    more = [f">{NEW} median", f">{OLD} median", ">slowest"]
    yield from table_lines(
        width,
        "New connections of the Met, by the second in which they began",
        Layout([*columns[:4], "", *columns[4:], *more], wide),
        Layout(columns, narrow),
    )


def bar(stage: Stage) -> str:
    """The share that took the gateway; what is not empty shows at least one mark."""
    share = stage.measured_percent
    if share is None:
        return ""
    marks = max(1 if stage.over_new else 0, round(share * BAR / 100))
    return "#" * marks + "." * (BAR - marks)


def measured_lines(found: Measured, width: int) -> Iterator[Text]:
    """The closing table, and the sentence that follows from it."""
    figures = list(_figures(found))
    space = max((len(title) for title, _ in figures), default=0)
    yield Text("What was measured", style="bold")
    for title, words in figures:
        for number, part in enumerate(folded(words, max(20, width - space - GAP)) or [""]):
            yield Text.assemble(((title if not number else "").ljust(space + GAP), "dim"), part)
    yield Text("")
    if found.ok:
        connections = sum(stage.connections for stage in found.stages)
        what = "The service has moved, and nobody noticed" if found.arrived else "Nobody noticed anything"
        words = f"{what}: {count(connections)} connections, none failed."
        yield Text(words, style="bold green")
    for problem in found.problems:
        yield Text(problem, style="bold red")


def _figures(found: Measured) -> Iterator[tuple[str, str]]:
    connections = sum(stage.connections for stage in found.stages)
    failed = sum(stage.failed for stage in found.stages)
    slowest = max((stage.slowest_ms for stage in found.stages), default=0.0)
    if connections:
        words = f"{count(connections)}, {count(failed)} failed; the slowest took {milliseconds(slowest)}"
        yield "connections of the Met", words
    if found.others is not None:
        yield from _of_others(found.others)
    if found.rehearsed is not None:
        yield from _of_rehearsal(found.rehearsed)
    if found.fault is not None:
        yield from _of_fault(found.fault)
    if found.moved:
        yield "led on, unnoticed", f"{count(found.moved)} of the Met's, each {kept_text(found.waited_ms)}"
    if found.quiet is not None:
        yield from _of_quiet(found.quiet)
    if found.report is not None:
        yield from _of_report(found.report)


def _of_others(others: Others) -> Iterator[tuple[str, str]]:
    led = f", {count(others.moved)} of them led on during the fault" if others.moved else ""
    yield "connections of Surrey", f"{count(others.connections)}, {count(others.failed)} failed{led}"
    kept = f"{count(others.kept_answers)} answers on them, {count(others.kept_broken)} broke"
    yield "kept connections", f"{others.kept}: {kept}"


def _of_rehearsal(rehearsed: Rehearsed) -> Iterator[tuple[str, str]]:
    medians = f"{milliseconds(rehearsed.old_ms)} over {OLD}, {milliseconds(rehearsed.new_ms)} over the {NEW}"
    yield "set-up, rehearsed", f"{medians} (median of {rehearsed.each} each)"


def _of_fault(fault: Fault) -> Iterator[tuple[str, str]]:
    yield "fault to fall-back", f"{fault.back_after_s:.2f} s; {count(fault.began)} connections began meanwhile"


def _of_quiet(quiet: Quiet) -> Iterator[tuple[str, str]]:
    used = "not used" if quiet.used_s is None else f"last used in second {quiet.used_s:.0f}"
    left = f"{count(quiet.left)} streams are" if quiet.left else "no stream is"
    yield "the old network", f"{used}; {left} left on it"


def _of_report(report: Paper) -> Iterator[tuple[str, str]]:
    sums = "as SHA256SUMS says" if report.sums_right else "NOT as SHA256SUMS says"
    yield "report", f"{len(report.files)} files, {sums}"
    names = "names none" if not report.names_found else f"names {', '.join(report.names_found)}"
    yield "Part 1", f"{names} of {report.names_sought} names and addresses of this realm"
    same = "each" if report.verdicts_same == report.verdicts else f"{report.verdicts_same} of them"
    yield "verdicts", f"{report.verdicts}, {same} the same when computed again"


def kept_text(waited_ms: int) -> str:
    """How long an application was kept by an attempt that was then led on."""
    return f"within {waited_ms} ms" if waited_ms else "within a millisecond"


def _percent(share: float | None, digits: int = 0) -> str:
    return "-" if share is None else f"{share:.{digits}f} %"
