"""OpenSSH, unchanged on both sides, through every topology."""

import hashlib
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.kit.nodes import Line
from tests.scenarios.kit.real_programs import run, sshd

pytestmark = pytest.mark.tier_test

FILE_SIZE = 64 << 20


def test_a_command_is_run_and_files_are_copied_both_ways(
    path: Line, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    host, port = path.door("ssh")
    body = tmp_path / "body"
    body.write_bytes(random.randbytes(FILE_SIZE))
    with sshd(path.target("ssh")) as shell:
        at = f"{shell.user}@{host}"
        said = run("ssh", *shell.options, "-p", str(port), at, "tr a-z A-Z; echo $((6 * 7))", data=b"across\n")
        assert said == "ACROSS\n42\n"

        begun = time.monotonic()
        run("scp", "-q", *shell.options, "-P", str(port), body, f"{at}:{shell.folder}/copy")
        run("scp", "-q", *shell.options, "-P", str(port), f"{at}:{shell.folder}/copy", tmp_path / "back")
        seconds = time.monotonic() - begun
    wanted = hashlib.sha256(body.read_bytes()).digest()
    assert hashlib.sha256((tmp_path / "back").read_bytes()).digest() == wanted
    figure(f"scp {2 * FILE_SIZE / seconds / 1e6:.0f} MB/s")


def test_the_exit_code_of_a_command_comes_back(path: Line) -> None:
    host, port = path.door("ssh")
    with sshd(path.target("ssh")) as shell:
        at = f"{shell.user}@{host}"
        assert run("sh", "-c", 'ssh "$@" exit 7; echo $?', "sh", *shell.options, "-p", str(port), at) == "7\n"
