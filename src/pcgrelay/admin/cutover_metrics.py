"""The families of cut-overs."""

from __future__ import annotations

from collections.abc import Callable

from pcgrelay.admin.families import Families
from pcgrelay.admin.status import CutoverLine, Status

PHASES = ("planned", "soaking", "paused", "back", "arrived", "quiet", "retired", "lost")


def cutover_families(families: Families, status: Status) -> None:
    """Add all families of cut-overs."""
    found = [({"service": each.service}, each) for each in status.cutovers]
    families.family(
        "cutover_phase",
        "gauge",
        "Where a cut-over is; 1 for one phase.",
        [({**at, "phase": phase}, each.phase == phase) for at, each in found for phase in PHASES],
    )
    figures: tuple[tuple[str, str, str, Callable[[CutoverLine], float]], ...] = (
        ("share", "gauge", "Share of new streams that the new outlet has.", lambda each: each.share),
        ("step", "gauge", "The step that it is at; 1 is the first.", lambda each: each.step),
        ("held", "gauge", "Whether the new outlet is away, and has no share for now.", lambda each: each.held),
        ("odds", "gauge", "Odds that the new outlet fails more often; it falls back at 1,000.", lambda each: each.odds),
        ("moved_total", "counter", "Streams led on before anybody noticed.", lambda each: each.moved_total),
        ("lost_total", "counter", "Applications refused because no outlet was left.", lambda each: each.lost_total),
        ("fell_back", "gauge", "Times that it fell back, of the decisions kept.", lambda each: each.fell_back_total),
        ("trouble", "gauge", "Things about it that need attention.", lambda each: len(each.troubles)),
    )
    for name, kind, meaning, value in figures:
        families.family(f"cutover_{name}", kind, meaning, [(at, value(each)) for at, each in found])
