"""Reports on a log as lines for people (pure)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from pcgrelay.audit.report import BegunAgain, Hole, Report
from pcgrelay.audit.tile_sync import SYNCED
from pcgrelay.audit.verify import moment_of
from pcgrelay.output import count, counted

LABEL_WIDTH = 14
PROBLEMS_SHOWN = 10
HOLES_SHOWN = 5
LOST_WHY = {
    "full": "disk full",
    "busy": "queue full",
    "refusing": "the log was not signed",
    "fault": "an error of pcgrelay",
}
TRUST_WORDS = {
    "policy": "by the policy",
    "certificate": "certificate of {identity}",
    "itself": "by keys that the log itself names: --trust or --policy says whose they are",
    "none": "nobody that is known: name --trust or --policy",
}


def report_lines(report: Report, width: int) -> Iterator[str]:
    """The lines of a report, none of them longer than width if a word fits."""
    if report.problems:
        yield from _problems(report, width)
        yield ""
    yield from _wrapped("", _head(report), width, 0)
    for label, text in _rows(report):
        yield from _wrapped(f"  {label:<{LABEL_WIDTH}}", text, width, LABEL_WIDTH + 2)


def _head(report: Report) -> str:
    if not report.records:
        return "There is no record yet."
    seconds = max(1, round(report.duration_ms / 1_000))
    return f"{counted(report.records, 'record')} from {_day(report.since)} to {_day(report.until)}, {seconds} s."


def _rows(report: Report) -> Iterator[tuple[str, str]]:
    yield "log", report.origin or "not signed yet"
    yield "tree", _tree(report)
    yield "signed by", _signed(report)
    yield "witnessed", _witnessed(report)
    yield "holes", _holes(report)
    yield "pruned", _pruned(report)
    if report.begun_again is not None:
        yield "begun again", _begun_again(report.begun_again)
    if report.not_believed and report.signers:
        more = len(report.not_believed) - 1
        yield "not believed", report.not_believed[0] + (f" And {more} more, see --json." if more else "")
    if report.unsigned:
        yield "tail", f"{counted(report.unsigned, 'record')} at the end {_are(report.unsigned)} not signed yet"
    if report.torn is not None:
        size = counted(report.torn.size_bytes, "byte")
        yield (
            "torn",
            f"the end of {report.torn.path} is not whole: {size}, of a process that stopped or still writes",
        )
    if report.short_tiles:
        yield (
            "tiles",
            f"{counted(report.short_tiles, 'tile')} {_are(report.short_tiles)} not there or too short, the first "
            f"{report.first_short_tile}; the node makes them again of the records if it is started without "
            f"the file {SYNCED}",
        )


def _tree(report: Report) -> str:
    if report.problems:
        return f"CHANGED, see above; {counted(report.checkpoints, 'checkpoint')} {_agree(report.checkpoints)}"
    if not report.checkpoints:
        return "nothing is signed, so nothing says that this is what was written"
    noun = counted(report.checkpoints, "checkpoint")
    continued = ", each continues the one before" if report.checkpoints > 1 else ""
    return f"whole: {noun} {_agree(report.checkpoints)} with the records{continued}"


def _signed(report: Report) -> str:
    trust = TRUST_WORDS[report.trust].format(identity=report.identity)
    if not report.signers:
        return trust if report.trust in ("itself", "none") else f"nobody that is known {trust}"
    names = "; ".join(f"{_name(each.name)} ({', '.join(each.types)})" for each in report.signers)
    others = f"; {counted(report.other_heads, 'head')} before that by other keys alone" if report.other_heads else ""
    return f"{names}, {trust}{others}"


def _witnessed(report: Report) -> str:
    if not report.witnesses:
        return "by nobody that is known: nobody says that this is the end"
    seen = "; ".join(f"{each.name} {count(each.size)} at {_moment(each.ts)}" for each in report.witnesses)
    if report.trust != "policy":
        return seen
    if report.accepted_size is None:
        return f"{seen}; the policy asks for more of them"
    return f"{seen}; enough for the policy up to {count(report.accepted_size)}"


def _holes(report: Report) -> str:
    if not report.holes:
        return "none"
    words = "; ".join(map(_hole, report.holes[:HOLES_SHOWN]))
    more = report.holes_count - HOLES_SHOWN
    return f"{report.holes_count}: {words}" + (f"; and {more} more" if more > 0 else "")


def _hole(hole: Hole) -> str:
    why = LOST_WHY.get(hole.reason, hole.reason)
    lost = f"{counted(hole.count, 'record')} lost on {_minute(hole.since)} ({why})"
    return f"{lost}, told in the log at {count(hole.number)}"


def _pruned(report: Report) -> str:
    if not report.first:
        return "nothing"
    told = "a signed record says so" if report.pruned_told else "NO signed record says so"
    heads = ", and their heads but the last of each day" if report.heads_removed else ""
    return f"the first {counted(report.first, 'record')}{heads}; {told}"


def _begun_again(said: BegunAgain) -> str:
    who = f"{said.by}, user {said.uid}" if said.by else f"user {said.uid}"
    old = f"{counted(said.old_size, 'record')} signed, root {said.old_root}" if said.old_size else "of no known head"
    return (
        f"on {_minute(said.ts)} by {who}: {said.reason.rstrip('.')}. The log before it ({old}) is in {said.folder}; it "
        f"was not signed any more, because: {said.problem}"
    )


def _problems(report: Report, width: int) -> Iterator[str]:
    for problem in report.problems[:PROBLEMS_SHOWN]:
        yield from _wrapped("", problem.sentence, width, 2)
    more = report.problems_count - PROBLEMS_SHOWN
    if more > 0:
        yield f"There {_are(more)} {count(more)} more; --json shows up to 100 of them."
    numbers = [problem.number for problem in report.problems if problem.number is not None]
    if numbers and report.problems[0].kind in ("record", "missing", "extra"):
        before, after = min(numbers), max(0, report.size - min(numbers) - 1)
        if report.problems_count == 1:
            words = f"Records before it are whole; after it {count(after)} are whole too."
        else:
            words = f"The {count(before)} records before the first of these are whole."
        yield from _wrapped("", words, width, 0)


def _wrapped(label: str, text: str, width: int, indent: int) -> list[str]:
    return textwrap.wrap(
        label + text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )


def _name(origin: str) -> str:
    return origin.rpartition("/")[2] + "." + origin.split("/")[-2] if origin.count("/") >= 2 else origin


def _day(ts: str) -> str:
    return ts[:10] or "-"


def _minute(ts: str) -> str:
    return ts[:16].replace("T", " ")


def moment_text(time_s: int) -> str:
    """The time of a cosignature, in seconds since 1970, as 2026-11-03 02:13:31."""
    return _moment(moment_of(time_s))


def _moment(ts: str) -> str:
    return ts[:19].replace("T", " ")


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _agree(number: int) -> str:
    return "agrees" if number == 1 else "agree"
