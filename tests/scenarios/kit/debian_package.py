"""A Debian as it is on the first day, and the package of this working copy for it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# What a gateway appliance has before pcgrelay comes, and a database that it is to reach. What the package recommends is
# here too: apt would fetch it, and these machines have no network.
PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "python3-venv", "postgresql", "openssh-client")
NUMBERS = {"bookworm": 12, "trixie": 13}
MAKE_S = 1800.0


def own_release() -> str:
    """bookworm or trixie: what this machine is."""
    found = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.M)
    assert found
    return found[1]


def debian_root(release: str) -> Path:
    """A fresh root of a release, made once and never written to."""
    root = ROOT / "build" / "roots" / release
    run("scripts/debian-root", release, root, *PACKAGES)
    return root


def package(folder: Path) -> Path:
    """Build the package for this machine's Debian."""
    run("scripts/deb", folder)
    (made,) = folder.glob("pcgrelay_*.deb")
    return made


def package_of_other(folder: Path) -> Path:
    """The package for the Debian that this machine is not, of the last commit; it is built there."""
    other = other_release()
    script = "sh scripts/setup package && sh scripts/deb"
    run("scripts/in-debian", other, "sh", "-c", script, DIST=str(folder))
    (made,) = folder.glob(f"pcgrelay_*+deb{NUMBERS[other]}_*.deb")
    return made


def other_release() -> str:
    """bookworm or trixie: what this machine is not."""
    (other,) = set(NUMBERS) - {own_release()}
    return other


def package_to_try(config: pytest.Config, folder: Path) -> Path:
    """The package that `--package` names, or one that is built now."""
    named: Path | None = config.getoption("--package")
    return named or package(folder)


def release_to_try(config: pytest.Config) -> str:
    """The Debian that `--debian` names, or this machine's."""
    return config.getoption("--debian") or own_release()


def next_version(made: Path, folder: Path, version: str) -> Path:
    """The same package as one of a later version, which its nodes say too."""
    root = folder / "next"
    run("dpkg-deb", "-R", made, root)
    (module,) = root.glob("usr/lib/pcgrelay/lib/python3.*/site-packages/pcgrelay/__init__.py")
    replaced(module, r'(?m)^__version__ = ".*"$', f'__version__ = "{version}"')
    replaced(root / "DEBIAN" / "control", r"(?m)^Version: [^-]+", f"Version: {version}")
    answer = folder / re.sub(r"_[^-]+-", f"_{version}-", made.name)
    run("dpkg-deb", "--root-owner-group", "-b", root, answer)
    return answer


def replaced(path: Path, pattern: str, text: str) -> None:
    path.write_text(re.sub(pattern, text, path.read_text()))


def run(script: str, *arguments: str | Path, **environment: str) -> str:
    command = ["sh", script, *arguments] if script.startswith("scripts/") else [script, *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=MAKE_S,
        check=False,
    )
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-4000:])
    return done.stdout
