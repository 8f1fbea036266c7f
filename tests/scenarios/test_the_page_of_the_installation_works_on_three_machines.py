"""The lines of docs/install.md, as they stand there, typed on three freshly installed Debians with cables between them.

Only what the page leaves to the reader is done here in another way: `scp` is a copy by the test, the names are in
/etc/hosts, and whoever keeps the CA answers `y`.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scenarios.kit.debian_package import debian_root, package_to_try, release_to_try
from tests.scenarios.kit.systemd_machine import INSIDE, Machine, booted
from tests.support.waiting import until

pytestmark = [pytest.mark.tier_all, pytest.mark.timeout(2400)]

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "install.md").read_text()
BLOCK = re.compile(r"<!-- (relay|kent|met) -->\n```sh\n(.*?)```\n", re.S)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
COPY = re.compile(r"scp (\S+) (\S+)")
READY = re.compile(r"^custody@kent\.police\.example +import +ready", re.M)
RELAY_NAME = "relay.hub.example"
# The two ends of a cable; the edges do not see each other.
CABLES = {"kent": ("10.77.1.1", "10.77.1.2"), "met": ("10.77.2.1", "10.77.2.2")}
APT = "DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o Dpkg::Use-Pty=0"
WHOLE_S = 300  # a machine types faster than a person, who has ten minutes


class Person:
    """Who sits at the three machines in turn, in root's home folder."""

    def __init__(self, machines: dict[str, Machine]) -> None:
        self._machines = machines
        self.shown: dict[str, str] = dict.fromkeys(machines, "")

    def types(self, where: str, lines: str, answers: str = "", *, ends_well: bool = True) -> str:
        """Type these lines at a terminal, which shows what is returned."""
        script = f"cd /root\nset -eu\nexport HOME=/root TERM=linux\nstty rows 24 cols 80\n{lines}"
        machine = self._machines[where]
        machine.done("sh", "-c", "cat >/tmp/typed", words=script)
        done = machine.call("script", "-qefc", "bash /tmp/typed", "/dev/null", words=answers, seconds=120)
        shown = COLOUR.sub("", done.stdout).replace("\r\n", "\n")
        self.shown[where] += shown
        assert done.returncode == 0 or not ends_well, (where, lines, done.stdout, done.stderr)
        return shown

    def copies(self, where: str, source: str, target: str) -> None:
        """Copy a file from or to the relay's machine, as scp does."""
        (there,) = [name for name in (source, target) if name.startswith(f"root@{RELAY_NAME}:")]
        path = Path("/root") / there.partition(":")[2]
        relay, here = self._machines["relay"], self._machines[where]
        if there == target:
            relay.done("sh", "-c", f"cat >{path / Path(source).name}", words=here.done("cat", source) + "\n")
        else:
            here.done("sh", "-c", f"umask 022; cat >{target}{path.name}", words=relay.done("cat", path) + "\n")

    def follows(self, where: str, block: str) -> str:
        """Do all lines of a block of the page in their order."""
        shown = ""
        # A command goes on in the next line after a backslash.
        for command in re.split(r"(?<!\\)\n", block.strip()):
            if copy := COPY.fullmatch(command):
                self.copies(where, copy[1], copy[2])
            elif command.startswith("pcgrelay status"):
                self.asks_until_ready(where, command)
            else:
                shown += self.types(where, command, "y\n" if "ca sign" in command else "")
        return shown

    def asks_until_ready(self, where: str, command: str) -> None:
        last = ""

        def is_ready() -> bool:
            nonlocal last
            last = self.types(where, command, ends_well=False)
            return bool(READY.search(last))

        try:
            until(is_ready, 30, step_s=1)
        except AssertionError:
            raise AssertionError(f"it is not ready: {last}") from None


@pytest.fixture
def machines(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Machine]]:
    made = package_to_try(request.config, tmp_path / "package")
    root = debian_root(release_to_try(request.config))
    with ExitStack() as stack:
        booted_machines = {}
        for name in ("relay", "kent", "met"):
            (tmp_path / name / "realm").mkdir(parents=True)
            shutil.copy(made, tmp_path / name / "realm")
            booted_machines[name] = stack.enter_context(booted(tmp_path / name, root, name))
        for name, (there, here) in CABLES.items():
            booted_machines["relay"].join(booted_machines[name], there, here)
            booted_machines[name].done("sh", "-c", f"echo {there} {RELAY_NAME} >>/etc/hosts")
        booted_machines["kent"].done("systemctl", "start", "postgresql")
        yield booted_machines


def test_the_page_has_its_steps() -> None:
    assert [where for where, _ in BLOCK.findall(PAGE)] == [
        *("relay", "kent", "relay", "kent", "met", "relay", "met", "kent", "met")
    ]
    # No key is in any copy, and nothing is typed that this test leaves out.
    assert not any(".key" in " ".join(copy) for copy in COPY.findall(PAGE))
    assert PAGE.count("```sh") == len(BLOCK.findall(PAGE)) + PAGE.count("<!-- verify -->\n```sh")


def test_psql_reaches_kent_from_the_met(machines: dict[str, Machine], figure: Callable[[str], None]) -> None:
    person = Person(machines)
    began = time.monotonic()
    for name in machines:
        person.types(name, f"cp {INSIDE}/pcgrelay_*.deb .; {APT} install ./pcgrelay_*_amd64.deb")
    *steps, (_, last) = BLOCK.findall(PAGE)
    for where, block in steps:
        person.follows(where, block)
    answer = until(lambda: asked(person, last), 30, "psql has an answer")
    took = time.monotonic() - began
    figure(f"psql across three machines {took:.0f} s after the first `apt install`")
    assert took < WHOLE_S
    # The answer stands in the page as it came.
    assert answer in PAGE
    # What two people compare on the telephone is the same at both places.
    for name in CABLES:
        mark = re.search(r"Fingerprint:\s+([0-9a-f ]{39})", person.shown[name])
        assert mark
        assert mark[1] in person.shown["relay"]
    private(machines)


def asked(person: Person, block: str) -> str | None:
    shown = person.types("met", block, ends_well=False)
    found = re.search(r"^ server \|.*?\(1 row\)$", shown, re.S | re.M)
    return found[0] if found else None


def private(machines: dict[str, Machine]) -> None:
    """Each key is at its own node alone, and only the nodes of that machine can read it."""
    for name, machine in machines.items():
        node = f"{name}-1"
        keys = machine.done("find", "/", "-xdev", "-name", "*-1.key", "-not", "-path", "/proc/*")
        assert keys.split() == [f"/etc/pcgrelay/tls/{node}.key"]
        assert machine.done("stat", "-c", "%a %U:%G", keys) == "640 root:pcgrelay"
        assert machine.shown(f"pcgrelay@{node}", "ActiveState") == "active"
        assert machine.shown(f"pcgrelay@{node}", "UnitFileState") == "enabled"
