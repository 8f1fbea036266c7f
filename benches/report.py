"""Write what was measured into docs/performance.md, between its two marks, and the plots beside it.

python -m benches.report            from build/bench/*.json; what people wrote around the marks stays
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benches import results
from benches.plot import bars, lines, spelt
from benches.settings import OTHER_RESULTS, RESULTS, ROOT
from benches.targets import (
    CHAIN,
    OURS,
    PAIR,
    Verdict,
    core_times,
    core_verdicts,
    cpu_each,
    distance_rates,
    distance_verdicts,
    medians,
    rate,
    scale_line,
    scale_verdicts,
    verdicts,
)

PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "performance"
BEGIN, END = "<!-- measured: written by `make bench-report`, not by hand -->", "<!-- end of what was measured -->"
Rows = list[dict[str, Any]]
HEAD = ["case", "pcgrelay", "best peer", "ratio", "target", "met"]


def print_ratios() -> int:
    """The ratios of the last run for people; 1 if nodes are behind a peer."""
    found = verdicts(_node_rows())
    everything = [*found, *_rest()]
    for each in everything:
        print(f"{each.target.topology:16} {' | '.join(_cells(each))}")
    print(_count(everything))
    behind = [each.target.title for each in found if each.is_behind]
    if behind:
        print(f"behind a peer: {', '.join(behind)}", file=sys.stderr)
    return 1 if behind else 0


def _cells(each: Verdict) -> list[str]:
    target = each.target
    sign = "≥" if target.more else "≤"
    unit = f" {target.unit}" if target.unit not in ("", "/s", "MB/s") else ""
    ratio = f"{each.ratio:.2f}" if each.best else "–"
    goal = f"{sign} {target.limit:g}{' absolute' if target.absolute else ''}"
    best = f"{each.peer} {spelt(each.best)}{unit}"
    return [target.title, f"{spelt(each.ours)}{unit}", best, ratio, goal, "yes" if each.met else "**no**"]


def _count(found: Sequence[Verdict]) -> str:
    return f"{sum(each.met for each in found)} of {len(found)} targets are met."


def _rest() -> list[Verdict]:
    """The targets that no peer has a part in."""
    core, distance, scale = (results.read(rung) for rung in ("core", "distance", "scale"))
    found = core_verdicts(core) if core else []
    found += distance_verdicts(distance["rows"]) if distance else []
    return found + (scale_verdicts(scale["rows"]) if scale else [])


def _node_rows(folder: Path = RESULTS) -> Rows:
    """What is compared with peers: the loads, and the idle connections."""
    found = (results.read(rung, folder) for rung in ("node", "idle"))
    return [row for each in found if each for row in each["rows"]]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    body = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in body) + "\n"


# -- what stands between the marks ------------------------------------------------------------------------------------


def measured() -> str:
    node, idle, core = results.read("node"), results.read("idle"), results.read("core")
    scale, distance, plane = (results.read(rung) for rung in ("scale", "distance", "plane"))
    parts: list[str] = []
    if node:
        parts += _machine(node)
        parts.append(f"{_count([*verdicts(_node_rows()), *_rest()])}\n")
        parts += list(_targets(_node_rows()))
    if other := results.read("node", OTHER_RESULTS):
        parts += list(_other_libcrypto(other))
    if rest := _rest():
        parts.append("### Inside the core, over a distance, and at scale\n")
        parts.append(table(HEAD, [_cells(each) for each in rest]))
    if node:
        parts += list(_cases(node["rows"]))
    if idle:
        parts += list(_idle(idle))
    if core:
        parts += list(_in_core(core))
    if scale:
        parts += list(_scale(scale["rows"]))
    if distance:
        parts += list(_distances(distance["rows"]))
    if plane:
        parts += list(_control_plane(plane, core))
    failures = [line for found in (node, scale, distance, plane) if found for line in found["failures"]]
    if failures:
        parts.append("Measurements that broke; one that broke once was tried a second time:\n")
        parts.append("\n".join(f"- {line}" for line in failures) + "\n")
    return "\n".join(parts)


def _machine(node: dict[str, Any]) -> list[str]:
    about = node["machine"]
    rounds = 1 + max((row["round"] for row in node["rows"]), default=0)
    return [
        f"Measured {about['when']} at commit {about['commit']}: {about['processors']} x {about['processor']}, "
        f"{about['memory_gib']} GiB, Linux {about['kernel']}, {about['openssl']}, {about['congestion_control']}, local "
        f"ports of all gateways and the load: {about.get('local_ports', 'the usual ones')}. "
        f"`BENCH={node['settings']}`, {rounds} round{'s' if rounds > 1 else ''}{_disturbed(node['rows'])}.\n"
    ]


def _disturbed(rows: Rows) -> str:
    others = [row["others_cores"] + row["stolen_cores"] for row in rows if "others_cores" in row]
    return f"; others took {median(others):.2f} cores at the median, {max(others):.2f} at most" if others else ""


def _targets(rows: Rows) -> Iterator[str]:
    found = verdicts(rows)
    for topology in (PAIR, CHAIN):
        yield f"### Beside the best peer: {topology}\n"
        yield table(HEAD, [_cells(each) for each in found if each.target.topology == topology])


def _other_libcrypto(node: dict[str, Any]) -> Iterator[str]:
    """The same targets where every gateway that uses OpenSSL has another one."""
    # `openssl version` names itself first, and then the library that it found.
    library = re.search(r"Library: (OpenSSL [\d.]+)", node["machine"]["openssl"])
    yield f"### The same with {library[1] if library else 'another OpenSSL'}\n"
    found = verdicts(_node_rows(OTHER_RESULTS))
    yield from _machine(node)
    yield f"{_count(found)}\n"
    for topology in (PAIR, CHAIN):
        yield table(HEAD, [_cells(each) for each in found if each.target.topology == topology])


def _cases(rows: Rows) -> Iterator[str]:
    """Every peer in every case: rate and processor time, and a plot for each case."""
    for topology in (PAIR, CHAIN):
        mine = [row for row in rows if row["topology"] == topology]
        cases = list(dict.fromkeys(row["case"] for row in mine if row["kind"] != "idle"))
        peers = sorted({row["peer"] for row in mine}, key=lambda peer: (peer != OURS, peer))
        yield f"### Every peer: {topology}\n"
        yield "Rate, and after the slash the processor time of all gateways together: s/GB, or us for each.\n"
        grid = []
        for case in cases:
            kind = next(row["kind"] for row in mine if row["case"] == case)
            rates, costs = medians(rows, topology, case, rate), medians(rows, topology, case, cpu_each)
            scale, cost_scale, unit = (1e-6, 1, "MB/s") if kind == "bulk" else (1, 1e6, "/s")
            shown = {peer: value * scale for peer, value in rates.items()}
            grid.append([f"{case}, {unit}", *(_pair(shown, costs, peer, cost_scale) for peer in peers)])
            name = f"{topology}-{re.sub(r'[^a-z0-9]+', '-', case.lower())}.svg"
            _plot(name, bars(f"{topology}: {case}", unit, shown))
        yield table(["case", *peers], grid)
        yield from _latency(mine, peers)
        pictures = "request-64-x-64-b open-32 bulk-8".split()
        yield "\n".join(f"![{topology}, {name}](performance/{topology}-{name}.svg)" for name in pictures) + "\n"


def _pair(rates: dict[str, float], costs: dict[str, float], peer: str, scale: float) -> str:
    return f"{spelt(rates[peer])} / {spelt(costs[peer] * scale)}" if peer in rates and peer in costs else "–"


def _latency(mine: Rows, peers: Sequence[str]) -> Iterator[str]:
    cases = list(dict.fromkeys(row["case"] for row in mine if row.get("p99_us")))
    grid = []
    for case in cases:
        cells = []
        for peer in peers:
            rows = [row for row in mine if row["case"] == case and row["peer"] == peer and row.get("p99_us")]
            middles = [median(row[key] for row in rows) if rows else 0 for key in ("p50_us", "p99_us", "p999_us")]
            cells.append(" / ".join(spelt(value) for value in middles) if rows else "–")
        grid.append([case, *cells])
    yield "Latency in us: p50 / p99 / p99.9.\n"
    yield table(["case", *peers], grid)


def _idle(idle: dict[str, Any]) -> Iterator[str]:
    """Memory of idle connections at every peer, and who cannot hold so many."""
    rows, about = idle["rows"], idle["machine"]
    yield "### Idle connections\n"
    yield (
        f"`BENCH={idle['settings']}`, {about['when']}, commit {about['commit']}. Memory of the processes of both ends, "
        "in KiB for each connection (near end + far end), and the ratio of pcgrelay to it.\n"
    )
    cases = list(dict.fromkeys(row["case"] for row in rows))
    head = ["peer"]
    for case in cases:
        head += [f"{next(row['idle'] for row in rows if row['case'] == case):,} held", "ratio"]
    at = {(row["peer"], row["case"]): row for row in rows}
    grid = []
    for peer in sorted({row["peer"] for row in rows}, key=lambda peer: (peer != OURS, peer)):
        cells = [peer]
        for case in cases:
            cells += _held(at.get((peer, case), {}), at.get((OURS, case), {}))
        grid.append(cells)
    yield table(head, grid)
    fewer = [row for row in rows if row["peer"] == OURS and int(row["case"].split()[1]) > row["idle"]]
    for row in fewer:
        wanted = int(row["case"].split()[1])
        yield f"{row['idle']:,} and not {wanted:,}: no process may have more descriptors here.\n"
    lacking = [f"- {row['peer']} does not hold {row['idle']:,}: {row['lacking']}" for row in rows if "lacking" in row]
    if lacking:
        yield "\n".join(lacking) + "\n"


def _held(row: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    if "bytes_each" not in row:
        return ["–", "–"]
    ends = " + ".join(spelt(each / 1024) for each in row["ends"].values())
    ratio = f"{ours['bytes_each'] / row['bytes_each']:.2f}" if "bytes_each" in ours and ours is not row else "–"
    return [f"{spelt(row['bytes_each'] / 1024)} ({ends})", ratio]


def _in_core(core: dict[str, Any]) -> Iterator[str]:
    found = core_times(core)
    facts = [each["extra_info"] for each in core["benchmarks"]]
    speed = {(each["suite"], each["size"]): each["bytes_s"] for each in facts if "bytes_s" in each}
    yield "### Inside the core, one thread: AEAD and frames, AES-256-GCM\n"
    yield "The least of all rounds, in ns for each; the shares are of EVP alone over the same body.\n"
    grid = []
    for size in sorted({size for what, _, size in found if what == "seal_bare"}):
        one = {what: ns for (what, suite, s), ns in found.items() if s == size and suite == "AES-256-GCM"}
        cells = [f"{size:,} B", spelt(one["seal_bare"]), _share(one, "seal_body", "seal_bare")]
        cells += [_share(one, "open_body", "open_bare"), _share(one, "seal frame", "seal_bare")]
        cells += [_share(one, "open frame", "open_bare")]
        bare = speed.get(("AES-256-GCM", size))
        cells.append(f"{bare / (size / one['seal_body'] * 1e9):.2f}" if bare else "–")
        grid.append(cells)
    head = ["body", "EVP seal", "AEAD seal", "AEAD open", "frame seal", "frame open", "`openssl speed` / AEAD seal"]
    yield table(head, grid)
    yield "### A link in memory, no sockets\n"
    grid = [
        [what.removeprefix("link, "), f"{size:,} B", f"{1e9 / ns:,.0f}", spelt(1e3 * size / ns)]
        for (what, _, size), ns in sorted(found.items())
        if what.startswith("link")
    ]
    yield table(["between the edges", "record", "frames/s", "MB/s"], grid)


def _share(one: dict[str, float], what: str, bare: str) -> str:
    return f"{spelt(one[what])} ({one[bare] / one[what]:.2f})" if what in one else "–"


def _scale(rows: Rows) -> Iterator[str]:
    yield "### Scale\n"
    parts = list(dict.fromkeys(row["what"] for row in rows))
    worker_rows = []
    for what in (what for what in parts if what.startswith("workers")):
        figures = [[_mid(rows, what, n, key) for key in ("rate", "cpu_us")] for n in (1, 2)]
        worker_rows.append([what.removeprefix("workers, "), *(f"{spelt(r)} / {spelt(cost)}" for r, cost in figures)])
    yield "Rate (MB/s or each a second) and processor us for each (MB, request, connection); nothing is pinned here.\n"
    yield table(["case", "1 worker", "2 workers"], worker_rows)
    for what in (what for what in parts if not what.startswith("workers")):
        line = scale_line(rows, what)
        costs = [cost for _, cost in line]
        span = f"{spelt(min(costs))} to {spelt(max(costs))} us of processor time for each request"
        yield f"{what.capitalize()}: {span}, from {line[0][0]:,} to {line[-1][0]:,} {what}.\n"
        yield f"![{what}](performance/scale-{what}.svg)\n"
        _plot(f"scale-{what}.svg", lines(f"Cost beside idle {what}", what, "CPU us for each request", {OURS: line}))


def _mid(rows: Rows, what: str, count: int, key: str) -> float:
    return median(float(row[key]) for row in rows if row["what"] == what and row["count"] == count)


def _distances(rows: Rows) -> Iterator[str]:
    yield "### Distance: MB/s, and the share of a plain TCP connection\n"
    peers = list(dict.fromkeys(row["peer"] for row in rows))
    grid = []
    for key in dict.fromkeys((row["round_trip_ms"], row["loss"], row["streams"]) for row in rows):
        figures = distance_rates(rows, *key)
        plain = figures.get("plain TCP") or 0
        shown = {peer: f"{spelt(rate)} ({rate / plain:.2f})" for peer, rate in figures.items() if plain}
        cells = [shown.get(peer, "–") for peer in peers]
        grid.append([f"{key[0]} ms, loss {key[1]:.1%}, {key[2]} stream{'s' if key[2] > 1 else ''}", *cells])
    yield table(["path", *peers], grid)


def _control_plane(plane: dict[str, Any], core: dict[str, Any] | None) -> Iterator[str]:
    """What the control plane takes, and how long requests wait while it works. Medians over the rounds."""
    rows, about = plane["rows"], plane["machine"]
    rounds = 1 + max((row["round"] for row in rows), default=0)
    yield "### Control plane\n"
    yield (
        f"`BENCH={plane['settings']}`, {rounds} round{'s' if rounds > 1 else ''}, {about['when']}, commit "
        f"{about['commit']}{_disturbed(rows)}. All nodes share one processor, so that the control plane of each is in "
        "the way of every data plane.\n"
    )
    times = core_times(core) if core else {}
    per_second = {what: 1e9 / ns for (what, _, size), ns in times.items() if what in ("session", "pyOpenSSL")}
    if len(per_second) == 2:
        yield (
            "Full session set-ups (mutual TLS 1.3 with X25519MLKEM768), both ends on one core: "
            f"{spelt(per_second['session'])} a second; a pair of bare pyOpenSSL: {spelt(per_second['pyOpenSSL'])}.\n"
        )
    losses = _by(rows, "lost")
    if losses:
        yield "Edge, relay, edge. Times in ms, until the status of the near edge says so:\n"
        grid = [[lost, _ms(mine, "seconds"), _ms(mine, "again_s")] for lost, mine in losses.items()]
        yield table(["lost", "its import has no way after", "and has one again, from the loss or the restart"], grid)
    alone = {
        what: mine for what, mine in _by(rows, "what").items() if "lost" not in mine[0] and "p99_us" not in mine[0]
    }
    if alone:
        yield table(["once", "ms"], [[what, _ms(mine, "seconds")] for what, mine in alone.items()])
    beside = {what: mine for what, mine in _by(rows, "what").items() if "p99_us" in mine[0]}
    if beside:
        yield (
            "Two edges, one request of 64 B after the other, in us: without, and while the first column is done again "
            "and again.\n"
        )
        grid = [
            [what, _pace(mine), _both(mine, "p50_us"), _both(mine, "p99_us"), _both(mine, "most_us")]
            for what, mine in beside.items()
        ]
        yield table(["meanwhile", "it takes", "p50", "p99", "slowest"], grid)
    yield from (f"Only {fewer}.\n" for fewer in _by(rows, "fewer"))


def _by(rows: Rows, key: str) -> dict[str, Rows]:
    return {
        value: [row for row in rows if row.get(key) == value]
        for value in dict.fromkeys(r[key] for r in rows if key in r)
    }


def _ms(rows: Rows, key: str) -> str:
    return spelt(1e3 * median(row[key] for row in rows))


def _pace(rows: Rows) -> str:
    """How long each takes, or how many there were."""
    if "per_s" in rows[0]:
        return f"{spelt(median(row['per_s'] for row in rows))} a second"
    return f"{_ms(rows, 'seconds')} ms"


def _both(rows: Rows, key: str) -> str:
    return " / ".join(spelt(median(row[name] for row in rows)) for name in (f"quiet_{key}", key))


def _plot(name: str, content: str) -> None:
    PLOTS.mkdir(parents=True, exist_ok=True)
    (PLOTS / name).write_text(content)


def write(page: Path = PAGE) -> None:
    """Replace what stands between the marks."""
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{page} has lost its marks: {BEGIN} and {END}")
    before, _, rest = text.partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{measured()}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    write()
