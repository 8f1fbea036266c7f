"""A network of the test's own: a namespace with nothing but loopback, in which packets can be dropped without a word.

Whatever the thread starts inside the block lives in it: nodes, threads, sockets. It is gone with the last of them.
Root is needed, as it is for the packets of any network.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.scenarios.kit.real_programs import run
from tests.support.waiting import until

CLONE_NEWNET = 0x4000_0000
CLEARLY = 8
RULES = """
table inet faults {
  chain arriving { type filter hook input priority 0; }
}
"""

_libc = ctypes.CDLL(None, use_errno=True)


class Network:
    """What packets meet on their way. Ports are those of listeners; both directions of their connections are meant."""

    def __init__(self) -> None:
        run("ip", "link", "set", "lo", "up")
        self._nft(RULES)

    def buffers(self, most_bytes: int) -> None:
        """Bound what the kernel keeps for each connection and direction."""
        for name in ("tcp_rmem", "tcp_wmem"):
            Path(f"/proc/sys/net/ipv4/{name}").write_text(f"4096 {most_bytes} {most_bytes}\n")

    @contextmanager
    def cut(self, *ports: int) -> Iterator[None]:
        """Drop all packets of these ports for as long as the block lasts: no FIN, no reset, no answer."""
        self.drop(*ports)
        try:
            yield
        finally:
            self.mend()

    def drop(self, *ports: int) -> None:
        """Drop all packets of these ports from now on."""
        self._rule(*(f"{way} {port} drop" for port in ports for way in ("tcp dport", "tcp sport")))

    def drop_udp(self, *ports: int) -> None:
        """Drop all packets of UDP of these ports from now on; those of TCP pass."""
        self._rule(*(f"{way} {port} drop" for port in ports for way in ("udp dport", "udp sport")))

    def drop_new(self, *ports: int) -> None:
        """Let no new connection to these ports come up from now on; those that are up go on, and UDP passes."""
        self._rule(*(f"tcp dport {port} tcp flags & (syn | ack) == syn drop" for port in ports))

    def drop_between(self, *ends: tuple[int, int]) -> None:
        """Drop what these connections send and receive, named by their two ports."""
        self._rule(*(f"tcp sport {a} tcp dport {b} drop" for near, far in ends for a, b in ((near, far), (far, near))))

    def reset(self, near: int, far: int) -> None:
        """End one connection by a reset at both ends."""
        # The resets themselves must pass.
        rule = "tcp flags & rst != rst reject with tcp reset"
        self._rule(*(f"tcp sport {a} tcp dport {b} {rule}" for a, b in ((near, far), (far, near))))

    def lose(self, of_a_thousand: int, *ports: int) -> None:
        """Lose so many packets of a thousand, by chance."""
        chance = f"numgen random mod 1000 < {of_a_thousand} drop"
        self._rule(*(f"{way} {port} {chance}" for port in ports for way in ("tcp dport", "tcp sport")))

    def mend(self) -> None:
        """Drop nothing any more."""
        self._nft("flush chain inet faults arriving\n")

    def _rule(self, *rules: str) -> None:
        self._nft("".join(f"add rule inet faults arriving {rule}\n" for rule in rules))

    def _nft(self, text: str) -> None:
        run("nft", "-f", "-", data=text.encode())


@contextmanager
def own_network() -> Iterator[Network]:
    """Live in a fresh network until the end of the block."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.unshare(CLONE_NEWNET))
        try:
            yield Network()
        finally:
            _checked(_libc.setns(before, CLONE_NEWNET))
    finally:
        os.close(before)


def _checked(answer: int) -> None:
    if answer:
        error = ctypes.get_errno()
        raise PermissionError(error, f"{os.strerror(error)}: scenarios with a network of their own run as root")


def control_and_lanes(port: int) -> tuple[int, list[int]]:
    """Ports at the near end of a link's control connection and of its lanes, by the port that was dialled.

    Streams must flow over every lane: then the control connection is the one that has carried little. The numbers that
    the kernel gives to sockets do not tell which was opened first: each processor has a stock of its own.
    """
    carried: list[tuple[int, int]] = []

    def is_clear() -> bool:
        carried[:] = sorted(_carried(port))
        return len(carried) > 1 and carried[1][0] > CLEARLY * carried[0][0]

    until(is_clear, 20, "streams flow over every lane")
    (_, control), *lanes = carried
    return control, [lane for _, lane in lanes]


def all_is_acknowledged(*ports: int) -> bool:
    """Whether nothing that was dropped waits to be sent again, on any connection of these ports."""
    of_ports = " or ".join(f"sport = :{port} or dport = :{port}" for port in ports)
    told = run("ss", "-Htn", "state", "established", f"( {of_ports} )")
    return all(line.split()[1] == "0" for line in told.splitlines())


def longest_wait_s(port: int) -> float:
    """How long TCP waits before it sends again what was lost, at most, on the connections dialled to that port."""
    told = run("ss", "-HtniO", "state", "established", f"( dport = :{port} )")
    return max((int(rto) / 1000 for rto in re.findall(r"\brto:(\d+).*backoff:", told)), default=0.0)


def _carried(port: int) -> list[tuple[int, int]]:
    """The bytes and the near port of each connection that was dialled to that port."""
    told = run("ss", "-HtniO", "state", "established", f"( dport = :{port} )")
    found = []
    for line in told.splitlines():
        counts = re.findall(r"bytes_(?:sent|received):(\d+)", line)
        found.append((sum(map(int, counts)), int(line.split()[2].rpartition(":")[2])))
    return found


def tcp_states(port: int) -> list[str]:
    """States of the TCP connections that have that port at either end, listeners left out."""
    wanted = f"{port:04X}"
    states = []
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/thread-self/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if wanted in (fields[1][-4:], fields[2][-4:]):
                states.append(_STATES[int(fields[3], 16)])
    return [state for state in states if state != "LISTEN"]


_STATES = (
    "",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
)
