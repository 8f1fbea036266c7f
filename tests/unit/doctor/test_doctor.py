"""The examination of a node: each planted fault has a line of its own, with its cure, and causes no other."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pcgrelay import config
from pcgrelay.check import check, exit_code
from pcgrelay.clock import SYSTEM_CLOCK, Clock, SetClock
from pcgrelay.config import Config
from pcgrelay.doctor import examination, machine, neighbours
from pcgrelay.doctor.examination import examine
from pcgrelay.doctor.machine import examine_machine
from pcgrelay.finding import OK, Finding
from pcgrelay.kernel import read_kernel
from pcgrelay.net.resolver import NameAbsentError
from pcgrelay.services import targets
from tests.support.kernel_settings import faked
from tests.support.nodes_in_process import HUB, KENT, MET, Nodes, dial
from tests.support.ports import free_port
from tests.support.probed_targets import says_nothing, serving

DEADLINE_S = 10.0


class Patient:
    """A node to be examined, beside a relay that it dials; a fault is planted in it."""

    def __init__(self, nodes: Nodes, monkeypatch: pytest.MonkeyPatch, stack: AsyncExitStack) -> None:
        self.nodes, self.monkeypatch, self.stack = nodes, monkeypatch, stack
        self.port = free_port()
        self.clock: Clock = SYSTEM_CLOCK
        self.relay: dict[str, Any] = {}
        self.tables: dict[str, Any] = {"links": [dial(1, self.port)]}

    @property
    def path(self) -> Path:
        return self.nodes.folder / "kent-1.kent.toml"

    @property
    def key(self) -> Path:
        return self.nodes.folder / f"kent-1.{KENT}" / "kent-1.key"

    def written(self) -> Config:
        return config.load(self.nodes.write(KENT, "kent-1", **self.tables))

    async def examine(self) -> list[Finding]:
        if not self.relay.pop("absent", False):
            listens = [f"127.0.0.1:{self.port}"]
            await self.nodes.start(HUB, self.relay.pop("name", "relay-1"), role="relay", listens=listens, **self.relay)
        given = config.load(self.path) if self.path.exists() else self.written()
        return [
            *check(given, self.clock),
            *examine_machine(given),
            *await examination._network(given, DEADLINE_S, self.clock),
        ]


@pytest.fixture
async def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Patient]:
    nodes = Nodes(tmp_path)
    kernel = read_kernel(faked(tmp_path / "sys"))
    # Machines of tests differ in these.
    monkeypatch.setattr(machine, "clock_is_synchronised", lambda: True)
    monkeypatch.setattr("pcgrelay.check.read_kernel", lambda: kernel)
    async with AsyncExitStack() as stack:
        yield Patient(nodes, monkeypatch, stack)
        await nodes.stop()


async def test_a_good_node_has_nothing_but_good_lines(patient: Patient) -> None:
    async with serving(says_nothing) as target:
        exports = [{"service": "custody", "target": f"127.0.0.1:{target}", "allow": [MET], "probe": "connect"}]
        exports.append({"service": "other", "target": "127.0.0.1:1", "allow": [MET], "probe": "none"})
        patient.tables["exports"] = exports
        findings = await patient.examine()
    assert [finding for finding in findings if finding.level != OK] == []
    said = " ".join(finding.sentence for finding in findings)
    for words in ("is reached in", "accepts this node: protocol version 1, X25519MLKEM768", "agree to within 30 s"):
        assert words in said
    assert "accepts connections" in said
    assert "is not probed" in said


Plant = Callable[[Patient], Awaitable[None]]


async def key_of_another(patient: Patient) -> None:
    patient.written()
    patient.key.write_bytes(patient.nodes.pki.issue(MET, "met-1").key.read_bytes())


async def key_for_all(patient: Patient) -> None:
    patient.written()
    patient.key.chmod(0o644)


async def no_trust(patient: Patient) -> None:
    text = patient.nodes.write(KENT, "kent-1", **patient.tables).read_text()
    patient.path.write_text(text.replace("realm-ca.pem", "gone.pem"))


async def own_certificate_expired(patient: Patient) -> None:
    patient.nodes.pki.issue(KENT, "kent-1", expired=True)
    patient.relay["absent"] = True
    patient.tables = {"listens": [f"127.0.0.1:{free_port()}"]}
    patient.relay["name"] = "relay-1"


async def list_out_of_date(patient: Patient) -> None:
    patient.relay["absent"] = True
    patient.tables = {"listens": [f"127.0.0.1:{free_port()}"]}
    patient.written()  # `ca issue` renews the list too
    patient.nodes.pki.authority.renew_crl(days=1)
    patient.clock = SetClock(datetime.now(UTC) + timedelta(days=2))


async def port_in_use(patient: Patient) -> None:
    server = patient.stack.enter_context(socket.create_server(("127.0.0.1", free_port())))
    patient.tables["listens"] = [f"127.0.0.1:{server.getsockname()[1]}"]


async def no_folder_of_admin(patient: Patient) -> None:
    patient.tables["node_table"] = {"admin": "gone/kent-1.sock"}


async def no_folder_of_state(patient: Patient) -> None:
    patient.tables["node_table"] = {"state": "gone"}


async def few_local_ports(patient: Patient) -> None:
    kernel = read_kernel(faked(patient.nodes.folder / "sys", ip_local_port_range="50000 50999"))
    patient.monkeypatch.setattr("pcgrelay.check.read_kernel", lambda: kernel)
    patient.tables["exports"] = [{"service": "custody", "target": "127.0.0.1:1", "allow": [MET], "probe": "none"}]


async def few_descriptors(patient: Patient) -> None:
    # What is examined has few; the relay beside it, in this same process, must not.
    patient.monkeypatch.setattr("pcgrelay.check._hard_limit", lambda: 256)


async def full_disk(patient: Patient) -> None:
    folder = patient.nodes.folder / "state"
    folder.mkdir(mode=0o700)
    patient.tables["node_table"] = {"state": "state"}
    full = SimpleNamespace(f_bavail=10, f_frsize=4096, f_blocks=1 << 20, f_files=0, f_favail=0)
    patient.monkeypatch.setattr(machine, "JOURNAL_FOLDERS", ())
    patient.monkeypatch.setattr(machine.os, "statvfs", lambda path: full)


async def file_for_all(patient: Patient) -> None:
    patient.written()
    patient.path.chmod(0o666)


async def trust_for_all(patient: Patient) -> None:
    patient.nodes.pki.trust.chmod(0o666)


async def nobody_allowed(patient: Patient) -> None:
    patient.tables["exports"] = [{"service": "custody", "target": "127.0.0.1:1", "allow": [], "probe": "none"}]


async def export(patient: Patient, port: int | str, **probe: Any) -> None:
    where = port if isinstance(port, str) else f"127.0.0.1:{port}"
    settings = {"service": "custody", "target": where, "allow": [MET], "connect_timeout_ms": 300, "probe": "connect"}
    patient.tables["exports"] = [{**settings, **probe}]


async def target_refuses(patient: Patient) -> None:
    await export(patient, free_port())


async def target_is_silent(patient: Patient) -> None:
    port = await patient.stack.enter_async_context(serving(says_nothing))
    await export(patient, port, probe="expect", probe_expect="+PONG")


async def target_says_something_else(patient: Patient) -> None:
    async def says_no(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-LOADING\r\n")

    port = await patient.stack.enter_async_context(serving(says_no))
    await export(patient, port, probe="expect", probe_expect="+PONG")


async def name_absent(*_: object) -> Any:
    raise NameAbsentError


async def target_without_a_name(patient: Patient) -> None:
    patient.monkeypatch.setattr(targets, "resolve", name_absent)
    await export(patient, "localhost:5432")


async def neighbour_without_a_name(patient: Patient) -> None:
    patient.monkeypatch.setattr(neighbours, "resolve", name_absent)


async def name_unknown(*_: object) -> Any:
    raise OSError


async def no_name_service(patient: Patient) -> None:
    patient.monkeypatch.setattr(neighbours, "resolve", name_unknown)


async def neighbour_refuses(patient: Patient) -> None:
    patient.relay["absent"] = True


async def neighbour_is_silent(patient: Patient) -> None:
    patient.relay["absent"] = True
    patient.monkeypatch.setattr(neighbours, "HANDSHAKE_MS", 300)
    port = await patient.stack.enter_async_context(serving(says_nothing))
    patient.tables["links"] = [dial(1, port)]


async def neighbour_is_no_node(patient: Patient) -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    patient.relay["absent"] = True
    port = await patient.stack.enter_async_context(serving(web))
    patient.tables["links"] = [dial(1, port)]


async def neighbour_is_another(patient: Patient) -> None:
    patient.relay["name"] = "relay-2"


async def neighbour_of_another_ca(patient: Patient) -> None:
    patient.nodes.pki.issue(HUB, "relay-1", wrong_ca=True)


async def neighbour_has_expired(patient: Patient) -> None:
    patient.nodes.pki.issue(HUB, "relay-1", expired=True)


async def neighbour_is_revoked(patient: Patient) -> None:
    patient.nodes.pki.issue(HUB, "relay-1", revoked=True)


async def neighbour_does_not_admit(patient: Patient) -> None:
    patient.relay["policy"] = {"members": [MET]}


async def clocks_differ(patient: Patient) -> None:
    patient.clock = SetClock(datetime.now(UTC) + timedelta(minutes=10))


async def clock_left_alone(patient: Patient) -> None:
    patient.monkeypatch.setattr(machine, "clock_is_synchronised", lambda: False)


async def small_packets(patient: Patient) -> None:
    patient.monkeypatch.setattr(neighbours, "_TCP_INFO", SimpleNamespace(size=72, unpack=lambda data: (576, 1_000)))


async def long_way(patient: Patient) -> None:
    patient.monkeypatch.setattr(neighbours, "_TCP_INFO", SimpleNamespace(size=72, unpack=lambda data: (1_500, 900_000)))


RELAY = rf"link[1] (relay-1.{HUB})"
FAULTS: list[tuple[Plant, str, str]] = [
    (key_of_another, "identity.key", "The private key does not belong to the certificate."),
    (key_for_all, "identity.key", "others than its owner may use the private key"),
    (no_trust, "identity.trust", "gone.pem"),
    (own_certificate_expired, "identity.certificate", "expired on"),
    (list_out_of_date, "identity.crl", "The revocation list of"),
    (port_in_use, "listen[1].address", "is in use by another program"),
    (no_folder_of_admin, "node.admin", "does not exist"),
    (no_folder_of_state, "node.state", "gone"),
    (few_descriptors, "descriptors", "256 open files"),
    (few_local_ports, "kernel", "1,000 local ports"),
    (full_disk, "node.state", "has only 40 KiB left"),
    (file_for_all, "configuration", "Everybody on this machine may write"),
    (trust_for_all, "identity.trust", "Everybody on this machine may write"),
    (nobody_allowed, "export[1].allow", "Nobody may use custody"),
    (target_refuses, "export[1] (custody)", "Connection refused by 127.0.0.1:"),
    (target_is_silent, "export[1] (custody)", "No answer from 127.0.0.1:"),
    (target_says_something_else, "export[1] (custody)", "lacks +PONG (target-answer)"),
    (target_without_a_name, "export[1] (custody)", "No such name: localhost"),
    (neighbour_without_a_name, RELAY, "No such name: 127.0.0.1."),
    (no_name_service, RELAY, "The name service does not answer for"),
    (neighbour_refuses, RELAY, "Connection refused by 127.0.0.1:"),
    (neighbour_is_silent, RELAY, "(deadline)"),
    (neighbour_is_no_node, RELAY, "(tls_version)"),
    (neighbour_is_another, RELAY, "(unexpected_identity)"),
    (neighbour_of_another_ca, RELAY, "(unknown_issuer)"),
    (neighbour_has_expired, RELAY, "(expired)"),
    (neighbour_is_revoked, RELAY, "(revoked)"),
    (neighbour_does_not_admit, RELAY, "(peer_refused)"),
    (clock_left_alone, "clock", "Nothing synchronises the clock of this machine"),
    (clocks_differ, RELAY, "behind this one"),
    (small_packets, RELAY, "Packets of 576 bytes"),
    (long_way, RELAY, "A round trip to"),
]
# Without its own files a node shakes no hands, and that is said too.
ALSO: dict[Plant, str] = dict.fromkeys((key_of_another, key_for_all, no_trust), "No handshake was tried")
# Of a target elsewhere it is said besides that nothing seals what goes there.
ALSO[target_without_a_name] = "leaves this machine unencrypted"


@pytest.mark.parametrize(("plant", "where", "words"), FAULTS, ids=[plant.__name__ for plant, _, _ in FAULTS])
async def test_each_fault_has_a_line_of_its_own_with_its_cure(
    patient: Patient, plant: Plant, where: str, words: str
) -> None:
    await plant(patient)
    bad = [finding for finding in await patient.examine() if finding.level != OK]
    (finding,) = [finding for finding in bad if finding.where == where and words in finding.sentence]
    assert finding.mend or ";" in finding.sentence  # what files say has its cure in the same sentence
    rest = [other for other in bad if other is not finding]
    assert all(plant in ALSO and ALSO[plant] in other.sentence for other in rest), rest


def test_there_are_at_least_twenty_faults() -> None:
    assert len(FAULTS) >= 20


async def test_a_running_node_is_asked(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    given = patient.written()
    monkeypatch.setattr(machine, "answers", lambda admin: True)
    (finding,) = [each for each in examine_machine(given) if each.where == "node"]
    assert "does not say how it is" in finding.sentence


def test_everything_has_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> Any:
        await asyncio.sleep(3_600)

    monkeypatch.setattr(neighbours, "resolve", never)
    monkeypatch.setattr(targets, "resolve", never)
    exports = [{"service": "custody", "target": "db.kent.example:1", "allow": [MET], "probe": "connect"}]
    path = Nodes(tmp_path).write(KENT, "kent-1", links=[dial(1, 1), dial(2, 2)], exports=exports)
    findings = examine(config.load(path), 0.2)
    late = [finding.where for finding in findings if "Not examined within 0.2 s" in finding.sentence]
    assert late == [RELAY, f"link[2] (relay-2.{HUB})", "export[1] (custody)"]
    assert exit_code(findings) == 1


@pytest.mark.parametrize(
    ("answer", "status", "expected"), [(0, 0x2001, True), (5, 0x40, False), (5, 0x2041, False), (-1, 0, None)]
)
def test_the_kernel_is_asked_about_the_clock(
    monkeypatch: pytest.MonkeyPatch, answer: int, status: int, expected: bool | None
) -> None:
    """By the words of struct timex: answered by this machine's kernel once, and as other kernels do."""
    assert machine.clock_is_synchronised() in (True, False)

    def adjtimex(timex: Any) -> int:
        assert timex.raw == bytes(208)  # modes = 0: nothing is set
        struct.pack_into("=i", timex, 40, status)
        return answer

    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: SimpleNamespace(adjtimex=adjtimex))
    assert machine.clock_is_synchronised() is expected


def test_what_tcp_knows_is_read_from_its_places() -> None:
    """By a connection over loopback, whose MTU is known."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sock:
        mtu, rtt_us = neighbours._TCP_INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 72))
        assert mtu == sock.getsockopt(socket.IPPROTO_IP, 14)  # IP_MTU
        assert 0 < rtt_us < 1_000_000
        assert neighbours._TCP_INFO.size == struct.calcsize("=18I")
    assert os.statvfs("/").f_frsize
