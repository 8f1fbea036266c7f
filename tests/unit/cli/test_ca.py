"""pcgrelay ca at the command line: keys that do not travel, a passphrase, and what is asked."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from pcgrelay import config
from pcgrelay.identity.certificates import certificate_hosts
from tests.support.command_line import KENT, Invoke, invoker, node_written

NAMES = ("--organisation", KENT, "--node", "kent-1")
WORD = "correct horse battery"


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    return invoker(capsys, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path, invoke: Invoke) -> Path:
    assert invoke("ca", "init", tmp_path / "realm-ca", "--realm", "police.example").code == 0
    return tmp_path / "realm-ca"


def fingerprint(text: str) -> str:
    groups = re.findall(r"\b(?:[0-9a-f]{4} ){7}[0-9a-f]{4}\b", text)
    assert len(groups) == 2
    return " ".join(groups)


def on_terminal(arguments: list[str | Path], *answers: str) -> tuple[int, str]:
    """Run pcgrelay on a terminal of its own, typing an answer at each question; return its code and what it showed."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "pcgrelay.cli", *map(str, arguments)]
    with subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, start_new_session=True) as process:
        os.close(follower)
        shown, left = "", list(answers)
        try:
            while data := os.read(leader, 4096):
                shown += data.decode()
                if left and shown.rstrip().endswith((":", "]:")) and "\n" not in shown.rpartition(":")[2]:
                    os.write(leader, left.pop(0).encode() + b"\n")
                    shown += "\n"
        except OSError:
            pass  # the other end has gone
        os.close(leader)
        return process.wait(timeout=20), shown


def test_a_request_is_signed_with_the_same_fingerprint_on_both_sides(
    invoke: Invoke, folder: Path, tmp_path: Path
) -> None:
    asked = invoke("ca", "request", "--realm", "police.example", *NAMES, "--out", tmp_path / "tls")
    assert asked.code == 0
    assert sorted(path.name for path in (tmp_path / "tls").iterdir()) == ["kent-1.csr", "kent-1.key"]
    again = invoke("ca", "request", "--realm", "police.example", *NAMES, "--out", tmp_path / "tls")
    assert (again.code, again.out) == (1, "")
    signed = invoke("ca", "sign", folder, tmp_path / "tls/kent-1.csr", "--out", tmp_path / "signed", "--yes")
    assert signed.code == 0
    assert fingerprint(signed.err) == fingerprint(asked.out)
    assert f"spiffe://police.example/org/{KENT}/node/kent-1" in signed.err
    assert "nothing to this node" in signed.err
    assert max(len(line) for line in asked.out.splitlines() if "/" not in line) <= 80
    odd = invoke(
        "ca", "request", "--realm", "police.example", "--organisation", "Kent", "--node", "k", "--out", tmp_path
    )
    assert odd.code == 2


def test_hosts_are_given_where_the_ca_is(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    invoke("ca", "request", "--realm", "police.example", *NAMES, "--out", tmp_path / "tls")
    sign: list[str | Path] = ["ca", "sign", folder, tmp_path / "tls/kent-1.csr", "--out", tmp_path / "signed", "--yes"]
    wrong = invoke(*sign, "--host", "*.example")
    assert wrong.code == 2
    assert "no DNS name or IP address" in wrong.err
    assert not (tmp_path / "signed").exists()
    signed = invoke(*sign, "--host", "gateway.example", "--host", "192.0.2.7")
    assert signed.code == 0
    assert "Hosts:        gateway.example, 192.0.2.7" in signed.err
    made = x509.load_pem_x509_certificate((tmp_path / "signed/kent-1.pem").read_bytes())
    assert certificate_hosts(made) == {"gateway.example", "192.0.2.7"}


def test_a_renewal_has_hosts_from_the_ca_alone(invoke: Invoke, tmp_path: Path) -> None:
    node = node_written(tmp_path)
    folder = next(path.parent for path in tmp_path.rglob("index.json"))
    certificate = config.load(node).identity.certificate
    refused = invoke("ca", "renew", "-c", node, "--host", "gateway.example")
    assert refused.code == 2
    assert "--ca" in refused.err
    assert invoke("ca", "renew", "-c", node, "--ca", folder, "--host", "gateway.example").code == 0
    assert certificate_hosts(x509.load_pem_x509_certificate(certificate.read_bytes())) == {"gateway.example"}


def test_nothing_is_signed_without_a_look(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    invoke("ca", "request", "--realm", "police.example", *NAMES, "--out", tmp_path / "tls")
    sign: list[str | Path] = ["ca", "sign", folder, tmp_path / "tls/kent-1.csr", "--out", tmp_path / "signed"]
    blind = invoke(*sign)
    assert blind.code == 2
    assert "--yes" in blind.err
    code, shown = on_terminal(sign, "n")
    assert code == 1
    assert "Nothing was signed." in shown
    assert not (tmp_path / "signed").exists()
    code, shown = on_terminal(sign, "y")
    assert code == 0
    assert (tmp_path / "signed/kent-1.pem").exists()


def test_a_node_is_renewed_in_two_steps_or_in_one(invoke: Invoke, tmp_path: Path) -> None:
    node = node_written(tmp_path)
    folder = next(path.parent for path in tmp_path.rglob("index.json"))
    files = config.load(node).identity
    before = files.certificate.read_bytes()
    begun = invoke("ca", "renew", "-c", node)
    assert begun.code == 0
    assert f"pcgrelay ca renew -c {node} --certificate PEM" in begun.out
    request = next(tmp_path.rglob("*.new.csr"))
    assert invoke("ca", "sign", folder, request, "--out", tmp_path / "signed", "--yes").code == 0
    assert files.certificate.read_bytes() == before
    wrong = invoke("ca", "renew", "-c", node, "--certificate", files.certificate)
    assert wrong.code == 78
    done = invoke("ca", "renew", "-c", node, "--certificate", next((tmp_path / "signed").glob("*-1.pem")))
    assert done.code == 0, done.err
    assert f"pcgrelay reload -c {node}" in done.out
    assert files.certificate.read_bytes() != before
    assert invoke("ca", "renew", "-c", node, "--ca", folder).code == 0
    assert not list(tmp_path.rglob("*.new.*"))
    assert invoke("check", "-c", node).code == 0
    assert invoke("ca", "renew", "-c", node, "--ca", folder, "--certificate", node).code == 2
    # A certificate of a CA that the node does not trust is found out before anything changes.
    assert invoke("ca", "init", tmp_path / "stranger", "--realm", "police.example").code == 0
    present = files.certificate.read_bytes()
    refused = invoke("ca", "renew", "-c", node, "--ca", tmp_path / "stranger")
    assert refused.code == 78
    assert files.certificate.read_bytes() == present


def test_a_passphrase_is_asked_for_or_read_from_a_private_file(invoke: Invoke, tmp_path: Path) -> None:
    folder = tmp_path / "realm-ca"
    code, shown = on_terminal(["ca", "init", folder, "--realm", "police.example", "--passphrase"], WORD, WORD)
    assert code == 0, shown
    assert WORD not in shown
    assert b"ENCRYPTED" in (folder / "realm-ca.key").read_bytes()
    issue: list[str | Path] = ["ca", "issue", folder, *NAMES, "--out", tmp_path / "tls"]
    blind = invoke(*issue)
    assert blind.code == 2
    assert "--passphrase-file" in blind.err
    word = tmp_path / "word"
    word.write_text(WORD + "\n")
    word.chmod(0o644)
    assert invoke(*issue, "--passphrase-file", word).code == 77
    word.chmod(0o600)
    assert invoke(*issue, "--passphrase-file", word).code == 0
    assert on_terminal(["ca", "crl", folder], WORD)[0] == 0
    for text in ("wrong passphrase\n", "two\nlines\n", "\n"):
        word.write_text(text)
        assert invoke("ca", "crl", folder, "--passphrase-file", word).code == 78
    assert invoke("ca", "show", folder).code == 0


def test_a_passphrase_file_at_the_start_is_used_at_once(invoke: Invoke, tmp_path: Path) -> None:
    word = tmp_path / "word"
    word.write_text("short")
    word.chmod(0o600)
    init: list[str | Path] = ["ca", "init", tmp_path / "x", "--realm", "police.example", "--passphrase-file", word]
    assert invoke(*init).code == 2
    assert not (tmp_path / "x").exists()
    word.write_text(WORD)
    assert invoke(*init).code == 0
    assert b"ENCRYPTED" in (tmp_path / "x/realm-ca.key").read_bytes()
