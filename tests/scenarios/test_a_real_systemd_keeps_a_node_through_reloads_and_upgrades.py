"""A unit stays active with one main process, whose number systemd knows, and streams go on: on both Debians."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.kit.debian_package import debian_root, other_release, package_of_other
from tests.scenarios.kit.nodes import KENT, MET
from tests.scenarios.kit.systemd_machine import INSIDE, Machine, booted, ended
from tests.support.pki import RealmPki, write_config
from tests.support.waiting import until

pytestmark = pytest.mark.tier_all

UNIT = """
[Unit]
StartLimitIntervalSec=0
[Service]
Type={type}
{access}
ExecStart={pcgrelay} run -c {config} --drain 2
{reload}
RestartPreventExitStatus=77 78
{more}
"""
ECHO = """
import socketserver
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.request.sendall(line)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
Server(("127.0.0.1", 5432), Echo).serve_forever()
"""
TALK = """
import socket, sys
sock = socket.create_connection(("127.0.0.1", 15432), 10)
sock.settimeout(10)
with sock.makefile("rb") as answers:
    for line in sys.stdin.buffer:
        sock.sendall(line)
        sys.stdout.buffer.write(answers.readline())
        sys.stdout.buffer.flush()
"""
RELOADS = 50


class Talk:
    """One stream, that is asked now and then whether it lives."""

    def __init__(self, machine: Machine) -> None:
        self._process = machine.spawn(machine.python, "-c", TALK)
        self._count = 0

    def lives(self) -> bool:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._count += 1
        self._process.stdin.write(f"{self._count}\n".encode())
        self._process.stdin.flush()
        return self._process.stdout.readline() == f"{self._count}\n".encode()

    def end(self) -> None:
        ended(self._process)


@pytest.fixture(scope="module")
def packaged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package for the other Debian, which `--package` may name."""
    named: Path | None = request.config.getoption("--package")
    return named or package_of_other(tmp_path_factory.mktemp("package"))


@pytest.fixture(params=["this-machine", "the-other-Debian"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """Two nodes as units, an echo that one exports, and a way to it through the other."""
    folder = tmp_path / "realm"
    realm = RealmPki(folder)
    kent, met = realm.issue(KENT, "kent-1"), realm.issue(MET, "met-1")
    export = {"service": "echo", "target": "127.0.0.1:5432", "allow": [MET]}
    entry = {"service": f"echo@{KENT}", "listen": "127.0.0.1:15432"}
    link = {"peer": f"kent-1.{KENT}", "address": "127.0.0.1:7400"}
    admin = {"admin": "/run/kent-1.sock"}
    paths = {
        "kent": write_config(
            folder / "kent.toml", kent, KENT, "kent-1", listens=["127.0.0.1:7400"], exports=[export], node_table=admin
        ),
        "met": write_config(
            folder / "met.toml",
            met,
            MET,
            "met-1",
            links=[link],
            imports=[entry],
            node_table={"admin": "/run/met-1.sock"},
        ),
    }
    for path in paths.values():
        path.write_text(path.read_text().replace(str(folder), str(INSIDE)))
    base = Path("/")
    if is_other := request.param == "the-other-Debian":
        shutil.copy(request.getfixturevalue("packaged"), folder)
        base = debian_root(other_release())
    with booted(tmp_path, base) as made:
        if is_other:
            made.done("sh", "-c", f"dpkg -i {INSIDE}/pcgrelay_*.deb")
        echo = made.spawn(made.python, "-c", ECHO)
        install(made, "kent", reload="reload")
        install(made, "met", reload="upgrade")
        made.done("systemctl", "start", "kent", "met")
        until(
            lambda: made.call(made.pcgrelay, "status", "-c", INSIDE / "met.toml").returncode == 0, 20, "met-1 is ready"
        )
        yield made
        ended(echo)


def install(machine: Machine, name: str, *, kind: str = "notify", reload: str = "", more: str = "") -> None:
    text = UNIT.format(
        type=kind,
        access="NotifyAccess=all" if kind.startswith("notify") else "",
        pcgrelay=machine.pcgrelay,
        config=INSIDE / f"{name}.toml",
        reload=f"ExecReload={machine.pcgrelay} {reload} -c {INSIDE / f'{name}.toml'}" if reload else "",
        more=more,
    )
    machine.install(f"{name}.service", text)


def facts(machine: Machine, unit: str) -> tuple[str, str, str]:
    names = ("ActiveState", "MainPID", "NRestarts")
    return tuple(machine.shown(unit, name) for name in names)  # type: ignore[return-value]


def refused(machine: Machine) -> None:
    """From outside of the unit: nothing changes, and it is told what to run."""
    before = facts(machine, "met")
    for arguments in (("upgrade",), ("run", "--take-over")):
        done = machine.call(machine.pcgrelay, *arguments, "-c", INSIDE / "met.toml")
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert "his node is kept by met.service" in done.stderr
        assert "run: systemctl reload met.service" in done.stderr
    assert facts(machine, "met") == before
    assert before[0] == "active"


@pytest.mark.timeout(400)
def test_upgrades_and_reloads_of_a_unit(machine: Machine) -> None:
    talk = Talk(machine)
    assert talk.lives()
    refused(machine)
    for _ in range(3):
        _, old, _ = facts(machine, "met")
        machine.done("systemctl", "reload", "met")
        until(lambda old=old: facts(machine, "met")[1] not in (old, "0"), 10, "systemd knows the new process")
        state, new, restarts = facts(machine, "met")
        assert (state, restarts) == ("active", "0")
        # In the unit's own group, and alone there.
        group = Path("/sys/fs/cgroup/systemd") / machine.shown("met", "ControlGroup").lstrip("/") / "cgroup.procs"
        found = machine.call("cat", group)
        if found.returncode:
            group = Path("/sys/fs/cgroup") / machine.shown("met", "ControlGroup").lstrip("/") / "cgroup.procs"
            found = machine.call("cat", group)
        assert found.stdout.split() == [new]
        assert talk.lives()
        refused(machine)
    errors = machine.done("journalctl", "--no-pager", "-o", "cat", "-p", "err", "--unit", "met").splitlines()
    # Two refusals by the first process, and two by each that came by an upgrade, whose environment names another one.
    records = [json.loads(line) for line in errors if line.startswith("{")]
    assert [record["event"] for record in records] == 8 * ["handover.failed"]
    assert not any(line.startswith("<") for line in errors)
    machine.done("systemctl", "reload", "kent")
    assert talk.lives()
    # What the unit no longer allows is refused by the process that systemd keeps, which is the only one.
    machine.done("sed", "-i", "s/allow = .*/allow = []/", INSIDE / "kent.toml")
    machine.done("systemctl", "reload", "kent")
    assert not talk.lives()
    talk.end()
    machine.done("systemctl", "stop", "met")
    # Nothing is left outside. In a container with control groups of version 1 systemd waits for no process that it did
    # not start itself, and may end it while it stops; so what it leaves of its files is not looked at.
    assert machine.shown("met", "ActiveState") in ("inactive", "failed")
    assert machine.call("pgrep", "-f", str(INSIDE / "met.toml")).stdout == ""
    if machine.version >= 254:
        _reloads_by_signal(machine)


def _reloads_by_signal(machine: Machine) -> None:
    """notify-reload, and a key that systemd lends, which is root's and may be read by a group."""
    machine.done("sh", "-c", "getent passwd pcgrelay >/dev/null || useradd --system pcgrelay")
    machine.done("chown", "-R", "pcgrelay", INSIDE)
    key = "/run/credentials/met.service/met.key"
    machine.done("sed", "-i", f's|^key = .*|key = "{key}"|', INSIDE / "met.toml")
    machine.done("sed", "-i", 's|^admin = .*|admin = "/run/met/met.sock"|', INSIDE / "met.toml")
    lent = f"User=pcgrelay\nRuntimeDirectory=met\nLoadCredential=met.key:{INSIDE}/met-1.{MET}/met-1.key"
    install(machine, "met", kind="notify-reload", more=lent)
    machine.done("systemctl", "start", "met")
    assert machine.done("stat", "-c", "%a %U", key) == "440 root"
    for _ in range(RELOADS):
        machine.done("systemctl", "reload", "met")


@pytest.mark.timeout(400)
def test_a_unit_that_cannot_be_told_is_not_upgraded_and_what_passes_is_tried_again(machine: Machine) -> None:
    machine.done("systemctl", "stop", "met")
    install(machine, "met", kind="simple", reload="upgrade", more="Restart=on-failure\nRestartSec=100ms")
    holder = machine.spawn(machine.python, "-c", ECHO.replace("5432", "15432"))
    machine.done("systemctl", "start", "met")
    # The port is taken, which is no reason to stay down.
    until(lambda: int(facts(machine, "met")[2]) >= 2, 30, "it is tried again")
    ended(holder)
    until(
        lambda: machine.call(machine.pcgrelay, "status", "-c", INSIDE / "met.toml").returncode == 0,
        30,
        "met-1 is ready",
    )
    before = facts(machine, "met")
    # What it would need is said; the process that runs goes on.
    assert machine.call("systemctl", "reload", "met").returncode != 0
    log = machine.done("journalctl", "--no-pager", "--unit", "met")
    assert "set Type=notify and NotifyAccess=all in that unit" in log
    assert facts(machine, "met") == before
