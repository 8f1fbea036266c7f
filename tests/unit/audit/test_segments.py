"""Segments: lines with their numbers, whatever stands in the files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pcgrelay.audit.segments import LINE_MOST_BYTES, Line, Segment, read_lines, read_record, segment_name, segments_of
from pcgrelay.errors import PcgrelayError, ProofProblem


def write(folder: Path, first: int, data: bytes) -> Segment:
    path = folder / "log" / segment_name(first)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return Segment(first, path)


def test_segments_are_found_in_their_order_and_other_files_are_passed_over(tmp_path: Path) -> None:
    assert segments_of(tmp_path) == ()
    later, first = write(tmp_path, 3_900_000, b"c\n"), write(tmp_path, 0, b"a\nb\n")
    for name in ("000000000000.jsonl.torn", "5.jsonl", "notes"):
        (tmp_path / "log" / name).write_bytes(b"x\n")
    assert segments_of(tmp_path) == (first, later)
    assert first.path.name == "000000000000.jsonl"


def test_lines_have_the_numbers_of_their_records(tmp_path: Path) -> None:
    segment = write(tmp_path, 7, b"a\n\nb\nto")
    assert list(read_lines(segment)) == [Line(7, b"a"), Line(8, b""), Line(9, b"b"), Line(10, b"to", is_torn=True)]
    assert read_record([segment], 9) == b"b"
    for number in (6, 10, 11):
        with pytest.raises(ProofProblem, match=f"no record {number} "):
            read_record([segment], number)


@pytest.mark.parametrize("more", [1, 2, LINE_MOST_BYTES, 10_000_000])
def test_a_line_that_is_too_long_costs_its_beginning_alone(tmp_path: Path, more: int) -> None:
    long = b"x" * (LINE_MOST_BYTES + more)
    first, second = read_lines(write(tmp_path, 0, long + b"\nb\n"))
    assert (len(first.data), first.is_long, first.is_torn) == (LINE_MOST_BYTES, True, False)
    assert second == Line(1, b"b")
    (alone,) = read_lines(write(tmp_path, 0, long))
    assert alone.is_long
    assert alone.is_torn


def test_the_longest_line_is_whole(tmp_path: Path) -> None:
    line = b"x" * LINE_MOST_BYTES
    assert list(read_lines(write(tmp_path, 0, line + b"\n"))) == [Line(0, line)]


def test_a_pipe_in_the_place_of_a_segment_blocks_nobody(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    os.mkfifo(tmp_path / "log" / segment_name(0))
    assert list(read_lines(segments_of(tmp_path)[0])) == []


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/full", "/dev/null"])
def test_a_device_in_the_place_of_a_segment_is_one_sentence(tmp_path: Path, device: str) -> None:
    """Its end might never come."""
    segment = write(tmp_path, 0, b"")
    segment.path.unlink()
    segment.path.symlink_to(device)
    with pytest.raises(PcgrelayError, match="it is a device"):
        next(read_lines(segment), None)


def test_a_segment_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PcgrelayError, match="this segment was removed while"):
        list(read_lines(Segment(0, tmp_path / "gone")))
