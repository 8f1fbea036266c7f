"""What `check` says of imports of datagrams: whose are taken, and whether the port is free."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from pcgrelay.check import check
from pcgrelay.config import Address, ImportSettings, load, parse
from pcgrelay.config.values import parse_network
from pcgrelay.finding import ERROR, OK, WARNING, Finding
from pcgrelay.model import ServiceName, Transport
from pcgrelay.service_checks import datagram_findings, rate_findings
from tests.support.documented_config import DOCUMENTED, PATH
from tests.support.pki import RealmPki, write_config
from tests.support.ports import free_port

KENT = "kent.police.example"
DNS = f"dns@{KENT}"


def entry(*listeners: str, transport: Transport = Transport.DATAGRAM, sources: tuple[str, ...] = ()) -> ImportSettings:
    listen, *also = (Address.parse(text).over(transport) for text in listeners)
    prefixes = tuple(map(parse_network, sources))
    return ImportSettings(service=ServiceName.parse(DNS), listen=listen, also=tuple(also), prefixes=prefixes)


@pytest.mark.parametrize(
    "listeners", [("10.1.2.3:53",), ("0.0.0.0:53",), ("127.0.0.1:53", "10.1.2.3:53"), ("here:53",)]
)
def test_who_takes_datagrams_of_everybody_is_warned(listeners: tuple[str, ...]) -> None:
    (found,) = datagram_findings(3, entry(*listeners))
    assert found.where == "import[3].sources"
    assert found.sentence.startswith(f"{DNS} takes datagrams of everybody, and a source can be forged")
    assert list(datagram_findings(3, entry(*listeners, sources=("10.1.0.0/16",)))) == []
    assert list(datagram_findings(3, entry(*listeners, transport=Transport.STREAM))) == []


def test_nobody_else_reaches_loopback() -> None:
    assert list(datagram_findings(1, entry("127.0.0.1:53", "[::1]:53"))) == []


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("rate", ['rate = "2MiB"', ""])
def test_what_goes_over_udp_lanes_without_a_rate_is_a_warning(on: bool, rate: str) -> None:
    text = DOCUMENTED.replace('name = "kent-1"', f'name = "kent-1"\nudp_lanes = {str(on).lower()}', 1) + (
        f'[[export]]\nservice = "names"\nprotocol = "udp"\ntarget = "127.0.0.1:53"\n{rate}\n'
        f'[[import]]\nservice = "names@met.police.example"\nprotocol = "udp"\nlisten = "127.0.0.1:10053"\n{rate}\n'
    )
    found = list(rate_findings(parse(text, PATH)))
    assert [each.level for each in found] == ([WARNING] * 2 if on and not rate else [])
    if found:
        # The streams of the file are left out.
        assert [each.where for each in found] == ["export[2].rate", "import[2].rate"]
        assert "Nothing limits how much names@kent.police.example sends over UDP lanes" in found[0].sentence
        assert 'rate = "2MiB"' in found[0].mend


@pytest.fixture
def checked(tmp_path: Path) -> Callable[[int], list[Finding]]:
    """What is said of the port of an import of datagrams."""
    files = RealmPki(tmp_path).issue("met.police.example", "met-1")

    def of(port: int) -> list[Finding]:
        imports = [{"service": DNS, "protocol": "udp", "listen": f"127.0.0.1:{port}"}]
        links = [{"peer": "relay-1.hub.example", "address": "127.0.0.1:7400"}]
        path = write_config(tmp_path / "met-1.toml", files, "met.police.example", "met-1", imports=imports, links=links)
        return [each for each in check(load(path)) if each.where == "import[1].listen"]

    return of


def test_a_port_of_another_program_is_an_error(checked: Callable[[int], list[Finding]]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        (found,) = checked(other.getsockname()[1])
    assert (found.level, found.passing) == (ERROR, True)
    assert "is in use by another program" in found.sentence


def test_a_port_that_is_taken_by_tcp_is_free(checked: Callable[[int], list[Finding]]) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        (found,) = checked(port)
    assert found.level == OK


@pytest.mark.parametrize("on", [True, False])
def test_a_port_of_udp_lanes_that_is_taken_is_a_warning(on: bool, tmp_path: Path) -> None:
    files = RealmPki(tmp_path).issue("met.police.example", "met-1")
    port = free_port()
    path = write_config(
        tmp_path / "met-1.toml",
        files,
        "met.police.example",
        "met-1",
        listens=[f"127.0.0.1:{port}"],
        node_table={"udp_lanes": on, "workers": 2},
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", port + 1))
        found = [each for each in check(load(path)) if "UDP lanes" in each.sentence]
    assert [each.level for each in found] == ([OK, WARNING] if on else [])
    if on:
        assert f"127.0.0.1:{port + 1} cannot be had: their datagrams go over TCP." in found[1].sentence
        assert found[1].mend == "Free it, or write another udp_port."
