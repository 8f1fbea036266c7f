"""Clearances: over which networks, and through whose nodes, what is marked may go (pure).

Each node judges by its own configuration, and only as far as that says something: bearers once there is a [[bearer]],
organisations once there is `[policy] clearances`, or the realm's bundle says something of them; where both do, the
lower counts. What is not named there is cleared for OFFICIAL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from pcgrelay.config import Config
from pcgrelay.model import Marking, NodeId
from pcgrelay.policy.rules import MARKING_NUMBERS

LOWEST = MARKING_NUMBERS[Marking.OFFICIAL]
HIGHEST = MARKING_NUMBERS[Marking.SECRET]
NAMES = {number: marking.value for marking, number in MARKING_NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What is not cleared on a route. Markings are numbers, 1 to 3."""

    what: str  # the bearer, or the organisation of a relay
    is_bearer: bool
    cleared: int  # what it is cleared for

    def words(self, marking: int) -> str:
        """Return it as a phrase. marking: of the service."""
        who = "" if self.is_bearer else f"{self.what} is "
        return f"{who}cleared for {NAMES[self.cleared]}, this service is {NAMES.get(marking, str(marking))}"


@dataclass(frozen=True, slots=True)
class Clearances:
    """What the configuration of one node says. None: it says nothing, and nothing is judged by it."""

    bearers: Mapping[str, int] | None = None  # by name, the highest marking
    organisations: Mapping[str, int] | None = None
    transit: frozenset[tuple[str, str]] | None = None  # pairs of bearers, each sorted

    def of_bearer(self, name: str) -> int:
        """Return the highest marking that may go over a network."""
        return HIGHEST if self.bearers is None else self.bearers.get(name, LOWEST)

    def of_organisation(self, name: str) -> int:
        """Return the highest marking that an organisation may have."""
        return HIGHEST if self.organisations is None else self.organisations.get(name, LOWEST)

    def obstacle(self, marking: int, bearer: str, relays: Iterable[str] = ()) -> Obstacle | None:
        """Return what is not cleared for a marking on a route over a bearer; None: it may be taken.

        relays: identities (URIs) of the relays on it, as far as this node knows them.
        """
        if marking <= LOWEST:
            return None
        if (cleared := self.of_bearer(bearer)) < marking:
            return Obstacle(bearer, True, cleared)
        if self.organisations is None:
            return None
        for relay in relays:
            organisation = _organisation_of(relay)
            if (cleared := self.of_organisation(organisation)) < marking:
                return Obstacle(organisation, False, cleared)
        return None

    def clears(self, marking: int, bearer: str, relays: Iterable[str] = ()) -> bool:
        """Return whether what is so marked may go over a bearer and through these relays."""
        return self.obstacle(marking, bearer, relays) is None

    def highest(self, bearer: str, relays: Iterable[str] = ()) -> int:
        """Return the highest marking that may go over a bearer and through these relays; LOWEST may always."""
        cleared = self.of_bearer(bearer)
        if self.organisations is not None:
            for relay in relays:
                cleared = min(cleared, self.of_organisation(_organisation_of(relay)))
        return max(cleared, LOWEST)

    def may_transit(self, one: str, other: str) -> bool:
        """Return whether a relay may forward between links on these two bearers."""
        if self.transit is None or one == other:
            return True
        return (min(one, other), max(one, other)) in self.transit


OPEN = Clearances()


def clearances_of(config: Config) -> Clearances:
    """Return what a configuration says of clearances."""
    policy = config.policy
    is_judged = bool(config.bearers)
    organisations = _numbered(policy.clearances)
    if (realm := _numbered(policy.realm.clearances)) is not None:
        # The realm narrows what the file says, and the file what the realm says.
        own = realm if organisations is None else organisations
        names = own.keys() | realm.keys()
        organisations = {name: min(own.get(name, LOWEST), realm.get(name, LOWEST)) for name in names}
    return Clearances(
        bearers={each.name: MARKING_NUMBERS[each.marking] for each in config.bearers} if is_judged else None,
        organisations=organisations,
        transit=frozenset(policy.transit or ()) if is_judged or policy.transit is not None else None,
    )


def _numbered(pairs: tuple[tuple[str, Marking], ...] | None) -> dict[str, int] | None:
    return None if pairs is None else {name: MARKING_NUMBERS[marking] for name, marking in pairs}


@lru_cache(4_096)
def _organisation_of(uri: str) -> str:
    return NodeId.from_uri(uri).organisation
