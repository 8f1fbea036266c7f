"""A process that has switched core dumps off leaves none, and one that comes about all the same has no memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# argv[1]: what is done before the process aborts. Only the sum of both halves is a secret, so that no text has it.
PROCESS = """
import os, sys
from pcgrelay import core_dumps
secret = bytes(byte ^ 0x5A for byte in b"%s")
exec(sys.argv[1])
os.abort()
"""
SECRET = b"a key that nobody may find in a file"
HIDDEN = bytes(byte ^ 0x5A for byte in SECRET).hex()
# A limit that lets the kernel write a dump, so that it is seen what would be in it.
WITH_DUMPS = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (1 << 32, resource.RLIM_INFINITY)); "
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern").read_text()


def aborted(folder: Path, what: str) -> tuple[bool, bytes]:
    """Abort a process; return whether the kernel says that it dumped it, and what it wrote."""
    code = PROCESS.replace('b"%s"', f'bytes.fromhex("{HIDDEN}")')
    with subprocess.Popen([sys.executable, "-c", code, what], cwd=folder) as process:
        end = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process.returncode == -signal.SIGABRT
    return end is not None and end.si_code == os.CLD_DUMPED, b"".join(
        each.read_bytes() for each in folder.glob("*core*")
    )


def test_a_process_leaves_no_dump(tmp_path: Path) -> None:
    # Also a program that collects dumps gets none.
    assert aborted(tmp_path, "core_dumps.switch_off()") == (False, b"")


def test_a_limit_below_ours_stays() -> None:
    limit = "resource.RLIMIT_CORE"
    code = f"import resource; from pcgrelay import core_dumps; resource.setrlimit({limit}, (0, 0)); "
    code += f"core_dumps.switch_off(); print(*resource.getrlimit({limit}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0 0\n"


@pytest.mark.skipif(CORE_PATTERN[0] in "|@/", reason="core dumps of this machine are not files in the folder")
def test_a_dump_that_comes_about_has_no_memory(tmp_path: Path) -> None:
    dumped, core = aborted(tmp_path, WITH_DUMPS)
    assert dumped
    assert SECRET in core
    for each in tmp_path.glob("*core*"):
        each.unlink()
    dumped, core = aborted(tmp_path, "core_dumps.NO_DUMP_BYTES = 1 << 32; core_dumps.switch_off()")
    assert dumped
    assert core.startswith(b"\x7fELF")
    assert SECRET not in core
