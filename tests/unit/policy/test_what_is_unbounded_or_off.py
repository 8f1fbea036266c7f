"""Keys of which one value means "no bound", "for ever", "anybody" or "off": it stands at the right end of all others.

A judge that compares numbers would take 0 for the least, and one that compares presence would take a limit that is
taken out for less. Each key with such a value is listed here with what it means; a key that is added and has a default
of that kind has to be listed too.
"""

from __future__ import annotations

import itertools
from datetime import date

import msgspec
import pytest

from pcgrelay import config
from pcgrelay.config import Config, schema
from pcgrelay.policy.widening import classify
from tests.support.documented_config import PATH, documented, written

ABSENT = object()
# Values in the order of how much they allow, the least first; those of one tuple are the same.
Ladder = list[tuple[object, ...]]

LIMIT: Ladder = [(1,), (5,), (0, ABSENT)]
LAST_DAY: Ladder = [(date(2027, 1, 1),), (date(2028, 1, 1),), (ABSENT,)]
LADDERS: dict[str, Ladder] = {
    **{
        f"{table}.{key}": LIMIT
        for table, keys in (
            (
                "export",
                (
                    "max_streams",
                    "max_streams_per_organisation",
                    "new_streams_per_second",
                    "idle_timeout_s",
                    "max_duration_s",
                ),
            ),
            ("policy", ("max_streams_per_organisation", "new_streams_per_second")),
            ("import", ("max_streams", "new_streams_per_second", "idle_timeout_s", "max_duration_s")),
        )
        for key in keys
    },
    **{f"{table}.until": LAST_DAY for table in schema.RULES},
    "bearer.supported_until": LAST_DAY,
    "import.sources": [(["10.1.0.0/16"],), (["10.1.0.0/16", "10.2.0.0/16"],), (ABSENT,)],
    "import.max_streams_per_source": [(5,), (256, ABSENT), (300,)],
    **{f"{table}.rate": [("1KiB",), ("2MiB", "2048KiB"), (ABSENT,)] for table in ("export", "import")},
    "import.priority": [("normal",), ("interactive",), ("critical",), (ABSENT,)],
    "import.exercise": [(0, ABSENT), (1,), (2,)],
    "drill.auto": [(False, ABSENT), (True,)],
    "export.also": [([], ABSENT), (["10.20.30.61:5432"],), (["10.20.30.61:5432", "10.20.30.62:5432"],)],
    "import.also": [([], ABSENT), (["10.20.30.61:5432"],)],
    "export.allow": [([], ABSENT), (["met.police.example"],), (["met.police.example", "essex.police.example"],)],
    "policy.members": [([], ABSENT), (["hub.example"],), (["*"],)],
    "policy.relays": [([],), (["hub.example"],), (["hub.example", "met.police.example"],), (ABSENT,)],
    "policy.clearances": [({"hub.example": "OFFICIAL"},), ({"hub.example": "SECRET"},), (ABSENT,)],
    "link.peers": [(["r1.hub.example"],), (["r1.hub.example", "r2.hub.example"],), (ABSENT,)],
    "identity.crl": [("realm.crl",), (ABSENT,)],
    "node.admin_group": [(ABSENT,), ("root",)],
    "approvals.revoked": [("krl",), (ABSENT,)],
    "approvals.holds": [(True,), (False, ABSENT)],
}
# Why a key whose default is nothing, no, 0 or empty needs no ladder.
OTHERS = {
    "of this machine alone": (
        "node.workers", "node.lanes", "node.udp_lanes", "node.admin", "node.state", "node.inventory", "listen.udp_port",
        "fleet.certificate", "fleet.key", "fleet.trust", "fleet.user", "fleet.password",
    ),
    "another value is another thing": (
        "link.source", "export.source", "export.proxy", "direct.source", "approvals.roles", "drill.service",
        "drill.relay", "drill.bearer", "drill.window", "drill.for",
        "link.peer", "link.address", "link.discover",
    ),
    "how many, of what another key allows": ("link.links",),
    "refuses and allows nothing": (
        "export.probe_send", "export.probe_expect", "direct.probe_send", "direct.probe_expect", "import.srv",
        "export.probe", "direct.probe", "export.wait_ms", "import.wait_ms",
    ),
    "judged as its table": ("policy.paper", "assure.probe", "assure.revoked"),
    "none is a part of another key": ("policy.half_open_per_source", "metrics.allow", "page.allow"),
    "of unix sockets, with a test of its own": ("import.mode", "import.group"),
    "judged by pairs": ("policy.transit",),
    "another word, which others signed": tuple(
        f"{table}.{key}" for table in schema.RULES for key in ("owner", "reason", "change")
    ),
}  # fmt: skip


def built(key: str, value: object) -> Config:
    """The documented configuration with one key."""
    table, _, name = key.partition(".")
    values = documented()
    for extra in ("caller",) if key in ("export.also", "export.rate") else ():
        del values[extra]
    entry = values.setdefault(table, {"signers": "allowed_signers"})
    entry = entry[0] if isinstance(entry, list) else entry
    entry.pop(name, None)
    if key == "export.rate":
        entry["protocol"] = "udp"
        del entry["also"]
    if key in ("import.sources", "import.max_streams_per_source", "import.rate"):
        entry["protocol"] = "udp"
        for extra in ("direct", "drill"):
            del values[extra]
    if key == "link.peers":
        del entry["peer"], entry["address"]
        entry["discover"] = "_pcgrelay._tcp.relays.example"
        values["policy"]["relays"] = ["hub.example"]
    if table == "drill":
        entry["window"] = "sun 03:00-05:00"
    if value is not ABSENT:
        entry[name] = value
    if table == "approvals":
        paper = {"owner": "a@b.example", "reason": "R", "change": "C", "until": date(2027, 3, 31)}
        for each in schema.RULES:
            values[each] = [{**rule, **paper} for rule in values[each]]
        values["policy"]["paper"] = paper
    return config.parse(written(values), PATH)


def kinds(key: str, old: object, new: object) -> set[str]:
    return {each.kind.value for each in classify(built(key, old), built(key, new))}


@pytest.mark.parametrize("key", LADDERS)
def test_each_step_up_widens_and_each_step_down_narrows(key: str) -> None:
    ladder = LADDERS[key]
    for (low, lower), (high, higher) in itertools.combinations(enumerate(ladder), 2):
        assert low < high
        for old, new in itertools.product(lower, higher):
            # Of two lists one may lack what the other has; none of these does.
            up, down = kinds(key, old, new), kinds(key, new, old)
            assert "WIDENS" in up, (key, old, new)
            assert "WIDENS" not in down, (key, new, old)
            assert "NARROWS" in down, (key, new, old)
    for same in ladder:
        for old, new in itertools.permutations(same, 2):
            assert kinds(key, old, new) == set()


def test_each_key_that_may_mean_nothing_is_listed() -> None:
    """So that whoever adds one says at which end it stands."""
    nothing = (None, 0, False, (), {}, "")
    found = {
        f"{name}.{field.encode_name}"
        for name, table in schema.TABLES.items()
        for field in msgspec.structs.fields(table)
        if any(field.default == each and type(field.default) is type(each) for each in (*nothing, 0.0))
        or (field.default_factory is not msgspec.NODEFAULT and not field.default_factory())
    }
    listed = [*LADDERS, *(key for keys in OTHERS.values() for key in keys)]
    assert len(listed) == len(set(listed))
    assert set(listed) - found <= {"export.allow"}
    assert found - set(listed) == set()


def test_a_date_of_one_caller_widens_when_it_goes() -> None:
    def allow(**terms: object) -> list[object]:
        return [{"organisation": "met.police.example", **terms}]

    ladder = [allow(until="2027-01-01T00:00:00Z"), allow(until="2027-01-01T00:00:00.5Z"), allow()]

    def kinds_of(old: list[object], new: list[object]) -> list[str]:
        texts = [
            written(documented() | {"export": [{**documented()["export"][0], "allow": each}]}) for each in (old, new)
        ]
        before, after = (config.parse(_moments(text), PATH) for text in texts)
        return [each.kind.value for each in classify(before, after)]

    for lower, higher in itertools.combinations(ladder, 2):
        assert kinds_of(lower, higher) == ["WIDENS"]
        assert kinds_of(higher, lower) == ["NARROWS"]


def _moments(text: str) -> str:
    """TOML has moments without quotes."""
    return text.replace('"2027-01-01T00:00:00Z"', "2027-01-01T00:00:00Z").replace(
        '"2027-01-01T00:00:00.5Z"', "2027-01-01T00:00:00.5Z"
    )
