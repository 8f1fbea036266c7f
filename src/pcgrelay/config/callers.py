"""The rules of [[caller]] and [[export]] also: callers who still come the old way, and whose they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pcgrelay.config import schema
from pcgrelay.config.fields import parsed
from pcgrelay.config.settings import CallerSettings, Config
from pcgrelay.config.source import KeyPath, Source, shown_path
from pcgrelay.config.values import Address, Network, parse_network
from pcgrelay.model import check_dotted

CALLERS_MOST = 64
NETWORKS_MOST = 256  # of one caller
# Each organisation has figures of its own in the data plane, for each export with `also`.
COUNTED_MOST = 256


def callers(source: Source, tables: Sequence[schema.CallerTable]) -> tuple[CallerSettings, ...]:
    """Return whose networks are known."""
    if len(tables) > CALLERS_MOST:
        raise source.refusal(("caller", CALLERS_MOST), f"{CALLERS_MOST} callers are the most of one node; remove some")
    seen: dict[Network, str] = {}
    return tuple(_caller(source, ("caller", index), table, seen) for index, table in enumerate(tables))


def _caller(source: Source, where: KeyPath, table: schema.CallerTable, seen: dict[Network, str]) -> CallerSettings:
    organisation = parsed(
        source, (*where, "organisation"), table.organisation, lambda text: check_dotted(text, "organisation")
    )
    at = (*where, "networks")
    if not table.networks:
        raise source.refusal(
            at, 'there is none, so nobody is known by it; write for example: networks = ["10.1.0.0/16"]'
        )
    if len(table.networks) > NETWORKS_MOST:
        raise source.refusal(
            at, f"these are {len(table.networks)} networks, and {NETWORKS_MOST} is the most; write larger ones"
        )
    found = []
    for index, text in enumerate(table.networks):
        network = parsed(source, (*at, index), text, parse_network)
        other = seen.setdefault(network, organisation)
        if other != organisation or network in found:
            whose = "this caller" if other == organisation else other
            raise source.refusal((*at, index), f"{network} is a network of {whose} already; remove one")
        found.append(network)
    return CallerSettings(organisation=organisation, networks=tuple(found))


def refuse_callers(source: Source, config: Config, listeners: Mapping[KeyPath, Address]) -> None:
    """Apply the rules between [[export]] and [[caller]]. listeners: all of this node, by their place in the file."""
    seen: dict[str, int] = {}
    for index, caller in enumerate(config.callers):
        first = seen.setdefault(caller.organisation, index)
        if first != index:
            problem = f"caller[{first + 1}] is {caller.organisation} already; write all of its networks there"
            raise source.refusal(("caller", index, "organisation"), problem)
    counted = [index for index, export in enumerate(config.exports) if export.also]
    if config.callers and not counted:
        problem = "nobody comes the old way, for no [[export]] has also; add it there, or remove this table"
        raise source.refusal(("caller", 0), problem)
    if len(counted) * (len(config.callers) + 1) > COUNTED_MOST:
        problem = (
            f"{len(counted)} exports with also and {len(config.callers)} callers are more than can be counted apart "
            f"({COUNTED_MOST}); name fewer callers"
        )
        raise source.refusal(("export", counted[-1], "also"), problem)
    for index in counted:
        target = config.exports[index].target
        for at, address in listeners.items():
            if address == target:
                problem = (
                    f"{target} is a listener of this very node ({shown_path(at)}); write where the service itself is"
                )
                raise source.refusal(("export", index, "target"), problem)
