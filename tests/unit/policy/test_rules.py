"""Who may do what: no by default, and by whole names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from pcgrelay.config import Address, ExportSettings, PolicySettings
from pcgrelay.config.settings import AllowTerms
from pcgrelay.identity.handshake import CAP_LEAST_BYTES, session_cap
from pcgrelay.model import Marking, NodeId, Priority, Role, ServiceName, Suite
from pcgrelay.path.budget import OVERCOMMIT, Budget
from pcgrelay.policy.rules import export_rules, granted, link_refusal, reach_refusal, relay_refusal

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KENT = NodeId("police.example", "kent.police.example", "kent-1")
MET = NodeId("police.example", "met.police.example", "met-1")
HUB = NodeId("police.example", "hub.example", "relay-1")


def policy(*members: str) -> PolicySettings:
    return PolicySettings(
        post_quantum_required=True,
        suites=tuple(Suite),
        members=members,
        handshake_deadline_ms=10_000,
        half_open_total=256,
        half_open_per_source=32,
        rekey_bytes=1 << 36,
        rekey_frames=1 << 22,
        rekey_s=120,
        renewal_interval_s=3_600,
        renewal_age_s=86_400,
        path_wait_ms=30_000,
    )


def export(service: str, *allow: str, priority: Priority = Priority.NORMAL) -> ExportSettings:
    return ExportSettings(
        service=ServiceName(service, KENT.organisation),
        target=Address("127.0.0.1", 1),
        allow=allow,
        marking=Marking.OFFICIAL,
        connect_timeout_ms=1,
        priority=priority,
    )


RULES = export_rules([export("a"), export("b", MET.organisation), export("c", MET.organisation, "hub.example")])


@pytest.mark.parametrize(
    ("organisation", "exports"),
    [
        (MET.organisation, (1, 2)),
        ("hub.example", (2,)),
        ("police.example", ()),
        ("x.met.police.example", ()),
        ("et.police.example", ()),
        ("", ()),
    ],
)
def test_grants(organisation: str, exports: tuple[int, ...]) -> None:
    assert granted(RULES, organisation, NOW) == exports


@pytest.mark.parametrize(("priority", "exports"), [(0, (0, 1, 2)), (1, (1, 2)), (2, (2,)), (3, ())])
def test_a_class_above_that_of_the_export_is_not_granted(priority: int, exports: tuple[int, ...]) -> None:
    rules = export_rules([export(str(int(each)), MET.organisation, priority=each) for each in Priority])
    assert granted(rules, MET.organisation, NOW, priority) == exports
    assert granted(rules, "hub.example", NOW, priority) == ()
    assert rules[2].text == "export[3] (2@kent.police.example) allows met.police.example with priority critical at most"


def test_rules_say_who_is_allowed() -> None:
    assert RULES[0].text == "export[1] (a@kent.police.example) allows nobody"
    assert RULES[2].text == "export[3] (c@kent.police.example) allows met.police.example, hub.example"


@pytest.mark.parametrize(
    ("members", "refused"),
    [
        ((), True),
        (("*",), False),
        (("*.police.example",), False),
        (("police.example",), True),
        (("hub.example",), True),
    ],
)
def test_who_may_link(members: tuple[str, ...], refused: bool) -> None:
    assert (link_refusal(policy(*members), KENT, None) == "not_a_member") is refused


def test_whom_we_dial_need_be_no_member_but_must_be_the_one() -> None:
    assert link_refusal(policy(), HUB, HUB) is None
    assert link_refusal(policy("*"), KENT, HUB) == "unexpected_identity"


def test_a_relay_leads_between_members_only() -> None:
    members = policy("kent.police.example", "met.police.example")
    assert reach_refusal(members, KENT, MET) is None
    assert reach_refusal(members, KENT, HUB) == "not_a_member"
    assert reach_refusal(members, HUB, KENT) == "not_a_member"
    assert reach_refusal(policy(), KENT, MET) == "not_a_member"


def test_a_budget_is_never_passed() -> None:
    memory = 256 << 20
    budget, taken = Budget.of_memory(memory), 0
    while (cap := budget.cap_granted(2, 16 << 20, exactly=False)) is not None:
        assert cap >= CAP_LEAST_BYTES
        budget = budget.reserved(2, cap)
        taken += 1
    assert budget.reserved_bytes <= OVERCOMMIT * memory
    assert taken > 200
    assert budget.released(2, CAP_LEAST_BYTES).reserved_bytes < budget.reserved_bytes


def test_a_path_that_resumes_gets_its_cap_or_none() -> None:
    budget = Budget(4 << 20)
    assert budget.cap_granted(1, 1 << 20, exactly=True) == 1 << 20
    assert budget.cap_granted(1, 4 << 20, exactly=True) is None
    assert budget.cap_granted(1, 1, exactly=True) is None


@pytest.mark.parametrize("memory", [16 << 20, 256 << 20, 1 << 40])
@pytest.mark.parametrize("flows", [1, 2, 64])
def test_session_cap_is_in_bounds(memory: int, flows: int) -> None:
    assert CAP_LEAST_BYTES <= session_cap(memory, flows) <= 16 << 20


@pytest.mark.parametrize(
    ("relays", "organisation", "reason"),
    [
        (None, "evil.example", None),
        ((), "hub.example", "not_a_relay"),
        (("hub.example",), "hub.example", None),
        (("hub.example",), "evil.example", "not_a_relay"),
        (("*.example",), "evil.example", None),
    ],
)
def test_whose_nodes_may_be_relays(relays: tuple[str, ...] | None, organisation: str, reason: str | None) -> None:
    asked = structs.replace(policy("*"), relays=relays)
    node = NodeId("police.example", organisation, "node-1")
    assert relay_refusal(asked, node, Role.RELAY) == reason
    assert relay_refusal(asked, node, Role.EDGE) is None


def test_an_entry_with_an_end_allows_until_then_and_says_so() -> None:
    terms = AllowTerms(organisation=MET.organisation, until=NOW, reason="an operation", reference="R-17")
    (rule,) = export_rules([structs.replace(export("a", MET.organisation, "hub.example"), terms=(terms,))])
    assert granted([rule], MET.organisation, NOW - timedelta(microseconds=1)) == (0,)
    assert granted([rule], MET.organisation, NOW) == ()
    assert granted([rule], "hub.example", NOW + timedelta(days=999)) == (0,)
    expected = f"allows {MET.organisation} (until 2026-06-01 00:00 UTC, R-17), hub.example"
    assert rule.text.endswith(expected)
