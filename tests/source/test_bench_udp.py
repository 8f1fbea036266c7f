"""The bench of datagrams: what it makes of its rows, and what it refuses. Nothing is measured here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benches import bench_udp, udp_report
from benches.chain import Place
from benches.datagrams import CASES, NoGateway
from benches.generator import DatagramLoad, prove
from benches.peers.pcgrelay.peer import PcgrelayDatagrams, PcgrelayFlooded
from benches.peers.socat.peer import Socat
from benches.peers.wireguard.peer import WireGuard
from benches.processes import BenchError
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
MACHINE = {
    "when": "now",
    "commit": "abc",
    "processors": 2,
    "processor": "X",
    "kernel": "6",
    "load_average": [3.4, 1, 1],
}
TOO_MANY, TOO_LARGE = "associations, and 4,160 is the most", "in a flood, and 64 is the most"


def flow(
    peer: str, packets: int, number: int = 0, case: str = "200 B, 1 association", **figures: Any
) -> dict[str, Any]:
    common = {"topology": "edge-edge", "case": case, "kind": "flow", "peer": peer, "round": number, "seconds": 2.0}
    common |= {"sent": packets, "packets": packets, "lost": 0, "cpu_s": {"a": 1.0, "b": 1.0}, "p99_us": 0.0}
    return {**common, "others_cores": 0.1, "stolen_cores": 0.0, **figures}


def flooded(door: str, made: int, pace: int = 10_000, number: int = 0, **figures: Any) -> dict[str, Any]:
    common = {"topology": "edge-edge", "what": "flood", "case": "bulk 8", "kind": "bulk", "peer": "pcgrelay"}
    common |= {"round": number, "pace": pace, "door": door, "seconds": 2.0, "bytes": made, "others_cores": 0.3}
    common |= {"flood": {"sent": 40_000, "seconds": 4.0}, "associations": 4_096, "grown_bytes": 5 << 20}
    return {**common, "stolen_cores": 0.0, **figures}


def rows() -> list[dict[str, Any]]:
    found = [flow("pcgrelay", 200_000, number) for number in range(3)]
    found += [flow("nginx", 100_000, lost=1_000, sent=101_000), flow("wireguard-go", 50_000)]
    calls = {"kind": "calls", "p50_us": 100.0, "p99_us": 900.0, "jitter_us": 50.0}
    found += [flow(peer, 2_000, case="20 calls", **calls) for peer in ("pcgrelay", "nginx")]
    return [*found, flooded("nobody", 1_000_000_000), flooded("import", 950_000_000)]


def test_the_section_has_rates_costs_ratios_and_what_was_lost() -> None:
    text = udp_report.section({"machine": MACHINE, "rows": rows(), "failures": ["socat does not start: absent"]})
    assert "3 rounds; others took 0.10 cores at the median, 0.30 at most, and the load average was 3." in text
    assert "| case | pcgrelay | nginx | wireguard-go |" in text
    assert "| 200 B, 1 association | 100,000 / 10 | 50,000 / 20 (1.0%) | 25,000 / 40 |" in text
    assert "| 200 B, 1 association | 2.00 / 0.50 | 4.00 / 0.25 |" in text
    assert "| 20 calls | 100 / 900 / 50 | 100 / 900 / 50 | – |" in text
    assert "| bulk 8, MB/s | 10,000 | 500 | 475 | 0.95 | 4,096 | +5.0 MiB |" in text
    assert "- socat does not start: absent" in text
    assert "edge-relay-edge" not in text


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{udp_report.BEGIN}\nold\n{udp_report.END}\nafter\n")
    udp_report.write({"machine": MACHINE, "rows": rows(), "failures": []}, page)
    text = page.read_text()
    assert text.startswith(f"before\n{udp_report.BEGIN}\n\nMeasured")
    assert text.endswith(f"{udp_report.END}\nafter\n")
    assert "old" not in text


def test_the_page_has_its_marks() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    assert text.index(udp_report.BEGIN) < text.index(udp_report.END)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (rows(), []),
        (rows()[3:], ["edge-edge, 200 B, 1 association: pcgrelay carried nothing"]),
        (rows()[:-2], ["no flood was measured"]),
        ([*rows(), flooded("import", 950_000_000, associations=9_000)], [f"a flood had 9,000 {TOO_MANY}"]),
        ([*rows(), flooded("import", 950_000_000, grown_bytes=99 << 20)], [f"two edges grew by 99 MiB {TOO_LARGE}"]),
        (
            [*rows()[:-1], flooded("import", 800_000_000)],
            ["bulk 8 kept 0.80 beside 10,000 forged sources a second, and 0.9 is asked for"],
        ),
        # That of a fast flood is told and not judged.
        ([*rows(), flooded("nobody", 1_000_000_000, 100_000), flooded("import", 1, 100_000)], []),
    ],
)  # fmt: skip
def test_what_is_not_as_it_must_be_fails(
    found: list[dict[str, Any]], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert udp_report.judged(found, timed=True) == int(bool(said))
    told = capsys.readouterr().err.splitlines()
    assert told == [f"bench: {each}" for each in said]


def test_the_short_form_judges_no_times() -> None:
    assert udp_report.judged([*rows()[:-1], flooded("import", 800_000_000)], timed=False) == 0


def test_the_short_form_knows_its_cases() -> None:
    assert {case.name for case in CASES} >= bench_udp.SHORT_CASES
    assert bench_udp.SHORT_TOPOLOGIES.keys() <= bench_udp.TOPOLOGIES.keys()


def test_a_peer_that_is_absent_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for peer, word in ((Socat, "socat is absent"), (WireGuard, "wireguard-go is absent")):
        with pytest.raises(BenchError, match=word):
            peer(Place(tmp_path / peer.name, 2, 2_000)).start()


def test_the_nodes_that_are_flooded_have_the_limits_of_every_service(tmp_path: Path) -> None:
    for peer, has_limits in ((PcgrelayDatagrams, True), (PcgrelayFlooded, False)):
        chain = peer(Place(tmp_path / peer.__name__, 2, 2_000))
        chain.configure(0)
        text = chain.config(0).read_text()
        (entry,) = [each for each in text.split("[[import]]") if 'protocol = "udp"' in each]
        assert ("max_streams" in entry) is has_limits


def load(port: int, **options: object) -> dict[str, Any]:
    command = DatagramLoad("127.0.0.1", port, bind_port=port, cpu=None).command(warm=0.02, seconds=0.1, **options)
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "options", [{"flow": 3, "in-flight": 6}, {"calls": 2, "pace": 50, "size": 200}, {"queries": 2}], ids=str
)
def test_the_load_loses_nothing_of_its_own(options: dict[str, object]) -> None:
    found = load(free_port(), **options)
    assert found["packets"] > 0
    assert found["lost"] <= found["packets"] // 100
    assert (found["p99_us"] > 0) is ("flow" not in options)


def test_without_a_server_nothing_is_proven(tmp_path: Path) -> None:
    chain = NoGateway(Place(tmp_path, 2, free_port(), cpu=None))
    assert chain.proves()
    assert not prove(DatagramLoad("127.0.0.1", free_port(), bind_port=free_port(), cpu=None))
