"""PostgreSQL, its shell and its own load, unchanged, through every topology."""

import hashlib
import re
from collections.abc import Callable

import pytest

from tests.scenarios.kit.nodes import Line
from tests.scenarios.kit.real_programs import postgresql, run

pytestmark = pytest.mark.tier_test

SECONDS = 1
ROWS = 200_000


def test_queries_copies_and_a_load_go_through(path: Line, figure: Callable[[str], None]) -> None:
    host, port = path.door("sql")
    with postgresql(path.target("sql")) as user:
        where = ["-h", host, "-p", str(port), "-U", user, "-d", "postgres"]
        psql = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *where]
        assert run(*psql, "-Atc", "select 6 * 7") == "42\n"

        # In by COPY, out by SELECT: the server's digest of it is the client's.
        lines = "".join(f"{number}\t{number * number}\n" for number in range(ROWS))
        run(*psql, "-c", "create table squares (n bigint, square bigint)")
        run(*psql, "-c", "copy squares from stdin", data=lines.encode())
        out = run(*psql, "-AtF\t", "-c", "select n, square from squares order by n")
        assert hashlib.sha256(out.encode()).digest() == hashlib.sha256(lines.encode()).digest()

        run("pgbench", "-i", "-q", "-s", "1", *where)
        said = run("pgbench", "-n", "-c", "8", "-j", "2", "-T", str(SECONDS), "-P", "1", *where)
    done, failed, rate = (
        re.search(pattern, said)
        for pattern in (r"actually processed: (\d+)", r"failed transactions: (\d+)", r"tps = ([\d.]+)")
    )
    assert done
    assert failed
    assert rate
    assert int(done[1]) > 100
    assert int(failed[1]) == 0
    figure(f"pgbench {float(rate[1]):.0f} transactions a second with 8 clients")
