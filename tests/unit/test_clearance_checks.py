"""What `check` says of clearances: what no link may carry, and between which bearers nothing is forwarded."""

from __future__ import annotations

from typing import Any

from pcgrelay import config
from pcgrelay.clearance_checks import clearance_findings
from tests.support.documented_config import PATH, written

PSN = {"name": "psn", "marking": "OFFICIAL-SENSITIVE"}
INTERNET = {"name": "internet", "marking": "OFFICIAL-SENSITIVE"}
SERVICE = {"service": "custody", "target": "127.0.0.1:5432"}


def found(bearers: list[dict[str, str]], on: list[str], **tables: Any) -> list[tuple[str, str]]:
    """on: the bearers of its listeners."""
    name = {"name": "kent-1", "organisation": "kent.police.example", "realm": "police.example"}
    values = {
        "node": {**name, "role": tables.pop("role", "edge")},
        "identity": {"certificate": "a.pem", "key": "a.key", "trust": "ca.pem"},
        "policy": tables.pop("policy", {}),
        "bearer": bearers,
        "listen": [{"address": f"127.0.0.1:{number}", "bearer": bearer} for number, bearer in enumerate(on, 7400)],
        **tables,
    }
    settings = config.parse(written(values), PATH)
    return [(each.where, each.sentence) for each in clearance_findings(settings)]


def test_what_no_link_may_carry_is_said() -> None:
    exports = [{**SERVICE, "marking": "OFFICIAL-SENSITIVE"}]
    assert found([PSN], ["internet"], export=exports) == [
        ("listen[1].bearer", "internet has no [[bearer]], though others have: nothing above OFFICIAL goes over it."),
        (
            "export[1].marking",
            "custody@kent.police.example is OFFICIAL-SENSITIVE, and no link of this node is cleared for more than "
            "OFFICIAL.",
        ),
    ]
    assert found([PSN], ["psn"], export=exports) == []
    assert found([], ["internet"], export=exports) == []


def test_an_edge_of_unmarked_services_is_told_nothing_of_bearers() -> None:
    assert found([PSN], ["internet"], export=[SERVICE]) == []


def test_a_relay_is_told_between_which_bearers_it_forwards_nothing() -> None:
    said = ("policy.transit", "This relay forwards nothing between internet and psn.")
    assert found([PSN, INTERNET], ["psn", "internet"], role="relay") == [said]
    named = {"transit": [["psn", "internet"]]}
    assert found([PSN, INTERNET], ["psn", "internet"], role="relay", policy=named) == []
    assert found([], ["psn", "internet"], role="relay", policy={"transit": []}) == [said]
    assert found([], ["psn"], policy=named) == [("policy.transit", "An edge forwards nothing between bearers.")]
