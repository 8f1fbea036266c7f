"""The report of a cut-over as a folder: Part 1 to publish, Part 2 and the facts to keep, each with its digest.

A folder is written whole or not at all, and never over another. `replay` computes every verdict of the facts again.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from msgspec import Struct

from pcgrelay.cutover import report_words as words
from pcgrelay.cutover.judge import replay
from pcgrelay.cutover.part1 import Part1, part1_of
from pcgrelay.cutover.part2 import Part2, part2_of
from pcgrelay.cutover.publishable import patterns_found
from pcgrelay.cutover.report_facts import FACTS_LIMIT_BYTES, ReportFacts, decode_facts, encode_facts
from pcgrelay.errors import ConfigError, PermissionProblem, RunError
from pcgrelay.files import read_bounded, reason_of
from pcgrelay.rendering import read_asset, render

SUMS = "SHA256SUMS"
FACTS = "facts.json"


class Replayed(Struct, frozen=True, kw_only=True):
    """One verdict, computed again."""

    at: str
    what: str
    same: bool
    then: str  # what it said
    now: str


def report_files(facts: ReportFacts) -> dict[str, bytes]:
    """All files of a report by name. ConfigError: a text of the plan must not be published."""
    part1 = part1_of(facts)
    texts = {**_part1_texts(part1), **_part2_texts(part2_of(facts))}
    files = {name: text.encode() for name, text in texts.items()}
    files[FACTS] = encode_facts(facts)
    files["plan.toml"] = facts.plan_text.encode()
    lines = (f"{sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    files[SUMS] = "".join(lines).encode()
    return files


def write_report(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a report's files into a new folder, whole or not at all.

    RunError: there is something of that name, or it cannot be written. PermissionProblem: this user may not write
    there.
    """
    with _draft_of(folder) as draft:
        for name, data in files.items():
            _write(draft / name, data)
        _sync(draft)
        # A folder takes the place of an empty one at most, so nothing is lost if one came up just now.
        draft.rename(folder)
        _sync(folder.parent)


def check_room(folder: Path) -> None:
    """Find out whether a report's folder can be made; the same errors as of write_report. Nothing is left there."""
    with _draft_of(folder):
        pass


@contextmanager
def _draft_of(folder: Path) -> Iterator[Path]:
    """A folder beside the one that is to be made, gone afterwards; what the system says becomes a sentence."""
    if os.path.lexists(folder):
        raise RunError(f"{folder}: this is there already and is never overwritten; name another folder.")
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        draft.mkdir(0o700)
        yield draft
    except PermissionError:
        raise PermissionProblem(f"{folder}: this user may not write here; name another folder.") from None
    except FileNotFoundError:
        raise RunError(f"{folder}: the folder {folder.parent} does not exist; create it first.") from None
    except OSError as error:
        raise RunError(f"{folder}: the report cannot be written ({reason_of(error)}).") from None
    finally:
        with suppress(OSError):
            shutil.rmtree(draft)


def read_facts(path: Path) -> ReportFacts:
    """Read the facts of a report; path is its folder, or the file itself. ConfigError: they cannot be used.

    In a folder they must be those of its SHA256SUMS.
    """
    is_folder = path.is_dir()
    file = path / FACTS if is_folder else path
    data = read_bounded(file, "report's facts", FACTS_LIMIT_BYTES)
    if is_folder:
        _check_sums(path, data)
    return decode_facts(data, file)


def replay_facts(facts: ReportFacts) -> Iterator[Replayed]:
    """Compute each verdict again, in the order in which they were given."""
    for decision in facts.decisions:
        if (verdict := decision.verdict) is not None:
            again = replay(verdict)
            yield Replayed(
                at=decision.at,
                what=decision.what,
                same=again == verdict,
                then=verdict.sentence,
                now=again.sentence,
            )


def _part1_texts(part: Part1) -> dict[str, str]:
    summary = words.summary(part)
    values = {
        "part": part,
        "marking": part.marking.text,
        "title": part.title.text,
        "summary": summary,
        "deferral": words.deferral(part),
        "exemption": words.exemption(part),
    }
    if found := patterns_found("\n".join(sentence for _, sentence in summary)):
        raise ConfigError(f"Part 1 is published, and in its summary stands {found}; please report that.")
    return {
        "part1.md": render("part1.md", **values),
        "part1.html": render("part1.html", css=read_asset("paper.css"), **values),
    }


def _part2_texts(part: Part2) -> dict[str, str]:
    values = {
        "part": part,
        "facts": part.facts,
        "plan": part.plan,
        "marking": part.plan.report.part2,
        "title": part.facts.title or part.plan.report.title or f"Transition of {part.facts.service}",
    }
    return {
        "part2.md": render("part2.md", **values),
        "part2.html": render("part2.html", css=read_asset("paper.css"), **values),
    }


def _check_sums(folder: Path, facts: bytes) -> None:
    try:
        lines = read_bounded(folder / SUMS, "list of digests", 1 << 16).decode("utf-8", "replace").splitlines()
    except ConfigError:
        raise ConfigError(f"{folder}: there is no {SUMS} here; name a report's folder, or its {FACTS}.") from None
    if f"{sha256(facts).hexdigest()}  {FACTS}" not in lines:
        raise ConfigError(f"{folder}: {FACTS} is not what {SUMS} says; somebody changed it, or it was damaged.")


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as sink:
        sink.write(data)
        sink.flush()
        os.fsync(sink.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
