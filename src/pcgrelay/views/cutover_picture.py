"""The last day of a cut-over as paths of an SVG: shares, failures, set-up times; steps and returns marked (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import log10

from pcgrelay.admin.cutover_answers import CutoverDecision, CutoverPoint, CutoverStatus

DAY = timedelta(hours=24)
POINT = timedelta(minutes=5)
WIDTH, HEIGHT = 700.0, 150.0
HOURS = range(0, 25, 4)
# What moves shares; the rest of the decisions is in the table.
MARKED = {
    "started": "started", "stepped": "step", "arrived": "arrived", "fell_back": "fell back", "held": "held",
    "released": "released", "retired": "retired",
}  # fmt: skip
MARKS_MOST = 20


@dataclass(frozen=True, slots=True)
class Mark:
    """A step or a return, as a line with a number."""

    number: int
    x: float
    is_bad: bool
    at: str
    words: str


@dataclass(frozen=True, slots=True)
class Line:
    """One drawn thing."""

    kind: str  # the class of its style
    path: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture."""

    name: str
    title: str
    words: str  # what it shows, for those who do not see it
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]  # on the vertical axis: place and text
    legend: tuple[tuple[str, str], ...]  # class and text


@dataclass(frozen=True, slots=True)
class Picture:
    """All pictures of one cut-over."""

    charts: tuple[Chart, ...]
    marks: tuple[Mark, ...]
    hours: tuple[tuple[float, str], ...]


def picture_of(status: CutoverStatus, now: datetime) -> Picture | None:
    """Return the last 24 hours; nothing if nothing was seen in them."""
    runs = list(_runs(status.points, now))
    if not runs:
        return None
    return Picture(
        charts=(_shares(status, runs, now), _failures(status, runs, now), _times(status, runs, now)),
        marks=tuple(_marks(status.decisions, now)),
        hours=tuple((WIDTH * hour / 24, (now - DAY + timedelta(hours=hour)).strftime("%H:%M")) for hour in HOURS),
    )


Runs = Sequence[Sequence[CutoverPoint]]


def _runs(points: Sequence[CutoverPoint], now: datetime) -> Iterator[list[CutoverPoint]]:
    """The points of the last day, in rows without a gap."""
    row: list[CutoverPoint] = []
    for point in points:
        at = _moment(point.at)
        if not now - DAY < at <= now + POINT:
            continue
        if row and at - _moment(row[-1].at) > 2 * POINT:
            yield row
            row = []
        row.append(point)
    if row:
        yield row


def _x(at: datetime, now: datetime) -> float:
    return round(min(max((at - (now - DAY)) / DAY, 0.0), 1.0) * WIDTH, 1)


def _y(value: float, most: float) -> float:
    return round(HEIGHT * (1 - min(max(value / most, 0.0), 1.0)), 1)


def _shares(status: CutoverStatus, runs: Runs, now: datetime) -> Chart:
    """Two areas, one upon the other: the new outlet below, all others above."""
    areas = [Line("area old", " ".join(_area(row, now, lambda point: 100.0) for row in runs))]
    areas.append(
        Line("area new", " ".join(_area(row, now, lambda point: point.shares.get(status.new, 0.0)) for row in runs))
    )
    last = runs[-1][-1].shares.get(status.new, 0.0)
    first = runs[0][0].shares.get(status.new, 0.0)
    return Chart(
        "shares",
        "Shares of new connections",
        f"Over the last 24 hours the share of {status.new} went from {first:g} % to {last:g} %.",
        tuple(areas),
        tuple((_y(value, 100), f"{value} %") for value in (0, 50, 100)),
        (("area new", status.new), ("area old", f"{status.old} and other outlets")),
    )


def _area(row: Sequence[CutoverPoint], now: datetime, share: Callable[[CutoverPoint], float]) -> str:
    start = _x(_moment(row[0].at) - POINT, now)
    parts = [f"M{start} {HEIGHT}"]
    for point in row:
        y = _y(share(point), 100)
        parts += [f"V{y}", f"H{_x(_moment(point.at), now)}"]
    return " ".join([*parts, f"V{HEIGHT}", "Z"])


def _failures(status: CutoverStatus, runs: Runs, now: datetime) -> Chart:
    points = [point for row in runs for point in row]
    sums = {name: sum(point.failures.get(name, 0) for point in points) for name in (status.new, status.old)}
    most = _rounded(max(5, *(sum(point.failures.get(name, 0) for name in sums) for point in points)))
    bars: dict[str, list[str]] = {name: [] for name in sums}
    for point in points:
        left, right, below = _x(_moment(point.at) - POINT, now), _x(_moment(point.at), now), 0.0
        for name in (status.new, status.old):
            if count := point.failures.get(name, 0):
                bars[name].append(f"M{left} {_y(below, most)} V{_y(below + count, most)} H{right} V{_y(below, most)} Z")
                below += count
    tried = {name: sum(point.setups.get(name, 0) for point in points) + sums[name] for name in sums}
    return Chart(
        "failures",
        "Set-ups that failed, in five minutes each",
        "; ".join(f"{name}: {sums[name]:,} of {tried[name]:,} failed" for name in sums) + ".",
        (Line("bar new", " ".join(bars[status.new])), Line("bar old", " ".join(bars[status.old]))),
        tuple((_y(value, most), f"{value:g}") for value in (0, most / 2, most)),
        (("bar new", status.new), ("bar old", status.old)),
    )


def _times(status: CutoverStatus, runs: Runs, now: datetime) -> Chart:
    points = [point for row in runs for point in row]
    slowest = [value for point in points for value in (*point.p95_ms.values(), *point.median_ms.values())]
    most = _rounded(max([10.0, *slowest]))
    lines, legend, words = [], [], []
    for name, kind in ((status.new, "new"), (status.old, "old")):
        medians = [point.median_ms[name] for point in points if name in point.median_ms]
        if medians:
            words.append(f"{name}: the median was between {min(medians):.1f} and {max(medians):.1f} ms")
        lines.append(Line(f"line {kind}", _curve(runs, now, most, name, lambda point: point.median_ms)))
        lines.append(Line(f"line {kind} slow", _curve(runs, now, most, name, lambda point: point.p95_ms)))
        legend += [(f"line {kind}", f"{name}, median"), (f"line {kind} slow", f"{name}, 19 of 20 within")]
    return Chart(
        "times",
        "Set-up time",
        ("; ".join(words) or "Nothing was set up") + ".",
        tuple(lines),
        tuple((_y(value, most), f"{value:g} ms") for value in (0, most / 2, most)),
        tuple(legend),
    )


def _curve(
    runs: Runs, now: datetime, most: float, name: str, values: Callable[[CutoverPoint], Mapping[str, float]]
) -> str:
    parts = []
    for row in runs:
        is_open = False
        for point in row:
            if (found := values(point).get(name)) is None:
                is_open = False
                continue
            left, right = _x(_moment(point.at) - POINT, now), _x(_moment(point.at), now)
            parts.append(f"{'L' if is_open else 'M'}{left} {_y(found, most)} H{right}")
            is_open = True
    return " ".join(parts)


def _marks(decisions: Sequence[CutoverDecision], now: datetime) -> Iterator[Mark]:
    shown = [each for each in decisions if each.what in MARKED and now - DAY < _moment(each.at) <= now]
    for number, each in enumerate(shown[-MARKS_MOST:], 1):
        words = f"{MARKED[each.what]}: {each.sentence}"
        yield Mark(number, _x(_moment(each.at), now), each.what in ("fell_back", "held"), each.at, words)


def _rounded(value: float) -> float:
    """The next round number, for an axis."""
    unit: float = 10 ** int(log10(value))
    return next(unit * step for step in (1, 2, 3, 4, 5, 6, 8, 10, 20) if unit * step >= value)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
