"""What pcgrelay is to reach beside the best peer of the same run, and the arithmetic from rows of results to ratios."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Row = Mapping[str, Any]
OURS = "pcgrelay"
PASSES = ("haproxy-pass", "nginx-pass")


def rate(row: Row) -> float | None:
    """Bytes, requests or connections a second, whichever the case is about."""
    what = {"bulk": "bytes", "open": "opens"}.get(row["kind"], "requests")
    return row[what] / row["seconds"] if row.get(what) else None


def cpu_each(row: Row) -> float | None:
    """Processor time of all gateways: seconds for each GB, or seconds for each request or connection."""
    done = rate(row)
    scale = 1e9 if row["kind"] == "bulk" else 1.0
    return sum(row["cpu_s"].values()) / (done * row["seconds"]) * scale if done else None


def relay_cpu_each(row: Row) -> float | None:
    """Processor time of the relay alone: seconds for each GB."""
    return row["cpu_s"]["r"] / row["bytes"] * 1e9 if row.get("bytes") and "r" in row["cpu_s"] else None


def _bytes_per_second(row: Row) -> float | None:
    return row["bytes"] / row["seconds"] if row.get("bytes") else None


def _plain(name: str) -> Callable[[Row], float | None]:
    return lambda row: row.get(name)


@dataclass(frozen=True)
class Target:
    """limit: of the ratio to the best peer, or of the figure itself if `absolute`. more: a larger figure is better."""

    title: str
    topology: str
    case: str
    figure: Callable[[Row], float | None]
    unit: str
    scale: float
    limit: float
    more: bool = True
    absolute: bool = False
    among: tuple[str, ...] = ()  # the peers that count; none: all


@dataclass(frozen=True)
class Verdict:
    target: Target
    ours: float
    peer: str
    best: float

    @property
    def ratio(self) -> float:
        return self.ours / self.best if self.best else float("nan")

    @property
    def met(self) -> bool:
        value = self.ours if self.target.absolute else self.ratio
        return value >= self.target.limit if self.target.more else value <= self.target.limit

    @property
    def is_behind(self) -> bool:
        """Behind the best peer by more than the noise of such a run."""
        return not self.target.absolute and (self.ratio < 0.9 if self.target.more else self.ratio > 1.1)


def _bulk(topology: str, limits: Sequence[float]) -> list[Target]:
    cases = zip(("bulk 1", "bulk 8", "bulk 64"), limits, strict=True)
    return [Target(f"{case}, MB/s", topology, case, rate, "MB/s", 1e-6, limit) for case, limit in cases]


def _per_second(topology: str, case: str, limit: float) -> Target:
    unit = "connections" if case.startswith("open") else "requests"
    return Target(f"{case}, {unit}/s", topology, case, rate, "/s", 1, limit)


PAIR, CHAIN = "edge-edge", "edge-relay-edge"
TARGETS = [
    *_bulk(PAIR, (1.35, 1.5, 1.8)),
    Target("bulk 8, CPU s/GB", PAIR, "bulk 8", cpu_each, "s/GB", 1, 0.65, more=False),
    Target("bulk 64, fairness (Jain)", PAIR, "bulk 64", _plain("jain"), "", 1, 0.95, absolute=True),
    Target("request 1 x 64 B, p50", PAIR, "request 1 x 64 B", _plain("p50_us"), "us", 1, 0.95, more=False),
    _per_second(PAIR, "request 64 x 64 B", 1.5),
    _per_second(PAIR, "request 512 x 512 B", 1.5),
    _per_second(PAIR, "request 64 x 16 KiB", 1.5),
    _per_second(PAIR, "open 1", 1.5),
    _per_second(PAIR, "open 32", 2.0),
    *(
        Target(
            f"idle {count}, KiB each", PAIR, f"idle {count}", _plain("bytes_each"), "KiB", 1 / 1024, 0.15, more=False
        )
        for count in (2_000, 20_000)
    ),
    Target("mix, p99 of the small requests", PAIR, "mix", _plain("p99_us"), "ms", 1e-3, 0.2, more=False),
    # Low latency counts only beside as much bulk as haproxy has.
    Target("mix, bulk meanwhile, MB/s", PAIR, "mix", _bytes_per_second, "MB/s", 1e-6, 1, among=("haproxy",)),
    _per_second(PAIR, "redis-benchmark 50", 1.3),
    _per_second(PAIR, "wrk 32", 1.3),
    *_bulk(CHAIN, (1.6, 1.9, 1.9)),
    Target("the relay alone, CPU s/GB", CHAIN, "bulk 8", relay_cpu_each, "s/GB", 1, 1.1, more=False, among=PASSES),
    _per_second(CHAIN, "request 64 x 64 B", 1.4),
    _per_second(CHAIN, "open 32", 2.2),
]


def medians(rows: Sequence[Row], topology: str, case: str, figure: Callable[[Row], float | None]) -> dict[str, float]:
    """The median over the rounds, for each peer that has any."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["topology"] == topology and row["case"] == case:
            value = figure(row)
            if value is not None:
                found.setdefault(row["peer"], []).append(value)
    return {peer: median(values) for peer, values in found.items()}


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """Each target for which there are figures of ours and of a peer."""
    found = []
    for target in TARGETS:
        figures = medians(rows, target.topology, target.case, target.figure)
        ours = figures.pop(OURS, None)
        if target.case == "mix":
            figures = _with_bulk_as_ours(rows, figures)
        peers = {peer: value for peer, value in figures.items() if not target.among or peer in target.among}
        if ours is None or not peers:
            continue
        best = max(peers, key=peers.__getitem__) if target.more else min(peers, key=peers.__getitem__)
        found.append(Verdict(target, ours * target.scale, best, peers[best] * target.scale))
    return found


def behind_in_every_round(rows: Sequence[Row], verdict: Verdict) -> bool:
    """Whether that peer was ahead in each round that both have: what is left of noise is not on one side alone."""
    target = verdict.target
    for number in {row["round"] for row in rows if (row["topology"], row["case"]) == (target.topology, target.case)}:
        one = [row for row in rows if row["round"] == number]
        figures = medians(one, target.topology, target.case, target.figure)
        if OURS in figures and verdict.peer in figures:
            ours, best = figures[OURS], figures[verdict.peer]
            if ours >= best if target.more else ours <= best:
                return False
    return True


def _with_bulk_as_ours(rows: Sequence[Row], figures: dict[str, float]) -> dict[str, float]:
    """Low latency beside little bulk is no feat: peers count that carry at least half of haproxy's bulk."""
    bulk = medians(rows, PAIR, "mix", lambda row: _bytes_per_second(row) or 0.0)
    wanted = bulk.get("haproxy", 0) / 2
    return {peer: value for peer, value in figures.items() if bulk.get(peer, 0) >= wanted}


# -- inside the core, and over a distance -----------------------------------------------------------------------------


def core_times(core: Mapping[str, Any]) -> dict[tuple[str, str, int], float]:
    """The least time of one thing in ns, by what it is, suite and size: the least, for others only ever add to it."""
    found = {}
    for each in core["benchmarks"]:
        facts = each["extra_info"]
        if "count" in facts:
            key = (facts["what"], facts.get("suite", "AES-256-GCM"), facts.get("size", 0))
            found[key] = 1e9 * each["stats"]["min"] / facts["count"]
    return found


def core_verdicts(core: Mapping[str, Any]) -> list[Verdict]:
    times = core_times(core)

    def one(title: str, ours: str, other: str, size: int, limit: float, peer: str) -> Verdict | None:
        keys = [(what, "AES-256-GCM", size) for what in (ours, other)]
        if not all(key in times for key in keys):
            return None
        target = Target(title, "core", title, cpu_each, "us", 1e-3, limit, more=False)
        return Verdict(target, times[keys[0]] * 1e-3, peer, times[keys[1]] * 1e-3)

    # A frame may take 1 / 0.97 of the time of its bare AEAD, and a session 1 / 0.8 of that of a bare handshake.
    found = [
        one("frame seal, 64 KiB", "seal frame", "seal_bare", 65536, 1.03, "EVP"),
        one("frame open, 64 KiB", "open frame", "open_bare", 65536, 1.03, "EVP"),
        one("frame seal, 64 B", "seal frame", "seal_bare", 64, 2.4, "EVP"),
        one("session set-up, both ends", "session", "pyOpenSSL", 0, 1.25, "pyOpenSSL"),
    ]
    return [each for each in found if each]


def distance_rates(rows: Sequence[Row], round_trip_ms: int, loss: float, streams: int) -> dict[str, float]:
    """MB/s of each peer over this path: medians over the rounds."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if (row["round_trip_ms"], row["loss"], row["streams"]) == (round_trip_ms, loss, streams):
            found.setdefault(row["peer"], []).append(row["bytes"] / row["seconds"] / 1e6)
    return {peer: median(rates) for peer, rates in found.items()}


def distance_verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """At 40 ms without loss: the share of a plain TCP connection."""
    found = []
    for streams in (1, 16):
        figures = distance_rates(rows, 40, 0, streams)
        if OURS in figures and "plain TCP" in figures:
            title = f"40 ms, {streams} stream{'s' if streams > 1 else ''}, MB/s"
            target = Target(title, "distance", title, rate, "MB/s", 1, 0.9)
            found.append(Verdict(target, figures[OURS], "plain TCP", figures["plain TCP"]))
    return found


# -- scale ------------------------------------------------------------------------------------------------------------


def scale_line(rows: Sequence[Row], what: str) -> list[tuple[int, float]]:
    """How many of these there were, and us of processor time for each request then: medians over the rounds."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row["what"] == what:
            found.setdefault(row["count"], []).append(row["cpu_us"])
    return [(count, median(costs)) for count, costs in sorted(found.items())]


def scale_verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """What costs as much with many as with one: the dearest point of each line against the cheapest."""
    found = []
    for what in ("streams", "routes", "links"):
        if line := scale_line(rows, what):
            costs = [cost for _, cost in line]
            title = f"a request beside 1 to {line[-1][0]:,} {what}, CPU us"
            target = Target(title, "scale", title, cpu_each, "us", 1, 1.15, more=False)
            found.append(Verdict(target, max(costs), "least", min(costs)))
    return found
