"""A network of the bench's own, with a wide range of local ports for every gateway and for the load.

With the usual range of 28,232 ports, of which the system gives out one half first, what is measured of gateways that
open many connections is when their ports run out. Nothing of an earlier run is in TIME-WAIT here either.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

CLONE_NEWNET = 0x4000_0000
# Below it are the ports that gateways listen on (`processes.free_port`).
RANGE = (10_000, 65_535)
RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def enter(ports: tuple[int, int] = RANGE) -> None:
    """Have this process, and what it starts, live in a network with loopback alone. Without the right to, say so."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        words = os.strerror(ctypes.get_errno())
        print(f"bench: no network of its own ({words}); local ports {local_ports()} for all", file=sys.stderr)
        return
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    RANGE_FILE.write_text(f"{ports[0]} {ports[1]}\n")


def local_ports() -> str:
    """Return which ports connections are made from, for the report."""
    return " to ".join(RANGE_FILE.read_text().split())
