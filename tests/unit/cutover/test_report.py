"""The report as a folder, and its verdicts computed again."""

from __future__ import annotations

import os
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from msgspec import structs

from pcgrelay.cutover.report import read_facts, replay_facts, report_files, write_report
from pcgrelay.cutover.report_facts import decode_facts, encode_facts
from pcgrelay.errors import ConfigError, PermissionProblem, RunError
from pcgrelay.rendering import css_text, markdown_text
from tests.support.reported import PLAN, reported

NAMES = ["SHA256SUMS", "facts.json", "part1.html", "part1.md", "part2.html", "part2.md", "plan.toml"]


def test_a_folder_that_others_can_check(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write_report(folder, report_files(reported()))
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK\n") == len(NAMES) - 1
    assert (folder / "plan.toml").read_text() == PLAN
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_nothing_is_overwritten(tmp_path: Path, kind: str) -> None:
    there = tmp_path / "report"
    if kind == "folder":
        there.mkdir()
    elif kind == "file":
        there.write_text("mine")
    else:
        there.symlink_to("nowhere")
    with pytest.raises(RunError, match="is there already and is never overwritten"):
        write_report(there, report_files(reported()))
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist; create it first"):
        write_report(tmp_path / "none" / "report", {"x": b""})


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []

    def fsync(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) == 4:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(RunError, match=r"cannot be written \(no space left on device\)"):
        write_report(tmp_path / "report", report_files(reported()))
    assert list(tmp_path.iterdir()) == []


def test_who_may_not_write_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, mode: int) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(PermissionProblem, match="may not write here"):
        write_report(tmp_path / "report", {})


# -- the same verdicts again ------------------------------------------------------------------------------------------


def test_facts_come_back_as_they_were(tmp_path: Path) -> None:
    facts = reported()
    assert decode_facts(encode_facts(facts), tmp_path) == facts


def test_each_verdict_comes_out_the_same(tmp_path: Path) -> None:
    write_report(tmp_path / "report", report_files(reported()))
    for path in (tmp_path / "report", tmp_path / "report" / "facts.json"):
        replayed = list(replay_facts(read_facts(path)))
        assert [(each.what, each.same) for each in replayed] == [
            ("stepped", True), ("fell_back", True), ("stepped", True), ("arrived", True),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        (b'"is_raised": true', b'"is_raised": false', "fell_back"),
        (b'"failed": 1', b'"failed": 90', "stepped"),
        (b'"outcome": "good"', b'"outcome": "bad"', "stepped"),
    ],
)
def test_what_was_changed_is_found(tmp_path: Path, old: bytes, new: bytes, wrong: str) -> None:
    data = encode_facts(reported())
    assert old in data
    head, _, tail = data.partition(b'"decisions"')
    facts = decode_facts(head + b'"decisions"' + tail.replace(old, new, 1), tmp_path)
    assert [each.what for each in replay_facts(facts) if not each.same] == [wrong]


def test_facts_that_are_not_those_of_the_digests_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write_report(folder, report_files(reported()))
    facts = folder / "facts.json"
    facts.write_bytes(facts.read_bytes().replace(b'"failed": 1', b'"failed": 2'))
    with pytest.raises(ConfigError, match="is not what SHA256SUMS says"):
        read_facts(folder)
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(ConfigError, match="there is no SHA256SUMS here"):
        read_facts(folder)


@pytest.mark.parametrize("data", [b"{}", b"\xff\xfe", b"[" * 10_000, b'{"version": 1}'])
def test_no_facts(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "facts.json").write_bytes(data)
    with pytest.raises(ConfigError, match="these are no facts of a report"):
        read_facts(tmp_path / "facts.json")


def test_facts_of_a_newer_version(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="of version 2, and this pcgrelay reads 1"):
        decode_facts(encode_facts(structs.replace(reported(), version=2)), tmp_path)


# -- text that others wrote --------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.styles = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found.append(tag)


EVIL = '"><script>x</script></style><img src=x>\u202e|[a](javascript:x) {{ 7*7 }} `x` */ } @import'


def test_what_others_wrote_is_text_and_no_markup() -> None:
    facts = reported()
    plain = Tags(report_files(facts)["part2.html"].decode()).found
    evil = structs.replace(
        facts, decisions=tuple(structs.replace(each, by=EVIL, reason=EVIL) for each in facts.decisions)
    )
    files = report_files(evil)
    found = Tags(files["part2.html"].decode()).found
    assert set(found) == set(plain)
    assert "\u202e" not in files["part2.html"].decode()
    assert "7*7" in files["part2.html"].decode()
    rows = [line for line in files["part2.md"].decode().splitlines() if "javascript" in line]
    assert rows
    assert all("\\[a\\](javascript" in line and "\\<script\\>" in line and "\\|" in line for line in rows)


def test_a_marking_ends_neither_its_string_nor_the_style() -> None:
    plan = PLAN.replace("OFFICIAL-SENSITIVE [OPERATIONAL]", "A'</style>; } \\\\ B")
    text = report_files(structs.replace(reported(), plan_text=plan))["part2.html"].decode()
    style = text.partition("<style>")[2]
    assert style.index("</style>") == style.rindex("</style>", 0, style.index("<body>"))
    assert css_text("</s\"'\\") == '"\\3c \\2f s\\22 \\27 \\5c "'


def test_markdown() -> None:
    assert markdown_text("a|b *c* <d> [e]") == "a\\|b \\*c\\* \\<d\\> \\[e\\]"


@pytest.mark.parametrize("name", ["part1.html", "part2.html"])
def test_a_page_loads_nothing_and_has_its_marking_at_both_ends_and_on_each_printed_page(name: str) -> None:
    text = report_files(reported())[name].decode()
    for word in ("<script", "src=", "href=", "url(", "@import", "@font-face"):
        assert word not in text
    marking = "OFFICIAL - PUBLIC" if name == "part1.html" else "OFFICIAL-SENSITIVE [OPERATIONAL]"
    assert text.count(f'class="marking">{marking}<') == 2
    assert text.count(f"content: {css_text(marking)}") == 2
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
