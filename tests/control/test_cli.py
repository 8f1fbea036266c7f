"""The command line: what people see, what programs get, and one sentence with its exit code for whatever goes wrong."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import click
import msgspec
import pytest

import pcgrelay
from pcgrelay import cli
from pcgrelay.admin.status import (
    LinkStatus,
    MemoryStatus,
    NodeStatus,
    RouteStatus,
    ServiceStatus,
    SessionStatus,
    Status,
    StreamStatus,
    WorkerStatus,
    troubles,
)
from pcgrelay.cli.root import COMMANDS
from pcgrelay.cli.root import pcgrelay as root
from pcgrelay.config import Config
from pcgrelay.errors import RunError
from pcgrelay.output import count, duration, milliseconds, size
from pki import Realm, write_config

KENT = "kent.police.example"


class Answer(SimpleNamespace):
    code: int
    out: str
    err: str


Invoke = Callable[..., Answer]


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.delenv("PCGRELAY_CONFIG", raising=False)
    monkeypatch.delenv("PCGRELAY_DEBUG", raising=False)

    def call(*arguments: str | Path) -> Answer:
        code = cli.invoke([os.fspath(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Answer(code=code, out=out, err=err)

    return call


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The configuration of a node that is all right."""
    files = Realm(tmp_path).issue(KENT, "kent-1")
    return write_config(tmp_path / "node.toml", files, KENT, "kent-1", listens=[f"127.0.0.1:{free_port()}"])


@pytest.fixture(autouse=True)
def demo(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A demonstration that only remembers how it was called."""
    calls: list[dict[str, bool]] = []
    double = SimpleNamespace(calls=calls, run=lambda **options: calls.append(options))
    with in_place_of("demo", double, monkeypatch):
        yield double


@pytest.fixture(autouse=True)
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A gateway that only remembers how it was called, or fails as the test wants."""
    double = SimpleNamespace(calls=[], taking_over=[], error=None)

    def run(settings: Config, drain_s: float, *, taking_over: bool, detached: bool) -> None:
        double.calls.append((settings, drain_s))
        if taking_over:
            double.taking_over.append((taking_over, detached))
        if double.error:
            raise double.error

    double.run = run
    with in_place_of("gateway", double, monkeypatch):
        yield double


@contextmanager
def in_place_of(module: str, double: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put a double where the command imports a module, and let no other test meet it."""
    command = {"demo": "pcgrelay.cli.demo", "gateway": "pcgrelay.cli.run"}[module]
    monkeypatch.setattr(pcgrelay, module, double, raising=False)
    sys.modules.pop(command, None)
    yield
    sys.modules.pop(command, None)


# --- help ----------------------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[list[str], click.Command]]:
    context = click.Context(root)
    for name in COMMANDS:
        command = root.get_command(context, name)
        assert command is not None
        yield [name], command
        if isinstance(command, click.Group):
            yield from (([name, sub], below) for sub, below in command.commands.items())


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_teaches(invoke: Invoke, flag: str) -> None:
    answer = invoke(flag)
    assert answer.code == 0
    for name, (_, line) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", answer.out, re.M)
    assert "First steps:" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80
    for code in ("0", "1", "2", "3", "77", "78"):
        assert re.search(rf"^ +{code}  \w", answer.out, re.M)


def test_each_command_has_help_with_an_example(invoke: Invoke) -> None:
    for path, command in commands():
        answer = invoke(*path, "-h")
        assert answer.code == 0
        assert f"pcgrelay {' '.join(path)}" in answer.out.partition("Example")[2], path
        assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option)), path
        assert max(map(len, answer.out.splitlines())) <= 80, path


def test_the_short_help_is_that_of_the_command() -> None:
    for path, command in commands():
        if len(path) == 1:
            assert command.help is not None
            assert command.help.splitlines()[0] == COMMANDS[path[0]][1]


def test_version(invoke: Invoke) -> None:
    for flag in ("-V", "--version"):
        assert invoke(flag).out == f"pcgrelay {pcgrelay.__version__}\n"


def test_wrong_usage_ends_with_2(invoke: Invoke) -> None:
    for arguments in (["nonsense"], ["check"], ["check", "--nonsense"], ["ca", "init"], ["ca", "issue", "x"]):
        answer = invoke(*arguments)
        assert answer.code == 2
        assert "Error: " in answer.err


# --- ca ------------------------------------------------------------------------------------------------------------


def test_a_realm_by_hand(invoke: Invoke, tmp_path: Path) -> None:
    folder, out = tmp_path / "ca", tmp_path / "out"
    names = ("--organisation", KENT, "--node", "kent-1")
    assert invoke("ca", "init", folder, "--realm", "police.example").code == 0
    assert invoke("ca", "issue", folder, *names, "--out", out).code == 0
    assert sorted(path.name for path in out.iterdir()) == ["kent-1.key", "kent-1.pem", "realm-ca.pem"]
    again = invoke("ca", "issue", folder, *names, "--out", out)
    assert again.code == 1
    assert again.err.startswith(f"pcgrelay: {out}/kent-1.pem: ")
    shown = json.loads(invoke("ca", "show", folder, "--json").out)
    assert [entry["node"] for entry in shown["issued"]] == ["kent-1"]
    assert shown["issued"][0]["revoked"] is None
    assert invoke("ca", "revoke", folder, *names).code == 0
    assert re.search(rf"^kent-1 +{KENT} +revoked ", invoke("ca", "show", folder).out, re.M)
    assert "revoked before" in invoke("ca", "revoke", folder, *names).out
    assert "holds until" in invoke("ca", "crl", folder, "--days", "30").out
    assert invoke("ca", "init", folder, "--realm", "police.example").code == 1
    assert invoke("ca", "issue", folder, "--organisation", "Kent", "--node", "k", "--out", out).code == 2


# --- check ---------------------------------------------------------------------------------------------------------


def test_check_of_a_good_node(invoke: Invoke, node: Path) -> None:
    answer = invoke("check", "-c", node)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.endswith(f"{node}: all is well.\n")
    facts = json.loads(invoke("check", "-c", node, "--json").out)
    assert (facts["ok"], facts["exit_code"]) == (True, 0)
    assert {finding["level"] for finding in facts["findings"]} == {"ok"}


def test_check_shows_errors_first(invoke: Invoke, node: Path) -> None:
    (node.parent / f"kent-1.{KENT}/kent-1.key").chmod(0o644)
    answer = invoke("check", "-c", node)
    assert answer.code == 77
    assert answer.out.startswith("error    identity.key")
    assert answer.out.endswith(f"{node}: 1 error.\n")


def test_check_of_a_file_that_is_none(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("[node]\nnmae = 'x'\n")
    answer = invoke("check", "-c", path)
    assert answer.code == 78
    assert answer.err == f"pcgrelay: {path}:2: node.nmae: this key is unknown; the nearest that there is: name.\n"
    answer = invoke("check", "-c", path, "--json")
    assert (answer.code, answer.err) == (78, "")
    assert json.loads(answer.out)["findings"][0]["sentence"].startswith(f"{path}:2: node.nmae")


def test_a_file_that_may_not_be_read_is_a_matter_of_permission(
    invoke: Invoke, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr("builtins.open", refuse)
    answer = invoke("check", "-c", node)
    assert answer.code == 77
    assert answer.err.startswith(f"pcgrelay: {node}: this user may not read the configuration")


def test_the_configuration_may_come_from_the_environment(
    invoke: Invoke, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PCGRELAY_CONFIG", str(node))
    assert invoke("check").code == 0


# --- run and demo --------------------------------------------------------------------------------------------------


def test_run_hands_a_checked_configuration_on(invoke: Invoke, node: Path, gateway: SimpleNamespace) -> None:
    assert invoke("run", "-c", node, "--drain", "5") == Answer(code=0, out="", err="")
    ((settings, drain_s),) = gateway.calls
    assert settings.node.id.dotted == f"kent-1.{KENT}"
    assert drain_s == 5
    assert gateway.taking_over == []


def test_run_takes_over_if_it_is_told_to(invoke: Invoke, node: Path, gateway: SimpleNamespace) -> None:
    assert invoke("run", "-c", node, "--take-over").code == 0
    assert gateway.taking_over == [(True, False)]
    (node.parent / f"kent-1.{KENT}/kent-1.key").chmod(0o644)
    assert invoke("run", "-c", node, "--take-over").code == 77
    assert len(gateway.calls) == 1


def test_run_does_not_start_with_an_error(invoke: Invoke, node: Path, gateway: SimpleNamespace) -> None:
    (node.parent / f"kent-1.{KENT}/kent-1.key").chmod(0o644)
    answer = invoke("run", "-c", node)
    assert answer.code == 77
    assert answer.err.count("\n") == 1
    assert gateway.calls == []


def test_run_starts_with_a_warning_and_says_it(invoke: Invoke, node: Path, gateway: SimpleNamespace) -> None:
    node.write_text(node.read_text().replace('members = ["*"]', "members = []"))
    answer = invoke("run", "-c", node)
    assert answer.code == 0
    assert answer.err.startswith("pcgrelay: policy.members: ")
    assert len(gateway.calls) == 1


def test_each_failure_is_one_sentence(
    invoke: Invoke,
    node: Path,
    gateway: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gateway.error = RunError("The far end is away; try later.")
    assert invoke("run", "-c", node) == Answer(code=1, out="", err="pcgrelay: The far end is away; try later.\n")
    gateway.error = ZeroDivisionError("by\nnought")
    answer = invoke("run", "-c", node)
    assert answer.code == 1
    assert answer.err.count("\n") == 1
    assert "ZeroDivisionError: by nought" in answer.err
    gateway.error = KeyboardInterrupt()
    assert invoke("run", "-c", node).code == 130
    gateway.error = ZeroDivisionError("by nought")
    monkeypatch.setenv("PCGRELAY_DEBUG", "1")
    assert cli.invoke(["run", "-c", str(node)]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("drain", ["-1", "x", "100000"])
def test_a_strange_drain_is_refused(invoke: Invoke, node: Path, gateway: SimpleNamespace, drain: str) -> None:
    assert invoke("run", "-c", node, "--drain", drain).code == 2


def test_demo_passes_its_options_on(invoke: Invoke, demo: SimpleNamespace) -> None:
    assert invoke("demo", "--keep").code == 0
    assert invoke("demo", "--json").code == 0
    assert demo.calls == [{"keep": True, "as_json": False}, {"keep": False, "as_json": True}]


# --- status --------------------------------------------------------------------------------------------------------

HEALTHY = Status(
    node=NodeStatus(
        identity=f"spiffe://police.example/org/{KENT}/node/kent-1", role="edge", uptime_s=93_784.2, version="0.1.0"
    ),
    links=(
        LinkStatus(
            peer="relay-1.hub.example",
            bearer="psn",
            direction="out",
            state="up",
            suite="AES-256-GCM",
            group="X25519MLKEM768",
            lanes_up=4,
            lanes=4,
            rtt_ms=1.234,
            health="ok",
            sent_bytes=123_456_789,
            received_bytes=2048,
            generation=3,
            authenticated_s=65.4,
        ),
        LinkStatus(
            peer="relay-2.backup.hub.example",
            bearer="internet",
            direction="out",
            state="up",
            suite="CHACHA20-POLY1305",
            group="X25519MLKEM768",
            lanes_up=4,
            lanes=4,
            rtt_ms=41.7,
            sent_bytes=5 << 40,
            received_bytes=999,
        ),
    ),
    sessions=(
        SessionStatus(
            peer="met-1.met.police.example",
            via="relay-1.hub.example",
            direction="out",
            state="up",
            marking=1,
            suite="AES-256-GCM",
            group="X25519MLKEM768",
            flows=4,
            streams_active=12,
            sent_bytes=2048,
            received_bytes=123_456_789,
            generation=2,
            authenticated_s=7.0,
        ),
    ),
    services=(
        ServiceStatus(
            name="custody@met.police.example",
            direction="import",
            state="ready",
            health="ok",
            streams_active=12,
            opened_total=3456,
            refused_total=7,
            routes=(
                RouteStatus(
                    via="relay-1.hub.example",
                    exporter="met-1.met.police.example",
                    precedence="preferred",
                    state="ready",
                ),
                RouteStatus(
                    via="relay-2.backup.hub.example",
                    exporter="met-2.met.police.example",
                    precedence="back-up",
                    state="ready",
                ),
            ),
        ),
        ServiceStatus(name=f"intelligence-search@{KENT}", direction="export", state="ready", health="ok"),
    ),
    streams=StreamStatus(active=12, opened_total=3456, closed_total={"finished": 3400, "reset_by_target": 44}),
    memory=MemoryStatus(used_bytes=20 << 20, budget_bytes=256 << 20, high_water_bytes=31 << 20),
    workers=(WorkerStatus(index=0, lanes=2, streams=7, sent_bytes=1, received_bytes=2),),
    refusals={"not_allowed": 7},
)


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
        assert "up for 1 d 2 h" in answer.out
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
        facts = invoke("status", "-c", node, "--json")
        assert msgspec.json.decode(facts.out, type=Status) == HEALTHY


def test_status_of_an_unwell_node(invoke: Invoke, node: Path) -> None:
    link = msgspec.structs.replace(HEALTHY.links[0], state="down", reason="expired", lanes_up=0, rtt_ms=None)
    ill = msgspec.structs.replace(HEALTHY, links=(link,))
    with answering(node.with_suffix(".sock"), http(msgspec.json.encode(ill))):
        answer = invoke("status", "-c", node)
        assert answer.code == 3
        assert "! The link to relay-1.hub.example over psn is down (expired)." in answer.out
        assert invoke("status", "-c", node, "--json").code == 3


def test_troubles() -> None:
    assert troubles(HEALTHY) == []
    replace = msgspec.structs.replace
    full = MemoryStatus(used_bytes=95, budget_bytes=100, high_water_bytes=95)
    for ill, words in (
        (replace(HEALTHY, links=()), "No neighbour"),
        (replace(HEALTHY, links=(replace(HEALTHY.links[0], lanes_up=3),)), "3 of 4 lanes"),
        (replace(HEALTHY, services=(replace(HEALTHY.services[0], state="waiting"),)), "is waiting"),
        (replace(HEALTHY, services=(replace(HEALTHY.services[1], health="failing"),)), "is failing"),
        (replace(HEALTHY, memory=full), "nine tenths"),
    ):
        (sentence,) = troubles(ill)
        assert words in sentence


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


# --- as a process --------------------------------------------------------------------------------------------------


def test_status_loads_no_openssl(node: Path) -> None:
    script = (
        "import sys; from pcgrelay import cli; code = cli.invoke(sys.argv[1:]);"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('OpenSSL', 'cryptography', 'uvloop')))"
    )
    command = [sys.executable, "-c", script, "status", "-c", str(node)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert answer.stdout == "[]\n"


def test_a_reader_that_has_had_enough_is_no_disaster(node: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "pcgrelay.cli", "check", "-c", str(node)]
    answer = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=30)
    os.close(writing)
    assert (answer.returncode, answer.stderr) == (1, "")


def test_output_that_cannot_be_written_is_no_success(node: Path) -> None:
    command = [sys.executable, "-m", "pcgrelay.cli", "check", "-c", str(node)]
    with open("/dev/full", "w") as full:
        answer = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=30)
    assert answer.returncode == 1
    assert answer.stderr.startswith("pcgrelay: there is no space left for the output")
    assert "Traceback" not in answer.stderr


# --- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (10_239, "10 KiB"), (1_047_500, "1023 KiB"),
        (1_048_064, "1.0 MiB"), (5 << 40, "5.0 TiB"), (1 << 60, "1024.0 PiB"),
    ],
)  # fmt: skip
def test_sizes(value: int, text: str) -> None:
    assert size(value) == text


def test_times_and_counts() -> None:
    assert [milliseconds(value) for value in (None, 0.236, 12.34, 1234)] == ["-", "0.24 ms", "12.3 ms", "1.2 s"]
    assert [duration(value) for value in (0, 59.9, 61, 3600, 90_061)] == [
        "0 s",
        "59 s",
        "1 min 1 s",
        "1 h 0 min",
        "1 d 1 h",
    ]
    assert count(1_234_567) == "1,234,567"
