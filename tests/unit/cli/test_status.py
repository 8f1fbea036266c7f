"""`pcgrelay status`: what people see of a node, what programs get, and what needs attention."""

import os
import pwd
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from pcgrelay.admin.status import (
    ApprovalsStatus,
    AuditStatus,
    Status,
)
from pcgrelay.admin.validity import CredentialsStatus, ListStatus
from pcgrelay.admin.waiting import WaitingStatus
from tests.support.command_line import KENT, Invoke, invoker, node_written
from tests.support.healthy_status import HEALTHY, JUDGING


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    return invoker(capsys, monkeypatch)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    return node_written(tmp_path)


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[list[bytes]]:
    """A node's admin socket that gives one answer to each request, and remembers the requests."""
    requests: list[bytes] = []

    def serve(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            # Who only knocks, to see whether somebody is there, does not wait for the answer.
            with connection, suppress(BrokenPipeError, ConnectionResetError):
                requests.append(connection.recv(65536))
                connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(path))
        server.listen(4)
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield requests
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            path.unlink()


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_status_of_a_healthy_node(invoke: Invoke, node: Path) -> None:
    with answering(node.with_suffix(".sock"), http(msgspec.json.encode(HEALTHY))) as requests:
        answer = invoke("status", "-c", node)
        assert requests[0].startswith(b"GET /v1/status HTTP/1.1\r\n")
        assert (answer.code, answer.err) == (0, "")
        assert "edge, pcgrelay 0.1.0, ready, up for 1 d 2 h" in answer.out
        link = next(line for line in answer.out.splitlines() if line.startswith("relay-1"))
        figures = "4/4 1.23 ms 0 % 118 MiB 2.0 KiB 1 min 5 s (3)"
        words = f"relay-1.hub.example psn out up ok AES-256-GCM X25519MLKEM768 {figures}"
        assert " ".join(link.split()) == words
        session = next(line for line in answer.out.splitlines() if line.startswith("met-1"))
        words = "met-1.met.police.example relay-1.hub.example out up AES-256-GCM X25519MLKEM768 12"
        assert " ".join(session.split()) == f"{words} 2.0 KiB 118 MiB 7 s (2)"
        assert "reset_by_target" not in answer.out
        more = invoke("status", "-c", node, "--streams").out
        assert re.search(r"^reset_by_target +44 *$", more, re.M)
        assert re.search(r"^not_allowed +7 *$", more, re.M)
        assert "Organisations" not in more
        by_organisation = invoke("status", "-c", node, "--organisations").out
        assert re.search(r"^met\.police\.example +import +3,444 +5\.0 GiB +2\.0 KiB +7 *$", by_organisation, re.M)
        facts = invoke("status", "-c", node, "--json")
        assert msgspec.json.decode(facts.out, type=Status) == HEALTHY


def test_status_says_what_is_cleared_for_which_marking(invoke: Invoke, node: Path) -> None:
    with answering(node.with_suffix(".sock"), http(msgspec.json.encode(JUDGING))):
        said = invoke("status", "-c", node).out.splitlines()
    assert said[0] == said[-1] == "OFFICIAL-SENSITIVE"
    assert "cleared networks: psn OFFICIAL-SENSITIVE, internet OFFICIAL" in said
    assert "cleared organisations: hub.example OFFICIAL-SENSITIVE, any other OFFICIAL" in said
    assert "refused for their marking: 3 since the start" in said
    notes = [line.strip() for line in said if line.startswith("  ")]
    assert notes[:3] == ["cleared for OFFICIAL-SENSITIVE", "cleared for OFFICIAL", "OFFICIAL-SENSITIVE"]


def test_status_says_how_the_audit_log_stands(invoke: Invoke, node: Path) -> None:
    kept = structs.replace(HEALTHY, audit=AuditStatus(records=8_841, signed=8_840))
    with answering(node.with_suffix(".sock"), http(msgspec.json.encode(kept))):
        answer = invoke("status", "-c", node)
        assert answer.code == 0
        assert "\naudit log: 8,841 records; 8,840 signed by the process before; witnessed by nobody yet\n" in answer.out
    with answering(node.with_suffix(".sock"), http(msgspec.json.encode(HEALTHY))):
        assert "audit" not in invoke("status", "-c", node).out


def test_status_of_a_node_whose_services_carried_nothing(invoke: Invoke, node: Path) -> None:
    quiet = structs.replace(HEALTHY, organisations=())
    with answering(node.with_suffix(".sock"), http(msgspec.json.encode(quiet))):
        assert "No organisation has had a stream yet." in invoke("status", "-c", node, "--organisations").out


def test_status_shows_what_is_unusual_and_counts_what_was_refused(invoke: Invoke, node: Path) -> None:
    link = msgspec.structs.replace(
        HEALTHY.links[0], precedence="back-up", weight=50, sent_total_bytes=9 << 20, received_total_bytes=8 << 20
    )
    odd = msgspec.structs.replace(
        HEALTHY,
        node=msgspec.structs.replace(HEALTHY.node, stands_back=False),
        links=(link,),
        refusals={"unreachable": 3, "peer_closed": 2, "not_a_member": 1},
    )
    with answering(node.with_suffix(".sock"), http(msgspec.json.encode(odd))):
        shown = invoke("status", "-c", node).out
        assert "  back-up, weight 50\n" in shown
        assert "9.0 MiB  " in shown
        assert "the system forbids setpriority" in shown
        assert "Refused: 1 since the start" in shown
        more = invoke("status", "-c", node, "--streams").out
        refused, _, ended = more.partition("Attempts that failed, and lanes that ended, by reason")
        assert re.search(r"^not_a_member +1 *$", refused, re.M)
        assert re.search(r"^unreachable +3 *$", ended, re.M)
        assert "unreachable" not in refused
    # What nobody refused is no reason to look.
    well = msgspec.structs.replace(odd, refusals={"unreachable": 3})
    with answering(node.with_suffix(".sock"), http(msgspec.json.encode(well))):
        assert "Refused" not in invoke("status", "-c", node).out


def test_status_says_by_which_policy_a_node_serves_and_what_waits(invoke: Invoke, node: Path) -> None:
    waiting = WaitingStatus(what="change", change="CR-1043", until_timestamp_s=1_793_956_320, signatures=1, needs=2)
    approvals = ApprovalsStatus(
        active=True,
        policy="a91b02ee" + "0" * 56,
        taken="2026-11-03T09:20:11Z",
        change="CR-1042",
        waiting=(waiting, structs.replace(waiting, what="retire", change="CR-7", signatures=2, held=True)),
    )
    approved = structs.replace(HEALTHY, approvals=approvals)
    with answering(node.with_suffix(".sock"), http(msgspec.json.encode(approved))):
        answer = invoke("status", "-c", node)
    assert answer.code == 0  # what waits is no trouble
    lines = answer.out.splitlines()
    assert "policy a91b02ee, taken 2026-11-03 09:20 UTC, CR-1042" in lines
    assert "change CR-1043 waits: 1 of 2 signatures, until 2026-11-06 09:12 UTC" in lines
    assert "retire CR-7 waits: 2 of 2 signatures, until 2026-11-06 09:12 UTC; held" in lines
    with answering(node.with_suffix(".sock"), http(msgspec.json.encode(HEALTHY))):
        assert "policy" not in invoke("status", "-c", node).out


def test_status_of_a_node_that_cannot_serve(invoke: Invoke, node: Path) -> None:
    link = msgspec.structs.replace(HEALTHY.links[0], state="down", reason="expired", lanes_up=0, rtt_ms=None)
    ill = msgspec.structs.replace(HEALTHY, links=(link,))
    with answering(node.with_suffix(".sock"), http(msgspec.json.encode(ill))):
        answer = invoke("status", "-c", node)
        assert answer.code == 3
        assert "edge, pcgrelay 0.1.0, failing, up for" in answer.out
        assert "! The link to relay-1.hub.example over psn is down (expired)." in answer.out
        assert invoke("status", "-c", node, "--json").code == 3


def test_status_of_a_node_that_serves_although_a_link_is_lost(invoke: Invoke, node: Path) -> None:
    link = msgspec.structs.replace(HEALTHY.links[0], state="down", reason="expired", lanes_up=0, rtt_ms=None)
    ill = msgspec.structs.replace(HEALTHY, links=(link, HEALTHY.links[1]))
    with answering(node.with_suffix(".sock"), http(msgspec.json.encode(ill))):
        answer = invoke("status", "-c", node)
        assert (answer.code, answer.err) == (4, "")
        assert "edge, pcgrelay 0.1.0, degraded, up for" in answer.out
        assert "! The link to relay-1.hub.example over psn is down (expired)." in answer.out
        assert invoke("status", "-c", node, "--json").code == 4


def test_status_of_a_node_that_drains(invoke: Invoke, node: Path) -> None:
    drained = msgspec.structs.replace(HEALTHY, node=msgspec.structs.replace(HEALTHY.node, draining=True))
    with answering(node.with_suffix(".sock"), http(msgspec.json.encode(drained))):
        answer = invoke("status", "-c", node)
        assert (answer.code, answer.err) == (5, "")
        assert "edge, pcgrelay 0.1.0, draining, up for 1 d 2 h\n" in answer.out
        assert invoke("status", "-c", node, "--json").code == 5


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "did not answer"),
        (b"nonsense\r\n\r\n", "did not answer"),
        (http(b"{"), "the answer is no status"),
        (http(b"{}"), "the answer is no status"),
        (http(b"", "503 Service Unavailable"), "answered 503 Service Unavailable"),
    ],
)
def test_an_answer_that_makes_no_sense(invoke: Invoke, node: Path, answer: bytes, words: str) -> None:
    with answering(node.with_suffix(".sock"), answer):
        found = invoke("status", "-c", node)
    assert found.code == 3
    assert words in found.err
    assert found.err.count("\n") == 1


@pytest.mark.parametrize("wrong", ["nonsense = 1\n", "this is no TOML\n", "\0"])
def test_a_node_shows_how_it_is_beside_a_file_that_is_wrong(invoke: Invoke, node: Path, wrong: str) -> None:
    """It runs well, and one of its lines may say that its last reload was refused."""
    node.write_text(node.read_text() + wrong)
    with answering(node.with_suffix(".sock"), http(msgspec.json.encode(HEALTHY))):
        answer = invoke("status", "-c", node)
    assert (answer.code, answer.err) == (0, "")
    assert "edge, pcgrelay 0.1.0, ready" in answer.out


def test_who_may_not_ask_is_told_who_may(invoke: Invoke, node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group helps only if the configuration names one."""

    def refuse(connection: object) -> None:
        raise PermissionError

    monkeypatch.setattr("pcgrelay.admin.client._UnixConnection.connect", refuse)
    with answering(node.with_suffix(".sock"), b""):
        answer = invoke("status", "-c", node)
    assert answer.code == 77
    name = pwd.getpwuid(os.geteuid()).pw_name
    assert f"only the user that the node runs as may ask it ({name}); run this as that user or as root" in answer.err
    assert "or name a group in [node] admin_group." in answer.err


def test_no_node_at_all(invoke: Invoke, node: Path) -> None:
    answer = invoke("status", "-c", node)
    assert answer.code == 3
    assert "no node listens here; start it with: pcgrelay run" in answer.err


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_fit_the_window(node: Path, columns: int) -> None:
    """A real terminal of that width sees no broken line."""
    pty = pytest.importorskip("pty")
    with answering(node.with_suffix(".sock"), http(msgspec.json.encode(HEALTHY))):
        ours, theirs = pty.openpty()
        environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"}
        command = [sys.executable, "-m", "pcgrelay.cli", "status", "-c", str(node), "--streams"]
        with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
            os.close(theirs)
            seen = b""
            try:
                while part := os.read(ours, 65536):
                    seen += part
            except OSError:  # how a closed terminal ends on Linux
                pass
        os.close(ours)
    assert process.returncode == 0
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in seen.decode().splitlines()]
    assert b"\x1b[" in seen
    assert max(map(len, lines)) <= columns
    for whole in ("relay-2.backup.hub.example", f"intelligence-search@{KENT}", "CHACHA20-POLY1305", "X25519MLKEM768"):
        assert any(whole in line for line in lines)


def test_status_loads_no_openssl(node: Path) -> None:
    script = (
        "import sys; from pcgrelay import cli; code = cli.invoke(sys.argv[1:]);"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('OpenSSL', 'cryptography', 'uvloop')))"
    )
    command = [sys.executable, "-c", script, "status", "-c", str(node)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert answer.stdout == "[]\n"


def test_a_list_that_a_neighbour_brought_is_named(invoke: Invoke, node: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    brought = ListStatus(name="CN=police.example realm CA", number=7, source="relay-1.hub.example", not_before=now)
    of_file = ListStatus(name="CN=other CA", number=3, not_before=now)
    status = structs.replace(HEALTHY, credentials=CredentialsStatus(lists=(brought, of_file)))
    with answering(node.with_suffix(".sock"), http(msgspec.json.encode(status))):
        shown = invoke("status", "-c", node).out
    assert "list 7 of CN=police.example realm CA, brought by relay-1.hub.example\n" in shown
    assert "other CA" not in shown
