"""UDP lanes in a file: off unless it says so, and their ports belong to nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcgrelay import config
from pcgrelay.config.differences import differences, restart_reason
from pcgrelay.config.udp_lanes import udp_lane_ports
from pcgrelay.errors import ConfigError
from pcgrelay.model import Transport

PATH = Path("/etc/pcgrelay/kent-1.toml")
NODE = """\
[node]
name = "kent-1"
organisation = "kent.police.example"
realm = "police.example"
role = "edge"
workers = 3
"""
IDENTITY = """\
[identity]
certificate = "kent-1.pem"
key = "kent-1.key"
trust = "realm-ca.pem"
"""
ON = "udp_lanes = true\n"
LISTEN = '[[listen]]\naddress = "192.0.2.7:7400"\n'


def read(*tables: str, on: str = ON) -> config.Config:
    return config.parse(NODE + on + IDENTITY + "".join(tables), PATH)


def refused(*tables: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(*tables)
    return str(caught.value)


def imported(listen: str, also: str = "") -> str:
    further = f'also = ["{also}"]\n' if also else ""
    return f'[[import]]\nservice = "dns@met.police.example"\nprotocol = "udp"\nlisten = "{listen}"\n{further}'


def test_they_are_off_unless_the_file_says_so() -> None:
    assert not read(LISTEN, on="").node.udp_lanes
    assert list(udp_lane_ports(read(LISTEN, on=""))) == []
    # Nothing is taken from anybody then.
    assert read(LISTEN, imported("192.0.2.7:7401"), on="").imports


def test_each_worker_has_the_port_behind_that_of_the_one_before() -> None:
    found = list(udp_lane_ports(read(LISTEN)))
    assert [str(address) for _, address in found] == ["192.0.2.7:7400", "192.0.2.7:7401", "192.0.2.7:7402"]
    assert {address.transport for _, address in found} == {Transport.DATAGRAM}
    assert {where for where, _ in found} == {("listen", 0, "address")}
    found = list(udp_lane_ports(read(LISTEN, "udp_port = 9000\n")))
    assert [address.port for _, address in found] == [9000, 9001, 9002]
    assert {where for where, _ in found} == {("listen", 0, "udp_port")}


@pytest.mark.parametrize(
    ("tables", "where", "taken"),
    [
        ((LISTEN, imported("192.0.2.7:7401")), "listen[1].address", "import[1].listen"),
        ((LISTEN, imported("0.0.0.0:7402")), "listen[1].address", "import[1].listen"),
        ((LISTEN, imported("192.0.2.7:53", "192.0.2.7:7400")), "listen[1].address", "import[1].also[1]"),
        ((LISTEN, "udp_port = 9000\n", imported("192.0.2.7:9002")), "listen[1].udp_port", "import[1].listen"),
        ((LISTEN, LISTEN.replace("7400", "7402")), "listen[2].address", "listen[1].address"),
    ],
)
def test_ports_of_others_are_refused(tables: tuple[str, ...], where: str, taken: str) -> None:
    told = refused(*tables)
    assert f"{where}: UDP lanes need 3 ports in a row, one for each worker, and " in told
    assert f"is taken by {taken}; write a udp_port with free ones after it" in told


def test_ports_beyond_the_last_are_refused() -> None:
    told = refused(LISTEN, "udp_port = 65534\n")
    assert "listen[1].udp_port: UDP lanes need 3 ports in a row" in told
    assert "the last would be 65536; write a lower udp_port" in told


def test_ports_of_tcp_are_others() -> None:
    assert read(LISTEN, LISTEN.replace("7400", "7403")).listens
    assert read(LISTEN, imported("192.0.2.7:7401").replace('protocol = "udp"\n', "")).imports


def test_a_reload_takes_them() -> None:
    old, new = read(LISTEN, on=""), read(LISTEN, "udp_port = 9000\n")
    assert restart_reason(old, new) is None
    assert differences(old, new) == ("node.udp_lanes changed", "listen 192.0.2.7:7400 changed (udp_port)")
