"""Whatever stands in one file of a log, it is examined, and whole only if no signed record was changed.

The first byte of an input says which file it is put in the place of: a segment, a tile, the history, the newest head.
"""

import sys
import tempfile
from pathlib import Path

from pcgrelay.audit.policy import parse_policy
from pcgrelay.audit.query import Wanted, query
from pcgrelay.audit.segments import read_lines, segments_of
from pcgrelay.audit.verify import keys_of_policy, verify_log
from tests.support.audit_logs import make_log, stream_end

FOLDER = tempfile.TemporaryDirectory(prefix="pcgrelay-fuzz-")
RECORDS, SIGNED = 300, 280
LOG = make_log(Path(FOLDER.name) / "audit", RECORDS, 140, segment_records=100)
KEYS = keys_of_policy(parse_policy(LOG.policy.encode(), "policy"))
FILES = sorted(path for path in LOG.folder.rglob("*") if path.is_file())
KEPT = [path.read_bytes() for path in FILES]
SEEDS = [bytes([number]) + data for number, data in enumerate(KEPT)]
LINES = [stream_end(number) + b"\n" for number in (0, 5, 99, 150, 279, 299, 300)]
WORDS = [
    *LINES, b'{"n":', b'{"n":5,', b'{"n":99999999999,', b"\n", b"\n\n", bytes(32), b"\xff" * 32,
    b'"event":"audit.lost",',
    b'"event":"audit.keys",', b'"event":"audit.pruned",', b'"count":-1,', b"[" * 3_000, b"1099511627776",
]  # fmt: skip


def run(data: bytes) -> object:
    number = data[0] % len(FILES) if data else 0
    path, kept = FILES[number], KEPT[number]
    try:
        path.write_bytes(data[1:])
        report = verify_log(LOG.folder, KEYS)
        assert all(len(problem.sentence) < 2_000 for problem in report.problems)
        if report.verdict == "whole":
            lines = [line.data for segment in segments_of(LOG.folder) for line in read_lines(segment)]
            assert lines[:SIGNED] == [stream_end(each) for each in range(SIGNED)]
        found = query(segments_of(LOG.folder), Wanted(service="custody"))
        assert found.records <= len(data) + RECORDS
    finally:
        path.write_bytes(kept)
    kinds = tuple(sorted({problem.kind for problem in report.problems}))
    return path.name, report.verdict, kinds, min(report.problems_count, 20), len(report.holes), report.torn is not None


if __name__ == "__main__":
    from tests.fuzz.mutation import main

    sys.exit(main(SEEDS, WORDS, run))
