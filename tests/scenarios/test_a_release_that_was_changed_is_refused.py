"""The sums of a release are signed, and verified by the lines of docs/install.md; whatever was changed is refused."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from pcgrelay import __version__

pytestmark = pytest.mark.tier_test

ROOT = Path(__file__).resolve().parents[2]
(VERIFY,) = re.findall(r"<!-- verify -->\n```sh\n(.*?)```\n", (ROOT / "docs" / "install.md").read_text(), re.S)
(SIGNERS,) = re.findall(r"^(release namespaces=.*) ssh-ed25519 AAAA", (ROOT / "docs" / "install.md").read_text(), re.M)
PACKAGE, WHEEL = f"pcgrelay_{__version__}-1+deb13_amd64.deb", f"pcgrelay-{__version__}-cp311-cp311-linux_x86_64.whl"
GOOD = 'Good "pcgrelay-release" signature for release'


def sums(folder: Path, key: Path | None = None) -> subprocess.CompletedProcess[str]:
    """What `make release` does when all is built."""
    environment = {**os.environ, "SIGN_KEY": str(key or "")}
    command = ["sh", ROOT / "scripts" / "sums", folder]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def verified(folder: Path) -> subprocess.CompletedProcess[str]:
    """What a person does who has the files."""
    command = ["sh", "-c", f"set -eu\n{VERIFY}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def made_key(path: Path) -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "of the releaser", "-f", path]
    subprocess.run(command, check=True, timeout=60)
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return made_key(tmp_path / "release")


@pytest.fixture
def folder(tmp_path: Path, key: Path) -> Path:
    """A signed release, and the releaser's key, which came by another way."""
    made = tmp_path / "dist"
    made.mkdir()
    for name in (PACKAGE, WHEEL):
        (made / name).write_text(f"all of {name}")
    (made / "pcgrelay_0.0.0-1+deb13_amd64.deb").write_text("of an earlier version")
    (made / "allowed_signers").write_text(f"{SIGNERS} {Path(f'{key}.pub').read_text()}")
    done = sums(made, key)
    assert done.returncode == 0, done.stderr
    assert "pcgrelay_0.0.0-1+deb13_amd64.deb is not of" in done.stdout
    return made


def test_what_was_released_is_verified(folder: Path) -> None:
    done = verified(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert GOOD in done.stdout
    assert re.findall(r"^(.*): OK$", done.stdout, re.M) == sorted((PACKAGE, WHEEL))
    # One of the files is enough to have, and the sums say nothing of earlier versions.
    (folder / WHEEL).unlink()
    assert verified(folder).returncode == 0
    assert "0.0.0" not in (folder / "SHA256SUMS").read_text()


def test_a_file_that_was_changed_is_refused(folder: Path) -> None:
    with (folder / PACKAGE).open("a") as file:
        file.write("!")
    done = verified(folder)
    assert done.returncode != 0
    assert f"{PACKAGE}: FAILED" in done.stdout


def test_sums_that_were_changed_with_it_are_refused(folder: Path, tmp_path: Path) -> None:
    signature = (folder / "SHA256SUMS.sig").read_bytes()
    (folder / PACKAGE).write_text("of somebody else")
    # Of sums that nobody signs no signature stays, be it an earlier one.
    assert "the sums are not signed" in sums(folder).stdout
    assert not (folder / "SHA256SUMS.sig").exists()
    (folder / "SHA256SUMS.sig").write_bytes(signature)
    assert_refused(folder)
    # Nor is a signature by another key good, whatever it says.
    assert sums(folder, made_key(tmp_path / "another")).returncode == 0
    assert_refused(folder)


def test_a_signature_for_something_else_is_refused(folder: Path, key: Path) -> None:
    (folder / "SHA256SUMS.sig").unlink()
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", "file", folder / "SHA256SUMS"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert_refused(folder)


def test_a_key_that_cannot_be_used_is_said_and_nothing_is_half_signed(folder: Path, tmp_path: Path) -> None:
    for key, words in ((tmp_path / "none", "no key that can be read"), (folder / PACKAGE, "cannot be signed with")):
        done = sums(folder, key)
        assert done.returncode == 1
        assert words in done.stderr
    assert not (folder / "SHA256SUMS.sig").exists()
    done = sums(tmp_path / "nothing")
    assert (done.returncode, "run first: make release" in done.stderr) == (1, True)


def assert_refused(folder: Path) -> None:
    done = verified(folder)
    assert done.returncode != 0
    assert GOOD not in done.stdout
    # The files are not looked at any more.
    assert "OK" not in done.stdout
