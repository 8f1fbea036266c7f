"""All services of datagrams at once behind one line of nodes, and their clients, each with what it must see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.scenarios.kit.datagram_programs import (
    SYSTEM_NAME,
    dig,
    dnsmasq,
    drops,
    rsyslogd,
    sipp_calls,
    sipp_server,
    snmpd,
    snmpget,
)
from tests.scenarios.kit.kerberos_programs import PRINCIPAL, kinit, krb5kdc
from tests.scenarios.kit.nodes import Line
from tests.scenarios.kit.radius_programs import Certificates, eapol_test, freeradius
from tests.scenarios.kit.real_programs import run
from tests.scenarios.kit.voice import Heard, answering, calling, heard
from tests.support.waiting import until

SERVICES = ("dns", "radius", "kerberos", "snmp", "syslog", "sip", "voice")
# One address asks for all names, and each question is an association.
IMPORTED = {"protocol": "udp", "idle_timeout_s": 3, "new_streams_per_second": 100_000, "max_streams_per_source": 4_096}
EXPORTED = {"protocol": "udp", "idle_timeout_s": 3}
DIGS = 40
PACKET_OF_RADIUS = 3_500


@dataclass
class Clients:
    """Clients of the services of a line, which run where the calling thread's network is."""

    nodes: Line
    folder: Path
    keys: Certificates
    log_of_radius: Path
    lines_of_syslog: Path
    _count: int = field(default=0)

    def names(self, count: int, *, digs: int = DIGS, tries: int = 1) -> int:
        """Ask for so many names, each once and from a port of its own; how many of the answers were right.

        They are shared out among several programs, each with an address of its own.
        """

        def ask(number: int) -> int:
            folder = self._own_folder(f"dig-{number}")
            return dig(self.nodes.door("dns"), count // digs, folder, source=f"127.0.1.{number + 1}", tries=tries)

        with ThreadPoolExecutor(digs) as pool:
            return sum(pool.map(ask, range(digs)))

    def admitted(self) -> None:
        """Be authenticated with certificates, in packets of nearly 4,096 bytes each way."""
        before = self.log_of_radius.stat().st_size
        assert "\nSUCCESS\n" in eapol_test(self._own_folder("radius"), self.nodes.door("radius"), self.keys)
        said = self.log_of_radius.read_bytes()[before:].decode(errors="replace")
        for what in ("Received Access-Request", "Sent Access-Challenge"):
            assert max(map(int, re.findall(rf"{what} .* length (\d+)", said))) > PACKET_OF_RADIUS

    def ticket(self) -> None:
        """Get a ticket of Kerberos."""
        said = kinit(self._own_folder("kerberos"), self.nodes.door("kerberos"))
        assert f"Default principal: {PRINCIPAL}" in said

    def agent(self, times: int = 20) -> None:
        """Ask an agent of SNMP for its name."""
        for _ in range(times):
            assert snmpget(self.nodes.door("snmp"), retries=2) == SYSTEM_NAME

    def lines(self, count: int = 200) -> int:
        """Send lines of syslog, and wait until all are there or nothing more comes; how many are missing."""
        self._count += 1
        host, port = self.nodes.door("syslog")
        wanted = {f"line {self._count}.{number}." for number in range(count)}
        for line in wanted:
            run("logger", "-d", "-n", host, "-P", str(port), line)

        def missing() -> int:
            text = self.lines_of_syslog.read_text() if self.lines_of_syslog.exists() else ""
            return sum(line not in text for line in wanted)

        try:
            until(lambda: not missing(), 10)
        except AssertionError:
            return missing()
        return 0

    def phones(self, calls: int = 20) -> None:
        """Set up calls by SIP and end them."""
        said = sipp_calls(self.nodes.door("sip"), calls, 1_000)
        assert f"Successful call        |        0                  |       {calls}" in said

    def voice(self, calls: int = 20, seconds: float = 5) -> Heard:
        """Speak and hear, 50 packets of 200 bytes a second and call each way."""
        with calling(self.nodes.door("voice"), calls, seconds) as process:
            return heard(process, seconds + 25)

    def _own_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder


@contextmanager
def served(folder: Path, nodes: Line) -> Iterator[Clients]:
    """All servers at the targets of a line, in the network of the calling thread."""
    keys = Certificates.made_in(folder / "keys")
    with ExitStack() as stack:
        stack.enter_context(dnsmasq(folder / "dns", nodes.target("dns")))
        log = stack.enter_context(freeradius(folder / "freeradius", nodes.target("radius"), keys))
        stack.enter_context(krb5kdc(folder / "kdc", nodes.target("kerberos")))
        stack.enter_context(snmpd(folder / "agent", nodes.target("snmp")))
        lines = stack.enter_context(rsyslogd(folder / "rsyslog", nodes.target("syslog")))
        stack.enter_context(sipp_server(folder / "phone", nodes.target("sip")))
        stack.enter_context(answering(nodes.target("voice")))
        yield Clients(nodes, folder, keys, log, lines)


def dropped(nodes: Line) -> int:
    """How many datagrams all nodes have dropped since they were started, by every cause."""
    return int(sum(drops(nodes).values()))
