"""Plots as small SVG files, written without a library: horizontal bars, and lines over a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH = 720
LEFT, RIGHT, TOP, ROW = 130, 80, 44, 22
OURS, PEER, INK, RULE = "#0b6e4f", "#9aa5b1", "#1f2933", "#e4e7eb"
COLOURS = [OURS, "#c05621", "#2b6cb0", "#805ad5", "#b83280", "#718096"]
FONT = 'font-family="system-ui, sans-serif" font-size="12"'


def bars(title: str, unit: str, values: Mapping[str, float], ours: str = "pcgrelay") -> str:
    """One bar for each name, the longest first; ours in its own colour."""
    ordered = sorted(values.items(), key=lambda pair: -pair[1])
    most = max((value for _, value in ordered), default=1) or 1
    parts = []
    for row, (name, value) in enumerate(ordered):
        y = TOP + row * ROW
        length = (WIDTH - LEFT - RIGHT) * value / most
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{y + 3}" width="{length:.1f}" height="{ROW - 7}" rx="2" '
            f'fill="{OURS if name == ours else PEER}"/>',
            f'<text x="{LEFT + length + 6:.1f}" y="{y + 14}">{spelt(value)}</text>',
        ]
    return _page(f"{title}, {unit}", TOP + len(ordered) * ROW + 10, parts)


def lines(title: str, x_title: str, y_title: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """A line for each series; the horizontal axis is logarithmic, the vertical one begins at zero."""
    height, bottom = 300, 260
    points = [point for line in series.values() for point in line]
    least, most = (f(x for x, _ in points) for f in (min, max))
    top = max(y for _, y in points) * 1.15 or 1
    span = math.log10(most / least) or 1

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log10(x / least) / span, bottom - (bottom - TOP) * y / top

    parts = []
    for step in range(5):
        y = top * step / 4
        height_y = at(least, y)[1]
        parts += [
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height_y:.1f}" y2="{height_y:.1f}" stroke="{RULE}"/>',
            f'<text x="{LEFT - 8}" y="{height_y + 4:.1f}" text-anchor="end">{spelt(y)}</text>',
        ]
    for x in sorted({x for x, _ in points}):
        place = at(x, 0)[0]
        parts.append(f'<text x="{place:.1f}" y="{bottom + 18}" text-anchor="middle">{spelt(x)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{bottom + 36}" text-anchor="middle">{escape(x_title)}</text>')
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [at(x, y) for x, y in sorted(line)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        x, y = places[-1]
        parts.append(f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" fill="{colour}">{escape(name)}</text>')
    return _page(f"{title}, {y_title}", height, parts)


def spelt(value: float) -> str:
    """Three digits that count, thousands with commas."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.2f}".rstrip("0").rstrip(".") if value else "0"


def _page(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'fill="{INK}" {FONT}>\n<title>{escape(title)}</title>\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
        f'<text x="12" y="24" font-size="14" font-weight="600">{escape(title)}</text>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
