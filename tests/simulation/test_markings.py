"""No delivered byte crosses what is not cleared for it, and what has a cleared way is delivered."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from pcgrelay.catalogue import proofs
from pcgrelay.path import edge as path_edge
from pcgrelay.path import relay as path_relay
from pcgrelay.path.relay import RelayPaths
from pcgrelay.policy.clearances import Clearances
from pcgrelay.session.migration import PathMigration
from tests.simulation import markings
from tests.simulation.marked_realm import Edge
from tests.simulation.markings import AGREE, KINDS, LIE, live_through

REALMS = 60  # of 1,000 by `make simulate-markings`
SABOTAGED = 200


@pytest.mark.parametrize("kind", KINDS, ids=KINDS.get)
def test_nothing_crosses_what_is_not_cleared(kind: str) -> None:
    first = random.SystemRandom().randrange(1 << 32)
    assert live_through(REALMS, first, kind) > REALMS


def nothing(*given: Any) -> None:
    """Judge nothing."""


def unparked(self: Edge, number: int, *, link: int, in_label: int, out_label: int, instead: int = 0) -> None:
    """Go on using a path that was left because it is not cleared."""
    if link:
        _session_path(self, number, link=link, in_label=in_label, out_label=out_label, instead=instead)


_session_path = Edge.session_path
FAULTS: dict[str, tuple[type, str, Callable[..., object]]] = {
    "any bearer": (Clearances, "of_bearer", lambda self, name: 3),
    "any organisation": (Clearances, "of_organisation", lambda self, name: 3),
    "any transit": (Clearances, "may_transit", lambda self, one, other: True),
    "nothing": (Clearances, "of_bearer", lambda self, name: 1),
    "a relay that reloads judges no path": (RelayPaths, "judge", nothing),
    "an edge that reloads judges no path": (PathMigration, "judge", nothing),
    "the core goes on": (Edge, "session_path", unparked),
    "an answer that comes after a reload is taken": (Edge, "may_carry", lambda self, session, end: True),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, instead = FAULTS[fault]
    monkeypatch.setattr(owner, name, instead)
    with pytest.raises(Exception):  # noqa: B017 - whatever the judge or the code says first
        live_through(SABOTAGED, 5_000, AGREE)


def test_a_neighbour_who_is_believed_to_be_somebody_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    accept: Callable[..., None] = lambda *given: None
    monkeypatch.setattr(path_edge, "sender_refusal", accept)
    monkeypatch.setattr(path_relay, "sender_refusal", accept)
    monkeypatch.setattr(proofs, "path_refusal", accept)
    monkeypatch.setattr(markings, "LIES", ("self",))
    with pytest.raises(Exception):  # noqa: B017 - as above
        live_through(SABOTAGED, 5_000, LIE)
