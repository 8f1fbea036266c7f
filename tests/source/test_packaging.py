"""What a package holds is what the project says: the same Python packages, and units that name what is there."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from pcgrelay import config

ROOT = Path(__file__).resolve().parents[2]
LISTS = ROOT / "requirements"
EXAMPLES = sorted((ROOT / "packaging" / "examples").glob("*.toml"))


def asked(name: str) -> set[str]:
    return {line for line in (LISTS / name).read_text().splitlines() if re.match(r"\w", line)}


def pinned(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (LISTS / name).read_text(), re.M))


def test_what_runs_is_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert asked("run.in") == set(project["dependencies"])


@pytest.mark.parametrize("name", ["run.txt", "package.txt"])
def test_versions_are_those_that_are_tested(name: str) -> None:
    tested = pinned("dev.txt")
    assert pinned(name)
    assert {what: version for what, version in pinned(name).items() if tested.get(what, version) != version} == {}
    assert name != "run.txt" or set(pinned(name)) <= set(tested)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_configuration_for_the_unit(path: Path) -> None:
    loaded = config.load(path)
    assert loaded.node.id.name == path.stem
    assert str(loaded.node.admin) == f"/run/pcgrelay/{path.stem}/admin.sock"
    assert all(
        str(file).startswith("/etc/pcgrelay/tls/") for file in (loaded.identity.certificate, loaded.identity.key)
    )


@pytest.mark.parametrize("path", sorted((ROOT / "packaging" / "deb").iterdir()), ids=lambda path: path.name)
def test_a_maintainer_script_is_a_script(path: Path) -> None:
    if path.read_text().startswith("#!/bin/sh"):
        subprocess.run(["sh", "-n", path], check=True)
        assert path.read_text().startswith("#!/bin/sh\nset -e\n")


def test_the_unit_keeps_its_sandbox() -> None:
    unit = (ROOT / "packaging" / "systemd" / "pcgrelay@.service").read_text()
    for line in (
        "Type=notify", "NotifyAccess=all", "NoNewPrivileges=yes", "ProtectSystem=strict", "MemoryDenyWriteExecute=yes",
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "SystemCallFilter=setpriority", "User=pcgrelay",
        "ExecReload=/usr/bin/pcgrelay upgrade -c /etc/pcgrelay/%i.toml",
    ):  # fmt: skip
        assert f"\n{line}\n" in unit
