"""What a configuration's clearances keep this node from carrying, as findings of `check`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from pcgrelay.config import Config
from pcgrelay.finding import Finding, doubtful
from pcgrelay.model import Role
from pcgrelay.policy.clearances import LOWEST, NAMES, Clearances, clearances_of
from pcgrelay.policy.rules import MARKING_NUMBERS


def clearance_findings(config: Config) -> Iterator[Finding]:
    """Say which services no link may carry, which bearers have no marking, and between which nothing is forwarded."""
    clearances = clearances_of(config)
    yield from _unmarked(config, clearances)
    yield from _uncarried(config, clearances)
    if config.node.role is Role.RELAY:
        yield from _untransited(config, clearances)
    elif config.policy.transit is not None:
        yield doubtful("policy.transit", "An edge forwards nothing between bearers.", "Remove this line.")


def _bearers(config: Config) -> dict[str, str]:
    """Return the bearers of links, and for each where it is first named."""
    found: dict[str, str] = {}
    for number, link in enumerate(config.links, 1):
        found.setdefault(link.bearer, f"link[{number}].bearer")
    for number, listen in enumerate(config.listens, 1):
        found.setdefault(listen.bearer, f"listen[{number}].bearer")
    return found


def _unmarked(config: Config, clearances: Clearances) -> Iterator[Finding]:
    is_marked = any(MARKING_NUMBERS[export.marking] > LOWEST for export in config.exports)
    # Of what others export, only they know the marking.
    if clearances.bearers is None or not (is_marked or config.imports or config.node.role is Role.RELAY):
        return
    for name, where in _bearers(config).items():
        if name not in clearances.bearers:
            sentence = f"{name} has no [[bearer]], though others have: nothing above {NAMES[LOWEST]} goes over it."
            yield doubtful(where, sentence, f'Add a [[bearer]] with name = "{name}" and its marking.')


def _uncarried(config: Config, clearances: Clearances) -> Iterator[Finding]:
    bearers = _bearers(config)
    most = max((clearances.of_bearer(name) for name in bearers), default=LOWEST)
    for number, export in enumerate(config.exports, 1):
        if bearers and MARKING_NUMBERS[export.marking] > most:
            cleared = f"no link of this node is cleared for more than {NAMES[most]}"
            sentence = f"{export.service} is {export.marking.value}, and {cleared}."
            yield doubtful(
                f"export[{number}].marking", sentence, "Correct the marking of the bearer that may carry it."
            )


def _untransited(config: Config, clearances: Clearances) -> Iterator[Finding]:
    for one, other in combinations(sorted(_bearers(config)), 2):
        if not clearances.may_transit(one, other):
            sentence = f"This relay forwards nothing between {one} and {other}."
            yield doubtful("policy.transit", sentence, f'Add transit = [["{one}", "{other}"]] to [policy], if it may.')
