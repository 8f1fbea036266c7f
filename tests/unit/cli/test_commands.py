"""The command line: what people see, what programs get, and one sentence with its exit code for whatever goes wrong."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

import pcgrelay
import pcgrelay.daemon
from pcgrelay import cli
from pcgrelay.cli.root import COMMANDS
from pcgrelay.cli.root import pcgrelay as root
from pcgrelay.config import Config
from pcgrelay.errors import RunError
from pcgrelay.output import count, duration, milliseconds, size
from tests.support.command_line import KENT, Answer, Invoke, invoker, node_written


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    return invoker(capsys, monkeypatch)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    return node_written(tmp_path)


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
    with in_place_of("run", double, monkeypatch):
        yield double


@contextmanager
def in_place_of(module: str, double: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put a double where the command imports a module, and let no other test meet it."""
    package, command = {"demo": (pcgrelay, "pcgrelay.cli.demo"), "run": (pcgrelay.daemon, "pcgrelay.cli.run")}[module]
    monkeypatch.setattr(package, module, double, raising=False)
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
            for sub in command.list_commands(context):
                below = command.get_command(context, sub)
                assert below is not None
                yield [name, sub], below


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
        first, frames, sessions = invoke(flag).out.splitlines()
        assert first == f"pcgrelay {pcgrelay.__version__}"
        assert re.fullmatch(r"frames:   OpenSSL 3\.\d+\.\d+ .*", frames)
        assert re.fullmatch(r"sessions: OpenSSL \d+\.\d+\.\d+ .*", sessions)


def test_wrong_usage_ends_with_2(invoke: Invoke) -> None:
    for arguments in (["nonsense"], ["check"], ["check", "--nonsense"], ["ca", "init"], ["ca", "issue", "x"]):
        answer = invoke(*arguments)
        assert answer.code == 2
        assert "Error: " in answer.err


@pytest.mark.parametrize(("typed", "meant"), [(["statsu"], "status"), (["ca", "isue"], "issue"), (["chekc"], "check")])
def test_the_nearest_command_is_proposed(invoke: Invoke, typed: list[str], meant: str) -> None:
    answer = invoke(*typed)
    assert answer.code == 2
    assert re.search(rf"Did you mean '{meant}'\?", answer.err)


def test_every_error_of_a_file_has_a_line_of_its_own(invoke: Invoke, node: Path) -> None:
    text = node.read_text().replace('role = "', 'role = "x', 1) + '[log]\nlevel = "loud"\naces = true\n'
    node.write_text(text)
    for command in ("check", "run", "upgrade"):
        answer = invoke(command, "-c", node)
        assert answer.code == 78
        keys = [line.split(": ")[2] for line in answer.err.splitlines()]
        assert keys == ["node.role", "log.level", "log.aces"]
    findings = json.loads(invoke("check", "-c", node, "--json").out)["findings"]
    assert len(findings) == 3


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
    assert shown["crl_next_update"]
    serial = shown["issued"][0]["serial"]
    assert serial in invoke("ca", "show", folder).out
    assert "list until 20" in invoke("ca", "show", folder).out
    assert "no older certificate" in invoke("ca", "revoke", folder, *names, "--all-but-newest").out
    assert invoke("ca", "revoke", folder, *names, "--serial", "1").code == 1
    assert invoke("ca", "revoke", folder, *names, "--serial", serial).code == 0
    assert re.search(rf"^kent-1 +{KENT} +revoked ", invoke("ca", "show", folder).out, re.M)
    assert invoke("ca", "revoke", folder, *names).code == 0
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
    words = f"{path}:2: node.nmae: this key is unknown; the nearest that there is: name."
    assert f"pcgrelay: {words}" in answer.err.splitlines()
    answer = invoke("check", "-c", path, "--json")
    assert (answer.code, answer.err) == (78, "")
    assert words in [finding["sentence"] for finding in json.loads(answer.out)["findings"]]


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
    assert settings.config.node.id.dotted == f"kent-1.{KENT}"
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


def test_run_says_of_what_passes_that_it_may_be_tried_again(
    invoke: Invoke, node: Path, gateway: SimpleNamespace
) -> None:
    """A unit that stays down at 78 has to come back when the other program has gone."""
    port = int(re.findall(r"127\.0\.0\.1:(\d+)", node.read_text())[0])
    with socket.create_server(("127.0.0.1", port)):
        answer = invoke("run", "-c", node)
        assert answer.code == 1
        assert f"listen[1].address: 127.0.0.1:{port} is in use by another program." in answer.err
        assert invoke("check", "-c", node).code == 1
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(node.with_suffix(".sock")))
        server.listen(8)
        answer = invoke("run", "-c", node)
        assert answer.code == 1
        assert "a node with this admin socket runs already; stop it first." in answer.err
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
    gateway.error = ZeroDivisionError("by\nzero")
    answer = invoke("run", "-c", node)
    assert answer.code == 1
    assert answer.err.count("\n") == 1
    assert "ZeroDivisionError: by zero" in answer.err
    gateway.error = KeyboardInterrupt()
    assert invoke("run", "-c", node).code == 130
    gateway.error = ZeroDivisionError("by zero")
    monkeypatch.setenv("PCGRELAY_DEBUG", "1")
    assert cli.invoke(["run", "-c", str(node)]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("drain", ["-1", "x", "100000"])
def test_a_strange_drain_is_refused(invoke: Invoke, node: Path, gateway: SimpleNamespace, drain: str) -> None:
    assert invoke("run", "-c", node, "--drain", drain).code == 2


def test_demo_passes_its_options_on(invoke: Invoke, demo: SimpleNamespace) -> None:
    assert invoke("demo", "--keep").code == 0
    assert invoke("demo", "--json").code == 0
    assert invoke("demo", "--fleet").code == 0
    assert demo.calls == [
        {"keep": True, "with_fleet": False, "as_json": False},
        {"keep": False, "with_fleet": False, "as_json": True},
        {"keep": False, "with_fleet": True, "as_json": False},
    ]


# --- as a process --------------------------------------------------------------------------------------------------


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
    assert "Exception ignored" not in answer.stderr


@pytest.mark.parametrize(
    ("words", "redirections", "code"),
    [
        ("check -c {node}", ">/dev/full 2>/dev/full", 1),
        ("check -c {node}", "2>/dev/full", 0),
        ("check -c {node}", ">&-", 0),  # who closes it before the start wants no output
        ("check -c {node}", ">&- 2>&-", 0),
        ("check -c {node}.not", "2>/dev/full", 78),
        ("check --nothing-of-the-kind", "2>/dev/full", 2),
        ("--help", ">/dev/full", 1),
        ("--version", ">/dev/full 2>&1", 1),
    ],
)
def test_the_exit_code_is_ours_wherever_the_output_goes(node: Path, words: str, redirections: str, code: int) -> None:
    line = f"exec {sys.executable} -m pcgrelay.cli {words.format(node=node)} {redirections}"
    answer = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, timeout=30)
    assert answer.returncode == code, answer.stderr


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


@pytest.mark.parametrize("command", ["run", "upgrade"])
def test_who_waits_for_a_node_waits_for_nothing_that_draws_tables(command: str) -> None:
    program = f"""
import sys
from pcgrelay import cli
cli.invoke([{command!r}, "--help"])
print(sorted({{"rich", "aiohttp", "jinja2"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"
