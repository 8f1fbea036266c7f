"""Servers that nobody here wrote, each started in a folder of its own, on loopback, for one test; and how clients run.

Some of them refuse to run as root. If the tests do, those run as the user that Debian makes for PostgreSQL.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.scenarios.kit.nodes import Address
from tests.support.waiting import until

# Debian keeps servers out of the path of ordinary users.
PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", *map(str, Path("/usr/lib/postgresql").glob("*/bin"))])
SERVER_USER = "postgres"
START_S = 15.0


def program(name: str) -> str:
    """Where a program is; one that is missing is a failure, because `scripts/setup test` installs it."""
    where = shutil.which(name, path=PATH)
    assert where, f"{name} is missing; run: scripts/setup test"
    return where


def run(*command: str | Path, seconds: float = 60.0, data: bytes | None = None) -> str:
    """Run a client to its end and answer what it said; it must end well."""
    return fetched(*command, seconds=seconds, data=data).decode()


def fetched(*command: str | Path, seconds: float = 60.0, data: bytes | None = None) -> bytes:
    """The same, with what it said as it is."""
    done = subprocess.run(
        [program(str(command[0])), *map(str, command[1:])],
        input=data if data is not None else b"",
        capture_output=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stdout[-2000:]!r} {done.stderr!r}"
    return done.stdout


@contextmanager
def running(
    command: Sequence[str | Path], log: Path, address: Address | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server as a process, from when it takes connections until the end of the block."""
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [program(str(command[0])), *map(str, command[1:])],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            # A group of its own, so that what it forks ends with it.
            start_new_session=True,
        )
    try:
        if address is not None:
            until(
                lambda: process.poll() is not None or _answers(address), START_S, f"{command[0]} listens on {address}"
            )
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


def _answers(address: Address) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(address) == 0


@dataclass(frozen=True)
class Unprivileged:
    """A user that is not root, a folder that is theirs, and what to put before a command."""

    user: str
    prefix: tuple[str, ...]
    folder: Path

    def give(self, *paths: Path) -> None:
        """Make the user the owner."""
        if self.prefix:
            for path in paths:
                shutil.chown(path, self.user, self.user)


@contextmanager
def unprivileged() -> Iterator[Unprivileged]:
    """Who servers run as that refuse root; with a folder outside of pytest's, which only its owner may enter."""
    is_root = os.geteuid() == 0
    user = SERVER_USER if is_root else pwd.getpwuid(os.geteuid()).pw_name
    prefix = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups") if is_root else ()
    with tempfile.TemporaryDirectory(prefix="pcgrelay-") as name:
        found = Unprivileged(user, prefix, Path(name))
        found.give(found.folder)
        yield found


@contextmanager
def nginx(folder: Path, root: Path, address: Address) -> Iterator[None]:
    """A static web server."""
    folder.mkdir(exist_ok=True)
    paths = "\n".join(
        f"  {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"""daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  keepalive_requests 1000000;
{paths}
  server {{
    listen {address[0]}:{address[1]};
    root {root};
  }}
}}
"""
    )
    with running(["nginx", "-c", config, "-e", folder / "error.log", "-p", folder], folder / "out.log", address):
        yield


@contextmanager
def redis(folder: Path, address: Address, maxclients: int = 10_000) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    options = ["--bind", address[0], "--port", str(address[1]), "--save", "", "--dir", str(folder)]
    options += ["--maxclients", str(maxclients)]
    with running(["redis-server", *options], folder / "out.log", address):
        yield


@contextmanager
def iperf(folder: Path, address: Address) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    # A connection that only looks whether it listens would end its test, so its own words are waited for.
    log = folder / "out.log"
    command = ["iperf3", "-s", "-B", address[0], "-p", str(address[1]), "--forceflush"]
    with running(command, log):
        until(lambda: "Server listening" in log.read_text(), START_S, "iperf3 listens")
        yield


@dataclass(frozen=True)
class Shell:
    """A private sshd, and the options with which a client comes in."""

    folder: Path
    user: str

    @property
    def options(self) -> list[str]:
        values = {
            "IdentityFile": self.folder / "client",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.folder / "known_hosts",
            "StrictHostKeyChecking": "yes",
            "HostKeyAlias": "kent",
            "BatchMode": "yes",
            "ConnectTimeout": 10,
        }
        return ["-F", "none", *(word for name, value in values.items() for word in ("-o", f"{name}={value}"))]


@contextmanager
def sshd(address: Address) -> Iterator[Shell]:
    """An SSH server with a host key and one client's key of its own."""
    with unprivileged() as who:
        folder = who.folder
        for name in ("host", "client"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name)
        (folder / "authorised").write_bytes((folder / "client.pub").read_bytes())
        (folder / "known_hosts").write_text(f"kent {(folder / 'host.pub').read_text()}")
        config = folder / "sshd_config"
        config.write_text(
            f"""Port {address[1]}
ListenAddress {address[0]}
HostKey {folder}/host
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorised
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
Subsystem sftp internal-sftp
"""
        )
        who.give(folder / "host", folder / "authorised", config)
        # sshd starts itself again for each connection, and wants its whole path for that.
        command = [*who.prefix, program("sshd"), "-D", "-e", "-f", str(config)]
        with running(command, folder / "out.log", address):
            yield Shell(folder, who.user)


@contextmanager
def postgresql(address: Address) -> Iterator[str]:
    """A database server; answers its superuser."""
    with unprivileged() as who:
        data = who.folder / "data"
        initdb = [program("initdb"), "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8"]
        run(*who.prefix, *initdb, "--locale=C")
        settings = {
            "listen_addresses": address[0],
            "port": address[1],
            "unix_socket_directories": who.folder,
            "fsync": "off",
            "max_connections": 50,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with running([*who.prefix, program("postgres"), "-D", data, *options], who.folder / "out.log"):
            where = ["-h", address[0], "-p", str(address[1]), "-U", "postgres"]
            until(lambda: not subprocess.call([program("pg_isready"), "-q", *where]), START_S, "PostgreSQL is ready")
            yield "postgres"
