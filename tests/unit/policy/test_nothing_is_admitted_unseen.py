"""Whatever a second policy admits and the first did not, some difference between them is called widening.

What a policy admits is written here a second time, from the reference of the configuration and from its tables as they
are typed: as a set of facts about a small world of organisations, networks, days and numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcgrelay import config
from pcgrelay.policy.digest import PolicyFiles, policy_digest
from pcgrelay.policy.widening import classify
from tests.support.documented_config import PATH, written
from tests.support.machines import examples

ORGANISATIONS = ["kent.police.example", "met.police.example", "hub.example", "a.hub.example"]
PATTERNS = ["*", "*.police.example", "*.hub.example", "hub.example", "met.police.example"]
BEARERS = ["psn", "internet", "cjx"]
MARKINGS = ["OFFICIAL", "OFFICIAL-SENSITIVE", "SECRET"]
PRIORITIES = ["normal", "interactive", "critical"]
SUITES = ["AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305"]
DAYS = [date(2027, 1, 1), date(2027, 3, 31), date(2027, 12, 31)]
NUMBERS = [0, 1, 5, 100]
PAPER = {"owner": "j.smith@kent.police.example", "reason": "R", "change": "CR-1"}
SERVICE = "custody@met.police.example"
SIGNERS = [f"{name}@kent.police.example ssh-ed25519 AAAA{name}" for name in ("a", "b", "c")]

lists = st.lists
days = st.sampled_from(DAYS)
mostly = st.sampled_from([True, True, True, False])
numbers = st.sampled_from(NUMBERS)
maps = st.none() | st.dictionaries(st.sampled_from(ORGANISATIONS), st.sampled_from(MARKINGS), min_size=1, max_size=2)
entries = st.sampled_from(ORGANISATIONS) | st.builds(
    lambda name, day: {"organisation": name, "until": day},
    st.sampled_from(ORGANISATIONS),
    st.sampled_from(["2027-01-02T00:00:00Z", "2028-01-01T00:00:00Z"]),
)


def some(values: list[str], most: int = 3) -> st.SearchStrategy[list[str]]:
    return lists(st.sampled_from(values), max_size=most, unique=True)


# Each key of the small world, and what it may be; a dot leads into a table, and None is a key that is left out.
KEYS: dict[str, st.SearchStrategy[Any]] = {
    "policy.members": some(PATTERNS),
    "policy.relays": st.none() | some(PATTERNS),
    "policy.clearances": maps,
    "policy.transit": st.none() | st.sampled_from([[], [["psn", "internet"]], [["psn", "cjx"], ["psn", "internet"]]]),
    "policy.until": days,
    "policy.suites": st.permutations(SUITES).flatmap(lambda order: st.sampled_from([order, order[:2], order[:1]])),
    "policy.post_quantum": st.sampled_from(["required", "preferred"]),
    "policy.rekey_s": st.sampled_from([10, 120]),
    "policy.renewal_age_s": st.sampled_from([7_200, 86_400]),
    "policy.half_open_total": st.sampled_from([8, 256]),
    "bearers": st.dictionaries(st.sampled_from(BEARERS), st.sampled_from(MARKINGS), max_size=2),
    "listen.there": mostly,
    "listen.bearer": st.sampled_from(BEARERS),
    "listen.until": days,
    "link.address": st.sampled_from(["10.0.0.1:7400", "10.0.0.2:7400"]),
    "link.bearer": st.sampled_from(BEARERS),
    "link.until": days,
    "export.there": mostly,
    "export.target": st.sampled_from(["127.0.0.1:5432", "10.9.9.9:5432"]),
    "export.allow": lists(
        entries, max_size=2, unique_by=lambda each: each if isinstance(each, str) else each["organisation"]
    ),
    "export.marking": st.sampled_from(MARKINGS),
    "export.priority": st.sampled_from(PRIORITIES),
    "export.max_streams_per_organisation": numbers,
    "export.idle_timeout_s": numbers,
    "export.also": some(["10.8.8.8:1", "10.8.8.8:2"]),
    "export.until": days,
    "import.there": mostly,
    "import.listen": st.sampled_from(["127.0.0.1:15432", "10.7.7.7:15432"]),
    "import.priority": st.none() | st.sampled_from(PRIORITIES),
    "import.max_streams": numbers,
    "import.also": some(["10.6.6.6:1", "10.6.6.6:2"]),
    "import.until": days,
    "direct.there": mostly,
    "direct.address": st.sampled_from(["10.5.5.5:1", "10.5.5.6:1"]),
    "direct.bearer": st.sampled_from(BEARERS),
    "direct.until": days,
    "metrics.allow": st.none() | lists(st.sampled_from(ORGANISATIONS), min_size=1, max_size=2, unique=True),
    "page.allow": st.none() | lists(st.sampled_from(ORGANISATIONS), min_size=1, max_size=2, unique=True),
    "identity.crl": st.none() | st.just("realm.crl"),
    "node.state": st.sampled_from(["/var/lib/a", "/var/lib/b"]),
    "audit.there": st.booleans(),
    "audit.keep_days": st.sampled_from([30, 400]),
    "approvals.there": st.booleans(),
    "approvals.needs": st.sampled_from([1, 2, 3]),
    "approvals.most_days": st.sampled_from([100, 400]),
    "files.signers": some(SIGNERS),
}
WORLD = st.fixed_dictionaries(KEYS)  # type: ignore[arg-type]


def other(draw: st.DataObject, first: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Another world, which differs in these keys, and perhaps in two more."""
    further = draw.draw(lists(st.sampled_from(sorted(KEYS)), max_size=2))
    return {**first, **{key: draw.draw(KEYS[key]) for key in {*keys, *further}}}


def text_of(world: dict[str, Any]) -> str:
    """The file of a world."""

    def of(table: str, *left_out: str) -> dict[str, Any]:
        found = {key.partition(".")[2]: value for key, value in world.items() if key.startswith(f"{table}.")}
        return {key: value for key, value in found.items() if value is not None and key not in ("there", *left_out)}

    values: dict[str, Any] = {
        "node": {"name": "kent-1", "organisation": "kent.police.example", "realm": "police.example", "role": "edge"}
        | of("node"),
        "identity": {"certificate": "a.pem", "key": "a.key", "trust": "ca.pem"} | of("identity"),
        "policy": {
            **of("policy", "until"),
            "paper": {**PAPER, "until": world["policy.until"]},
            "renewal_interval_s": 60,
        },
        "link": [{"peer": "relay-1.hub.example", **of("link"), **PAPER}],
    }
    if world["bearers"]:
        values["bearer"] = [{"name": name, "marking": marking} for name, marking in world["bearers"].items()]
    if world["listen.there"]:
        values["listen"] = [{"address": "127.0.0.1:7400", **of("listen"), **PAPER}]
    if world["export.there"]:
        values["export"] = [{"service": "custody", **of("export"), **PAPER}]
    if world["import.there"]:
        values["import"] = [{"service": SERVICE, **of("import"), **PAPER}]
        if world["direct.there"]:
            values["direct"] = [{"service": SERVICE, "name": "cjx", **of("direct"), **PAPER}]
    for number, table in enumerate(("metrics", "page")):
        if world[f"{table}.allow"] is not None:
            values[table] = {"listen": f"10.4.4.4:{9740 + number}", "allow": world[f"{table}.allow"]}
    if world["audit.there"]:
        values["audit"] = of("audit")
    if world["approvals.there"]:
        values["approvals"] = {"signers": "allowed_signers", **of("approvals")}
    # The helper writes a moment as text; without quotes it is a moment.
    text = written(values)
    return text.replace('"2027-01-02T00:00:00Z"', "2027-01-02T00:00:00Z").replace(
        '"2028-01-01T00:00:00Z"', "2028-01-01T00:00:00Z"
    )


# -- what a world admits, from the reference of the configuration --------------------------------------------


def takes_in(pattern: str, organisation: str) -> bool:
    if pattern == "*":
        return True
    if pattern[:2] == "*.":
        return organisation != pattern[2:] and organisation.endswith(pattern[1:])
    return pattern == organisation


def admitted(world: dict[str, Any]) -> set[tuple[Any, ...]]:
    """Every fact that holds in a world."""
    return {*always(world), *(fact for day in (*DAYS, DAYS[-1] + timedelta(days=1)) for fact in on_day(world, day))}


def always(world: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    yield from (("suite", suite) for suite in world["policy.suites"])
    if world["policy.post_quantum"] == "preferred":
        yield ("no post-quantum",)
    for key in ("rekey_s", "renewal_age_s", "half_open_total"):
        yield from ((key, number) for number in (1, 10, 120, 7_200, 86_400) if number <= world[f"policy.{key}"])
    for table in ("metrics", "page"):
        yield from (("reads", table, name) for name in world[f"{table}.allow"] or [])
    if world["identity.crl"] is None:
        yield ("revoked certificates",)
    yield ("kept in", world["node.state"])
    approves = world["approvals.there"]
    if not approves:
        yield ("nobody approves",)
    yield from (("approved by", count) for count in range(1, 5) if not approves or count >= world["approvals.needs"])
    yield from (("days ahead", most) for most in (100, 400) if not approves or most <= world["approvals.most_days"])
    yield from (("signs", signer) for signer in SIGNERS if not approves or signer in world["files.signers"])
    if not world["audit.there"]:
        yield ("nothing on record",)
    yield from (
        ("forgotten after", kept) for kept in (30, 400) if not world["audit.there"] or kept >= world["audit.keep_days"]
    )
    for bearer in BEARERS:
        for marking in MARKINGS:
            highest = world["bearers"].get(bearer, "OFFICIAL")
            if MARKINGS.index(marking) <= MARKINGS.index(highest):
                yield ("direct carries", bearer, marking)
            if not world["bearers"] or MARKINGS.index(marking) <= MARKINGS.index(highest):
                yield ("links carry", bearer, marking)


def on_day(world: dict[str, Any], day: date) -> Iterator[tuple[Any, ...]]:
    members = world["policy.members"] if day <= world["policy.until"] else []
    relays = world["policy.relays"]
    if relays is not None and day > world["policy.until"]:
        relays = []
    clearances = world["policy.clearances"]
    if clearances is not None and day > world["policy.until"]:
        clearances = {}
    for name in ORGANISATIONS:
        if any(takes_in(pattern, name) for pattern in members):
            yield ("member", day, name)
            if world["listen.there"] and day <= world["listen.until"]:
                yield ("links in", day, name, world["listen.bearer"])
        if relays is None or any(takes_in(pattern, name) for pattern in relays):
            yield ("relay", day, name)
        for marking in MARKINGS:
            if is_cleared(clearances, name, marking):
                yield ("cleared", day, name, marking)
    if world["policy.transit"] is not None or world["bearers"]:
        pairs = world["policy.transit"] or []
        if day > world["policy.until"]:
            pairs = []
        yield from (("transit", day, *sorted(pair)) for pair in pairs)
    else:
        yield from (("transit", day, *pair) for pair in (("cjx", "psn"), ("internet", "psn"), ("cjx", "internet")))
    if day <= world["link.until"]:
        yield ("dials", day, world["link.address"], world["link.bearer"])
    if world["export.there"] and day <= world["export.until"]:
        yield from of_export(world, day, clearances)
    if world["import.there"] and day <= world["import.until"]:
        yield from of_import(world, day)


def is_cleared(clearances: dict[str, str] | None, name: str, marking: str) -> bool:
    return clearances is None or MARKINGS.index(clearances.get(name, "OFFICIAL")) >= MARKINGS.index(marking)


def of_export(world: dict[str, Any], day: date, clearances: dict[str, str] | None) -> Iterator[tuple[Any, ...]]:
    target, marking = world["export.target"], world["export.marking"]
    for entry in world["export.allow"]:
        name = entry if isinstance(entry, str) else entry["organisation"]
        if not isinstance(entry, str) and day >= date.fromisoformat(entry["until"][:10]):
            continue
        if not is_cleared(clearances, name, marking):
            continue
        yield ("opens", day, name, target, marking)
        for word in PRIORITIES[: PRIORITIES.index(world["export.priority"]) + 1]:
            yield ("opens as", day, name, word)
        for key in ("max_streams_per_organisation", "idle_timeout_s"):
            most = world[f"export.{key}"] or max(NUMBERS)
            yield from ((key, day, name, number) for number in NUMBERS if number <= most)
            if not world[f"export.{key}"]:
                yield (key, day, name, "without end")
    yield from (("opens the old way", day, address, target) for address in world["export.also"])


def of_import(world: dict[str, Any], day: date) -> Iterator[tuple[Any, ...]]:
    yield from (("uses", day, address) for address in (world["import.listen"], *world["import.also"]))
    most = world["import.priority"] or PRIORITIES[-1]
    yield from (("uses as", day, word) for word in PRIORITIES[: PRIORITIES.index(most) + 1])
    yield from (
        ("uses at once", day, number)
        for number in (*NUMBERS, 10**9)
        if number <= (world["import.max_streams"] or 10**9)
    )
    if world["direct.there"] and day <= world["direct.until"]:
        yield ("goes out", day, world["direct.address"], world["direct.bearer"])


# -- the two together ----------------------------------------------------------------------------------------


def judged(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """The differences that `classify` tells."""
    files = [PolicyFiles(signers="\n".join(world["files.signers"]).encode()) for world in (first, second)]
    old, new = (config.parse(text_of(world), PATH) for world in (first, second))
    return [str(each) for each in classify(old, new, *files)]


@pytest.mark.parametrize("key", sorted(KEYS))
@settings(max_examples=12, deadline=None)
@given(WORLD, st.data())
def test_what_is_admitted_anew_is_called_widening(key: str, first: dict[str, Any], data: st.DataObject) -> None:
    second = other(data, first, key)
    anew = admitted(second) - admitted(first)
    told = judged(first, second)
    if anew:
        assert any(each.startswith("WIDENS") for each in told), (sorted(anew, key=str)[:3], told)
    # And whatever is another policy is told.
    digests = {
        policy_digest(config.parse(text_of(world), PATH), signers="\n".join(world["files.signers"]).encode(), trust=b"")
        for world in (first, second)
    }
    assert told or len(digests) == 1
    assert all(each.isascii() and each.isprintable() for each in told)


@settings(max_examples=examples(60), deadline=None)
@given(WORLD, st.data())
def test_what_only_takes_away_needs_no_paper(world: dict[str, Any], data: st.DataObject) -> None:
    """Narrowing never waits for signatures: entries removed, ends earlier, lists shorter, what refuses added."""
    less = copy.deepcopy(world)
    for _ in range(data.draw(st.integers(1, 4))):
        key = data.draw(st.sampled_from(sorted(KEYS)))
        table, _, name = key.partition(".")
        if name == "there" and table not in ("audit", "approvals"):
            less[key] = False
        elif name == "until":
            less[key] = min(less[key], data.draw(days))
        elif isinstance(less[key], list) and less[key] and name != "suites" and table not in ("metrics", "page"):
            less[key] = less[key][:-1]
        elif name in ("suites",):
            less[key] = less[key][:1]
        elif name == "post_quantum":
            less[key] = "required"
        elif name in ("max_streams", "max_streams_per_organisation", "idle_timeout_s"):
            less[key] = min(less[key], 5) if less[key] else 5
        elif name in ("rekey_s", "renewal_age_s", "half_open_total", "most_days"):
            less[key] = min(less[key], data.draw(KEYS[key]))
        elif key == "identity.crl":
            less[key] = "realm.crl"
    if not less["policy.members"] and not less["policy.relays"]:
        less["policy.members"] = world["policy.members"]
    assert not [each for each in judged(world, less) if each.startswith("WIDENS")]


def test_the_small_world_has_both_answers() -> None:
    """Guard against a model that admits nothing, or everything."""
    world: dict[str, Any] = dict.fromkeys(KEYS)
    world |= {
        "policy.members": ["*"], "policy.until": DAYS[1], "policy.suites": SUITES, "policy.post_quantum": "required",
        "policy.rekey_s": 120, "policy.renewal_age_s": 86_400, "policy.half_open_total": 256, "bearers": {},
        "listen.there": True, "listen.bearer": "psn", "listen.until": DAYS[1], "link.address": "10.0.0.1:7400",
        "link.bearer": "psn", "link.until": DAYS[1], "export.there": True, "export.target": "127.0.0.1:5432",
        "export.allow": ["met.police.example"], "export.marking": "OFFICIAL", "export.priority": "normal",
        "export.max_streams_per_organisation": 0, "export.idle_timeout_s": 0, "export.also": [],
        "export.until": DAYS[1], "import.there": False, "import.also": [], "node.state": "/var/lib/a",
        "audit.there": True, "audit.keep_days": 400, "approvals.there": True, "approvals.needs": 2,
        "approvals.most_days": 400, "files.signers": SIGNERS[:2], "import.listen": "127.0.0.1:15432",
        "direct.there": False, "import.max_streams": 0, "import.until": DAYS[1], "direct.until": DAYS[1],
        "direct.address": "10.5.5.5:1", "direct.bearer": "psn",
    }  # fmt: skip
    facts = admitted(world)
    assert ("opens", DAYS[1], "met.police.example", "127.0.0.1:5432", "OFFICIAL") in facts
    assert ("opens", DAYS[2], "met.police.example", "127.0.0.1:5432", "OFFICIAL") not in facts
    assert ("links in", DAYS[0], "hub.example", "psn") in facts
    assert not any(fact[0] in ("uses", "goes out", "nobody approves", "revoked") for fact in facts)
