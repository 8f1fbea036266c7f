"""What the kernel is set to, as far as it bounds a node: read from /proc/sys. `kernel_checks` judges it."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec import Struct

ROOT = Path("/proc/sys")
FIRST_PORT, LAST_PORT = 1, 65_535
_READ_MOST = 65_536  # characters of one file
_NUMBER = re.compile(r"[0-9]{1,20}")


class Kernel(Struct, frozen=True, kw_only=True):
    """Settings of the kernel (ip-sysctl, admin-guide/sysctl); None: it does not say, as in a sandbox.

    Sizes are in bytes. Those of TCP hold for IPv4 and IPv6.
    """

    ports: tuple[int, int] | None = None  # the first and the last that outgoing connections get
    reserved: tuple[tuple[int, int], ...] = ()  # ranges of ports that they do not get
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
        return any(first <= port <= last for first, last in self.reserved)

    @property
    def ports_free(self) -> int | None:
        """How many ports outgoing connections may have, for each pair of a source and a target address."""
        if self.ports is None:
            return None
        first, last = self.ports
        taken = sum(max(0, min(last, end) - max(first, start) + 1) for start, end in self.reserved)
        return max(0, last - first + 1 - taken)


def read_kernel(root: Path = ROOT) -> Kernel:
    """Read the settings. What is absent, unreadable or no number is None: nothing is judged by it."""
    return Kernel(
        ports=_range(_numbers(root / "net/ipv4/ip_local_port_range")),
        reserved=_ranges(_text(root / "net/ipv4/ip_local_reserved_ports")),
        accept_queue=_one(root / "net/core/somaxconn"),
        half_open=_one(root / "net/ipv4/tcp_max_syn_backlog"),
        cookies=_one(root / "net/ipv4/tcp_syncookies"),
        tracked=_one(root / "net/netfilter/nf_conntrack_count"),
        tracked_most=_one(root / "net/netfilter/nf_conntrack_max"),
        files_of_one=_one(root / "fs/nr_open"),
        files=_one(root / "fs/file-nr"),
        files_most=_one(root / "fs/file-max"),
        receive_most=_third(root / "net/ipv4/tcp_rmem"),
        send_most=_third(root / "net/ipv4/tcp_wmem"),
    )


def _text(path: Path) -> str:
    try:
        with path.open() as source:
            return source.read(_READ_MOST)
    except (OSError, UnicodeDecodeError):
        return ""


def _numbers(path: Path) -> list[int] | None:
    fields = _text(path).split()
    return [int(each) for each in fields] if fields and all(map(_NUMBER.fullmatch, fields)) else None


def _one(path: Path) -> int | None:
    numbers = _numbers(path)
    return numbers[0] if numbers else None


def _third(path: Path) -> int | None:
    """The largest of a least, a default and a largest."""
    numbers = _numbers(path)
    return numbers[2] if numbers and len(numbers) == 3 else None


def _range(numbers: list[int] | None) -> tuple[int, int] | None:
    if numbers is None or len(numbers) != 2 or not FIRST_PORT <= numbers[0] <= numbers[1] <= LAST_PORT:
        return None
    return numbers[0], numbers[1]


def _ranges(text: str) -> tuple[tuple[int, int], ...]:
    """Ranges as the kernel writes them, merged and in order: 8080,9148-9150."""
    found = []
    for each in text.strip().split(","):
        first, _, last = each.partition("-")
        if _NUMBER.fullmatch(first) and (not last or _NUMBER.fullmatch(last)):
            made = _range([int(first), int(last or first)])
            if made is not None:
                found.append(made)
    return tuple(found)
