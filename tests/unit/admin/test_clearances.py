"""What a status says of clearances, in lines."""

from __future__ import annotations

import pytest

from pcgrelay.admin.clearances import ClearancesStatus, clearance_lines, highest

HUB = "hub.example"


def test_a_node_that_judges_nothing_says_nothing() -> None:
    assert list(clearance_lines(ClearancesStatus())) == []


def test_networks_and_organisations_are_told_with_the_highest_first() -> None:
    status = ClearancesStatus(
        bearers={"internet": "OFFICIAL", "cjx": "OFFICIAL", "psn": "SECRET"},
        organisations={HUB: "OFFICIAL-SENSITIVE"},
        refused_total=1_234,
    )
    assert list(clearance_lines(status)) == [
        "cleared networks: psn SECRET, cjx OFFICIAL, internet OFFICIAL",
        "cleared organisations: hub.example OFFICIAL-SENSITIVE, any other OFFICIAL",
        "refused for their marking: 1,234 since the start",
    ]


def test_many_are_counted_and_a_refusal_is_told_without_clearances() -> None:
    status = ClearancesStatus(bearers={f"bearer-{number}": "OFFICIAL" for number in range(10, 21)})
    assert next(clearance_lines(status)).endswith("bearer-17 OFFICIAL and 3 more")
    assert list(clearance_lines(ClearancesStatus(refused_total=2))) == ["refused for their marking: 2 since the start"]


@pytest.mark.parametrize(
    ("markings", "expected"),
    [
        ([], ""),
        (["", "OFFICIAL"], "OFFICIAL"),
        (["SECRET", "OFFICIAL-SENSITIVE", "OFFICIAL"], "SECRET"),
        (["SECRET", "ABOVE IT"], "ABOVE IT"),  # of a newer node
    ],
)
def test_the_highest_marking_is_that_of_the_list(markings: list[str], expected: str) -> None:
    assert highest(markings) == expected
