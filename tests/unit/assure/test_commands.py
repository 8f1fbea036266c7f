"""pcgrelay assure verify, diff, sign, as people call them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from pcgrelay.assure.pack import pack_files, write_pack
from pcgrelay.assure.runner import Run
from pcgrelay.cli.assure.run import print_run
from tests.support.command_line import Invoke, invoker
from tests.support.evidence_examples import RESULTS, evidence, profile, result

PERSON = "a.jones@kent.police.example"


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    return invoker(capsys, monkeypatch)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    write_pack(tmp_path / "evidence", pack_files(evidence(tmp_path)))
    return tmp_path / "evidence"


def key(folder: Path, name: str = "id") -> Path:
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def signers(folder: Path, public: Path, namespaces: str = "pcgrelay-evidence@1") -> Path:
    path = folder / "allowed_signers"
    words = " ".join(public.read_text().split()[:2])
    path.write_text(f'{PERSON} namespaces="{namespaces}",valid-before="20991231Z" {words}\n')
    return path


def test_a_run_says_why_a_person_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    asked = (
        result("K6", "told", observed="no revoked identity was shown ([assure] revoked is not set); " * 2),
        result("A1", "told", test="told", question="Who?"),
    )
    print_run("kent-1.kent.police.example", profile(), Run(results=asked, facts={}, seconds=1.0))
    lines = capsys.readouterr().out.splitlines()
    assert "  to be told    2    K6, A1" in lines
    assert "      K6  Title of K6" in lines
    assert any("no revoked identity was shown" in line for line in lines)
    assert not any("A1  Title" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_a_pack_that_is_as_it_was_written(pack: Path, invoke: Invoke) -> None:
    answer = invoke("assure", "verify", pack)
    assert answer.code == 0
    assert "are as they were written at 2026-11-03T10:12:44Z by kent-1.kent.police.example" in answer.out
    assert "not sealed" in answer.out


def test_a_pack_that_was_changed(pack: Path, invoke: Invoke) -> None:
    (pack / "summary.md").write_text("all is well\n")
    answer = invoke("assure", "verify", pack)
    assert answer.code == 8
    assert answer.err == f"pcgrelay: {pack}: summary.md was changed.\n"
    assert answer.out == ""
    found = json.loads(invoke("assure", "verify", pack, "--json").out)
    assert found["differences"] == ["summary.md was changed"]
    assert found["good"] is False


def test_what_is_no_pack(tmp_path: Path, invoke: Invoke) -> None:
    assert invoke("assure", "verify", tmp_path).code == 78
    assert invoke("assure", "diff", tmp_path, tmp_path).code == 78


def test_a_person_signs_and_another_reads_it(pack: Path, tmp_path: Path, invoke: Invoke) -> None:
    own = key(tmp_path)
    signed = invoke("assure", "sign", pack, "--as", "information assurance", "--key", own)
    assert signed.code == 0, signed.err
    assert (pack / "SHA256SUMS.information-assurance.sig").is_file()
    listed = signers(tmp_path, own.with_suffix(".pub"))
    answer = invoke("assure", "verify", pack, "--signers", listed)
    assert answer.code == 0, answer.err
    assert f"Signed by {PERSON} as information-assurance." in answer.out
    again = invoke("assure", "sign", pack, "--as", "information assurance", "--key", own)
    assert again.code == 1
    assert "has signed already" in again.err


def test_a_signature_of_somebody_else_does_not_count(pack: Path, tmp_path: Path, invoke: Invoke) -> None:
    own, other = key(tmp_path), key(tmp_path, "other")
    assert invoke("assure", "sign", pack, "--as", "x", "--key", own).code == 0
    answer = invoke("assure", "verify", pack, "--signers", signers(tmp_path, other.with_suffix(".pub")))
    assert answer.code == 8
    assert "nobody in the list of signers has that key" in answer.err
    listed = signers(tmp_path, own.with_suffix(".pub"), "pcgrelay-change@1")
    answer = invoke("assure", "verify", pack, "--signers", listed)
    assert answer.code == 8
    assert f"the list of signers does not name pcgrelay-evidence@1 for the key of {PERSON}" in answer.err


def test_a_signature_of_another_pack_does_not_count(pack: Path, tmp_path: Path, invoke: Invoke) -> None:
    own = key(tmp_path)
    write_pack(tmp_path / "other", pack_files(evidence(tmp_path, (result(),))))
    assert invoke("assure", "sign", tmp_path / "other", "--as", "x", "--key", own).code == 0
    (tmp_path / "other" / "SHA256SUMS.x.sig").rename(pack / "SHA256SUMS.x.sig")
    answer = invoke("assure", "verify", pack, "--signers", signers(tmp_path, own.with_suffix(".pub")))
    assert answer.code == 8
    assert "it is over another text" in answer.err


def test_what_was_changed_is_not_signed(pack: Path, tmp_path: Path, invoke: Invoke) -> None:
    (pack / "summary.md").write_text("all is well\n")
    answer = invoke("assure", "sign", pack, "--as", "x", "--key", key(tmp_path))
    assert answer.code == 78
    assert "nothing was signed" in answer.err
    assert invoke("assure", "sign", pack, "--as", "../x", "--key", tmp_path / "id").code in (2, 78)


def test_two_packs(pack: Path, tmp_path: Path, invoke: Invoke) -> None:
    worse = (result("K1", "failed"), *RESULTS[1:])
    write_pack(tmp_path / "later", pack_files(evidence(tmp_path, worse)))
    answer = invoke("assure", "diff", pack, tmp_path / "later")
    assert answer.code == 8
    assert "  worse  K1  passed -> failed\n             Title of K1\n" in answer.out
    assert invoke("assure", "diff", tmp_path / "later", pack).code == 0
    assert json.loads(invoke("assure", "diff", pack, pack, "--json").out)["changes"] == []


def test_a_run_without_a_node_names_what_is_missing(tmp_path: Path, invoke: Invoke) -> None:
    assert invoke("assure", "run", "-c", tmp_path / "none.toml").code == 78
    made = evidence(tmp_path)
    answer = invoke("assure", "run", "-c", made.config.path, "--profile", "nsc")
    assert answer.code == 78
    assert "there are: ncsc-official" in answer.err
