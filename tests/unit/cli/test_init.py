"""pcgrelay init: a first file that is valid, and never one in another's place."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay import config
from pcgrelay.ca.request import read_request
from pcgrelay.cli.init_file import FirstNode, first_file
from pcgrelay.errors import ConfigError
from pcgrelay.model import Role
from tests.support.command_line import KENT, Invoke, invoker
from tests.support.pki import RealmPki
from tests.support.ports import free_port

EDGE = ["--role", "edge", "--name", "kent-1", "--organisation", KENT, "--realm", "police.example"]
LINK = ["--link", "relay-1.hub.example=127.0.0.1:7400"]
RELAY = ["--role", "relay", "--name", "relay-1", "--organisation", "hub.example", "--realm", "police.example"]


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    return invoker(capsys, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_edge_whose_file_passes_the_check(invoke: Invoke, folder: Path) -> None:
    imported = f"wanted@met.police.example=127.0.0.1:{free_port()}"
    answer = invoke("init", *EDGE, *LINK, "--export", "custody=127.0.0.1:5432", "--allow", "met.police.example", "--import", imported)  # fmt: skip # noqa: E501
    assert (answer.code, answer.err) == (0, "")
    assert "pcgrelay ca request --realm police.example --organisation kent.police.example" in answer.out
    assert "pcgrelay check -c kent-1.toml" in answer.out
    made = config.load(folder / "kent-1.toml")
    assert (str(made.exports[0].service), made.exports[0].allow) == (f"custody@{KENT}", ("met.police.example",))
    assert str(made.imports[0].service) == "wanted@met.police.example"
    files = RealmPki(folder / "pki").issue(KENT, "kent-1")
    tls = folder / "tls"
    tls.mkdir()
    for source, name in ((files.certificate, "kent-1.pem"), (files.key, "kent-1.key"), (files.trust, "realm-ca.pem")):
        (tls / name).write_bytes(source.read_bytes())
    (tls / "kent-1.key").chmod(0o600)
    assert files.crl is not None
    (tls / "realm.crl").write_bytes(files.crl.read_bytes())
    assert invoke("check", "-c", "kent-1.toml").code == 0


def test_a_relay(invoke: Invoke, folder: Path) -> None:
    answer = invoke("init", "there.toml", *RELAY, "--listen", "0.0.0.0:7400", "--member", KENT)
    assert answer.code == 0
    made = config.load(folder / "there.toml")
    assert made.node.role is Role.RELAY
    assert made.policy.members == (KENT,)
    assert str(made.listens[0].address) == "0.0.0.0:7400"


def test_the_key_and_the_request_are_made_if_that_is_wanted(invoke: Invoke, folder: Path) -> None:
    answer = invoke("init", *EDGE, *LINK, "--request")
    assert answer.code == 0
    # The fingerprint that the CA's keeper asks for.
    made = read_request(folder / "tls/kent-1.csr", "police.example")
    assert made.fingerprint[:39] in answer.out
    assert made.fingerprint[40:] in answer.out
    assert (folder / "tls/kent-1.key").stat().st_mode & 0o777 == 0o600
    assert (folder / "tls/kent-1.csr").read_text().startswith("-----BEGIN CERTIFICATE REQUEST-----")


def test_no_file_is_replaced(invoke: Invoke, folder: Path) -> None:
    (folder / "kent-1.toml").write_text("mine")
    answer = invoke("init", *EDGE, *LINK)
    assert answer.code == 1
    assert "is never overwritten" in answer.err
    assert (folder / "kent-1.toml").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give --role, --name, --organisation, --realm"),
        (EDGE[2:], "give --role"),
        ([*EDGE, "--link", "relay-1"], '--link: "relay-1" has no two parts'),
        (EDGE, "there is neither [[listen]] nor [[link]]"),
        ([*EDGE[:3], "Kent", *EDGE[4:], *LINK], 'node.name: "Kent" is no node name'),
        ([*EDGE, "--link", "relay-1.hub.example=here", "--allow", "Met", "--export", "a=b"], 'export[1].target: "b"'),
        ([*RELAY, "--listen", "127.0.0.1:1", "--export", "a=b:1"], "a relay offers and uses no services"),
        ([*EDGE[:3], "a\nb", *EDGE[4:], *LINK], "is no node name"),
    ],
)
def test_what_makes_no_valid_file_is_refused_and_nothing_written(
    invoke: Invoke, folder: Path, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    answer = invoke("init", *arguments)
    assert answer.code == 2
    assert words in answer.err
    assert list(folder.iterdir()) == []


def test_a_person_is_asked_for_what_is_missing(folder: Path) -> None:
    answers = ["edge", KENT, "", "kent-1", "relay-1.hub.example", "127.0.0.1:7400", "custody", "127.0.0.1:5432"]
    answers += ["met.police.example sussex.police.example", ""]
    control, terminal = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "pcgrelay.cli", "init"], stdin=terminal, stdout=terminal, stderr=terminal, cwd=folder)  # fmt: skip # noqa: E501
    os.close(terminal)
    shown = b""
    for answer in answers:
        # Each question ends with a colon.
        while not shown.rstrip().endswith(b":"):
            assert select.select([control], [], [], 30)[0], shown
            shown += os.read(control, 1_000)
        os.write(control, answer.encode() + b"\n")
        shown = b""
    assert process.wait(30) == 0
    os.close(control)
    made = config.load(folder / "kent-1.toml")
    assert made.node.id.realm == "police.example"
    assert made.exports[0].allow == ("met.police.example", "sussex.police.example")
    assert made.imports == ()


def test_below_etc_the_paths_are_those_of_the_unit() -> None:
    node = FirstNode("edge", "kent-1", KENT, "police.example", "tls", True, links=(("relay-1.hub.example", "a:1"),))
    made = config.parse(first_file(node), Path("/etc/pcgrelay/kent-1.toml"))
    assert str(made.node.admin) == "/run/pcgrelay/kent-1/admin.sock"
    assert str(made.node.state) == "/var/lib/pcgrelay/kent-1"
    assert str(made.identity.key) == "/etc/pcgrelay/tls/kent-1.key"


@given(st.text(), st.text(), st.text())
def test_whatever_is_said_is_one_value_or_refused(name: str, peer: str, target: str) -> None:
    node = FirstNode(
        "edge", name, KENT, "police.example", "tls", False, links=((peer, "a:1"),), exports=(("custody", target),)
    )
    try:
        made = config.parse(first_file(node), Path("kent-1.toml"))
    except ConfigError:
        return
    assert (made.node.id.name, len(made.links), len(made.exports)) == (name, 1, 1)
