"""What a process of a node is, to the system that runs it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from pcgrelay.daemon import run


def test_the_process_has_the_name_of_the_program() -> None:
    """An upgrade begins it as a module of Python."""
    program = "from pcgrelay.daemon.run import _be_named; _be_named(); print(open('/proc/self/comm').read().strip())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "pcgrelay\n"


def test_a_system_that_forbids_setpriority_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: int) -> None:
        raise PermissionError

    given: list[int] = []
    monkeypatch.setattr(os, "setpriority", lambda which, who, nice: given.append(nice))
    assert run._stand_back()
    assert given == [os.getpriority(os.PRIO_PROCESS, 0) + run.NICER]
    monkeypatch.setattr(os, "setpriority", forbidden)
    assert not run._stand_back()


def test_the_soft_limit_of_descriptors_is_raised_before_anything_is_opened() -> None:
    program = """
import resource
from pcgrelay.daemon import run
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
run.uvloop.run = lambda work: work.close()
run.run(None)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert int(done.stdout) == min(hard, 1 << 20)


def test_what_was_loaded_is_looked_at_by_no_collection_and_the_rest_is() -> None:
    program = """
import gc
gc.disable()
from pcgrelay.daemon import run
run.uvloop.run = lambda work: work.close()
run.run(None)
print(gc.isenabled(), gc.get_freeze_count() > 10_000)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True True\n"
