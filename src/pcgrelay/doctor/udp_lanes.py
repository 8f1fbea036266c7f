"""UDP lanes that the file asks for, and that a running node does not have: on which link, why, and what to open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pcgrelay.admin.status import LinkStatus, Status
from pcgrelay.admin.udp_lanes import UdpLanesStatus
from pcgrelay.check import is_taken
from pcgrelay.config import Config
from pcgrelay.config.source import shown_path
from pcgrelay.config.udp_lanes import udp_lane_ports
from pcgrelay.config.values import Address
from pcgrelay.doctor.findings import doubtful, good
from pcgrelay.finding import Finding
from pcgrelay.link.udp_lane import Obstacle
from pcgrelay.views.udp_lanes import obstacle_words, port_words

WHERE = "node.udp_lanes"


def udp_lane_findings(config: Config, status: Status) -> Iterator[Finding]:
    """Return the findings about UDP lanes of a node that runs with this file."""
    if not config.node.udp_lanes:
        return
    for link in status.links:
        if link.state == "up":
            yield _of_link(link)
    yield from _taken_ports(config, status.links)


def _of_link(link: LinkStatus) -> Finding:
    udp, to = link.udp, f"{link.peer} over {link.bearer}"
    if udp is None:
        return good(WHERE, f"Datagrams to {to} go over TCP: it has no UDP lanes now.")
    if udp.up == udp.lanes:
        return good(WHERE, f"All UDP lanes to {to} are up.")
    if not udp.why:
        return good(WHERE, f"UDP lanes to {to} are being agreed on.")
    host = Address.parse(link.address).host
    why = obstacle_words(udp, link.peer, host, dialled=link.direction == "out")
    sentence = f"{udp.up} of {udp.lanes} UDP lanes to {to} are up, and all other datagrams go over TCP: {why}."
    return doubtful(WHERE, sentence, _mend(udp, link, host))


def _mend(udp: UdpLanesStatus, link: LinkStatus, host: str) -> str:
    ports = port_words(udp.closed_ports) or "its ports of UDP lanes"
    ask = f"Ask the operator of {link.peer}"
    mends = {
        Obstacle.NO_PORT: "Free that port, or write another udp_port.",
        Obstacle.FAR_PORT: f"{ask} to free it, or to write another udp_port.",
        Obstacle.LOSS: "See whether the network on the way is full or broken.",
        Obstacle.REFUSED: "See the refusals in the logs of both nodes.",
        Obstacle.UNANSWERED: f"{ask} what its log says.",
        Obstacle.NONE: "See the log of this node.",
    }
    silent = (
        f"Open {ports} of {host} in the firewalls on the way"
        if link.direction == "out"
        else (f"Open {ports} for what comes from {link.peer} in the firewall of this machine and on the way")
    )
    return mends.get(Obstacle(udp.why), f"{silent}, or write udp_lanes = false.")


def _taken_ports(config: Config, links: Iterable[LinkStatus]) -> Iterator[Finding]:
    """Find ports that another program has: this node binds them when the first link needs them."""
    own = {
        (link.address, port) for link in links if link.udp is not None and link.direction == "in"
        for port in link.udp.ports
    }  # fmt: skip
    for key, address in udp_lane_ports(config):
        listener = config.listens[int(key[1])].address
        if (str(listener), address.port) not in own and is_taken(address):
            sentence = f"Another program has {address}, where UDP lanes of neighbours are to arrive."
            yield doubtful(shown_path(key), sentence, "Free it, or write another udp_port.")
