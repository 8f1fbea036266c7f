"""The files of [identity]: what is judged is what is read. What else can be wrong with them stands in `test_check`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from pcgrelay.errors import ConfigError, PermissionProblem
from pcgrelay.identity import credentials
from pcgrelay.identity.credentials import load_certificates, load_crls, load_key
from tests.support.handshake_sides import KENT
from tests.support.odd_pki import ca, crl
from tests.support.pki import RealmPki


def test_a_key_that_is_exchanged_before_it_is_opened_is_judged_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = RealmPki(tmp_path).issue(KENT, "kent-1").key
    assert load_key(key) is not None
    other = tmp_path / "other.key"
    other.write_bytes(key.read_bytes())
    other.chmod(0o644)
    true_open = os.open

    def exchanged(path: object, *arguments: int) -> int:
        os.replace(other, key)
        return true_open(path, *arguments)  # type: ignore[call-overload,no-any-return]

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", exchanged)
        with pytest.raises(PermissionProblem, match="mode 0644"):
            load_key(key)


def test_a_key_that_is_not_there_or_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no private key"):
        load_key(tmp_path / "nobody.key")
    with pytest.raises(ConfigError, match="is a folder"):
        load_key(tmp_path)


# owner, user, and the modes that are good
BY_OWNER = [0o400, 0o600, 0o700]
BY_GROUP = [*BY_OWNER, 0o440, 0o640]
OPEN = [0o404, 0o444, 0o604, 0o620, 0o644, 0o660, 0o650, 0o666, 0o777, 0o441, 0o442]


@pytest.mark.parametrize("path", ["key", "realm-ca.key"])
@pytest.mark.parametrize(
    ("owner", "group", "user", "is_credential", "good"),
    [
        (1_000, 1_000, 1_000, False, BY_OWNER),
        (0, 0, 0, False, BY_OWNER),
        (0, 1_000, 1_000, False, BY_GROUP),  # what root owns, its group may read,
        (0, 1_000, 0, False, BY_GROUP),  # and `check` by root says so too
        (0, 1_000, 2_000, False, BY_GROUP),  # and by another member of the group
        (0, 0, 1_000, False, BY_GROUP),  # a container whose user is in root's group
        (1_000, 1_000, 0, False, BY_OWNER),
        (0, 1_000, 1_000, True, BY_GROUP),  # what systemd puts there for a service, whoever owns it
        (0, 0, 0, True, BY_GROUP),
        (1_000, 1_000, 1_000, True, BY_GROUP),
    ],
)
def test_who_may_read_a_key(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    owner: int,
    group: int,
    user: int,
    is_credential: bool,
    good: list[int],
) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    key = (folder if is_credential else tmp_path) / path
    key.write_bytes(RealmPki(tmp_path / "realm").issue(KENT, "kent-1").key.read_bytes())
    true_fstat = os.fstat

    def owned(descriptor: int) -> os.stat_result:
        status = list(true_fstat(descriptor))
        status[4:6] = owner, group
        return os.stat_result(status)

    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    for mode in {*BY_GROUP, *OPEN}:
        key.chmod(mode)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fstat", owned)
            patched.setattr(os, "geteuid", lambda: user)
            if mode in good:
                assert load_key(key) is not None
            else:
                most = "640" if good is BY_GROUP else "600"
                with pytest.raises(PermissionProblem, match=rf"\(mode {mode:04o}\); run: chmod {most} "):
                    load_key(key)


def test_a_key_that_is_led_out_of_the_folder_is_no_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    true = RealmPki(tmp_path / "realm").issue(KENT, "kent-1").key
    true.chmod(0o640)
    (folder / "key").symlink_to(true)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    with pytest.raises(PermissionProblem):
        load_key(folder / "key")


def test_a_credential_of_systemd_is_one_for_whoever_reads_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check` by root has no CREDENTIALS_DIRECTORY. The rights of others than the group are refused there too."""
    folder = tmp_path / "run/credentials/pcgrelay@kent-1.service"
    folder.mkdir(parents=True)
    key = folder / "node.key"
    key.write_bytes(RealmPki(tmp_path / "realm").issue(KENT, "kent-1").key.read_bytes())
    key.chmod(0o440)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(key).st_uid)
    with pytest.raises(PermissionProblem, match="chmod 600"):
        load_key(key)
    monkeypatch.setattr(credentials, "CREDENTIALS", str(tmp_path / "run/credentials"))
    assert load_key(key) is not None
    key.chmod(0o444)
    with pytest.raises(PermissionProblem, match="chmod 640"):
        load_key(key)


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda data: BOM + data,
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: BOM + data.replace(b"\n", b"\r\n"),
        lambda data: b"# NOT ENCRYPTED\n" + data,
        lambda data: data + b"# ENCRYPTED with care\n",
        lambda data: b"Bag Attributes\n    friendlyName: ENCRYPTED PRIVATE KEY\nKey Attributes: <None>\n" + data,
    ],
)
def test_files_of_other_editors_and_with_comments_are_read(tmp_path: Path, spoilt: Callable[[bytes], bytes]) -> None:
    files = RealmPki(tmp_path).issue(KENT, "kent-1")
    for path in (files.certificate, files.key, files.trust, files.crl):
        path.write_bytes(spoilt(path.read_bytes()))
    assert load_certificates(files.certificate, "certificate")
    assert load_certificates(files.trust, "trusted certificate")
    assert load_crls(files.crl)
    assert load_key(files.key)


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_key_under_a_password_is_told_as_such(tmp_path: Path, form: PrivateFormat) -> None:
    key = tmp_path / "key"
    made = ec.generate_private_key(ec.SECP256R1())
    key.write_bytes(made.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret")))
    key.chmod(0o600)
    with pytest.raises(ConfigError, match="the private key is under a password; store it without one"):
        load_key(key)


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-be"])
def test_another_encoding_is_told_as_such(tmp_path: Path, coding: str) -> None:
    files = RealmPki(tmp_path).issue(KENT, "kent-1")
    for path, load in (
        (files.certificate, lambda path: load_certificates(path, "certificate")),
        (files.key, load_key),
        (files.crl, load_crls),
    ):
        text = path.read_text() if coding == "utf-16" else "\ufeff" + path.read_text()
        path.write_bytes(text.encode(coding))
        with pytest.raises(ConfigError, match="is UTF-16 text; save it as UTF-8"):
            load(path)


def test_a_list_of_an_unknown_version_is_refused_by_its_file(tmp_path: Path) -> None:
    """The library raises something for it that is no ValueError."""
    whole = bytearray(crl(ca("root")).public_bytes(Encoding.DER))
    whole[whole.index(b"\x02\x01\x01") + 2] = 9
    (tmp_path / "list.crl").write_bytes(bytes(whole))
    with pytest.raises(ConfigError, match=r"list\.crl: the revocation list holds no usable"):
        load_crls(tmp_path / "list.crl")
