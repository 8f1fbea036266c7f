"""pcgrelay plan: what widens and narrows, and the text for others to sign."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcgrelay.policy.change import parse_change
from tests.support.approved_node import ApprovedNode
from tests.support.command_line import Invoke
from tests.unit.cli.approvals.conftest import ESSEX, allow

MET, SURREY = "met.police.example", "surrey.police.example"
BY = ("--by", "j.smith@kent.police.example", "--change", "CR-3", "--reason", "Surrey needs look-ups")


def test_of_files_that_are_as_approved_there_is_nothing_to_plan(invoke: Invoke, kent: ApprovedNode, file: Path) -> None:
    file.write_text(f"# a comment\n{file.read_text()}")
    answer = invoke("plan", "-c", file)
    assert (answer.code, answer.out) == (0, "Nothing differs from what was approved last.\n")
    answer = invoke("plan", "-c", file, *BY)
    assert (answer.code, answer.out) == (0, "Nothing differs from what was approved last.\n")
    assert not file.with_suffix(".change").exists()


def test_what_narrows_needs_no_text(invoke: Invoke, kent: ApprovedNode, file: Path) -> None:
    allow(kent, MET)
    answer = invoke("plan", "-c", file, *BY)
    assert answer.code == 0
    assert answer.out == (
        f"NARROWS   export custody: allow {ESSEX} removed\n"
        f"1 narrows. No signature is needed: pcgrelay reload -c {file}\n"
    )
    assert not file.with_suffix(".change").exists()


def test_what_widens_is_shown_first_and_then_written(invoke: Invoke, kent: ApprovedNode, file: Path) -> None:
    allow(kent, MET, SURREY)
    answer = invoke("plan", "-c", file)
    assert answer.code == 0
    assert answer.out.splitlines() == [
        f"WIDENS    export custody: allow {SURREY} added",
        f"NARROWS   export custody: allow {ESSEX} removed",
        "1 widens, 1 narrows. To write the text to sign, add --by, --change and --reason.",
    ]
    change = file.with_suffix(".change")
    assert not change.exists()
    answer = invoke("plan", "-c", file, *BY)
    assert answer.code == 0
    text = change.read_text()
    assert text in answer.out
    assert "It needs 2 signatures of: a.jones, b.khan." in answer.out
    assert parse_change(change.read_bytes()).head.by == "j.smith@kent.police.example"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--by", "j.smith@kent.police.example"), "--change, --reason are missing"),
        (("--by", "J Smith", "--change", "CR-3", "--reason", "x"), "By is no literal address"),
        (("--by", "j@k.example", "--change", "CR-3", "--reason", "x" * 201), "Reason is not 1 to 200 characters"),
        (("--by", "j@k.example", "--change", "CR-3", "--reason", "caf\u00e9"), "Reason is not 1 to 200 characters"),
    ],
)
def test_a_head_that_cannot_stand_there_writes_nothing(
    invoke: Invoke, kent: ApprovedNode, file: Path, words: tuple[str, ...], said: str
) -> None:
    allow(kent, MET, ESSEX, SURREY)
    answer = invoke("plan", "-c", file, *words)
    assert answer.code == 2
    assert said in answer.err
    assert not file.with_suffix(".change").exists()


def test_a_text_that_says_the_same_keeps_its_signatures(invoke: Invoke, kent: ApprovedNode, file: Path) -> None:
    allow(kent, MET, ESSEX, SURREY)
    assert invoke("plan", "-c", file, *BY).code == 0
    change = file.with_suffix(".change")
    data = change.read_bytes()
    signature = kent.people[0].put(change)
    answer = invoke("plan", "-c", file, *BY)
    assert answer.code == 0
    assert f"{change} says this already, with 1 signature; it stays as it is." in answer.out
    assert change.read_bytes() == data
    assert signature.exists()
    # Another reason is another text, and what was signed is of no use any more.
    answer = invoke("plan", "-c", file, *BY[:-1], "Surrey asked")
    assert "; 1 signature of the text that was there before is removed" in answer.out
    assert change.read_bytes() != data
    assert not signature.exists()


def test_a_text_from_before_the_last_policy_is_written_anew(invoke: Invoke, kent: ApprovedNode, file: Path) -> None:
    """It may have been taken and undone since, and would be refused as used."""
    allow(kent, MET, ESSEX, SURREY)
    assert invoke("plan", "-c", file, *BY).code == 0
    change = file.with_suffix(".change")
    parsed = parse_change(change.read_bytes())
    old = kent.store.read()
    assert old is not None
    later = parsed.head.made.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert old.pointer.taken < later
    signature = kent.people[0].put(change)
    files, pointer = old.files, old.pointer
    kent.store.write(files, type(pointer)(**{**{name: getattr(pointer, name) for name in pointer.__struct_fields__},
                                             "taken": later}))  # fmt: skip
    answer = invoke("plan", "-c", file, *BY)
    assert "; 1 signature of the text that was there before is removed" in answer.out
    assert not signature.exists()


def test_a_marking_stands_above_and_below_and_not_in_the_text(invoke: Invoke, kent: ApprovedNode, file: Path) -> None:
    allow(kent, MET, ESSEX, SURREY)
    answer = invoke("plan", "-c", file, *BY, "--marking", "OFFICIAL-SENSITIVE")
    said = answer.out.splitlines()
    assert said[0] == said[-1] == "OFFICIAL-SENSITIVE"
    assert "OFFICIAL-SENSITIVE" not in file.with_suffix(".change").read_text()


def test_a_file_that_is_no_text_is_not_written_over(invoke: Invoke, kent: ApprovedNode, file: Path) -> None:
    allow(kent, MET, ESSEX, SURREY)
    change = file.with_suffix(".change")
    change.write_text("my notes\n")
    answer = invoke("plan", "-c", file, *BY)
    assert answer.code == 1
    assert "move it away first" in answer.err
    assert change.read_text() == "my notes\n"


def test_without_approvals_nobody_has_to_approve(invoke: Invoke, tmp_path: Path, kent: ApprovedNode) -> None:
    del kent.values["approvals"]
    kent.values["node"]["state"] = "other"
    (tmp_path / "other").mkdir()
    kent.write()
    answer = invoke("plan", "-c", tmp_path / "kent-1.toml")
    assert answer.code == 0
    assert "has no [approvals], so nobody has to approve changes." in answer.out


def test_an_act_needs_a_node_that_was_asked(invoke: Invoke, kent: ApprovedNode, file: Path) -> None:
    answer = invoke("plan", "--act", "retire", "-c", file, *BY)
    assert answer.code == 3
    answer = invoke("plan", "--act", "dance", "-c", file, *BY)
    assert answer.code == 2
    assert '--act "dance" is none; there are: start, waive' in answer.err
