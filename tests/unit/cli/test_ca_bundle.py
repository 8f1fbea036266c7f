"""pcgrelay ca bundle at the command line: the signer, what it signs, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from pcgrelay.ca import Authority
from pcgrelay.ca.bundle import read_draft, sign_bundle
from pcgrelay.errors import ConfigError
from pcgrelay.model import Marking
from pcgrelay.realm.bundle import KIND, NAMES_MOST, Content, Envelope, open_bundle
from tests.support.bundles import credentials_of
from tests.support.command_line import Invoke, invoker
from tests.support.pki import REALM, RealmPki

TEXT = """
realm = "police.example"
members = ["*.police.example", "hub.example"]
relays = ["hub.example"]
minimum_version = "0.1.0"
[clearances]
"hub.example" = "OFFICIAL-SENSITIVE"
"""


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    return invoker(capsys, monkeypatch)


@pytest.fixture
def pki(tmp_path: Path) -> RealmPki:
    return RealmPki(tmp_path)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "realm.toml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def signer(pki: RealmPki, invoke: Invoke, tmp_path: Path) -> Path:
    folder = tmp_path / "signer"
    assert invoke("ca", "bundle", "key", pki.authority.folder, "--out", folder).code == 0
    return folder


def test_a_text_becomes_a_bundle_whose_epoch_rises(
    pki: RealmPki, invoke: Invoke, signer: Path, text: Path, tmp_path: Path
) -> None:
    out = tmp_path / "realm.bundle"
    words = ("ca", "bundle", "sign", text, "--signer", signer, "--out", out)
    for epoch in (1, 2):
        done = invoke(*words, "--crl", pki.crl)
        assert done.code == 0, done.err
        assert f"has epoch {epoch}, until " in done.out
    assert invoke(*words, "--epoch", "40").code == 0
    assert invoke(*words).code == 0
    found = open_bundle(out.read_bytes(), REALM, credentials_of(pki), datetime.now(UTC))
    assert (found.epoch, found.terms.members, found.terms.relays) == (
        41,
        ("*.police.example", "hub.example"),
        ("hub.example",),
    )
    assert found.terms.clearances == (("hub.example", Marking.OFFICIAL_SENSITIVE),)
    assert found.minimum == "0.1.0"
    assert timedelta(days=29) < found.span.end - datetime.now(UTC) < timedelta(days=31)
    shown = invoke("ca", "bundle", "show", out)
    assert "Realm police.example, epoch 41" in shown.out
    assert "  hub.example: OFFICIAL-SENSITIVE" in shown.out
    facts = json.loads(invoke("ca", "bundle", "show", out, "--json").out)
    assert (facts["epoch"], facts["relays"], facts["lists"]) == (41, ["hub.example"], 0)


def test_a_bundle_does_not_outlast_its_signer(pki: RealmPki, signer: Path, text: Path, tmp_path: Path) -> None:
    out, now = tmp_path / "realm.bundle", datetime.now(UTC)
    made = sign_bundle(text, signer, out, now, days=400)
    assert made.end < now + timedelta(days=91)
    with pytest.raises(ConfigError, match="has expired; make another signer"):
        sign_bundle(text, signer, out, now + timedelta(days=100))


def test_the_signers_folder_is_made_once_and_is_secret(pki: RealmPki, invoke: Invoke, signer: Path) -> None:
    assert (signer / "realm-bundle.key").stat().st_mode & 0o777 == 0o600
    again = invoke("ca", "bundle", "key", pki.authority.folder, "--out", signer)
    assert again.code == 1
    assert "realm-bundle.key" in again.err
    (signer / "realm-bundle.key").chmod(0o644)
    text = signer.parent / "realm.toml"
    text.write_text(TEXT)
    assert invoke("ca", "bundle", "sign", text, "--signer", signer, "--out", signer / "x").code == 77


def test_a_revoked_signer_is_on_the_list(pki: RealmPki, invoke: Invoke, signer: Path) -> None:
    done = invoke("ca", "bundle", "revoke", pki.authority.folder)
    assert done.code == 0
    assert done.out.startswith("1 revoked")
    (entry,) = Authority(pki.authority.folder).issued()
    assert (entry.organisation, entry.node, entry.revoked is not None) == ("", "realm/bundle", True)
    assert invoke("ca", "show", pki.authority.folder).out.count("realm/bundle") == 1


def test_a_node_does_not_sign(pki: RealmPki, invoke: Invoke, text: Path, tmp_path: Path) -> None:
    files = pki.issue("kent.police.example", "kent-1")
    folder = tmp_path / "not-a-signer"
    folder.mkdir()
    (folder / "realm-bundle.pem").write_bytes(files.certificate.read_bytes())
    (folder / "realm-bundle.key").touch(mode=0o600)
    (folder / "realm-bundle.key").write_bytes(files.key.read_bytes())
    done = invoke("ca", "bundle", "sign", text, "--signer", folder, "--out", tmp_path / "realm.bundle")
    assert done.code == 78
    assert "this is not the certificate of the signer of police.example" in done.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("members = []", "members: name at least one organisation"),
        ('members = ["Hub.example"]', "members: "),
        ('members = ["hub.example", "hub.example"]', "members: a name is there twice"),
        ('members = "hub.example"', "members"),
        ('relay = ["hub.example"]', "relay"),
        ('minimum_version = "one"', 'minimum_version: "one" is no version'),
        ("members = [", "this is no TOML"),
        ('[clearances]\n"hub.example" = "TOP"', 'clearances: "TOP" is no marking'),
        ('[clearances]\n"*.example" = "SECRET"', "clearances: "),
        (f"members = {[f'o{n}.example' for n in range(NAMES_MOST + 1)]}", "at most 10,000"),
    ],
)
def test_a_text_that_is_wrong_is_refused_in_one_sentence(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "realm.toml"
    path.write_text(f'realm = "police.example"\n{line}\n')
    with pytest.raises(ConfigError) as caught:
        read_draft(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_in_the_place_of_a_bundle_is_not_replaced(
    pki: RealmPki, invoke: Invoke, signer: Path, text: Path, tmp_path: Path
) -> None:
    out = tmp_path / "realm.bundle"
    out.write_text("a letter")
    done = invoke("ca", "bundle", "sign", text, "--signer", signer, "--out", out)
    assert done.code == 78
    assert out.read_text() == "a letter"
    other = RealmPki(tmp_path / "other", "army.example")
    other.authority.issue_signer(tmp_path / "army")
    theirs = tmp_path / "army.toml"
    theirs.write_text('realm = "army.example"\n')
    army = tmp_path / "army.bundle"
    assert invoke("ca", "bundle", "sign", theirs, "--signer", tmp_path / "army", "--out", army).code == 0
    done = invoke("ca", "bundle", "sign", text, "--signer", signer, "--out", army)
    assert done.code == 1
    assert "the bundle of another realm" in done.err


@pytest.mark.parametrize("option", [("--days", "0"), ("--epoch", "0"), ("--epoch", str(1 << 63)), ("--days", "99999")])
def test_numbers_have_bounds(invoke: Invoke, signer: Path, text: Path, tmp_path: Path, option: tuple[str, str]) -> None:
    done = invoke("ca", "bundle", "sign", text, "--signer", signer, "--out", tmp_path / "x", *option)
    assert done.code == 2
    assert "out of bounds" in done.err


def test_names_that_nobody_verified_cannot_steer_a_terminal(
    pki: RealmPki, invoke: Invoke, signer: Path, tmp_path: Path
) -> None:
    content = Content(KIND, "police.example", 1, 1, 2, ("\x1b[2Jx",), None, None, (), "\x1b[0m")
    path = tmp_path / "hostile.bundle"
    path.write_bytes(msgspec.msgpack.encode(Envelope(msgspec.msgpack.encode(content), b"?", (b"?",))))
    shown = invoke("ca", "bundle", "show", path)
    assert shown.code == 0
    assert "\x1b" not in shown.out
