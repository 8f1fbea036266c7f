"""The record between two processes: of one size for ever, and refused if it could change."""

from __future__ import annotations

import os

import pytest

from pcgrelay.daemon.handover.memfd import make_record, map_record
from pcgrelay.errors import RunError


def test_what_one_process_writes_another_reads_and_neither_changes_its_size() -> None:
    descriptor, memory = make_record(5_000)
    memory[:5] = b"state"
    other = map_record(descriptor, 5_000)
    assert other[:5] == b"state"
    other[:5] = bytes(5)
    assert memory[:5] == bytes(5)
    for size in (4_999, 5_001):
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, size)
    memory.close()
    other.close()
    os.close(descriptor)


@pytest.mark.parametrize("told", [0, -1, 99, 101, 1 << 60])
def test_another_size_than_was_told_is_refused(told: int) -> None:
    descriptor, memory = make_record(100)
    with pytest.raises(RunError, match="not as large"):
        map_record(descriptor, told)
    memory.close()
    os.close(descriptor)


def test_one_that_could_still_be_cut_is_refused() -> None:
    descriptor = os.memfd_create("state", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 100)
    with pytest.raises(RunError, match="not sealed"):
        map_record(descriptor, 100)
    os.close(descriptor)


def test_a_file_on_a_disk_is_refused(tmp_path: object) -> None:
    path = f"{tmp_path}/state"
    with open(path, "wb") as file:
        file.write(bytes(100))
    descriptor = os.open(path, os.O_RDWR)
    with pytest.raises((RunError, OSError)):
        map_record(descriptor, 100)
    os.close(descriptor)
