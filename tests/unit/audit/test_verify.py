"""A whole log is examined: each attack and each fault is found, and said of the very record."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from pcgrelay.audit.history import HISTORY, NEWEST, SignedHead, history_line, parse_head
from pcgrelay.audit.note import Note
from pcgrelay.audit.policy import parse_policy
from pcgrelay.audit.report import Report
from pcgrelay.audit.segments import segments_of
from pcgrelay.audit.verify import keys_of_policy, verify_log
from pcgrelay.audit.walk import Group, Walk
from pcgrelay.errors import ProofProblem
from tests.support.audit_logs import ORIGIN, AuditLog, make_log, stream_end

RECORDS, EVERY, SEGMENT = 3_000, 700, 1_000
SIGNED = 2_800
FLIPS = 20  # of each kind; the acceptance has the full number


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> AuditLog:
    return make_log(tmp_path_factory.mktemp("made") / "audit", RECORDS, EVERY, SEGMENT)


@pytest.fixture
def folder(made: AuditLog, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.folder, tmp_path / "audit"))


def examine(log: AuditLog, folder: Path, *seen: SignedHead) -> Report:
    return verify_log(folder, keys_of_policy(parse_policy(log.policy.encode(), "policy")), seen)


def kinds(report: Report) -> set[str]:
    return {problem.kind for problem in report.problems}


def segment(folder: Path, first: int) -> Path:
    return folder / "log" / f"{first:012d}.jsonl"


def change_lines(path: Path, change: Callable[[list[bytes]], object]) -> None:
    lines = path.read_bytes().split(b"\n")[:-1]
    change(lines)
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_a_log_that_nobody_touched_is_whole(made: AuditLog) -> None:
    report = examine(made, made.folder)
    assert report.verdict == "whole"
    assert (report.origin, report.first, report.size, report.records) == (ORIGIN, 0, RECORDS, RECORDS)
    assert (report.signed_size, report.unsigned, report.checkpoints) == (SIGNED, 200, 4)
    assert (report.trust, report.accepted_size) == ("policy", SIGNED)
    assert [(each.name, each.types) for each in report.signers] == [(ORIGIN, ("Ed25519", "ML-DSA-44"))]
    assert [(each.name, each.size) for each in report.witnesses] == [("hub.example/relay-1", SIGNED)]
    assert (report.problems, report.torn, report.holes) == ((), None, ())
    assert report.since == "2026-11-03T00:00:00.000Z"


@pytest.mark.parametrize("seed", range(FLIPS))
def test_one_bit_of_a_signed_record_is_the_very_record(made: AuditLog, folder: Path, seed: int) -> None:
    random = Random(seed)
    number = random.randrange(SIGNED)
    path = segment(folder, number - number % SEGMENT)
    lines = path.read_bytes().split(b"\n")
    before = sum(len(line) + 1 for line in lines[: number % SEGMENT])
    at = before + random.randrange(len(lines[number % SEGMENT]))
    flip(path, 8 * at + random.choice([0, 1, 2, 4, 5, 6, 7]))
    report = examine(made, folder)
    assert report.verdict == "changed"
    assert report.problems[0].number == number
    assert f"Record {number:,} was changed (segment {path.name}, line {number % SEGMENT + 1:,})" in [
        problem.sentence.partition(":")[0] for problem in report.problems
    ]


@pytest.mark.parametrize("seed", range(FLIPS))
def test_one_bit_of_a_newline_is_the_first_record_that_it_concerns(made: AuditLog, folder: Path, seed: int) -> None:
    random = Random(seed)
    number = random.randrange(SIGNED)
    path = segment(folder, number - number % SEGMENT)
    lines = path.read_bytes().split(b"\n")
    at = sum(len(line) + 1 for line in lines[: number % SEGMENT + 1]) - 1
    flip(path, 8 * at + random.randrange(8))
    report = examine(made, folder)
    assert report.verdict == "changed"
    assert number in {problem.number for problem in report.problems}
    assert min(problem.number or 0 for problem in report.problems) >= number


@pytest.mark.parametrize("seed", range(FLIPS))
def test_one_bit_of_a_tile_is_that_tile_and_no_record(made: AuditLog, folder: Path, seed: int) -> None:
    random = Random(seed)
    path = random.choice(sorted(each for each in (folder / "tile").rglob("*") if each.is_file()))
    flip(path, random.randrange(8 * path.stat().st_size))
    report = examine(made, folder)
    assert report.verdict == "changed"
    if kinds(report) == {"tail"}:  # it is of a record that is not signed yet, so nobody knows which of both is right
        assert "neither is signed yet" in report.problems[0].sentence
    else:
        assert kinds(report) == {"tile"}
        assert str(path.relative_to(folder)) in report.problems[0].sentence


@pytest.mark.parametrize("name", [NEWEST, HISTORY])
@pytest.mark.parametrize("seed", range(FLIPS))
def test_one_bit_of_a_checkpoint_or_a_signature_is_found(made: AuditLog, folder: Path, name: str, seed: int) -> None:
    path = folder / name
    flip(path, Random(seed).randrange(8 * (path.stat().st_size - 1)))
    report = examine(made, folder)
    if report.verdict == "whole":
        # The name or the number of a key: then the signature is one by an unknown key, beside others that hold; or the
        # time of a line, which nobody has signed.
        assert report.signatures == 5
        assert (folder / name).read_bytes() != (made.folder / name).read_bytes()
    else:
        assert kinds(report) <= {"head", "signature", "range", "cut"}


def test_a_record_that_was_removed_is_named(made: AuditLog, folder: Path) -> None:
    change_lines(segment(folder, 1_000), lambda lines: lines.pop(234))
    report = examine(made, folder)
    assert report.verdict == "changed"
    assert [(each.kind, each.number) for each in report.problems] == [("missing", 1_234)]
    assert "Record 1,234 is not there" in report.problems[0].sentence


def test_several_records_that_were_removed_are_named(made: AuditLog, folder: Path) -> None:
    def cut(lines: list[bytes]) -> None:
        del lines[234:634]

    change_lines(segment(folder, 1_000), cut)
    report = examine(made, folder)
    assert [(each.kind, each.number) for each in report.problems] == [("missing", 1_234)]
    assert "Records 1,234 to 1,633 are not there" in report.problems[0].sentence


def test_a_whole_segment_that_was_removed_is_named(made: AuditLog, folder: Path) -> None:
    segment(folder, 1_000).unlink()
    report = examine(made, folder)
    assert [(each.kind, each.number) for each in report.problems] == [("missing", 1_000)]
    assert "Records 1,000 to 1,999" in report.problems[0].sentence


def test_two_records_that_were_exchanged_are_named(made: AuditLog, folder: Path) -> None:
    def exchange(lines: list[bytes]) -> None:
        lines[234], lines[240] = lines[240], lines[234]

    change_lines(segment(folder, 1_000), exchange)
    report = examine(made, folder)
    assert report.verdict == "changed"
    assert report.problems[0].number == 1_234


def test_exchanged_records_with_new_numbers_are_both_named(made: AuditLog, folder: Path) -> None:
    def exchange(lines: list[bytes]) -> None:
        first, second = lines[234], lines[240]
        lines[234], lines[240] = second.replace(b"1240", b"1234", 1), first.replace(b"1234", b"1240", 1)

    change_lines(segment(folder, 1_000), exchange)
    report = examine(made, folder)
    assert [(each.kind, each.number) for each in report.problems] == [("record", 1_234), ("record", 1_240)]


@pytest.mark.parametrize("line", [stream_end(1_234), stream_end(5), b"junk", b"", b'{"n":99999999,"ts":"x"}'])
def test_a_line_that_was_put_in_is_named(made: AuditLog, folder: Path, line: bytes) -> None:
    change_lines(segment(folder, 1_000), lambda lines: lines.insert(234, line))
    report = examine(made, folder)
    assert report.verdict == "changed"
    assert min(problem.number or 0 for problem in report.problems) in (1_234, 1_235)
    assert len(report.problems) <= 2


def test_a_record_with_its_hash_in_the_tile_is_found_by_the_tile_above(made: AuditLog, folder: Path) -> None:
    rewrite(folder, 300, levels=1)
    report = examine(made, folder)
    assert [(each.kind, each.number) for each in report.problems] == [("record", 256)]
    assert "One of the records 256 to 511" in report.problems[0].sentence


def test_a_record_with_all_its_hashes_is_found_between_two_checkpoints(made: AuditLog, folder: Path) -> None:
    rewrite(folder, 1_000, levels=2)
    report = examine(made, folder)
    assert report.verdict == "changed"
    assert [(each.kind, each.number) for each in report.problems] == [("range", 700)]
    assert "from 700 to 1,399" in report.problems[0].sentence


def rewrite(folder: Path, number: int, levels: int) -> None:
    """Change a record, and its hashes in so many levels of tiles."""
    other = AuditLog(folder.parent / "other", SEGMENT)
    lines = [stream_end(each) for each in range(RECORDS)]
    lines[number] = lines[number].replace(b"closed", b"opened")
    other.append(lines)
    shutil.copy(segment(other.folder, number - number % SEGMENT), segment(folder, number - number % SEGMENT))
    for level in range(levels):
        shutil.copytree(other.folder / "tile" / str(level), folder / "tile" / str(level), dirs_exist_ok=True)


def test_a_tail_that_was_cut_behind_a_checkpoint_is_found_by_it(made: AuditLog, folder: Path) -> None:
    change_lines(segment(folder, 2_000), lambda lines: lines.__delitem__(slice(500, None)))
    report = examine(made, folder)
    assert kinds(report) == {"cut"}
    assert report.problems[0].number == 2_500
    assert "2,800 records were signed" in report.problems[0].sentence


def test_a_tail_that_is_not_signed_yet_may_be_gone(made: AuditLog, folder: Path) -> None:
    change_lines(segment(folder, 2_000), lambda lines: lines.__delitem__(slice(800, None)))
    report = examine(made, folder)
    assert (report.verdict, report.unsigned) == ("whole", 0)


def test_a_tail_that_was_cut_with_its_checkpoint_is_found_by_a_witness(made: AuditLog, folder: Path) -> None:
    newest = parse_head((folder / NEWEST).read_bytes(), "relay-1")
    change_lines(segment(folder, 2_000), lambda lines: lines.__delitem__(slice(500, None)))
    change_lines(folder / HISTORY, lambda lines: lines.pop())
    (folder / NEWEST).unlink()
    for index in (9, 10, 11):
        (folder / "tile" / "0" / f"{index:03d}").unlink(missing_ok=True)
    # Nobody has witnessed what is left, so the policy does not accept it as it is.
    report = examine(made, folder)
    assert (report.problems, report.verdict, report.witnesses) == ((), "unproved", ())
    report = examine(made, folder, newest)
    assert kinds(report) == {"cut"}
    assert "relay-1" in report.problems[0].sentence


def test_a_log_that_was_written_again_with_the_right_key_is_found_by_a_witness(made: AuditLog, tmp_path: Path) -> None:
    seen = parse_head((made.folder / NEWEST).read_bytes(), "relay-1")
    forged = AuditLog(tmp_path / "audit", SEGMENT)
    forged.signers, forged.witness = made.signers, made.witness
    lines = [stream_end(number) for number in range(RECORDS)]
    lines[77] = lines[77].replace(b"closed", b"opened")
    forged.append(lines)
    forged.sign(is_witnessed=True)
    assert examine(made, forged.folder).verdict == "whole"
    report = examine(made, forged.folder, seen)
    assert report.verdict == "changed"
    assert kinds(report) == {"fork"}
    assert "two histories" in report.problems[0].sentence


def test_a_checkpoint_that_others_have_and_that_fits_says_nothing(made: AuditLog) -> None:
    seen = parse_head((made.folder / NEWEST).read_bytes(), "relay-1")
    report = examine(made, made.folder, seen)
    assert (report.verdict, report.checkpoints) == ("whole", 5)


def test_a_checkpoint_of_another_log_is_refused_by_its_origin(made: AuditLog, folder: Path, tmp_path: Path) -> None:
    other = AuditLog(tmp_path / "other", SEGMENT, ORIGIN.replace("kent-1", "kent-2"))
    other.grow(9)
    with pytest.raises(ProofProblem, match="kent-2"):
        examine(made, folder, parse_head(other.head().encoded, "relay-1"))
    (folder / NEWEST).write_bytes(other.head().encoded)
    report = examine(made, folder)
    assert report.verdict == "changed"
    assert "kent-2" in report.problems[0].sentence


def test_an_older_checkpoint_in_the_place_of_the_newest_is_found(made: AuditLog, folder: Path) -> None:
    older = (folder / HISTORY).read_bytes().split(b"\n")
    change_lines(folder / HISTORY, lambda lines: lines.insert(3, lines[0]))
    assert "an older one" in examine(made, folder).problems[0].sentence
    (folder / HISTORY).write_bytes(b"\n".join(older))
    log = AuditLog(folder.parent / "again", SEGMENT)
    log.signers, log.witness = made.signers, made.witness
    log.grow(EVERY)
    (folder / NEWEST).write_bytes(log.head().encoded)
    report = examine(made, folder)
    assert kinds(report) == {"head"}
    assert "an older one" in report.problems[0].sentence


def test_a_checkpoint_of_2_to_the_40_records_costs_nothing(made: AuditLog, folder: Path) -> None:
    text = f"{ORIGIN}\n{1 << 40}\n{'A' * 43}=\n"
    note = Note(text, tuple(signer.sign(text, 0) for signer in made.signers))
    with (folder / HISTORY).open("ab") as sink:
        sink.write(history_line("2026-11-04T00:00:00.000Z", note))
    report = examine(made, folder)
    assert "cut" in kinds(report)


def test_a_signature_by_nobody_that_is_known_is_no_signature(made: AuditLog, folder: Path, tmp_path: Path) -> None:
    other = AuditLog(tmp_path / "other", SEGMENT)
    report = verify_log(folder, keys_of_policy(parse_policy(other.policy.encode(), "policy")))
    assert (report.verdict, report.signatures) == ("changed", 0)
    assert kinds(report) == {"signature"}


def test_without_any_trust_it_is_of_one_piece_and_no_more(made: AuditLog) -> None:
    report = verify_log(made.folder)
    assert (report.verdict, report.trust, report.problems) == ("unproved", "none", ())


def test_a_line_of_ten_megabytes_is_named_and_bounded(made: AuditLog, folder: Path) -> None:
    change_lines(segment(folder, 1_000), lambda lines: lines.__setitem__(234, b"x" * 10_000_000))
    report = examine(made, folder)
    assert {problem.number for problem in report.problems} == {1_234}
    assert "longer than 65,535 bytes" in report.problems[0].sentence


def test_a_line_that_is_not_utf_8_is_named(made: AuditLog, folder: Path) -> None:
    change_lines(segment(folder, 1_000), lambda lines: lines.__setitem__(234, b"\xff\xfe" * 50))
    assert [problem.number for problem in examine(made, folder).problems] == [1_234]


@pytest.mark.parametrize("size", [1, 40, 300])
def test_a_torn_end_is_named_and_is_no_change(made: AuditLog, folder: Path, size: int) -> None:
    path = segments_of(folder)[-1].path
    with path.open("ab") as sink:
        sink.write(stream_end(RECORDS)[:size])
    report = examine(made, folder)
    assert (report.verdict, report.size) == ("whole", RECORDS)
    assert report.torn is not None
    assert (report.torn.path, report.torn.size_bytes) == (str(path), size)


def test_a_torn_end_within_a_signed_record_is_a_cut(made: AuditLog, folder: Path) -> None:
    path = segments_of(folder)[-1].path
    path.write_bytes(path.read_bytes()[: 500 * len(stream_end(2_000))])
    report = examine(made, folder)
    assert report.torn is not None
    assert kinds(report) == {"cut"}


def test_pruned_records_leave_proofs_and_a_word(tmp_path: Path) -> None:
    log = make_log(tmp_path / "audit")
    segment(log.folder, 0).unlink()
    report = examine(log, log.folder)
    assert (report.verdict, report.pruned_told) == ("changed", False)
    assert "no signed record says that they were removed" in report.problems[0].sentence
    told = b'{"n":3000,"ts":"2027-12-09T00:00:00.000Z","event":"audit.pruned","first":0,"last":999,"segments":1}'
    log.append([told])
    # Whoever cuts the front off can add a record, and cannot sign it.
    report = examine(log, log.folder)
    assert (report.verdict, report.pruned_told) == ("changed", False)
    log.sign()
    report = examine(log, log.folder)
    assert (report.verdict, report.first, report.records, report.checkpoints) == ("whole", 1_000, 2_001, 5)


def test_lost_records_are_shown_where_the_log_tells_them(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    log.grow(10)
    log.append(
        [
            b'{"n":10,"ts":"2026-06-02T11:41:00.000Z","event":"audit.lost","count":212,'
            b'"since":"2026-06-02T11:40:00.000Z","until":"2026-06-02T11:41:00.000Z","reason":"full"}'
        ]
    )
    log.sign(is_witnessed=True)
    report = examine(log, log.folder)
    assert report.verdict == "whole"
    (hole,) = report.holes
    assert (hole.number, hole.count, hole.reason) == (10, 212, "full")


def test_a_witness_signs_later_and_its_line_counts_for_the_head_before(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    for _ in range(3):
        log.grow(50)
        note = log.sign()
        alone = Note(note.text, (log.witness.sign(note.text, 1_793_664_000 + log.size),))
        with (log.folder / HISTORY).open("ab") as sink:
            sink.write(history_line("2026-11-03T00:00:00.000Z", alone))
    report = examine(log, log.folder)
    assert (report.problems, report.verdict, report.accepted_size) == ((), "whole", 150)
    assert [each.size for each in report.witnesses] == [150]
    # Whoever does not know the witness sees a log that is signed as before.
    logs = "".join(f"log {key.vkey}\n" for key in log.vkeys)
    report = verify_log(log.folder, keys_of_policy(parse_policy(f"{logs}quorum none\n".encode(), "policy")))
    assert (report.problems, report.verdict) == ((), "whole")
    # The witness has signed nothing that the log did not.
    change_lines(log.folder / HISTORY, lambda lines: lines.pop(2))
    assert kinds(examine(log, log.folder)) == {"signature"}


def test_a_log_that_goes_on_meanwhile_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = make_log(tmp_path / "audit")
    groups = Walk.groups

    def growing(walk: Walk) -> Iterator[Group]:
        yield from list(groups(walk))
        log.grow(400)
        log.sign(is_witnessed=True)

    monkeypatch.setattr(Walk, "groups", growing)
    report = examine(log, log.folder)
    assert (report.problems, report.verdict, report.size, report.signed_size) == ((), "whole", RECORDS, SIGNED)


def test_tiles_that_are_gone_are_noted_and_no_change(made: AuditLog, folder: Path) -> None:
    shutil.rmtree(folder / "tile")
    report = examine(made, folder)
    assert (report.verdict, report.checkpoints) == ("whole", 4)
    assert report.short_tiles == 11 + 10
    assert report.first_short_tile.endswith("tile/0/000")


@pytest.mark.parametrize("name", ["0/003", "0/010", "1/000"])
@pytest.mark.parametrize(("start", "end"), [(0, 8_192), (512, 1_024), (32, 64)])
def test_holes_of_a_power_failure_are_tiles_that_are_gone(
    made: AuditLog, folder: Path, name: str, start: int, end: int
) -> None:
    path = folder / "tile" / name
    data = path.read_bytes()
    path.write_bytes(data[:start] + bytes(len(data[start:end])) + data[end:])
    report = examine(made, folder)
    assert (report.verdict, report.problems) == ("whole", ())
    # Level 1 has eleven hashes.
    assert report.short_tiles == 0 if start >= len(data) else report.short_tiles >= 1


def test_a_record_that_was_changed_is_found_without_its_hash(made: AuditLog, folder: Path) -> None:
    def change(lines: list[bytes]) -> None:
        lines[234] = lines[234].replace(b"closed", b"opened")

    change_lines(segment(folder, 1_000), change)
    path = folder / "tile" / "0" / "004"
    data = bytearray(path.read_bytes())
    data[(1_234 % 256) * 32 : (1_234 % 256 + 1) * 32] = bytes(32)
    path.write_bytes(data)
    report = examine(made, folder)
    assert report.verdict == "changed"
    assert report.problems[0].number == 1_024


def test_a_name_that_says_an_impossible_number_ends_the_walk(made: AuditLog, folder: Path) -> None:
    segment(folder, 2_000).rename(segment(folder, 999_999_999_999))
    report = examine(made, folder)
    assert report.verdict == "changed"
    assert kinds(report) == {"missing"}
    assert any("nothing after them" in problem.sentence for problem in report.problems)


def test_an_empty_folder_is_an_empty_log(tmp_path: Path) -> None:
    report = verify_log(tmp_path)
    assert (report.verdict, report.size, report.problems) == ("unproved", 0, ())


def test_many_changes_are_counted_and_a_hundred_are_said(made: AuditLog, folder: Path) -> None:
    def change(lines: list[bytes]) -> None:
        lines[:] = [line.replace(b"closed", b"opened") for line in lines]

    change_lines(segment(folder, 1_000), change)
    report = examine(made, folder)
    assert report.problems_count == 1_000
    assert len(report.problems) == 100
