"""Whatever the text, a plan is a Plan or one sentence that names the file; rendered and read again it is the same plan,
and what speaks against it on a day can always be said. Nothing but ConfigError comes out of it."""

import re
import sys
from datetime import UTC, date, datetime
from pathlib import Path

from pcgrelay.cutover.objections import Surroundings, objections, warnings
from pcgrelay.cutover.plan import Plan, parse_plan
from pcgrelay.cutover.plan_text import render
from pcgrelay.errors import ConfigError

PATH = Path("custody.plan.toml")
PLAN = rb"""
[cutover]
service = "custody@kent.police.example"
from = "cjx"
to = "gateway"
back = ["cjx", "psnp-b"]
steps = [1, 5, 25, 50, 100]
soak = "30m"
deadline = 2020-03-31
advance = "mon-fri 08:00-16:00"
zone = "Europe/London"
freeze = ["2019-12-20/2020-01-05"]
change = "CR-1042"
owner = "service owner"

[gate]
streams = 30
failures = "1 %"
setup = "10 % or 5 ms"
answer = "10 % or 5 ms"
rate = "10 %"

[shadow]
pace = "6 / min"
send = '\x00\x00\x00\x08\x04\xd2\x16\x2f'
expect = 'N'

[quiet]
days = 35

[report]
title = "Custody records: transition to the gateway"
part1 = "OFFICIAL - PUBLIC"
exempt = ["FOIA s.31 Law Enforcement"]
defer_until = "2020-06-30"
defer_reason = "a procurement is open"
advice = ["information assurance", "finance"]
"""
SHORT = b'[cutover]\nservice = "a@b.example"\nfrom = "x"\nback = ["x"]\ndeadline = 2030-01-01\n'
WORDS = [
    *(word.encode() for word in re.findall(r"[A-Za-z0-9_*@.:/%-]+", PLAN.decode())),
    b"0001-01-01", b"9999-12-31", b"1979-05-27T07:32:00Z", b"1e400", b"-1", b"nan", b"0.5", b"100.0", b"9" * 5_000,
    b"true", b"sat 22:00-24:00", b"daily 00:00-24:00", b"Pacific/Kiritimati", b"../../etc/passwd", b"\\u202e",
    b"[" * 2_000,
]  # fmt: skip
NOW = datetime(2019, 11, 8, 12, tzinfo=UTC)
OUTLETS = {"gateway": None, "cjx": date(2020, 1, 31), "psnp-b": None, "x": None}


def answer(text: str) -> Plan | str:
    try:
        return parse_plan(text, PATH)[0]
    except ConfigError as error:
        return str(error)


def run(data: bytes) -> object:
    text = data.decode(errors="replace")
    first = answer(text)
    if isinstance(first, str):
        assert first.startswith(str(PATH)), first
        assert first.endswith("."), first
        assert first.isprintable(), first
        assert len(first) < 2_000, first
        return re.sub(r"['\"].*?['\"]|\d+|\?+", "", first)[:80]
    again = render(first)
    assert answer(again) == first, again
    around = Surroundings(NOW, OUTLETS, of_datagrams=len(data) % 2 == 1)
    told = [each.problem for each in (*objections(first, around), *warnings(first, around))]
    assert all(each.isprintable() and each for each in told), told
    return tuple(re.sub(r"[^a-z ]", "", each)[:60] for each in told)


if __name__ == "__main__":
    from tests.fuzz.mutation import main

    sys.exit(main([PLAN, SHORT], WORDS, run))
