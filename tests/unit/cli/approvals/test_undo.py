"""pcgrelay undo: back to the policy before, and files back to what was approved last."""

from __future__ import annotations

from pathlib import Path

from pcgrelay.policy.change import parse_change
from tests.support.approved_node import ApprovedNode
from tests.support.command_line import Invoke
from tests.unit.cli.approvals.conftest import ESSEX, allow

MET, SURREY = "met.police.example", "surrey.police.example"
BY = ("--by", "j.smith@kent.police.example", "--change", "CR-3", "--reason", "Essex again")


def test_edits_that_nobody_approved_are_put_back(invoke: Invoke, kent: ApprovedNode, file: Path) -> None:
    approved = file.read_text()
    allow(kent, MET, ESSEX, SURREY)
    edited = file.read_text()
    signers = kent.folder / "allowed_signers"
    listed = signers.read_text()
    signers.write_text(listed.replace("a.jones", "m.mallory"))
    answer = invoke("undo", "--edits", "-c", file)
    assert answer.code == 0, answer.err
    assert file.read_text() == approved
    assert signers.read_text() == listed
    assert file.with_name("kent-1.toml.undone").read_text() == edited
    assert "The files are as they were approved last; what they had stays beside them as FILE.undone." in answer.out
    # Nothing is left to do, and what was put aside stays.
    answer = invoke("undo", "--edits", "-c", file)
    assert (answer.code, answer.out) == (0, "The files are as they were approved last.\n")
    assert file.with_name("kent-1.toml.undone").read_text() == edited
    # Somebody who is in a hurry narrows from here, without any signature.
    allow(kent, MET)
    assert "No signature is needed" in invoke("plan", "-c", file).out


def test_a_file_that_is_no_configuration_any_more_is_put_back(invoke: Invoke, kent: ApprovedNode, file: Path) -> None:
    approved = file.read_text()
    for broken in (approved.replace("[node]", "[node]\nrole = ", 1), approved.replace("allow", "alow")):
        file.write_text(broken)
        answer = invoke("undo", "--edits", "-c", file)
        assert answer.code == 0, answer.err
        assert file.read_text() == approved
        assert file.with_name("kent-1.toml.undone").read_text() == broken


def test_back_to_what_widens_needs_the_text_for_it(invoke: Invoke, kent: ApprovedNode, file: Path) -> None:
    allow(kent, MET)
    kent.take("CR-3")
    approved = file.read_text()
    answer = invoke("undo", "-c", file)
    assert answer.code == 2
    assert "--by, --change, --reason are missing" in answer.err
    assert file.read_text() == approved  # nothing was touched
    answer = invoke("undo", "-c", file, *BY)
    assert answer.code == 0, answer.err
    assert f"WIDENS    export custody: allow {ESSEX} added" in answer.out
    change = parse_change(file.with_suffix(".change").read_bytes())
    assert change.head.reason == "Essex again"
    assert ESSEX in file.read_text()


def test_back_to_what_narrows_asks_a_node_that_does_not_run(invoke: Invoke, kent: ApprovedNode, file: Path) -> None:
    answer = invoke("undo", "-c", file)
    assert answer.code in (0, 3)
    assert "Traceback" not in answer.err


def test_before_the_first_policy_there_is_nothing(invoke: Invoke, kent: ApprovedNode, file: Path) -> None:
    kent.values["node"]["state"] = "new"
    (kent.folder / "new").mkdir(mode=0o700)
    kent.write()
    for words in ((), ("--edits",)):
        answer = invoke("undo", *words, "-c", file)
        assert answer.code == 1
        assert "so there is nothing to" in answer.err
