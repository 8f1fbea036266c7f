"""Kerberos, RADIUS, SNMP, syslog and voice, of programs that nobody here wrote, through every topology."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scenarios.kit.datagram_programs import (
    SYSTEM_NAME,
    datagram_line,
    rsyslogd,
    sipp_calls,
    sipp_server,
    snmpd,
    snmpget,
)
from tests.scenarios.kit.kerberos_programs import PRINCIPAL, kinit, krb5kdc
from tests.scenarios.kit.nodes import TOPOLOGIES, Line, Node
from tests.scenarios.kit.radius_programs import Certificates, eapol_test, freeradius
from tests.scenarios.kit.real_programs import run
from tests.scenarios.kit.voice import answering, calling, heard
from tests.support.waiting import until

pytestmark = pytest.mark.tier_all

SERVICES = ("radius", "kerberos", "snmp", "syslog", "sip", "voice")
KEYS = {"idle_timeout_s": 3}
CALLS, CALL_S = 20, 5
LINES = 200


@pytest.fixture(scope="module", params=TOPOLOGIES)
def nodes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with datagram_line(tmp_path_factory.mktemp(request.param), request.param, *SERVICES, keys=KEYS) as made:
        yield made


def dropped(nodes: Line, name: str) -> dict[str, int]:
    """What both edges have dropped of a service, by cause, once all of its associations have ended."""

    def open_of(node: Node) -> int:
        return node.service(name).streams_active

    until(lambda: not open_of(nodes.importer) and not open_of(nodes.exporter), 20, "all associations have ended")
    found: dict[str, int] = {}
    for node in (nodes.importer, nodes.exporter):
        for cause, count in node.service(name).dropped.items():
            found[cause] = found.get(cause, 0) + count
    return found


def test_a_ticket_of_kerberos(nodes: Line, tmp_path: Path) -> None:
    with krb5kdc(tmp_path / "kdc", nodes.target("kerberos")):
        said = kinit(tmp_path, nodes.door("kerberos"))
    assert f"Default principal: {PRINCIPAL}" in said
    assert "krbtgt/" in said
    assert dropped(nodes, "kerberos") == {}


def test_radius_with_certificates_of_several_packets(nodes: Line, tmp_path: Path) -> None:
    keys = Certificates.made_in(tmp_path / "keys")
    with freeradius(tmp_path / "radius", nodes.target("radius"), keys) as log:
        assert "\nSUCCESS\n" in eapol_test(tmp_path, nodes.door("radius"), keys)
        said = log.read_text(errors="replace")
    # Of packets each way: beyond the MTU of any path.
    assert max(map(int, re.findall(r"Received Access-Request .* length (\d+)", said))) > 3_500
    assert max(map(int, re.findall(r"Sent Access-Challenge .* length (\d+)", said))) > 3_500
    assert dropped(nodes, "radius") == {}


def test_an_agent_of_snmp_says_its_name(nodes: Line, tmp_path: Path) -> None:
    with snmpd(tmp_path / "snmp", nodes.target("snmp")):
        for _ in range(20):
            assert snmpget(nodes.door("snmp")) == SYSTEM_NAME
    assert dropped(nodes, "snmp") == {}


def test_lines_of_syslog_go_one_way(nodes: Line, tmp_path: Path) -> None:
    host, port = nodes.door("syslog")
    with rsyslogd(tmp_path / "syslog", nodes.target("syslog")) as out:
        for number in range(LINES):
            run("logger", "-d", "-n", host, "-P", str(port), f"line {number}")

        def there() -> set[str]:
            return {line.strip() for line in out.read_text().splitlines()} if out.exists() else set()

        wanted = {f"line {number}" for number in range(LINES)}
        until(lambda: {line[line.find("line ") :] for line in there()} >= wanted, 10, "all lines are there")
    # Nothing is ever answered, which is no failure of theirs.
    assert nodes.importer.service("syslog").streams_active > LINES // 2
    assert nodes.importer.service("syslog").refused_total == 0


def test_twenty_calls_are_set_up_and_ended(nodes: Line, tmp_path: Path) -> None:
    with sipp_server(tmp_path / "sip", nodes.target("sip")):
        said = sipp_calls(nodes.door("sip"), CALLS, 1_000)
    assert f"Successful call        |        0                  |       {CALLS}" in said
    assert dropped(nodes, "sip") == {}


def test_twenty_calls_are_heard(nodes: Line, figure: Callable[[str], None]) -> None:
    with answering(nodes.target("voice")), calling(nodes.door("voice"), CALLS, CALL_S) as calls:
        told = heard(calls, CALL_S + 20)
    figure(
        f"{nodes.topology}: {told.sent} packets, {told.lost} lost; round trip {told.median_ms:.1f} ms, of 99 % below "
        f"{told.p99_ms:.1f} ms; jitter {told.jitter_ms:.2f} ms"
    )
    assert told.lost == sum(dropped(nodes, "voice").values())
    assert told.lost <= told.sent // 100
