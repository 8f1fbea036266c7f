"""The local ports of connections to targets: which of the system's ephemeral ports the workers may choose.

Off loopback a connection leaves its port in TIME-WAIT for a minute. Once half of the range is, the system looks through
all of it for each further connection, on the worker's thread: for a millisecond or more. So the workers choose among
ports that they know to be free (the core's `ports.pxd`; docs/decisions/0021). Without TCP time stamps (RFC 7323) a
connection in TIME-WAIT cannot be succeeded by another, and the system chooses as before.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pcgrelay.config import Config
from pcgrelay.kernel import Kernel, read_kernel

PORTS = 1 << 16
# Of the half that the system gives out first, so many are left to the control plane and to other programs in any case.
KEPT_SHARE = 32
UNPRIVILEGED = 1_024


@dataclass(frozen=True, slots=True)
class LocalPorts:
    """Which local ports the workers may choose, and which half of them comes first."""

    ports: tuple[int, ...] = ()  # none: the system chooses
    first_half: int = 1  # 1: odd ones come first
    reason: str = ""  # why the system chooses: a sentence without a full stop

    @property
    def as_map(self) -> bytes:
        """A bit for each port, as the core takes them; nothing if the system chooses."""
        if not self.ports:
            return b""
        allowed = bytearray(PORTS // 8)
        for port in self.ports:
            allowed[port // 8] |= 1 << port % 8
        return bytes(allowed)


def local_ports(own: Collection[int] = (), kernel: Kernel | None = None) -> LocalPorts:
    """Return what the settings of the system allow (ip-sysctl of its documentation).

    own: the ports that this node listens on. kernel: the settings; None: they are read.
    """
    found = read_kernel() if kernel is None else kernel
    unknown = [name for name, value in _needed(found).items() if value is None]
    if unknown:
        return LocalPorts(reason=f"net.ipv4.{unknown[0]} cannot be read here, or is not understood")
    if found.timestamps == 0:
        return LocalPorts(reason="TCP time stamps are off (net.ipv4.tcp_timestamps = 0)")
    assert found.ports is not None
    low, high = found.ports
    least = UNPRIVILEGED if found.unprivileged is None else found.unprivileged
    taken = {*own, *(port for start, end in found.reserved or () for port in range(start, end + 1))}
    first_half = 1 - low % 2
    first = range(low + 1, high + 1, 2)
    other = [port for at, port in enumerate(range(low, high + 1, 2)) if at % KEPT_SHARE != KEPT_SHARE - 1]
    ports = tuple(port for port in sorted([*first, *other]) if port >= least and port not in taken)
    return LocalPorts(
        ports, first_half, "" if ports else "net.ipv4.ip_local_port_range has no port that is free for it"
    )


def _needed(kernel: Kernel) -> dict[str, object]:
    """The settings without which no port is chosen."""
    return {
        "ip_local_port_range": kernel.ports,
        "tcp_timestamps": kernel.timestamps,
        "ip_local_reserved_ports": kernel.reserved,
    }


def listening_ports(config: Config) -> set[int]:
    """Return the ports that a node with this configuration listens on."""
    addresses = [each.address for each in config.listens]
    addresses += [address for each in config.imports for address in each.listeners]
    addresses += [address for each in config.exports for address in each.also]
    addresses += [each.listen for each in config.readers.values() if each.listen is not None]
    return {address.port for address in addresses if not address.is_unix}
