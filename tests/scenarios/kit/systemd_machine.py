"""A real systemd, booted in a container over a file system none of whose writes last: this machine's, or another root.

It has its own processes, control groups and network. What is to be seen inside lies in one folder. Two machines can be
joined by a cable.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.scenarios.kit.nodes import PCGRELAY
from tests.support.waiting import until

BOOT_S = 60.0
INSIDE = Path("/srv/realm")
# systemd(1): power off, in order.
SIGRTMIN_POWEROFF = signal.SIGRTMIN + 4


class Machine:
    """What runs in the container is asked for by commands, which are outside of every unit."""

    def __init__(self, init: int, *, is_fresh: bool) -> None:
        """is_fresh: it has what its packages bring, else what this working copy has."""
        self._init = init
        self.pcgrelay = Path("/usr/bin/pcgrelay") if is_fresh else PCGRELAY
        self.python = Path("/usr/bin/python3" if is_fresh else sys.executable)

    def _command(self, *arguments: str | Path) -> list[str | Path]:
        inside = ("nsenter", "-t", str(self._init), "-m", "-u", "-i", "-n", "-p")
        return [*inside, "--", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *arguments]

    def call(self, *arguments: str | Path, words: str = "", seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command inside, which is given these words."""
        return subprocess.run(
            self._command(*arguments), input=words, capture_output=True, text=True, timeout=seconds, check=False
        )

    def done(self, *arguments: str | Path, words: str = "") -> str:
        """What a command says that has to succeed."""
        done = self.call(*arguments, words=words)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout.strip()

    def spawn(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start a command inside, in a session of its own; `ended` ends it."""
        return subprocess.Popen(
            self._command(*arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )

    def shown(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.done("systemctl", "show", "--value", "-p", name, unit)

    def install(self, unit: str, text: str) -> None:
        self.done("sh", "-c", f"cat >/run/systemd/system/{unit}", words=text)
        self.done("systemctl", "daemon-reload")

    def join(self, other: Machine, here: str, there: str) -> None:
        """Lay a cable to another machine, with these addresses at its two ends."""
        name = f"to-{there}"
        ip = ("nsenter", "-t", str(self._init), "-n", "ip")
        peer = ("peer", "name", f"to-{here}", "netns", str(other._init))
        subprocess.run([*ip, "link", "add", "name", name, "type", "veth", *peer], check=True)
        for machine, link, address in ((self, name, here), (other, f"to-{here}", there)):
            ip = ("nsenter", "-t", str(machine._init), "-n", "ip")
            subprocess.run([*ip, "address", "add", f"{address}/30", "dev", link], check=True)
            subprocess.run([*ip, "link", "set", link, "up"], check=True)

    @property
    def version(self) -> int:
        return int(self.done("systemctl", "--version").split()[1])


def ended(process: subprocess.Popen[bytes]) -> None:
    """End what was spawned: nsenter, and the process that it made inside."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)


@contextmanager
def booted(
    folder: Path, base: Path = Path("/"), name: str = "pcgrelay", *, is_filtered: bool = True
) -> Iterator[Machine]:
    """Boot it, on the root file system `base`, under a name that begins so.

    The folder's `realm` is seen inside as INSIDE. is_filtered: the container has a filter of system calls of its own,
    which every process in it has then, whatever its unit says.
    """
    for tool in ("systemd-nspawn", "nsenter"):
        assert shutil.which(tool), f"{tool} is missing; the slow tier needs systemd-container and util-linux"
    root, shared = folder / "root", folder / "realm"
    root.mkdir()
    subprocess.run(["mount", "--bind", base, root], check=True)
    command = [
        *("systemd-nspawn", "--quiet", "-D", root, "--volatile=overlay", "--register=no", "--keep-unit"),
        *("--private-network", f"--machine={name}-{os.getpid()}", f"--bind={shared}:{INSIDE}", "--boot"),
        *("systemd.unit=basic.target", "systemd.log_level=warning"),
    ]
    environment = dict(os.environ) if is_filtered else {**os.environ, "SYSTEMD_SECCOMP": "0"}
    if base != Path("/") and _is_unified_only(base):
        environment["SYSTEMD_NSPAWN_UNIFIED_HIERARCHY"] = "1"
        command.append("SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1")
    with (folder / "boot.log").open("wb") as log:
        container = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
    try:
        init = until(lambda: _child_named(container, "systemd"), BOOT_S, "the container has an init")
        machine = Machine(init, is_fresh=base != Path("/"))
        until(lambda: "running" in machine.call("systemctl", "is-system-running").stdout, BOOT_S, "systemd is up")
        yield machine
    finally:
        _power_off(container)
        subprocess.run(["umount", root], check=True)


def _is_unified_only(base: Path) -> bool:
    """Whether its systemd no longer boots with control groups of version 1 unless it is told to: that of Debian 13."""
    return 'VERSION_ID="12"' not in (base / "etc" / "os-release").read_text()


def _child_named(container: subprocess.Popen[bytes], name: str) -> int | None:
    assert container.poll() is None, "the container has ended"
    for pid in Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split():
        if Path(f"/proc/{pid}/comm").read_text().strip() == name:
            return int(pid)
    return None


def _power_off(container: subprocess.Popen[bytes]) -> None:
    if container.poll() is None and (init := _child_named(container, "systemd")):
        os.kill(init, SIGRTMIN_POWEROFF)
    try:
        container.wait(30)
    except subprocess.TimeoutExpired:
        container.kill()
        container.wait(10)
