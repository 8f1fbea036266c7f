"""The bench of a fleet: it runs, its network is what it says, and its targets are judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benches import bench_fleet, fleet_report, fleet_scaling, results
from benches.fleet import neighbours
from benches.settings import CHOICES

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("count", [2, 5, 10, 50, 200])
@pytest.mark.parametrize("degree", [None, 6])
def test_each_relay_is_linked_with_as_many_others(count: int, degree: int | None) -> None:
    mesh = neighbours(count, degree)
    assert {len(each) for each in mesh} == {count - 1 if degree is None else min(degree, count - 1)}
    assert all(number in mesh[other] for number, others in enumerate(mesh) for other in others)
    reached = {0}
    for _ in range(8):  # as many relays as a path may have
        reached |= {other for number in reached for other in mesh[number]}
    assert reached == set(range(count))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "RESULTS", tmp_path_factory.mktemp("results"))
        return bench_fleet.run(CHOICES["tiny"])


def test_a_small_fleet_is_measured(rows: list[dict[str, Any]]) -> None:
    found = {(row["what"], row["relays"], row["mesh"]): row for row in rows}
    change = found["change", 4, "full mesh"]
    # From the edge to two relays; from each of these to three, and from the others to the two that did not tell them.
    assert change["to_relays"] == 12
    assert change["round_trips"] == 1
    assert found["whole", 2, "full mesh"]["ways"] == 80
    for mesh in ("full mesh", "6 neighbours"):
        loss = found["loss", 4, mesh]
        assert (loss["missing"], loss["held_back"], loss["flaps"]) == (0, 0, 0)
    # One that is told everything hears each change over both of its relays.
    assert found["everything", 4, "full mesh"]["heard_each"] == 2


def test_targets_are_judged_and_a_missed_one_fails(
    rows: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleet_report.judged(rows, timed=False) == 0
    said = capsys.readouterr().out
    assert "a change is known everywhere" in said
    slow = [{**row, "round_trips": 4} if row["what"] == "change" else row for row in rows]
    assert fleet_report.judged(slow, timed=False) == 1
    assert capsys.readouterr().out.count("MISSED") == 2
    # What depends on the machine fails only where the whole was measured.
    dear = [{**row, "share": 0.5} if row["what"] == "change" else row for row in rows]
    assert [fleet_report.judged(dear, timed=timed) for timed in (False, True)] == [0, 1]


def test_the_section_and_the_plots_are_written(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{fleet_report.BEGIN}\nold\n{fleet_report.END}\nafter\n")
    scaling = tmp_path / "scaling.md"
    scaling.write_text(page.read_text())
    content = {
        "machine": results.machine(),
        "rows": [{**row, "relays": 50} for row in rows if row["relays"] > 2 or row["what"] == "whole"],
    }
    fleet_report.write(content, page, tmp_path, scaling)
    text = page.read_text()
    assert text.startswith(f"before\n{fleet_report.BEGIN}\n\nMeasured on ")
    assert text.endswith(f"{fleet_report.END}\nafter\n")
    assert "| a change is known everywhere | full mesh | 1 round trips | ≤ 3 round trips | yes |" in text
    for name in ("share", "messages"):
        assert ElementTree.fromstring((tmp_path / f"fleet-{name}.svg").read_text()).tag.endswith("svg")
    assert json.loads((tmp_path / "fleet.json").read_text())["rows"]


def row(what: str, mesh: str, relays: int, **figures: float) -> dict[str, Any]:
    return {"what": what, "mesh": mesh, "relays": relays, "edges": 40 * relays, **figures}


def test_what_was_not_measured_follows_from_what_was() -> None:
    rows = [
        row("change", "full mesh", 50, relay_ms=2 + 49 * 0.1, share=0.0153),
        row("change", "full mesh", 100, relay_ms=2 + 99 * 0.1, share=0.0529),
        row("change", "6 neighbours", 100, relay_ms=2.0, share=0.0089),
        row("whole", "full mesh", 50, ways=98_000, catalogue_mb=2_000 * (3_000 + 49 * 80) / 1e6),
        row("whole", "6 neighbours", 50, ways=12_000, catalogue_mb=2_000 * (3_000 + 6 * 80) / 1e6),
    ]
    found = fleet_scaling.costs(rows)
    assert (found.change_ms, found.neighbour_ms, found.six_ms) == pytest.approx((2, 0.1, 2))
    assert (found.edge_bytes, found.way_bytes, found.six_ways) == pytest.approx((3_000, 80, 6))
    text = fleet_scaling.section(rows)
    assert "| 50 | 2,000 | 2.2 | **1.5%**, **13.8 MB** | 0.4%, **6.96 MB** |" in text
    assert "| 200 | 8,000 | 8.9 | 19.5%, 151 MB | 1.8%, 27.8 MB |" in text
    assert "| 10,000 | 400,000 | 444.4 | more than three cores | 88.9%, 1,392 MB |" in text


@pytest.mark.parametrize("name", ["performance.md", "scaling.md"])
def test_the_pages_have_their_marks(name: str) -> None:
    text = (ROOT / "docs" / name).read_text()
    assert text.index(fleet_report.BEGIN) < text.index(fleet_report.END)
