"""What the kernel is set to, as far as it bounds a node: read from /proc/sys. This is the only reader.

`kernel_checks` judges it for people, and `net.local_ports` by it chooses ports.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct

# The second one is where pcgrelay@.service has what is read here, for its /proc has processes alone.
ROOTS = (Path("/proc/sys"), Path("/run/pcgrelay-sys"))
FIRST_PORT, LAST_PORT = 1, 65_535
_READ_MOST = 65_536  # characters of one file
_NUMBER = re.compile(r"[0-9]{1,20}")


class Kernel(Struct, frozen=True, kw_only=True):
    """Settings of the kernel (ip-sysctl, admin-guide/sysctl); None: it does not say, as in a sandbox.

    Sizes are in bytes. Those of TCP hold for IPv4 and IPv6.
    """

    ports: tuple[int, int] | None = None  # the first and the last that outgoing connections get
    reserved: tuple[tuple[int, int], ...] | None = None  # ranges of ports that they do not get
    unprivileged: int | None = None  # below it only a process with the right to may choose a port
    timestamps: int | None = None  # whether TCP has time stamps (RFC 7323)
    accept_queue: int | None = None  # somaxconn
    half_open: int | None = None  # tcp_max_syn_backlog
    cookies: int | None = None  # tcp_syncookies
    tracked: int | None = None  # connections in the firewall's table now,
    tracked_most: int | None = None  # and at most; None: there is no such table
    files_of_one: int | None = None  # fs.nr_open: the highest limit that a process may have
    files: int | None = None  # open on the whole machine,
    files_most: int | None = None  # and at most
    receive_most: int | None = None  # the largest buffer that TCP makes by itself, of tcp_rmem
    send_most: int | None = None  # the same of tcp_wmem

    def is_reserved(self, port: int) -> bool:
        """Return whether no outgoing connection gets this port."""
        return any(first <= port <= last for first, last in self.reserved or ())

    @property
    def ports_free(self) -> int | None:
        """How many ports outgoing connections may have, for each pair of a source and a target address."""
        if self.ports is None:
            return None
        first, last = self.ports
        taken = sum(max(0, min(last, end) - max(first, start) + 1) for start, end in self.reserved or ())
        return max(0, last - first + 1 - taken)


def read_kernel(*roots: Path) -> Kernel:
    """Read the settings, each in the first of these folders (by default ROOTS) that has it.

    What is absent, unreadable or no number is None: nothing is judged by it.
    """
    root = _Roots(roots or ROOTS)
    return Kernel(
        ports=_range(root.numbers("net/ipv4/ip_local_port_range")),
        reserved=_ranges(root.text("net/ipv4/ip_local_reserved_ports")),
        unprivileged=root.one("net/ipv4/ip_unprivileged_port_start"),
        timestamps=root.one("net/ipv4/tcp_timestamps"),
        accept_queue=root.one("net/core/somaxconn"),
        half_open=root.one("net/ipv4/tcp_max_syn_backlog"),
        cookies=root.one("net/ipv4/tcp_syncookies"),
        tracked=root.one("net/netfilter/nf_conntrack_count"),
        tracked_most=root.one("net/netfilter/nf_conntrack_max"),
        files_of_one=root.one("fs/nr_open"),
        files=root.one("fs/file-nr"),
        files_most=root.one("fs/file-max"),
        receive_most=root.third("net/ipv4/tcp_rmem"),
        send_most=root.third("net/ipv4/tcp_wmem"),
    )


@dataclass(frozen=True, slots=True)
class _Roots:
    """Folders that have settings, the first one first."""

    folders: tuple[Path, ...]

    def text(self, name: str) -> str | None:
        for folder in self.folders:
            try:
                with (folder / name).open() as source:
                    return source.read(_READ_MOST)
            except (OSError, UnicodeDecodeError):
                continue
        return None

    def numbers(self, name: str) -> list[int] | None:
        fields = (self.text(name) or "").split()
        return [int(each) for each in fields] if fields and all(map(_NUMBER.fullmatch, fields)) else None

    def one(self, name: str) -> int | None:
        numbers = self.numbers(name)
        return numbers[0] if numbers else None

    def third(self, name: str) -> int | None:
        """The largest of a least, a default and a largest."""
        numbers = self.numbers(name)
        return numbers[2] if numbers and len(numbers) == 3 else None


def _range(numbers: list[int] | None) -> tuple[int, int] | None:
    if numbers is None or len(numbers) != 2 or not FIRST_PORT <= numbers[0] <= numbers[1] <= LAST_PORT:
        return None
    return numbers[0], numbers[1]


def _ranges(text: str | None) -> tuple[tuple[int, int], ...] | None:
    """Ranges as the kernel writes them, merged and in order: 8080,9148-9150. One that is none: nothing is known."""
    if text is None:
        return None
    found = []
    for each in filter(None, text.strip().split(",")):
        first, dash, last = each.partition("-")
        if not _NUMBER.fullmatch(first) or (dash and not _NUMBER.fullmatch(last)):
            return None
        made = _range([int(first), int(last or first)])
        if made is None:
            return None
        found.append(made)
    return tuple(found)
