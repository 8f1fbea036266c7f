"""What was measured of a fleet: lines, the targets, the section of docs/performance.md and its plots."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benches import fleet_scaling
from benches.plot import lines, spelt
from benches.settings import ROOT

PAGE = ROOT / "docs" / "performance.md"
SCALING = ROOT / "docs" / "scaling.md"
PLOTS = ROOT / "docs" / "performance"
BEGIN, END = fleet_scaling.BEGIN, fleet_scaling.END
FLEET = 50  # relays of the fleet for which there are targets
IMPORTS, RENEWED_EACH_S = 20, 900
Row = dict[str, Any]
# What, of which row, in which mesh (None: both), at most. What takes time depends on the machine.
TARGETS: list[tuple[str, str, str, str | None, float, str]] = [
    ("control plane of a relay, steady", "change", "steady", "full mesh", 0.03, "of a core"),
    ("control plane of a relay, steady", "change", "steady", "6 neighbours", 0.01, "of a core"),
    ("a change is known everywhere", "change", "round_trips", None, 3, "round trips"),
    ("catalogue of a relay", "whole", "catalogue_mb", None, 15, "MB"),
    ("cold start of a relay", "whole", "cold_s", None, 10, "s of processor"),
    ("loss of a relay, settled", "loss", "settled_s", None, 2, "s"),
    ("edges that know no way to another by it", "loss", "flaps", None, 0, ""),
    ("relays that reach an edge no more", "loss", "missing", None, 0, ""),
    ("an edge with 20 imports hears", "change", "hears", None, 0.1, "a second"),
]
TIMED = {"steady", "cold_s", "settled_s", "catalogue_mb"}


def line(row: Row) -> str:
    """One row for people who watch."""
    words = {
        "change": "{share:7.2%} of a core, {to_relays:8.0f} to relays, {to_edges:7.0f} to edges, {round_trips} trips",
        "everything": "{share:7.2%} of a core if edges are told everything, {to_edges:.0f} to edges",
        "whole": "{ways} ways, {catalogue_mb:.1f} + {told_mb:.1f} MB, cold {cold_s:.1f} s, less {link_down_ms:.0f} ms, "
        "WANT {want_ms:.1f} ms",
        "loss": "{lost_edges} edges in {settled_ms} ms + {relay_ms:.0f} ms, {flaps} gaps of {longest_gap_ms} ms",
    }[row["what"]]
    return f"{row['mesh']:12} {row['relays']:4} relays {row['edges']:5} edges {row['what']:10} " + words.format(**row)


def figure(row: Row, name: str) -> float:
    """One figure of a row.

    settled_s: the network and the mean of the relays; hears: messages a second of an edge; steady: the changes, and
    what a relay does each second when there are none.
    """
    if name == "steady":
        return float(row["share"]) + float(row.get("tick_ms", 0)) / 1000
    if name == "settled_s":
        return float(row["settled_ms"] + row["relay_ms"]) / 1000
    if name == "hears":
        return float(row["heard_each"]) * IMPORTS / RENEWED_EACH_S
    return float(row[name])


def verdicts(rows: Sequence[Row], relays: int = FLEET) -> Iterator[tuple[str, str, float, float, str, str]]:
    """For each target and mesh that was measured: title, mesh, what was found, limit, unit, and the name."""
    for title, what, name, mesh, limit, unit in TARGETS:
        for row in rows:
            if row["what"] == what and row["relays"] == relays and mesh in (None, row["mesh"]):
                yield title, row["mesh"], figure(row, name), limit, unit, name


def judged(rows: Sequence[Row], *, timed: bool) -> int:
    """Print what was found beside the targets; 1 if one is missed. Not timed: only what no machine makes better."""
    most = max(row["relays"] for row in rows if row["what"] == "loss")
    missed = 0
    for title, mesh, found, limit, unit, name in verdicts(rows, most):
        is_missed = found > limit and (timed or name not in TIMED)
        missed += is_missed
        word = "MISSED" if is_missed else ""
        print(f"{title:36} {mesh:13} {spelt(found):>8} <= {limit:g} {unit}  {word}".rstrip())
    if missed:
        print(f"{missed} targets are missed.", file=sys.stderr)
    return 1 if missed else 0


def write(content: dict[str, Any], page: Path = PAGE, plots: Path = PLOTS, scaling: Path = SCALING) -> None:
    """Write the results, the plots, the section, and the tables of docs/scaling.md."""
    fleet_scaling.write(content["rows"], scaling)
    (plots / "fleet.json").write_text(json.dumps(content, indent=1) + "\n")
    for name, title, unit, what, figure_name, scale in (
        ("share", "Control plane of a relay, by the relays of the fleet", "% of a core", "change", "share", 100),
        ("messages", "Messages of one relay for one change", "messages", "change", "to_relays", 0),
        ("catalogue", "Catalogue of one relay, 40 edges for each relay", "MB", "whole", "catalogue_mb", 1),
        ("cold", "Cold start of one relay", "s of processor", "whole", "cold_s", 1),
    ):
        series: dict[str, list[tuple[float, float]]] = {}
        for row in content["rows"]:
            if row["what"] == what:
                factor = scale or 1 / row["relays"]
                series.setdefault(row["mesh"], []).append((row["relays"], row[figure_name] * factor))
        (plots / f"fleet-{name}.svg").write_text(lines(title, "relays", unit, series))
    text = page.read_text()
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    page.write_text(f"{before}\n\n{section(content)}\n{after}")


def section(content: dict[str, Any]) -> str:
    """The section between its marks."""
    rows, machine = content["rows"], content["machine"]
    parts = [
        f"Measured on {machine['when']}, {machine['processor']}, commit {machine['commit']}, "
        f"beside a load of {machine['load_average'][0]:.1f}.\n",
        *([content["note"] + "\n"] if "note" in content else []),  # of a run that was not whole
        f"With {FLEET} relays and {FLEET * 40:,} edges:\n",
        "| what | mesh | measured | target | met |",
        "| --- | --- | --- | --- | --- |",
    ]
    for title, mesh, found, limit, unit, _ in verdicts(rows):
        met = "yes" if found <= limit else "**no**"
        parts.append(f"| {title} | {mesh} | {_spelt(found, unit)} | ≤ {_spelt(limit, unit)} | {met} |")
    head = "| mesh | relays | edges | share of a core | adverts to relays / to edges for a change | round trips |"
    parts += [
        "",
        head + " catalogue, MB | + told, MB | cold start, s | link down, ms | a WANT, ms | a second, ms |",
        "| --- " * 12 + "|",
    ]
    whole = {(row["mesh"], row["relays"]): row for row in rows if row["what"] == "whole"}
    for row in rows:
        if row["what"] == "change":
            cells = [row["mesh"], str(row["relays"]), f"{row['edges']:,}", f"{row['share']:.2%}"]
            cells += [f"{row['to_relays']:,.0f} / {row['to_edges']:,.0f}", spelt(row["round_trips"])]
            all_of = whole.get((row["mesh"], row["relays"]))
            names = ("catalogue_mb", "told_mb", "cold_s", "link_down_ms", "want_ms", "tick_ms")
            cells += [spelt(all_of[name]) if all_of else "–" for name in names]
            parts.append(f"| {' | '.join(cells)} |")
    for row in rows:
        if row["what"] == "everything":
            share, sent = f"{row['share']:.2%}", f"{row['to_edges']:,.0f}"
            parts.append(
                f"\n{row['mesh']}, {row['relays']} relays: with edges that do not say what they import, {share} of "
                f"a core and {sent} adverts to edges for a change."
            )
    for row in rows:
        if row["what"] == "loss" and row["relays"] == FLEET:
            parts.append(
                f"\n{row['mesh']}: {row['lost_edges']} edges hung on the relay that was lost, each on another one too; "
                f"{row['flaps']} times one of them knew no way to another, for {row['longest_gap_ms']} ms at most. "
                f"Of {row['adverts']:,} adverts and withdrawals {row['held_back']} were put off, for their edge had "
                "changed eight times at that relay; a way was known meanwhile."
            )
    parts.append("\n![share of a core](performance/fleet-share.svg)\n![catalogue](performance/fleet-catalogue.svg)")
    parts.append("![cold start](performance/fleet-cold.svg)\n![messages](performance/fleet-messages.svg)\n")
    return "\n".join(parts)


def _spelt(value: float, unit: str) -> str:
    return f"{value:.2%} of a core" if unit == "of a core" else f"{spelt(value)} {unit}".rstrip()
