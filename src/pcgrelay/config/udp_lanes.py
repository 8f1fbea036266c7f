"""The ports of UDP lanes: one for each worker at each [[listen]], in a row."""

from __future__ import annotations

from collections.abc import Iterator

from pcgrelay.config.settings import Config
from pcgrelay.config.source import KeyPath, Source, shown_path
from pcgrelay.config.values import Address
from pcgrelay.model import Transport

PORT_MOST = 65_535


def udp_lane_ports(config: Config) -> Iterator[tuple[KeyPath, Address]]:
    """Return the ports at which UDP lanes of neighbours arrive, with where in the file the first of them stands."""
    if not config.node.udp_lanes:
        return
    for index, listen in enumerate(config.listens):
        where = ("listen", index, "udp_port" if listen.udp_port else "address")
        for worker in range(config.node.workers):
            yield where, Address(listen.address.host, listen.first_udp_port + worker, Transport.DATAGRAM)


def refuse_udp_lanes(source: Source, config: Config) -> None:
    """Refuse ports of UDP lanes that do not exist or that the file gives to something else."""
    taken = [
        (("import", index, *place), address)
        for index, entry in enumerate(config.imports)
        for place, address in ((("listen",), entry.listen), *((("also", i), each) for i, each in enumerate(entry.also)))
        if address.transport is Transport.DATAGRAM
    ]
    for where, address in udp_lane_ports(config):
        if address.port > PORT_MOST:
            problem = (
                f"UDP lanes need {config.node.workers} ports in a row, one for each worker, and the last would be "
                f"{address.port}; write a lower udp_port"
            )
            raise source.refusal(where, problem)
        other = next((place for place, each in taken if each.overlaps(address) and place[:2] != where[:2]), None)
        if other is not None:
            problem = (
                f"UDP lanes need {config.node.workers} ports in a row, one for each worker, and {address} is taken by "
                f"{shown_path(other)}; write a udp_port with free ones after it"
            )
            raise source.refusal(where, problem)
        taken.append((where, address))
