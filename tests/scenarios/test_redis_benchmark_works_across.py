"""Redis and its own benchmark with pipelining, unchanged, through every topology."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.kit.nodes import Line
from tests.scenarios.kit.real_programs import redis, run

pytestmark = pytest.mark.tier_test

REQUESTS = 200_000
KEYS = 1_000


def test_every_pipelined_request_is_answered(path: Line, tmp_path: Path, figure: Callable[[str], None]) -> None:
    host, port = path.door("redis")
    at = ["-h", host, "-p", str(port)]
    with redis(tmp_path / "redis", path.target("redis")):
        options = ["-P", "16", "-c", "50", "-n", str(REQUESTS), "-r", str(KEYS), "-t", "set,get", "-d", "64"]
        said = run("redis-benchmark", *at, *options, "--csv")
        rates = {row["test"]: float(row["rps"]) for row in csv.DictReader(said.splitlines())}
        assert set(rates) == {"SET", "GET"}
        stats = run("redis-cli", *at, "info", "commandstats")
        calls = {
            line.split(":")[0]: int(line.split("calls=")[1].split(",")[0])
            for line in stats.splitlines()
            if "calls=" in line
        }
        assert calls["cmdstat_set"] >= REQUESTS
        assert calls["cmdstat_get"] >= REQUESTS
        assert run("redis-cli", *at, "dbsize").strip() == str(KEYS)
    figure(", ".join(f"{name} {rate:,.0f} a second" for name, rate in rates.items()))
