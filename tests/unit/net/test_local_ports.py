"""Which local ports the workers may choose, by the settings of the system."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pcgrelay import config
from pcgrelay.kernel import read_kernel
from pcgrelay.net.local_ports import KEPT_SHARE, LocalPorts, listening_ports, local_ports
from tests.support.kernel_settings import faked
from tests.support.pki import RealmPki, write_config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder net/ipv4 of such settings."""
    return faked(tmp_path, ip_local_reserved_ports="\n") / "net/ipv4"


def found(folder: Path, *own: int) -> LocalPorts:
    return local_ports(own, read_kernel(folder.parent.parent))


def test_all_of_the_range_but_some_of_what_the_system_gives_out_first(folder: Path) -> None:
    answer = found(folder)
    assert (answer.first_half, answer.reason) == (1, "")
    odd = [port for port in answer.ports if port % 2]
    even = [port for port in answer.ports if not port % 2]
    assert odd == list(range(32_769, 61_000, 2))
    assert len(even) == 14_116 - 14_116 // KEPT_SHARE
    assert set(even) <= set(range(32_768, 61_000, 2))
    # Without these, a target that has all ports in use could not be probed either.
    assert len(even) + len(odd) < 28_232


def test_a_range_that_begins_with_an_odd_port_has_the_even_ones_first(folder: Path) -> None:
    (folder / "ip_local_port_range").write_text("40001 40010\n")
    answer = found(folder)
    assert (answer.first_half, answer.ports) == (0, tuple(range(40_001, 40_011)))


def test_reserved_ports_and_own_listeners_are_left_out(folder: Path) -> None:
    (folder / "ip_local_port_range").write_text("40000 40009\n")
    (folder / "ip_local_reserved_ports").write_text("80,40001,40003-40005,65535\n")
    assert found(folder, 40_008, 9_000).ports == (40_000, 40_002, 40_006, 40_007, 40_009)


def test_ports_that_need_a_right_are_left_out(folder: Path) -> None:
    (folder / "ip_local_port_range").write_text("1000 1030\n")
    assert min(found(folder).ports) == 1_024
    (folder / "ip_unprivileged_port_start").write_text("1026\n")
    assert min(found(folder).ports) == 1_026
    # Of a kernel before 4.11.
    (folder / "ip_unprivileged_port_start").unlink()
    assert min(found(folder).ports) == 1_024


def test_the_map_has_a_bit_for_each_port() -> None:
    answer = LocalPorts((1, 8, 65_535))
    assert len(answer.as_map) == 8_192
    assert [port for port in range(65_536) if answer.as_map[port // 8] >> port % 8 & 1] == [1, 8, 65_535]
    assert LocalPorts().as_map == b""


REFUSED = {
    "stamps": ("tcp_timestamps", "0\n", r"time stamps are off \(net.ipv4.tcp_timestamps = 0\)$"),
    "no numbers": ("ip_local_port_range", "many\n", r"cannot be read here, or is not understood$"),
    "one number": ("ip_local_port_range", "32768\n", r"cannot be read here, or is not understood$"),
    "a word that is reserved": ("ip_local_reserved_ports", "http\n", r"cannot be read here, or is not understood$"),
    "all reserved": ("ip_local_reserved_ports", "1-65535\n", r"has no port that is free for it$"),
}


@pytest.mark.parametrize(("name", "text", "reason"), REFUSED.values(), ids=REFUSED)
def test_the_system_chooses_where_it_must_and_the_reason_is_told(
    folder: Path, name: str, text: str, reason: str
) -> None:
    (folder / name).write_text(text)
    answer = found(folder)
    assert answer.ports == ()
    assert re.search(reason, answer.reason)


@pytest.mark.parametrize("name", ["ip_local_port_range", "tcp_timestamps", "ip_local_reserved_ports"])
def test_a_setting_that_cannot_be_read_leaves_the_choice_to_the_system(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert found(folder).reason == f"net.ipv4.{name} cannot be read here, or is not understood"


def test_the_settings_of_this_machine_are_those_of_check() -> None:
    assert local_ports() == local_ports((), read_kernel())
    assert local_ports().ports


def test_all_that_a_node_listens_on_is_known(tmp_path: Path) -> None:
    files = RealmPki(tmp_path).issue("kent.police.example", "kent-1")
    path = write_config(
        tmp_path / "kent-1.toml",
        files,
        "kent.police.example",
        "kent-1",
        listens=["127.0.0.1:7440", "[::1]:7441"],
        exports=[
            {"service": "echo", "target": "127.0.0.1:9", "also": ["127.0.0.1:7442"], "allow": ["met.police.example"]}
        ],
        imports=[{"service": "db@hub.example", "listen": "127.0.0.1:7443", "also": [f"unix:{tmp_path}/db.sock"]}],
        metrics={"listen": "127.0.0.1:7444"},
        page={"listen": "127.0.0.1:7445"},
    )
    assert listening_ports(config.load(path)) == set(range(7_440, 7_446))
