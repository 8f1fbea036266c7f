"""What was measured of datagrams: lines, what is asked for, and the section of docs/performance.md."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benches.datagrams import ALONE, packet_cpu, packet_loss, packet_rate
from benches.plot import spelt
from benches.report import table
from benches.settings import ROOT
from benches.targets import CHAIN, OURS, PAIR, medians, rate

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- udp: written by `make bench-udp`, not by hand -->", "<!-- end of udp -->"
# What streams keep beside the slower flood, and how much the two edges may grow by all floods.
LEAST_SHARE, GROWTH_MOST = 0.9, 64 << 20
# What the import that is flooded may have, and those that end while others begin.
ASSOCIATIONS_MOST = 4_096 + 64
Row = Mapping[str, Any]
Rows = Sequence[Row]


def line_of(row: Row) -> str:
    """A row for people who watch."""
    words = [f"{row['topology']:16} {row['case']:24}"]
    if row.get("what") == "flood":
        words.append(f"{row['pace']:7,} forged sources/s to {row['door']:7} {spelt((rate(row) or 0) * _scale(row))}")
        words.append(f"{_unit(row)}, {row['associations']:,} associations, {row['grown_bytes'] / (1 << 20):+.0f} MiB")
        return " ".join(words)
    words.append(f"{row['peer']:13} {packet_rate(row) or 0:9,.0f}/s {1e6 * (packet_cpu(row) or 0):7.2f} us")
    if row["p99_us"]:
        words.append(f" p50 {row['p50_us']:.0f}, p99 {row['p99_us']:.0f}, jitter {row['jitter_us']:.0f} us")
    words.append(f" lost {packet_loss(row) or 0:.2%}")
    return " ".join(words)


def _scale(row: Row) -> float:
    return 1e-6 if row["kind"] == "bulk" else 1


def _unit(row: Row) -> str:
    return "MB/s" if row["kind"] == "bulk" else "/s"


def datagrams(rows: Rows) -> list[Row]:
    return [row for row in rows if row.get("what") != "flood"]


def floods(rows: Rows) -> list[Row]:
    return [row for row in rows if row.get("what") == "flood"]


def shares(rows: Rows) -> dict[tuple[int, str], float]:
    """What streams keep beside a flood to the import, by its pace and their case: the median of ratios in a round."""
    found: dict[tuple[int, str], list[float]] = {}
    for row in floods(rows):
        if row["door"] != "import":
            continue
        for other in floods(rows):
            same = all(row[key] == other[key] for key in ("round", "pace", "case"))
            if same and other["door"] == "nobody" and rate(other):
                found.setdefault((row["pace"], row["case"]), []).append((rate(row) or 0) / (rate(other) or 1))
    return {key: median(values) for key, values in found.items()}


def problems(rows: Rows, *, timed: bool) -> Iterator[str]:
    """What is not as it must be. Not timed: only what no machine makes better."""
    for topology, case in {(row["topology"], row["case"]): None for row in datagrams(rows)}:
        if OURS not in medians(datagrams(rows), topology, case, packet_rate):
            yield f"{topology}, {case}: pcgrelay carried nothing"
    if not datagrams(rows):
        yield "nothing was measured"
    flooded = [row for row in floods(rows) if row["door"] == "import"]
    if not flooded:
        yield "no flood was measured"
        return
    most, grown = (max(row[key] for row in flooded) for key in ("associations", "grown_bytes"))
    if most > ASSOCIATIONS_MOST:
        yield f"a flood had {most:,} associations, and {ASSOCIATIONS_MOST:,} is the most"
    if grown > GROWTH_MOST:
        yield f"two edges grew by {grown >> 20} MiB in a flood, and {GROWTH_MOST >> 20} is the most"
    slower = min(row["pace"] for row in flooded)
    for (pace, case), share in shares(rows).items():
        if timed and pace == slower and share < LEAST_SHARE:
            yield f"{case} kept {share:.2f} beside {pace:,} forged sources a second, and {LEAST_SHARE} is asked for"


def judged(rows: Rows, *, timed: bool) -> int:
    """Print what streams kept; 1 if something is not as it must be."""
    for (pace, case), share in shares(rows).items():
        print(f"{case:24} keeps {share:.2f} beside {pace:,} forged sources a second")
    found = list(problems(rows, timed=timed))
    for problem in found:
        print(f"bench: {problem}", file=sys.stderr)
    return 1 if found else 0


# -- the section ------------------------------------------------------------------------------------------------------


def write(content: Mapping[str, Any], page: Path = PAGE) -> None:
    """Replace what stands between the marks."""
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{page} has lost its marks: {BEGIN} and {END}")
    before, _, rest = text.partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{section(content)}\n{END}{rest.partition(END)[2]}")


def section(content: Mapping[str, Any]) -> str:
    """The section between its marks."""
    rows, machine = content["rows"], content["machine"]
    others = [row["others_cores"] + row["stolen_cores"] for row in rows]
    rounds = 1 + max(row["round"] for row in rows)
    parts = [
        f"Measured {machine['when']} at commit {machine['commit']}: {machine['processors']} x {machine['processor']}, "
        f"Linux {machine['kernel']}, {rounds} round{'s' if rounds > 1 else ''}; others took {median(others):.2f} cores "
        f"at the median, {max(others):.2f} at most, and the load average was {machine['load_average'][0]:.0f}.\n",
        *([content["note"] + "\n"] if "note" in content else []),  # of a run that was not whole
    ]
    for topology in (PAIR, CHAIN, ALONE):
        mine = [row for row in datagrams(rows) if row["topology"] == topology]
        if mine:
            parts += _topology(topology, mine)
    if floods(rows):
        parts += _flood_table(rows)
    if content["failures"]:
        parts.append("What was absent, or broke; one that broke once was tried a second time:\n")
        parts.append("\n".join(f"- {line}" for line in dict.fromkeys(content["failures"])) + "\n")
    return "\n".join(parts)


def _topology(topology: str, rows: Rows) -> Iterator[str]:
    peers = sorted({row["peer"] for row in rows}, key=lambda peer: (peer != OURS, peer))
    yield f"### Datagrams: {topology}\n"
    yield "Datagrams a second / processor time of all gateways for each, in us; in brackets the share that was lost.\n"
    flows = _cases(rows, "flow", "queries")
    yield table(["case", *peers], [[case, *(_flow(rows, topology, case, peer) for peer in peers)] for case in flows])
    ratios = [[case, *(_ratio(rows, topology, case, peer) for peer in peers[1:])] for case in flows]
    yield "pcgrelay beside each: the ratio of the rates, and of processor time.\n"
    yield table(["case", *peers[1:]], ratios)
    calls = _cases(rows, "calls", "queries")
    yield "Round trips in us: p50 / p99; of calls also the jitter of the worst one (RFC 3550).\n"
    yield table(["case", *peers], [[case, *(_trips(rows, case, peer) for peer in peers)] for case in calls])


def _cases(rows: Rows, *kinds: str) -> list[str]:
    return list(dict.fromkeys(row["case"] for row in rows if row["kind"] in kinds))


def _figure(rows: Rows, topology: str, case: str, peer: str, figure: Callable[[Row], float | None]) -> float | None:
    return medians(rows, topology, case, figure).get(peer)


def _flow(rows: Rows, topology: str, case: str, peer: str) -> str:
    rate_, cpu, loss = (_figure(rows, topology, case, peer, each) for each in (packet_rate, packet_cpu, packet_loss))
    if rate_ is None:
        return "–"
    words = spelt(rate_) if cpu is None else f"{spelt(rate_)} / {spelt(cpu * 1e6)}"
    return f"{words} ({loss:.1%})" if loss and loss >= 0.0005 else words


def _ratio(rows: Rows, topology: str, case: str, peer: str) -> str:
    words = []
    for figure in (packet_rate, packet_cpu):
        ours, other = (_figure(rows, topology, case, name, figure) for name in (OURS, peer))
        words.append(f"{ours / other:.2f}" if ours and other else "–")
    return " / ".join(words)


def _trips(rows: Rows, case: str, peer: str) -> str:
    mine = [row for row in rows if row["case"] == case and row["peer"] == peer and row["p99_us"]]
    if not mine:
        return "–"
    keys = ["p50_us", "p99_us"] + (["jitter_us"] if mine[0]["kind"] == "calls" else [])
    return " / ".join(spelt(median(row[key] for row in mine)) for key in keys)


def _flood_table(rows: Rows) -> Iterator[str]:
    yield "### Streams beside a flood of forged sources: edge-edge\n"
    yield (
        "Datagrams from 100,000 sources that nobody has, to an import with the limits that it has by itself (4,096 "
        "associations, 400 new ones a second), and to a socket beside it that nobody reads; medians, and the median "
        "of the ratios of each round.\n"
    )
    grid = []
    for (pace, case), share in shares(rows).items():
        mine = [row for row in floods(rows) if (row["pace"], row["case"]) == (pace, case)]
        rates = []
        for door in ("nobody", "import"):
            of_door = [row for row in mine if row["door"] == door]
            rates.append(spelt(median((rate(row) or 0) * _scale(row) for row in of_door)))
        taken = [row["flood"]["sent"] / row["flood"]["seconds"] for row in mine if row["door"] == "import"]
        flooded = [row for row in mine if row["door"] == "import"]
        most, grown = (max(row[key] for row in flooded) for key in ("associations", "grown_bytes"))
        memory = f"{grown / (1 << 20):+.1f} MiB"
        grid.append([f"{case}, {_unit(mine[0])}", spelt(median(taken)), *rates, f"{share:.2f}", f"{most:,}", memory])
    head = ["streams", "sources a second", "beside it", "flooded", "kept", "associations, most", "both edges, most"]
    yield table(head, grid)


if __name__ == "__main__":
    from benches import results

    found = results.read("udp")
    if found is None:
        raise SystemExit("there is no build/bench/udp.json; run: make bench-udp")
    write(found)
