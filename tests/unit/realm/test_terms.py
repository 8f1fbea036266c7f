"""What the realm's bundle says narrows what a node's own file allows, and never allows more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from pcgrelay import config
from pcgrelay.config import Config
from pcgrelay.config.settings import RealmTerms
from pcgrelay.model import Marking, NodeId, Role
from pcgrelay.policy.clearances import HIGHEST, LOWEST, clearances_of
from pcgrelay.policy.rules import link_refusal, reach_refusal, relay_refusal
from tests.support.documented_config import PATH, documented, written

NAMES = ("hub.example", "kent.police.example", "met.police.example", "x.met.police.example", "other.example")
PATTERNS = (*NAMES, "*", "*.police.example", "*.example")
patterns = st.lists(st.sampled_from(PATTERNS), unique=True, min_size=1).map(tuple)
markings = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(Marking), min_size=1).map(
    lambda found: tuple(sorted(found.items()))
)
terms = st.builds(
    RealmTerms, members=st.none() | patterns, relays=st.none() | patterns, clearances=st.none() | markings
)


def own(members: tuple[str, ...], relays: tuple[str, ...] | None, clearances: object) -> Config:
    values = documented()
    parsed = config.parse(written(values), PATH)
    policy = structs.replace(parsed.policy, members=members, relays=relays, clearances=clearances)
    return structs.replace(parsed, policy=policy)


def node(organisation: str) -> NodeId:
    return NodeId("police.example", organisation, "n-1")


@given(patterns, st.none() | patterns, st.none() | markings, terms)
def test_a_bundle_allows_nobody_whom_the_file_does_not(
    members: tuple[str, ...], relays: tuple[str, ...] | None, clearances: object, said: RealmTerms
) -> None:
    before = own(members, relays, clearances)
    after = structs.replace(before, policy=structs.replace(before.policy, realm=said))
    was, now = clearances_of(before), clearances_of(after)
    for name in NAMES:
        assert after.policy.admits(name) == (before.policy.admits(name) and said.has(name))
        assert after.policy.may_relay(name) <= before.policy.may_relay(name)
        assert now.of_organisation(name) <= was.of_organisation(name)
        assert (link_refusal(after.policy, node(name), None) is None) <= (
            link_refusal(before.policy, node(name), None) is None
        )
        assert (relay_refusal(after.policy, node(name), Role.RELAY) is None) <= before.policy.may_relay(name)
        assert (link_refusal(after.policy, node(name), node(name)) is None) == said.has(name)
    assert now.bearers == was.bearers
    assert now.transit == was.transit


def test_who_is_no_member_is_neither_linked_nor_reached() -> None:
    before = own(("*",), None, None)
    policy = structs.replace(before.policy, realm=RealmTerms(members=("kent.police.example",)))
    kent, met = node("kent.police.example"), node("met.police.example")
    assert link_refusal(policy, met, None) == "not_a_member"
    assert link_refusal(policy, met, met) == "not_a_member"  # though this node's own file says to dial it
    assert link_refusal(policy, met, kent) == "unexpected_identity"
    assert link_refusal(policy, kent, kent) is None
    assert reach_refusal(policy, kent, met) == "not_a_member"


def test_relays_are_members_first() -> None:
    said = RealmTerms(members=("kent.police.example",), relays=("hub.example",))
    assert not said.may_relay("hub.example")
    assert not said.may_relay("kent.police.example")
    assert RealmTerms(relays=("hub.example",)).may_relay("hub.example")


def test_who_is_not_named_is_cleared_for_the_lowest_once_the_realm_names_some() -> None:
    before = own(("*",), None, None)
    said = RealmTerms(clearances=(("hub.example", Marking.SECRET),))
    found = clearances_of(structs.replace(before, policy=structs.replace(before.policy, realm=said)))
    assert found.of_organisation("hub.example") == HIGHEST
    assert found.of_organisation("met.police.example") == LOWEST
