"""The local ports of connections to targets: which of the system's ephemeral ports the workers may choose.

Off loopback a connection leaves its port in TIME-WAIT for a minute. Once half of the range is, the system looks through
all of it for each further connection, on the worker's thread: for a millisecond or more. So the workers choose among
ports that they know to be free (the core's `ports.pxd`; docs/decisions/0021). Without TCP time stamps (RFC 7323) a
connection in TIME-WAIT cannot be succeeded by another, and the system chooses as before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pcgrelay.config import Config
from pcgrelay.files import reason_of

# The second one is where pcgrelay@.service has it, whose /proc has processes alone.
SETTINGS = (Path("/proc/sys/net/ipv4"), Path("/run/pcgrelay-net"))
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


def local_ports(own: Collection[int] = (), folders: Collection[Path] = SETTINGS) -> LocalPorts:
    """Return what the settings of the system allow (ip-sysctl of its documentation).

    own: the ports that this node listens on.
    """
    folder = next((each for each in folders if (each / "ip_local_port_range").exists()), next(iter(folders)))
    try:
        low, high = (int(word) for word in (folder / "ip_local_port_range").read_text().split())
        stamps = int((folder / "tcp_timestamps").read_text())
        reserved = set(_ranges((folder / "ip_local_reserved_ports").read_text()))
    except OSError as error:
        return LocalPorts(reason=f"{error.filename} cannot be read ({reason_of(error)})")
    except ValueError:
        return LocalPorts(reason=f"{folder} has settings that are not understood")
    if stamps == 0:
        return LocalPorts(reason="TCP time stamps are off (net.ipv4.tcp_timestamps = 0)")
    least = UNPRIVILEGED
    with suppress(OSError, ValueError):
        # Below it only a process with the right to may choose a port.
        least = int((folder / "ip_unprivileged_port_start").read_text())
    taken = reserved | set(own)
    first_half = 1 - low % 2
    first = range(low + 1, high + 1, 2)
    other = [port for at, port in enumerate(range(low, high + 1, 2)) if at % KEPT_SHARE != KEPT_SHARE - 1]
    ports = tuple(port for port in sorted([*first, *other]) if port >= least and port not in taken)
    return LocalPorts(
        ports, first_half, "" if ports else "net.ipv4.ip_local_port_range has no port that is free for it"
    )


def _ranges(text: str) -> Iterator[int]:
    """Yield the numbers of a list such as 8080,9148-9150."""
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if part:
            yield from range(int(first), int(last or first) + 1)


def listening_ports(config: Config) -> set[int]:
    """Return the ports that a node with this configuration listens on."""
    addresses = [each.address for each in config.listens]
    addresses += [address for each in config.imports for address in each.listeners]
    addresses += [address for each in config.exports for address in each.also]
    addresses += [each.listen for each in config.readers.values() if each.listen is not None]
    return {address.port for address in addresses if not address.is_unix}
