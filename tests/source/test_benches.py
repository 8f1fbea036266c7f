"""The arithmetic of the benches: what is compared with what, and how the page is written. Nothing is measured here."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benches import bench_idle, bench_node, bench_plane, plot, report, results, short, targets
from benches.cases import CASES
from benches.peers.haproxy.peer import Haproxy
from benches.processes import BenchError
from benches.settings import CHOICES

ROOT = Path(__file__).resolve().parents[2]


def row(peer: str, case: str = "bulk 8", **figures: Any) -> dict[str, Any]:
    common = {"topology": "edge-edge", "kind": "bulk", "round": 0, "seconds": 2.0, "cpu_s": {"a": 1.0, "b": 1.0}}
    return {**common, "peer": peer, "case": case, **figures}


def test_each_target_belongs_to_a_case_that_is_measured() -> None:
    names = {case.name for case in CASES} | {f"idle {count}" for count in CHOICES["full"].idle}
    relayed = {case.name for case in CASES if case.relayed}
    for target in targets.TARGETS:
        assert target.case in (names if target.topology == targets.PAIR else relayed), target.title


def test_a_ratio_is_to_the_best_peer_by_medians() -> None:
    rows = [row("pcgrelay", bytes=int(n * 1e9)) for n in (5, 6, 90)]
    rows += [row("haproxy", bytes=int(n * 1e9)) for n in (1, 4, 4)] + [row("nginx", bytes=2_000_000_000)]
    found = {each.target.title: each for each in targets.verdicts(rows)}
    bulk = found["bulk 8, MB/s"]
    assert (bulk.peer, bulk.ours, bulk.best) == ("haproxy", 3000, 2000)
    assert bulk.met
    assert not bulk.is_behind
    # Less is better here.
    assert found["bulk 8, CPU s/GB"].ratio == pytest.approx((2 / 6) / (2 / 4))


def test_a_peer_that_carries_little_bulk_is_no_measure_for_latency_beside_it() -> None:
    mix = {"case": "mix", "kind": "mix"}
    rows = [row("pcgrelay", bytes=8e8, p99_us=9.0, **mix), row("haproxy", bytes=8e8, p99_us=50.0, **mix)]
    rows.append(row("spiped", bytes=1e8, p99_us=10.0, **mix))
    latency, bulk = (each for each in targets.verdicts(rows) if each.target.case == "mix")
    assert (latency.peer, latency.met) == ("haproxy", True)
    # Nor is it one of ours where we carry less than haproxy.
    assert (bulk.peer, bulk.met) == ("haproxy", True)
    rows[0]["bytes"] = 7e8
    assert not next(each for each in targets.verdicts(rows) if each.target.title.startswith("mix, bulk")).met


def short_rows(ours: Sequence[float], best: Sequence[float]) -> list[dict[str, Any]]:
    """Every case that the short form measures, ahead of haproxy; but for `bulk 1`, whose rounds these are."""
    rows = []
    for topology, cases in short.MEASURED.items():
        for case in cases:
            kind = next(each.kind for each in CASES if each.name == case)
            for number, (mine, other) in enumerate(zip(ours, best, strict=True)):
                for peer, value in (("pcgrelay", mine), ("haproxy-pass", other)):
                    if case != "bulk 1":
                        value = 2.0 if peer == "pcgrelay" else 1.0
                    done = {what: int(value * 1e9) for what in ("bytes", "requests", "opens")}
                    used = {"p50_us": 1 / value, "cpu_s": {"a": 1.0, "r": 0.5, "b": 1.0}}
                    row_of = {"topology": topology, "kind": kind, "round": number, **done, **used}
                    rows.append(row(peer, case, **row_of))
    return rows


@pytest.mark.parametrize(
    ("ours", "best", "code", "word"),
    [
        ([1.0, 1.1, 1.2], [0.9, 1.0, 1.1], 0, "1.10"),
        ([0.9, 0.9, 0.95], [1.0, 1.0, 1.0], 0, "0.90  behind, within the noise"),
        ([0.7, 0.7, 1.1], [1.0, 1.0, 1.0], 0, "0.70"),
        ([0.7, 0.8, 0.95], [1.0, 1.0, 1.0], 1, "0.80  behind"),
    ],
)
def test_the_short_form_fails_only_where_a_peer_is_ahead_in_every_round(
    ours: list[float], best: list[float], code: int, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert short.judged(short_rows(ours, best)) == code
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert len(lines) == len([each for each in targets.TARGETS if each.case in short.MEASURED[each.topology]])
    assert lines[0].startswith("edge-edge, bulk 1, MB/s")
    assert lines[0].endswith(f" {word}")
    assert not [line for line in lines[1:] if "behind" in line]
    assert said.err == ("behind a peer by more than the noise: edge-edge, bulk 1, MB/s\n" if code else "")


def test_the_short_form_measures_again_what_is_in_doubt() -> None:
    case = next(case for case in CASES if case.name == "bulk 1")
    for ours, second, third in ((1.2, False, False), (1.1, True, False), (0.9, True, True)):
        rows = short_rows([ours], [1.0])
        assert short._in_doubt(1, rows, targets.PAIR, case) is second
        assert short._in_doubt(2, rows, targets.PAIR, case) is third


def test_the_short_form_fails_where_nothing_could_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [each for each in short_rows([2.0], [1.0]) if each["case"] != "open 32"]
    assert short.judged(rows) == 1
    assert (
        "could not be compared: edge-edge, open 32, connections/s; edge-relay-edge, open 32" in capsys.readouterr().err
    )


def test_the_short_form_knows_its_cases_and_peers() -> None:
    for topology, names in short.MEASURED.items():
        assert set(names) <= {case.name for case in CASES if topology == targets.PAIR or case.relayed}
        assert short.PEERS[topology] <= {peer.name for peer in bench_node.TOPOLOGIES[topology][1]}


def test_the_report_replaces_only_what_stands_between_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report.results, "read", lambda *_: None)
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write(page)
    assert page.read_text() == f"before\n{report.BEGIN}\n\n\n{report.END}\nafter\n"


def idle(peer: str, case: str = "idle 20000", held: int = 20_000, **figures: Any) -> dict[str, Any]:
    common = {"topology": "edge-edge", "kind": "idle", "round": 0, "idle": held}
    if "ends" in figures:
        figures["bytes_each"] = sum(figures["ends"].values())
    return {**common, "peer": peer, "case": case, **figures}


def test_idle_connections_stand_beside_the_best_peer_and_who_cannot_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        idle("pcgrelay", "idle 2000", 2_000, ends={"a": 1024.0, "b": 1024.0}),
        idle("haproxy", "idle 2000", 2_000, ends={"a": 10240.0, "b": 20480.0}),
        idle("pcgrelay", held=19_000, ends={"a": 1024.0, "b": 0.0}),
        idle("haproxy", held=19_000, lacking="one process would need more"),
        idle("ssh -L", held=19_000, ends={"a": 5120.0, "b": 5120.0}),
    ]
    found = {each.target.case: each for each in targets.verdicts(rows)}
    assert (found["idle 2000"].peer, found["idle 2000"].ours, found["idle 2000"].best) == ("haproxy", 2, 30)
    # Who cannot hold so many is no peer for it.
    assert (found["idle 20000"].peer, found["idle 20000"].ratio) == ("ssh -L", 0.1)

    content = {"settings": "full", "machine": {"when": "now", "commit": "abc"}, "rows": rows, "failures": []}
    monkeypatch.setattr(report.results, "read", lambda rung, *_: content if rung == "idle" else None)
    text = report.measured()
    assert "| peer | 2,000 held | ratio | 19,000 held | ratio |\n" in text
    assert "| pcgrelay | 2 (1 + 1) | – | 1 (1 + 0) | – |\n" in text
    assert "| haproxy | 30 (10 + 20) | 0.07 | – | – |\n" in text
    assert "19,000 and not 20,000: " in text
    assert "- haproxy does not hold 19,000: one process would need more\n" in text


def test_a_peer_that_would_need_too_many_descriptors_is_not_started(tmp_path: Path) -> None:
    row = bench_idle._measured(Haproxy, tmp_path / "never", 2_000, 3_500)
    assert row["idle"] == 2_000
    assert "4,000 descriptors" in row["lacking"]
    assert not (tmp_path / "never").exists()


def test_a_peer_that_breaks_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Haproxy) -> None:
        raise BenchError("it has ended")

    monkeypatch.setattr(Haproxy, "start_hops", broken)
    assert bench_idle._measured(Haproxy, tmp_path, 200, 20_000)["lacking"] == "it has ended"


def test_the_control_plane_is_told_by_medians_with_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[dict[str, Any]] = []
    for number in range(3):
        rows.append({"round": number, "what": "loss", "lost": "the relay", "seconds": 0.004 + number, "again_s": 0.25})
        rows.append({"round": number, "what": "1,000 come", "seconds": 0.1})
        quiet = {"others_cores": 0.1 * number, "stolen_cores": 0.0}
        quiet |= {"quiet_p50_us": 100.0, "quiet_p99_us": 150.0, "quiet_most_us": 200.0}
        busy = {"p50_us": 101.0, "p99_us": 1000.0 * number, "most_us": 9000.0}
        rows.append({"round": number, "what": "reload", "seconds": 0.3, "fewer": "19 streams, not 20", **quiet, **busy})
        rows.append({"round": number, "what": "renewed", "per_s": 22.0, **quiet, **busy})
    plane = {"settings": "full", "machine": {"when": "now", "commit": "abc"}, "rows": rows, "failures": ["one broke"]}
    core = {
        "benchmarks": [
            {"extra_info": {"what": what, "count": 5}, "stats": {"min": 5 * seconds}}
            for what, seconds in (("session", 0.001), ("pyOpenSSL", 0.0008))
        ]
    }
    monkeypatch.setattr(report.results, "read", lambda rung, *_: {"plane": plane, "core": core}.get(rung))
    monkeypatch.setattr(report, "_in_core", lambda _: [])
    text = report.measured()
    assert "### Control plane\n" in text
    assert "commit abc; others took 0.10 cores at the median, 0.20 at most. " in text
    assert "one core: 1,000 a second; a pair of bare pyOpenSSL: 1,250.\n" in text
    assert "| the relay | 1,004 | 250 |\n" in text
    assert "| 1,000 come | 100 |\n" in text
    assert "| reload | 300 ms | 100 / 101 | 150 / 1,000 | 200 / 9,000 |\n" in text
    assert "| renewed | 22 a second | " in text
    assert text.count("Only 19 streams, not 20.\n") == 1
    assert "- one broke\n" in text


def test_a_rung_of_the_control_plane_that_breaks_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Iterator[dict[str, Any]]:
        raise BenchError("no node starts")

    def whole(*_: object) -> Iterator[dict[str, Any]]:
        yield {"what": "reload, 1,000 exports come at once", "seconds": 0.1}

    monkeypatch.setattr(results, "RESULTS", tmp_path)
    for part in ("_losses", "_status", "_scrapes", "_set_ups"):
        monkeypatch.setattr(bench_plane, part, broken)
    monkeypatch.setattr(bench_plane, "_reloads", whole)
    bench_plane.run(CHOICES["tiny"])
    written = results.read("plane", tmp_path)
    assert written is not None
    assert [row["what"] for row in written["rows"]] == ["reload, 1,000 exports come at once"]
    assert len(written["failures"]) == 4
    assert all("no node starts" in line for line in written["failures"])


def test_the_page_has_its_marks() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    assert text.index(report.BEGIN) < text.index(report.END)


def test_plots_are_well_formed() -> None:
    bars = plot.bars("A & B", "MB/s", {"pcgrelay": 3.0, "<peer>": 0.0})
    lines = plot.lines("cost", "streams", "us", {"pcgrelay": [(1.0, 2.0), (1000.0, 3.0)]})
    for picture in (bars, lines):
        assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert len(re.findall("<rect", bars)) == 3


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.25, "0.25"), (9.999, "10"), (12.34, "12.3"), (1234, "1,234")])
def test_figures_have_the_digits_that_count(value: float, text: str) -> None:
    assert plot.spelt(value) == text


def test_a_distance_is_judged_by_medians_beside_plain_tcp() -> None:
    path = {"round_trip_ms": 40, "loss": 0, "streams": 1, "seconds": 1.0}
    rows = [{"peer": "pcgrelay", "bytes": n * 1e6, **path} for n in (1, 90, 95)]
    rows += [{"peer": "plain TCP", "bytes": n * 1e6, **path} for n in (100, 100, 500)]
    rows.append({"peer": "pcgrelay", "bytes": 1e6, **path, "loss": 0.001})
    (found,) = targets.distance_verdicts(rows)
    assert (found.ours, found.best, found.met) == (90, 100, True)


def test_a_line_is_flat_if_its_dearest_point_is_near_its_cheapest() -> None:
    def rows(*costs: float) -> list[dict[str, Any]]:
        points = zip((1, 10, 20_000), costs, strict=True)
        return [
            {"what": "streams", "count": count, "cpu_us": cost + more} for count, cost in points for more in (0, 0.1, 9)
        ]

    (flat,) = targets.scale_verdicts(rows(10, 10.9, 11))
    assert (flat.met, flat.ours, flat.best) == (True, pytest.approx(11.1), pytest.approx(10.1))
    assert "20,000 streams" in flat.target.title
    # It need not be the last point that is dear.
    assert [each.met for each in targets.scale_verdicts(rows(10, 12, 10))] == [False]
