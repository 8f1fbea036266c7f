"""Rules, changes and networks, read from real files with real signatures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import msgspec
import pytest

from pcgrelay import config
from pcgrelay.admin.assure_answers import LedAcross, PathsAcross, TransitAnswer
from pcgrelay.assure.judgement import FAILED, PASSED, NotHereError
from pcgrelay.assure.judges import rules as judges
from pcgrelay.assure.parameters import Parameters
from pcgrelay.assure.readers import rules
from pcgrelay.assure.rule_facts import Changes
from pcgrelay.audit.segments import segment_name
from pcgrelay.policy.signers import parse_signers
from pcgrelay.state.approved import CHANGE, SIGNERS
from pcgrelay.state.changes import KeptChange
from tests.support.approved_node import ApprovedNode
from tests.support.documented_config import PATH, documented, written
from tests.support.signing import listed, make_people, revoke

P = Parameters()
Fault = Callable[[ApprovedNode], None]


@pytest.fixture
def node(tmp_path: Path) -> ApprovedNode:
    return ApprovedNode.make(tmp_path)


def owner_removed(node: ApprovedNode) -> None:
    # Without [approvals] a rule may be without its paper; with it, the configuration is refused before any test runs.
    del node.values["export"][0]["owner"]
    del node.values["approvals"]
    node.write()


def unapproved_edit(node: ApprovedNode) -> None:
    node.values["export"][0]["allow"].append("sussex.police.example")
    node.write()


def ended(node: ApprovedNode) -> None:
    node.values["import"][0]["until"] = date(2026, 1, 31)
    node.take("CR-3")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda node: None, ""),
        (owner_removed, "export[1] has no owner"),
        (unapproved_edit, "was approved"),
        (ended, "import[1] ended on 2026-01-31"),
    ],
)
async def test_rules_and_what_was_approved(node: ApprovedNode, tmp_path: Path, fault: Fault, said: str) -> None:
    fault(node)
    judgement = judges.rules_are_owned(await rules.read_rules(node.scene(tmp_path / "scene")), P)
    assert judgement.outcome == (FAILED if said else PASSED), judgement
    assert said in judgement.observed


async def changes(node: ApprovedNode, tmp_path: Path) -> Changes:
    found = await rules.read_changes(node.scene(tmp_path / "scene"))
    assert not list((tmp_path / "scene").iterdir())
    return found


async def test_both_changes_that_are_kept_are_verified(node: ApprovedNode, tmp_path: Path) -> None:
    found = await changes(node, tmp_path)
    assert [each.number for each in found.changes] == ["CR-2", "CR-1"]
    assert all(len(each.signers) == 2 and not each.bad for each in found.changes)
    assert judges.changes_are_signed(found, P).outcome == PASSED


def signature_of_another_text(node: ApprovedNode) -> None:
    held = node.store.read()
    assert held is not None
    files = dict(held.files)
    files[f"{CHANGE}.{node.people[0].address}.sig"] = node.people[0].sign(b"another text")
    node.store.write(files, held.pointer)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda node: node.take("CR-3", (0,)), "CR-3 of 2026-10-01 has 1 of 2"),
        (lambda node: node.take("CR-3", (0, 2)), "CR-3 of 2026-10-01 has 1 of 2"),
        (signature_of_another_text, "has 1 of 2 signatures of others (text)"),
    ],
)
async def test_a_change_without_two_others_is_found(
    node: ApprovedNode, tmp_path: Path, fault: Fault, said: str
) -> None:
    fault(node)
    judgement = judges.changes_are_signed(await changes(node, tmp_path), P)
    assert judgement.outcome == FAILED
    assert said in judgement.observed


async def test_the_log_says_who_signed_what_is_not_kept(node: ApprovedNode, tmp_path: Path) -> None:
    node.values["audit"] = {}
    node.take("CR-3")
    log = tmp_path / "state" / "audit" / "log"
    log.mkdir(parents=True)
    held = node.store.read()
    before = node.store.before()
    assert held is not None
    assert before is not None
    found = await changes(node, tmp_path)
    keys = [list(each.signers) for each in found.changes]
    assert not any(each.recorded for each in found.changes)
    lines = [
        {"event": "policy.taken", "after": "c" * 64, "widens": 1, "change": "CR-0", "keys": ["SHA256:x", "SHA256:y"]},
        {"event": "policy.taken", "after": before.pointer.digest, "widens": 1, "change": "CR-2", "keys": keys[1]},
        {"event": "policy.taken", "after": "d" * 64, "widens": 0, "change": "CR-9", "keys": []},
        {"event": "policy.taken", "after": held.pointer.digest, "widens": 1, "change": "CR-3", "keys": keys[0]},
    ]
    text = "".join(rules_line(number, line) for number, line in enumerate(lines))
    (log / segment_name(0)).write_text(text + '{"torn')
    found = await changes(node, tmp_path)
    assert [each.number for each in found.changes] == ["CR-3", "CR-2", "CR-0"]
    assert all(each.recorded for each in found.changes)
    assert found.only_log == 1
    assert judges.changes_are_signed(found, P).outcome == PASSED
    (log / segment_name(0)).write_text(text.replace(keys[0][0], "SHA256:" + "z" * 43))
    assert "in the log with other keys" in judges.changes_are_signed(await changes(node, tmp_path), P).observed


@pytest.mark.parametrize(
    ("ts", "outcome"), [("2026-10-01T10:00:01.000Z", PASSED), ("2026-10-01T09:59:59.000Z", FAILED)]
)
async def test_a_log_that_began_later_says_nothing_of_a_change(
    node: ApprovedNode, tmp_path: Path, ts: str, outcome: str
) -> None:
    node.values["audit"] = {}
    node.write()
    log = tmp_path / "state" / "audit" / "log"
    log.mkdir(parents=True)
    (log / segment_name(0)).write_text(rules_line(0, {"ts": ts, "event": "node.ready"}))
    found = await changes(node, tmp_path)
    assert [each.number for each in found.changes] == ["CR-2", "CR-1"]
    assert judges.changes_are_signed(found, P).outcome == outcome


async def test_changes_before_the_last_two_are_verified_by_the_signers_of_then(
    node: ApprovedNode, tmp_path: Path
) -> None:
    node.values["audit"] = {}
    fresh = make_people(tmp_path / "fresh", "c.lee", "d.day", "e.fox")
    node.take("CR-3")
    # Whoever signed until here may not sign any more: what they signed then is judged by the list of then.
    (tmp_path / "allowed_signers").write_text(listed([*node.people[:2], *fresh]))
    node.take("CR-4")
    (tmp_path / "allowed_signers").write_text(listed(fresh))
    node.take("CR-5")
    lines = [
        {"event": "policy.first" if each.taken.change == "CR-1" else "policy.taken", "after": each.taken.digest}
        | {"widens": 1, "change": each.taken.change, "keys": fingerprints(each)}
        for each in reversed(node.store.changes.read())
    ]
    log = tmp_path / "state" / "audit" / "log"
    log.mkdir(parents=True)
    (log / segment_name(0)).write_text("".join(rules_line(number, line) for number, line in enumerate(lines)))
    found = await changes(node, tmp_path)
    assert [each.number for each in found.changes] == ["CR-5", "CR-4", "CR-3", "CR-2", "CR-1"]
    assert [len(each.signers) for each in found.changes] == [2] * 5
    assert found.only_log == 0
    judgement = judges.changes_are_signed(found, P)
    assert judgement.outcome == PASSED, judgement
    assert "5 verified again by ssh-keygen" in judgement.observed
    # A text that was touched is none, and then the log alone says who signed.
    (kept,) = (each for each in node.store.changes.read() if each.taken.change == "CR-2")
    with (kept.path / CHANGE).open("ab") as file:
        file.write(b"x")
    found = await changes(node, tmp_path)
    assert [each.is_told for each in found.changes] == [False, False, False, True, False] or found.only_log == 1
    assert "4 verified again by ssh-keygen, 1 by the keys" in judges.changes_are_signed(found, P).observed


def fingerprints(kept: KeptChange) -> list[str]:
    names = {name.removeprefix(f"{CHANGE}.").removesuffix(".sig") for name in kept.files if name.endswith(".sig")}
    people = parse_signers(kept.files[SIGNERS], kept.path / SIGNERS)
    return [each.fingerprint for each in people if each.principal in names]


def rules_line(number: int, values: dict[str, object]) -> str:
    record = {"n": number, "ts": f"2026-09-0{number + 1}T10:00:00.000Z", **values}
    return msgspec.json.encode(record).decode() + "\n"


def transit(role: str, live: TransitAnswer | None = None, **policy: object) -> rules.Transit:
    values = documented()
    values["link"].append({**values["link"][0], "peer": "relay-2.hub.example", "bearer": "internet"})
    values["node"]["role"] = role
    if role == "relay":
        for table in ("export", "import", "direct", "drill", "caller"):
            values.pop(table, None)
    values["policy"].update(policy)
    return rules.transit_of(config.parse(written(values), PATH), live or TransitAnswer(forwards=False))


def test_an_edge_forwards_nothing() -> None:
    assert judges.nothing_leads_across(transit("edge"), P).outcome == PASSED


def test_a_relay_forwards_between_bearers_that_are_named() -> None:
    # There is a [[bearer]], so what nobody names is closed.
    assert judges.nothing_leads_across(transit("relay"), P).outcome == PASSED
    assert judges.nothing_leads_across(transit("relay", transit=[["psn", "internet"]]), P).outcome == PASSED


def test_a_relay_without_a_word_on_bearers_forwards_between_all() -> None:
    values = {name: entry for name, entry in documented().items() if name not in ("export", "import", "direct")}
    for table in ("drill", "caller", "bearer"):
        values.pop(table, None)
    values["node"]["role"] = "relay"
    values["link"].append({**values["link"][0], "peer": "relay-2.hub.example", "bearer": "internet"})
    found = rules.transit_of(config.parse(written(values), PATH), TransitAnswer(forwards=True))
    assert "internet and psn are open to each other" in judges.nothing_leads_across(found, P).observed


LEADING = TransitAnswer(
    forwards=True,
    paths=(
        PathsAcross(came="psn", goes="internet", marking=1, count=2),
        PathsAcross(came="psn", goes="internet", marking=2, count=1),
        PathsAcross(came="psn", goes="psn", marking=2, count=9),
    ),
    asked=7,
    led=(LedAcross(came="internet", goes="psn", count=4),),
    refused={"no_transit": 3},
)


def test_what_the_running_node_leads_is_held_against_the_file() -> None:
    found = transit("relay", LEADING)
    assert {(each.came, each.goes): (each.paths, each.led) for each in found.live} == {
        ("psn", "internet"): (3, 0),
        ("internet", "psn"): (0, 4),
    }
    said = judges.nothing_leads_across(found, P).observed
    assert "3 paths lead from psn to internet" in said
    assert "would lead a path from internet to psn" in said
    named = judges.nothing_leads_across(transit("relay", LEADING, transit=[["psn", "internet"]]), P)
    assert named.outcome == PASSED
    assert "3 paths across stand, and of 7 ways that it was asked for it refuses 3" in named.observed


async def test_with_one_bearer_there_is_nothing_to_lead_across(node: ApprovedNode, tmp_path: Path) -> None:
    with pytest.raises(NotHereError):
        await rules.read_transit(node.scene(tmp_path / "scene"))


async def test_who_has_a_revoked_key_is_no_signer(node: ApprovedNode, tmp_path: Path) -> None:
    facts = await rules.read_people(node.scene(tmp_path / "scene"))
    assert len(facts.signers) == 3
    revoke(node.folder / "krl", node.people[0])
    node.values["approvals"]["revoked"] = "krl"
    node.write()
    facts = await rules.read_people(node.scene(tmp_path / "scene"))
    assert [each.person for each in facts.signers] == [each.address for each in node.people[1:]]
