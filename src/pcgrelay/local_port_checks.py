"""What can be checked about the local ports of connections to targets: who chooses them, and how many there are."""

from __future__ import annotations

from collections.abc import Iterator

from pcgrelay.config import Config
from pcgrelay.finding import Finding, doubtful, good
from pcgrelay.net.local_ports import LocalPorts, listening_ports, local_ports

WHERE = "local ports"


def local_port_findings(config: Config) -> Iterator[Finding]:
    """Yield one finding for an edge that connects to targets, and none otherwise."""
    if config.exports or config.directs:
        yield judge_local_ports(local_ports(listening_ports(config)))


def judge_local_ports(found: LocalPorts) -> Finding:
    """Judge what the system allows (pure)."""
    if found.reason:
        sentence = (
            f"The system chooses the local ports of connections to targets: {found.reason}. With many connections to "
            "one target each further one may hold a worker up for a millisecond."
        )
        return doubtful(WHERE, sentence, "docs/operations.md, capacity and limits, has the settings.")
    sentence = f"Connections to one target have {len(found.ports):,} local ports for each address in source."
    return good(WHERE, sentence)
