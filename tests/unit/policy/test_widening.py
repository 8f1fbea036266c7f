"""What a change does: each key has its judge, and nothing is admitted that no difference called widening."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay import config
from pcgrelay.config import schema
from pcgrelay.policy.digest import PolicyFiles, canonical, policy_digest
from pcgrelay.policy.judging import shown
from pcgrelay.policy.placement import TABLES
from pcgrelay.policy.widening import classify
from tests.support.documented_config import PATH, approved, written

Change = Callable[[dict[str, Any]], Any]


def told(change: Change, before: Change = lambda values: None) -> list[str]:
    """The differences that a change of the approved file makes, as they are signed."""
    old = approved()
    before(old)
    new = config.parse(written(old), PATH)
    change(old)
    return [str(each) for each in classify(new, config.parse(written(old), PATH))]


def test_each_key_of_the_schema_has_its_place() -> None:
    placed = {f"{table.name}.{key.name}" for table in TABLES for key in table.keys}
    known = {
        f"{name}.{field.encode_name}"
        for name, table in schema.TABLES.items()
        for field in msgspec.structs.fields(table)
    }
    # A table in a table is placed by its keys.
    known -= {"policy.paper"}
    known |= {f"policy.paper.{key}" for key in schema.PAPER}
    assert placed == known


def _as_udp(table: str, **keys: object) -> Change:
    """The first entry of a table as one of datagrams, which has no outlets and no strays."""

    def change(values: dict[str, Any]) -> None:
        for each in ("direct", "drill", "caller"):
            values.pop(each, None)
        values["export"][0].pop("also", None)
        values[table][0].update(protocol="udp", **keys)

    return change


def test_limits_of_datagrams_are_judged_by_what_holds_without_them() -> None:
    """256 associations of one source is what holds unless it is written: 300 are more, and none written is no more."""
    before = _as_udp("import")
    cases: dict[str, list[str]] = {
        "max_streams_per_source": ["WIDENS", "300 (was 256)"],
        "max_streams": ["NARROWS", "300 (was 4096)"],
        "new_streams_per_second": ["NARROWS", "300 (was 400)"],
        "idle_timeout_s": ["WIDENS", "300 (was 120)"],
    }
    for key, (kind, words) in cases.items():
        found = told(_as_udp("import", **{key: 300}), before)
        assert found == [f"{kind:<9} import custody@kent.police.example: {key} {words}"]
    assert told(lambda values: values["import"][0].update(wait_ms=50), before) == [
        "NEUTRAL   import custody@kent.police.example: wait_ms 50 (was 200)"
    ]


def test_whose_datagrams_are_taken_is_judged() -> None:
    before = _as_udp("import", sources=["10.1.0.0/16"])
    head = "import custody@kent.police.example: sources"
    opened = told(lambda values: values["import"][0].pop("sources"), before)
    assert opened == [f"WIDENS    {head} any (was 10.1.0.0/16)"]
    changed = told(lambda values: values["import"][0].update(sources=["10.2.0.0/16"]), before)
    assert changed == [f"WIDENS    {head} 10.2.0.0/16 added", f"NARROWS   {head} 10.1.0.0/16 removed"]
    given = told(lambda values: values["import"][0].update(sources=["10.2.0.0/16"]), _as_udp("import"))
    assert given == [f"NARROWS   {head} 10.2.0.0/16 (was any)"]


def test_another_protocol_is_another_thing() -> None:
    found = told(_as_udp("export"), _as_udp("import"))
    assert "WIDENS    export custody: protocol udp (was tcp)" in found


def test_what_a_later_version_knows_changes_no_digest() -> None:
    """The digest has what is written: defaults of datagrams that change later change no approved policy."""
    values = approved()
    _as_udp("import")(values)
    parsed = config.parse(written(values), PATH)
    assert b"max_streams" not in canonical(parsed, signers=b"", trust=b"")
    assert b'"protocol":"udp"' in canonical(parsed, signers=b"", trust=b"")
    assert b"protocol" not in canonical(config.parse(written(approved()), PATH), signers=b"", trust=b"")


CASES: list[tuple[Change, list[str]]] = [
    (
        lambda values: values["export"][0].update(allow=["met.police.example", "essex.police.example"]),
        ["WIDENS    export custody: allow essex.police.example added"],
    ),
    (
        lambda values: values["export"][0].update(allow=[]),
        ["NARROWS   export custody: allow met.police.example removed"],
    ),
    (
        lambda values: values["export"][0].update(until=date(2027, 12, 31)),
        ["WIDENS    export custody: until 2027-12-31 (was 2027-03-31)"],
    ),
    (
        lambda values: values["export"][0].update(until=date(2026, 12, 31)),
        ["NARROWS   export custody: until 2026-12-31 (was 2027-03-31)"],
    ),
    (
        lambda values: values["export"][0].update(reason="Because é"),
        ["WIDENS    export custody: reason Because \\xe9 (was Custody look-ups)"],
    ),
    (
        lambda values: (values.pop("export"), values.pop("caller")),
        ["NARROWS   export custody: removed", "WIDENS    caller met.police.example: removed"],
    ),
    (lambda values: values.update(log={"level": "debug"}), ["NEUTRAL   log.level debug (was info)"]),
    (
        lambda values: values["policy"].update(members=["kent.police.example"]),
        [
            "NEUTRAL   policy.members kent.police.example added",
            "NARROWS   policy.members *.police.example removed",
            "NARROWS   policy.members hub.example removed",
        ],
    ),
    (lambda values: values["policy"].update(relays=["hub.example"]), ["NARROWS   policy.relays hub.example (was any)"]),
    (
        lambda values: values["policy"].update(clearances={"hub.example": "SECRET"}, transit=[["psn", "internet"]]),
        [
            "NARROWS   policy.clearances hub.example = (SECRET) (was any)",
            "WIDENS    policy.transit internet and psn (was not listed)",
        ],
    ),
    (
        lambda values: values["policy"].update(post_quantum="preferred"),
        ["WIDENS    policy.post_quantum preferred (was required)"],
    ),
    (
        lambda values: values["policy"].update(suites=["CHACHA20-POLY1305", "AES-256-GCM"]),
        [
            "NARROWS   policy.suites AES-128-GCM removed",
            "WIDENS    policy.suites in another order: CHACHA20-POLY1305, AES-256-GCM",
        ],
    ),
    (lambda values: values["policy"].update(renewal_age_s=7_200), ["NARROWS   policy.renewal_age_s 7200 (was 86400)"]),
    (lambda values: values["node"].update(state="/s"), ["WIDENS    node.state /s (was /var/lib/pcgrelay/kent-1)"]),
    (lambda values: values["node"].update(memory="1GiB"), ["NEUTRAL   node.memory 1073741824 (was 268435456)"]),
    (lambda values: values["identity"].pop("crl"), ["WIDENS    identity.crl none (was /etc/pcgrelay/realm.crl)"]),
    (
        lambda values: values.pop("approvals"),
        ["WIDENS    approvals: removed, so that nobody has to approve what follows"],
    ),
    (
        lambda values: values.pop("audit"),
        ["WIDENS    audit: removed, so that nothing of what follows is kept for an auditor"],
    ),
    (
        lambda values: values.update(audit={"keep_days": 30, "streams": "totals"}),
        ["WIDENS    audit.keep_days 30 (was 400)", "WIDENS    audit.streams totals (was all)"],
    ),
    (lambda values: values["approvals"].update(needs=1), ["WIDENS    approvals.needs 1 (was 2)"]),
    (lambda values: values["approvals"].update(needs=3), ["NARROWS   approvals.needs 3 (was 2)"]),
    (lambda values: values["approvals"].update(most_days=500), ["WIDENS    approvals.most_days 500 (was 400)"]),
    (
        lambda values: values["listen"][0].update(address="127.0.0.1:7499"),
        ["NEUTRAL   listen psn: address 127.0.0.1:7499 (was 127.0.0.1:7400)"],
    ),
    (
        lambda values: values["import"][0].update(listen="0.0.0.0:15432"),
        ["WIDENS    import custody@kent.police.example: listen 0.0.0.0:15432 (was 127.0.0.1:15432)"],
    ),
    (
        lambda values: values["import"][0].update(outlet="cjx"),
        ["WIDENS    import custody@kent.police.example: outlet cjx (was gateway)"],
    ),
    (
        lambda values: values["import"][0].update(max_streams=5),
        ["NARROWS   import custody@kent.police.example: max_streams 5 (was no limit)"],
    ),
    (lambda values: values["export"][0].update(weight=3), ["NEUTRAL   export custody: weight 3 (was 100)"]),
    (
        lambda values: values["export"][0].update(priority="critical"),
        ["WIDENS    export custody: priority critical (was normal)"],
    ),
    (
        lambda values: values["export"][0].update(marking="OFFICIAL"),
        ["WIDENS    export custody: marking OFFICIAL (was OFFICIAL-SENSITIVE)"],
    ),
    (
        lambda values: values["bearer"][0].update(marking="SECRET"),
        ["WIDENS    bearer cjx: marking SECRET (was OFFICIAL)"],
    ),
    (
        lambda values: values["bearer"].append({"name": "psn"}),
        ["NEUTRAL   bearer psn: added, marking OFFICIAL"],
    ),
    (
        lambda values: values.pop("bearer"),
        [
            "WIDENS    bearer: none is described any more, so links carry every marking",
            "NEUTRAL   bearer cjx: removed, marking OFFICIAL",
            "WIDENS    bearer cjx: supported_until no end (was 2031-01-31)",
        ],
    ),
    (
        lambda values: values["metrics"].update(listen="10.1.2.3:9740"),
        [
            "WIDENS    metrics.listen 10.1.2.3:9740 (was 127.0.0.1:9740)",
            "WIDENS    metrics.allow kent.police.example added",
        ],
    ),
    (lambda values: values.pop("page"), ["NARROWS   page.listen none (was 127.0.0.1:9741)"]),
    (
        lambda values: values["drill"][0].update(share=50),
        ["NARROWS   drill backup *: share 50.0 (was 100.0)"],
    ),
]


@pytest.mark.parametrize(("change", "sentences"), CASES, ids=[sentences[0] for _, sentences in CASES])
def test_each_change_is_told_in_the_words_that_people_sign(change: Change, sentences: list[str]) -> None:
    found = told(change)
    assert len(found) == len(sentences)
    for each, expected in zip(found, sentences, strict=True):
        assert each.startswith(expected)
        assert each.isascii()
        assert each.isprintable()


def test_the_same_policy_has_no_differences() -> None:
    assert told(lambda values: values["export"].reverse()) == []


def test_an_entry_that_is_added_says_all_that_it_allows() -> None:
    entry = {"service": "pnd", "target": "127.0.0.1:1", "allow": ["met.police.example"], "max_streams": 5}
    paper = {"owner": "a.jones@kent.police.example", "reason": "R", "change": "C", "until": date(2027, 1, 1)}
    found = told(lambda values: values["export"].append(entry | paper))
    assert found == [
        f"WIDENS    export pnd: {words}"
        for words in (
            "added",
            "target 127.0.0.1:1",
            "allow met.police.example added",
            "max_streams 5",
            "owner a.jones@kent.police.example",
            "reason R",
            "change C",
            "until 2027-01-01",
        )
    ]


def test_terms_of_an_entry_of_allow_are_compared() -> None:
    def terms(**said: Any) -> Change:
        return lambda values: values["export"][0].update(allow=[{"organisation": "met.police.example", **said}])

    assert told(terms(reason="R"))[0] == "WIDENS    export custody: allow met.police.example: reason R (was none)"
    assert told(terms(), terms(reason="R")) != []
    assert told(terms(), lambda values: None) == []


def test_clearances_and_transit_are_compared_name_by_name() -> None:
    def first(values: dict[str, Any]) -> None:
        clearances = {"hub.example": "OFFICIAL-SENSITIVE", "met.police.example": "SECRET", "a.example": "OFFICIAL"}
        values["policy"].update(clearances=clearances, transit=[["psn", "internet"]])

    def then(**policy: Any) -> Change:
        return lambda values: values["policy"].update(**policy)

    assert told(then(clearances={"hub.example": "SECRET", "b.example": "OFFICIAL"}), first) == [
        "NEUTRAL   policy.clearances a.example removed",
        "NEUTRAL   policy.clearances b.example added",
        "WIDENS    policy.clearances hub.example SECRET (was OFFICIAL-SENSITIVE)",
        "NARROWS   policy.clearances met.police.example OFFICIAL (was SECRET)",
    ]
    assert told(then(transit=[["cjx", "psn"]]), first) == [
        "WIDENS    policy.transit cjx and psn added",
        "NARROWS   policy.transit internet and psn removed",
    ]
    assert told(lambda values: (values["policy"].pop("transit"), values["policy"].pop("clearances")), first) == [
        "WIDENS    policy.clearances any (was a.example = (OFFICIAL), hub.example = (OFFICIAL-SENSITIVE), "
        "met.police.example = (SECRET))",
        "WIDENS    policy.transit not listed (was internet and psn)",
    ]
    assert told(then(transit=[])) == ["NARROWS   policy.transit no pair (was not listed)"]


def test_outlets_in_another_order_allow_nothing_new() -> None:
    def second(values: dict[str, Any]) -> None:
        values["direct"].append({**values["direct"][0], "name": "psn", "address": "10.20.30.41:5432"})

    found = told(lambda values: values["direct"].reverse(), second)
    assert found == ["NEUTRAL   direct outlets of custody@kent.police.example in another order"]


def test_without_a_policy_of_before_everything_widens() -> None:
    found = classify(None, config.parse(written(approved()), PATH), PolicyFiles(), PolicyFiles(signers=b"a b c"))
    assert {each.kind.value for each in found} == {"WIDENS"}
    assert "export custody: allow met.police.example added" in [each.sentence for each in found]
    assert "approvals: added" in [each.sentence for each in found]


def test_a_policy_of_a_thousand_rules_is_judged_in_a_moment() -> None:
    """Measured: 6 ms to compare, 20 ms for the digest. The bound is for a busy machine."""
    values = approved()
    export = {**values["export"][0], "also": []}
    values["export"] = [{**export, "service": f"s{number}"} for number in range(1_000)]
    del values["caller"]
    old = config.parse(written(values), PATH)
    values["export"][500]["allow"] = ["essex.police.example"]
    new = config.parse(written(values), PATH)
    begun = time.monotonic()
    found = classify(old, new)
    policy_digest(new, signers=b"", trust=b"")
    assert time.monotonic() - begun < 2
    assert [each.sentence for each in found] == [
        "export s500: allow essex.police.example added",
        "export s500: allow met.police.example removed",
    ]


@given(
    st.text(st.characters(max_codepoint=0xD7FF), min_size=1, max_size=200).filter(
        lambda text: text.isprintable() and text.strip()
    )
)
def test_whatever_a_reason_says_is_one_line_of_ascii(reason: str) -> None:
    found = told(lambda values: values["export"][0].update(reason=reason))
    assert all(each.isascii() and each.isprintable() for each in found)
    assert len(found) == (reason != "Custody look-ups")
    # Two different reasons are never shown alike.
    assert not found or shown(reason) in found[0]
