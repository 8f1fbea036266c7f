"""How far one flat catalogue carries, by arithmetic from what was measured of fleets: the tables of docs/scaling.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benches.plot import spelt

BEGIN, END = "<!-- fleet: written by `make bench-fleet`, not by hand -->", "<!-- end of the fleet -->"
RELAYS = (50, 100, 200, 250, 500, 1_000, 3_000, 10_000)
EDGES_EACH, RENEWED_EACH_S = 40, 900
CORES_SAID = 3  # a share beyond so many cores is not said as a number
Row = dict[str, Any]


@dataclass(frozen=True)
class Costs:
    """What a change costs a relay, and what its catalogue holds."""

    change_ms: float  # in a full mesh, whatever the number of neighbours
    neighbour_ms: float  # for each neighbour there
    six_ms: float  # with six neighbours, in a fleet of any size
    edge_bytes: float
    way_bytes: float
    six_ways: float  # to an edge, with six neighbours

    def mesh_share(self, relays: int) -> float:
        return (self.change_ms + self.neighbour_ms * (relays - 1)) / 1000 * changes(relays)

    def six_share(self, relays: int) -> float:
        return self.six_ms / 1000 * changes(relays)

    def megabytes(self, relays: int, ways: float) -> float:
        return relays * EDGES_EACH * (self.edge_bytes + self.way_bytes * ways) / 1e6


def changes(relays: int) -> float:
    """Changes a second when nothing happens."""
    return relays * EDGES_EACH / RENEWED_EACH_S


def costs(rows: Sequence[Row]) -> Costs:
    """Return the costs by the two largest meshes and the largest fleet with six neighbours that were measured."""
    mesh = sorted((row["relays"] - 1, row["relay_ms"]) for row in rows if _is(row, "change", "full mesh"))
    (few, few_ms), (many, many_ms) = (mesh[-2] if len(mesh) > 1 else (0, 0.0)), mesh[-1]
    neighbour_ms = (many_ms - few_ms) / (many - few)
    _, six_ms = max((row["relays"], row["relay_ms"]) for row in rows if _is(row, "change", "6 neighbours"))
    held = [_held(max((row for row in rows if _is(row, "whole", mesh)), key=_size)) for mesh in _MESHES]
    (ways, held_bytes), (six_ways, six_bytes) = held
    way_bytes = (held_bytes - six_bytes) / (ways - six_ways) if ways > six_ways else 0.0
    return Costs(
        change_ms=max(0.0, many_ms - neighbour_ms * many),
        neighbour_ms=neighbour_ms,
        six_ms=six_ms,
        edge_bytes=six_bytes - way_bytes * six_ways,
        way_bytes=way_bytes,
        six_ways=six_ways,
    )


def section(rows: Sequence[Row]) -> str:
    """The tables between their marks."""
    found = costs(rows)
    kilobytes = f"{found.edge_bytes / 1000:.1f} kB"
    parts = [
        "| quantity | value |",
        "| --- | --- |",
        f"| an advert that comes in and, on average, one that goes out | {found.neighbour_ms:.3f} ms of processor |",
        *([f"| a change in a full mesh besides | {found.change_ms:.1f} ms of processor |"] if found.change_ms else []),
        f"| a change with six neighbours | {found.six_ms:.1f} ms of processor |",
        f"| an edge in the catalogue, and each way to it | {kilobytes}, and {found.way_bytes:.0f} B |",
        "| a session, a path, a stream | nothing here: they ask the catalogue that is there |",
        "",
        "With 40 edges for each relay, each edge on two of them; what was measured is bold:",
        "",
        "| relays | edges | changes/s | full mesh: share of a core, catalogue | six neighbours: the same |",
        "| --- | --- | --- | --- | --- |",
    ]
    for relays in RELAYS:
        cells = [f"{relays:,}", f"{relays * EDGES_EACH:,}", f"{changes(relays):.1f}"]
        for mesh, share, ways in (
            ("full mesh", found.mesh_share(relays), relays - 1),
            ("6 neighbours", found.six_share(relays), found.six_ways),
        ):
            cells.append(_cell(rows, mesh, relays, share, found.megabytes(relays, ways)))
        parts.append(f"| {' | '.join(cells)} |")
    return "\n".join(parts)


def write(rows: Sequence[Row], page: Path) -> None:
    """Write the tables into the page."""
    text = page.read_text()
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    page.write_text(f"{before}\n\n{section(rows)}\n\n{after}")


_MESHES = ("full mesh", "6 neighbours")


def _is(row: Row, what: str, mesh: str) -> bool:
    return bool(row["what"] == what and row["mesh"] == mesh)


def _size(row: Row) -> int:
    return int(row["relays"])


def _held(row: Row) -> tuple[float, float]:
    """Return the ways to an edge, and the bytes of an edge with them."""
    return row["ways"] / row["edges"], row["catalogue_mb"] * 1e6 / row["edges"]


def _cell(rows: Sequence[Row], mesh: str, relays: int, share: float, megabytes: float) -> str:
    for row in rows:
        if row["relays"] == relays and _is(row, "change", mesh):
            said = f"**{row['share']:.1%}**"
            break
    else:
        if share > CORES_SAID:
            return "more than three cores"
        said = f"{share:.1%}"
    for row in rows:
        if row["relays"] == relays and _is(row, "whole", mesh):
            return f"{said}, **{spelt(row['catalogue_mb'])} MB**"
    return f"{said}, {spelt(megabytes)} MB"
