"""Reading of /proc: texts of the kernel as facts, and this very process as a live case."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pcgrelay.assure.facts import Port
from pcgrelay.assure.readers import process
from pcgrelay.config import parse

CONFIG = """\
[node]
name = "kent-1"
organisation = "kent.police.example"
realm = "police.example"
role = "edge"
[identity]
certificate = "kent-1.pem"
key = "kent-1.key"
trust = "ca.pem"
[[listen]]
address = "192.0.2.1:7400"
[[export]]
service = "custody"
target = "127.0.0.1:5432"
also = ["10.0.0.1:5432"]
[[import]]
service = "pnd@met.police.example"
listen = "[::1]:15432"
also = ["unix:/run/x.sock", "localhost:15433"]
[metrics]
listen = "127.0.0.1:9740"
"""
MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 8:1 / / ro,nosuid shared:1 - ext4 /dev/sda1 rw
31 22 0:5 / /proc rw - proc proc rw
"""
# 127.0.0.1:9740 listens with inode 777, :7400 with another process's, and 127.0.0.1:5000 is connected.
NET_TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:260C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 777 1 0 100 0 0 10 0
   1: 00000000:1CE8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 778 1 0 100 0 0 10 0
   2: 0100007F:1388 0100007F:0016 01 00000000:00000000 00:00000000 00000000     0        0 777 1 0 100 0 0 10 0
"""


@pytest.mark.parametrize(
    ("groups", "unit"),
    [
        ("0::/system.slice/pcgrelay@kent-1.service\n", "pcgrelay@kent-1.service"),
        ("0::/system.slice/system-pcgrelay.slice/pcgrelay@kent-1.service\n", "pcgrelay@kent-1.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", ""),
        ("0::/user.slice/user-1000.slice/user@1000.service\n", ""),
        ("0::/system.slice/docker-0123abcd.scope\n", "docker-0123abcd.scope"),
        ("0::/kubepods.slice/pod7/0123abcd\n", "0123abcd"),
        ("9:name=systemd:/\n4:memory:/a/b\n0::/\n", ""),
        ("1:cpu:/x\n0::/kent.service\n", "kent.service"),
        ("", ""),
    ],
)
def test_who_runs_a_process(groups: str, unit: str) -> None:
    assert process.unit_of(groups) == unit


def test_capabilities_have_their_names() -> None:
    assert process.capability_names(0) == ()
    assert process.capability_names(1 << 10) == ("CAP_NET_BIND_SERVICE",)
    assert process.capability_names(1 | 1 << 21 | 1 << 40 | 1 << 41) == (
        "CAP_CHOWN",
        "CAP_SYS_ADMIN",
        "CAP_CHECKPOINT_RESTORE",
        "CAP_41",
    )


def test_the_uppermost_mount_decides() -> None:
    assert process.root_is_read_only(MOUNTS)
    assert not process.root_is_read_only(MOUNTS.splitlines()[0])
    assert process.root_is_read_only("22 1 8:1 / / rw - overlay overlay ro,x")
    assert not process.root_is_read_only("")


def test_core_dumps() -> None:
    head = "Limit                     Soft Limit           Hard Limit           Units     \n"
    line = "Max core file size        {:<21}unlimited            bytes     \n"
    assert process.core_limit(head + line.format("0")) == 0
    assert process.core_limit(head + line.format("4096")) == 4096
    assert process.core_limit(head + line.format("unlimited")) is None
    assert process.core_pipe("core\n") == ""
    assert process.core_pipe("|/usr/lib/systemd/systemd-coredump %P %u\n") == "systemd-coredump"
    assert process.core_pipe("|\n") == ""
    assert process.holds_memory("00000033\n")
    assert not process.holds_memory("00000010\n")
    assert not process.holds_memory("00000000\n")


def test_swap_in_memory_is_none() -> None:
    swaps = "Filename\tType\tSize\tUsed\tPriority\n/dev/zram0 partition 1 0 5\n/swap file 1 0 5\n"
    assert process.swap_areas(swaps) == ("/swap",)
    assert process.swap_areas(swaps.splitlines()[0]) == ()


def test_only_own_ports_that_listen_are_found() -> None:
    assert process.listening_ports("tcp", NET_TCP, {"777"}) == [Port(family="tcp", host="127.0.0.1", number=9740)]


def test_the_ports_of_this_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as four:
        found = process.open_ports(os.getpid())
        assert Port(family="tcp", host="127.0.0.1", number=four.getsockname()[1]) in found


def test_ports_of_a_configuration() -> None:
    config = parse(CONFIG, Path("kent-1.toml"))
    assert [(each.host, each.number) for each in process.named_ports(config)] == [
        ("", 15433),
        ("10.0.0.1", 5432),
        ("127.0.0.1", 9740),
        ("192.0.2.1", 7400),
        ("::1", 15432),
    ]
    assert [name for name, _ in process.listeners_of(config)] == [
        "wan listen[1].address",
        "lan import[1].listen",
        "lan import[1].also[1]",
        "lan import[1].also[2]",
        "lan export[1].also[1]",
        "reader metrics.listen",
    ]
