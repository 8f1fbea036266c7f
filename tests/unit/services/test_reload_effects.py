"""What a dry run says of streams is what the core does with the tables of the reload, for random pairs of files."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pcgrelay import config
from pcgrelay.config import Config, differences
from pcgrelay.figures import ExportStreams
from pcgrelay.model import ServiceName, organisation_number
from pcgrelay.policy.rules import MARKING_NUMBERS, export_rules, granted
from pcgrelay.services.reload_effects import LiveStreams, ended_streams
from tests.support.documented_config import PATH, documented, written

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
KENT = "kent.police.example"
CALLERS = ("met.police.example", "sussex.police.example", "essex.police.example")
NAMES = ("custody", "warrants", "crime")
MARKINGS = ("OFFICIAL", "OFFICIAL-SENSITIVE", "SECRET")
PRIORITIES = ("normal", "interactive", "critical")
ENDS = ("2026-01-01T00:00:00Z", "2026-06-01T12:00:00Z", "2026-06-01T12:00:01Z", "2031-01-01T00:00:00Z")

allowed = st.lists(
    st.tuples(st.sampled_from(CALLERS), st.none() | st.sampled_from(ENDS)), unique_by=lambda entry: entry[0], max_size=3
)
exports = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(allowed, st.sampled_from(MARKINGS), st.sampled_from(PRIORITIES)), max_size=3
)
imports = st.sets(st.sampled_from(NAMES))
files = st.tuples(exports, imports)
# Of which export, by whom, in which class, and how many.
streams = st.lists(
    st.tuples(
        st.sampled_from(NAMES), st.sampled_from(CALLERS), st.integers(1, 3), st.integers(0, 2), st.integers(1, 50)
    ),
    max_size=12,
)


def configured(exported: dict[str, tuple[Any, str, str]], imported: set[str]) -> Config:
    tables = {name: table for name, table in documented().items() if name in ("node", "identity", "listen")}
    text = written(tables)
    for name, (entries, marking, priority) in exported.items():
        allow = ", ".join(
            f'"{who}"' if until is None else f'{{ organisation = "{who}", until = {until} }}' for who, until in entries
        )
        text += f'[[export]]\nservice = "{name}"\ntarget = "127.0.0.1:5432"\nallow = [{allow}]\n'
        text += f'marking = "{marking}"\npriority = "{priority}"\n'
    for port, name in enumerate(sorted(imported), 20_001):
        text += f'[[import]]\nservice = "{name}@met.police.example"\nlisten = "127.0.0.1:{port}"\n'
    return config.parse(text, PATH)


def is_held(cfg: Config, service: str, caller: str, marking: int, priority: int) -> bool:
    """Whether a stream stands by the tables of a configuration, as the core looks at rows and grants."""
    rules = export_rules(cfg.exports)
    rows = {export.service.service: (number, export.marking) for number, export in enumerate(cfg.exports)}
    if service not in rows:
        return False
    number, marked = rows[service]
    return number in granted(rules, caller, NOW, priority) and marking >= MARKING_NUMBERS[marked]


@settings(max_examples=200, deadline=None)
@given(files, files, streams, st.dictionaries(st.sampled_from(NAMES), st.integers(0, 9)))
def test_a_dry_run_says_what_the_tables_then_end(
    before: Any, after: Any, live: list[tuple[str, str, int, int, int]], applications: dict[str, int]
) -> None:
    old, new = configured(*before), configured(*after)
    # Streams that the old file allows, as they can be open under it.
    open_now = [row for row in live if is_held(old, *row[:4])]
    numbers = {name: number for number, name in enumerate(NAMES, 7)}
    imported = {
        ServiceName(name, "met.police.example"): count for name, count in applications.items() if name in before[1]
    }
    facts = LiveStreams(
        exports=[
            ExportStreams(organisation_number(caller), numbers[service], marking, priority, count)
            for service, caller, marking, priority, count in open_now
        ],
        organisations={organisation_number(name): name for name in CALLERS},
        export_names={number: ServiceName(name, KENT) for name, number in numbers.items()},
        imports=imported,
    )
    said = ended_streams(old, new, facts, NOW)
    done: Counter[str] = Counter()
    for row in open_now:
        if not is_held(new, *row[:4]):
            done[f"export {row[0]}@{KENT}"] += row[4]
    for service, count in imported.items():
        if service.service not in after[1] and count:
            done[f"import {service}"] += count
    assert said == done
    # Each is said beside a change of its own.
    changes = differences(old, new)
    assert all(any(f"{change} ".startswith(f"{subject} ") for change in changes) for subject in said)


def test_an_end_that_comes_takes_away_what_it_allowed() -> None:
    kept = configured({"custody": ([(CALLERS[0], ENDS[3])], "OFFICIAL", "normal")}, set())
    live = LiveStreams(
        exports=[ExportStreams(organisation_number(CALLERS[0]), 1, 1, 0, 4)],
        organisations={organisation_number(CALLERS[0]): CALLERS[0]},
        export_names={1: ServiceName("custody", KENT)},
    )
    assert not ended_streams(kept, kept, live, NOW)
    assert ended_streams(kept, kept, live, NOW + timedelta(days=9_999)) == {f"export custody@{KENT}": 4}


def test_every_class_is_told_apart() -> None:
    old = configured({"custody": ([(CALLERS[0], None)], "OFFICIAL", "critical")}, set())
    new = configured({"custody": ([(CALLERS[0], None)], "OFFICIAL-SENSITIVE", "interactive")}, set())
    for marking, priority in product((1, 2, 3), (0, 1, 2)):
        live = LiveStreams(
            exports=[ExportStreams(organisation_number(CALLERS[0]), 1, marking, priority, 1)],
            organisations={organisation_number(CALLERS[0]): CALLERS[0]},
            export_names={1: ServiceName("custody", KENT)},
        )
        assert sum(ended_streams(old, new, live, NOW).values()) == int(marking < 2 or priority > 1)
