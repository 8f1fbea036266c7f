"""The markings of what is shown, and what the node's file clears."""

from __future__ import annotations

from collections.abc import Iterable

from pcgrelay.admin.clearances import ClearancesStatus
from pcgrelay.catalogue.entries import Offer
from pcgrelay.config import Config
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.relay import RelayRole
from pcgrelay.link.link import Link
from pcgrelay.model import Role
from pcgrelay.policy.clearances import HIGHEST, LOWEST, NAMES, OPEN
from pcgrelay.policy.rules import MARKING_NUMBERS
from pcgrelay.reasons import MARKING


def shown_marking(node: Node, marking: int) -> str:
    """Return the marking of something that is shown; empty where nobody has configured any marking."""
    return "" if marking <= LOWEST and node.local.clearances == OPEN else NAMES[marking]


def marking_of_offers(offers: Iterable[Offer]) -> int:
    """Return the highest marking of some offers."""
    return max((offer.marking for offer in offers), default=LOWEST)


def node_marking(node: Node) -> str:
    """Return the highest marking of the services of an edge, or of the paths through a relay."""
    role = node.role
    if isinstance(role, RelayRole):
        return shown_marking(node, role.paths.marking)
    assert isinstance(role, EdgeRole)
    exported = (MARKING_NUMBERS[export.marking] for export in node.config.exports)
    imported = (each.marking or LOWEST for each in role.services.imports)
    return shown_marking(node, max(*exported, *imported, LOWEST, LOWEST))


def clearances_status(node: Node, refused: dict[str, int]) -> ClearancesStatus:
    """Return what the file in force clears. refused: all refusals, by reason."""
    clearances = node.local.clearances
    return ClearancesStatus(
        bearers=None
        if clearances.bearers is None
        else {name: NAMES[clearances.of_bearer(name)] for name in sorted(_bearers(node.config))},
        organisations=None
        if clearances.organisations is None
        else {name: NAMES[marking] for name, marking in sorted(clearances.organisations.items())},
        refused_total=refused.get(MARKING, 0) + refused.get(f"stream_{MARKING}", 0),
    )


def link_cleared(node: Node, link: Link) -> str:
    """Return the highest marking that may go over a link, and through its neighbour if that is a relay."""
    clearances = node.local.clearances
    if clearances.bearers is None and clearances.organisations is None:
        return ""
    relay = clearances.of_organisation(link.peer.organisation) if link.peer_role is Role.RELAY else HIGHEST
    return NAMES[min(clearances.of_bearer(link.bearer), relay)]


def _bearers(config: Config) -> set[str]:
    linked = {each.bearer for each in config.links} | {each.bearer for each in config.listens}
    return linked | {each.bearer for each in config.directs} | {each.name for each in config.bearers}
