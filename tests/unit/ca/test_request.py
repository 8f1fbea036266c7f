"""Requests for a certificate: the key stays, and a CA signs nothing that it does not know."""

import errno
import grp
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pcgrelay import files
from pcgrelay.ca import Authority
from pcgrelay.ca.request import fingerprint_of, read_request, write_request
from pcgrelay.errors import ConfigError, RunError
from pcgrelay.identity.credentials import key_matches, load_certificates, load_key
from pcgrelay.model import NodeId

REALM = "police.example"
KENT = NodeId(REALM, "kent.police.example", "kent-1")
Builder = x509.CertificateSigningRequestBuilder


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "ca", REALM)


def names(*uris: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])


def plain() -> Builder:
    return Builder().subject_name(x509.Name([])).add_extension(names(KENT.uri), critical=True)


def written(path: Path, builder: Builder, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None) -> Path:
    request = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    path.write_bytes(request.public_bytes(Encoding.PEM))
    return path


def test_a_key_never_leaves_its_node(authority: Authority, tmp_path: Path) -> None:
    here, there = tmp_path / "node", tmp_path / "signed"
    made = write_request(KENT, here / "kent-1.key", here / "kent-1.csr")
    assert stat.S_IMODE((here / "kent-1.key").stat().st_mode) == 0o600
    assert b"PRIVATE" not in (here / "kent-1.csr").read_bytes()
    wanted = read_request(here / "kent-1.csr", REALM)
    assert wanted.node == KENT
    assert wanted.fingerprint == made.fingerprint
    issued = authority.sign(wanted, there)
    assert sorted(path.name for path in there.iterdir()) == ["kent-1.pem", "realm-ca.pem", "realm.crl"]
    assert (there / "realm.crl").read_bytes() == authority.crl_path.read_bytes()
    (leaf,) = load_certificates(there / "kent-1.pem", "certificate")
    assert key_matches(load_key(here / "kent-1.key"), leaf)
    assert [entry.serial for entry in authority.issued()] == [issued.serial] == [f"{leaf.serial_number:x}"]
    verify = ["openssl", "verify", "-x509_strict", "-crl_check", "-CRLfile", authority.crl_path]
    command = [*verify, "-CAfile", authority.certificate_path, there / "kent-1.pem"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_fingerprint_is_that_of_other_tools(tmp_path: Path) -> None:
    made = write_request(KENT, tmp_path / "key", tmp_path / "csr")
    public = subprocess.run(
        ["openssl", "req", "-in", tmp_path / "csr", "-pubkey", "-noout"], capture_output=True, check=True
    ).stdout
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "DER"], input=public, capture_output=True, check=True
    ).stdout
    digest = subprocess.run(["openssl", "sha256", "-r"], input=der, capture_output=True, check=True).stdout.decode()
    assert made.fingerprint.replace(" ", "") == digest.split()[0]


def test_a_request_of_openssl_is_signed_too(authority: Authority, tmp_path: Path) -> None:
    make = [
        "openssl",
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-384",
        "-nodes",
        "-subj",
        "/CN=x",
    ]
    make += ["-addext", f"subjectAltName=URI:{KENT.uri}", "-addext", "keyUsage=digitalSignature"]
    make += ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "csr")]
    subprocess.run(make, capture_output=True, check=True)
    authority.sign(read_request(tmp_path / "csr", REALM), tmp_path / "out")
    (leaf,) = load_certificates(tmp_path / "out/kent-1.pem", "certificate")
    assert leaf.subject == x509.Name([])


def test_the_node_gets_the_newest_list_and_none_of_another_ca(authority: Authority, tmp_path: Path) -> None:
    for name in ("1", "2"):
        write_request(NodeId(REALM, KENT.organisation, f"kent-{name}"), tmp_path / f"{name}.key", tmp_path / name)
    out = tmp_path / "out"
    authority.sign(read_request(tmp_path / "1", REALM), out)
    authority.revoke(KENT.organisation, "kent-1")
    assert (out / "realm.crl").read_bytes() != authority.crl_path.read_bytes()
    authority.sign(read_request(tmp_path / "2", REALM), out)
    assert (out / "realm.crl").read_bytes() == authority.crl_path.read_bytes()
    stranger = Authority.create(tmp_path / "stranger", REALM)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "realm.crl").write_bytes(stranger.crl_path.read_bytes())
    with pytest.raises(RunError, match="list of another CA; choose another folder"):
        authority.sign(read_request(tmp_path / "2", REALM), elsewhere)
    assert (elsewhere / "realm.crl").read_bytes() == stranger.crl_path.read_bytes()
    assert len(authority.issued()) == 2


@pytest.mark.parametrize(
    ("is_root", "has_group", "is_below", "is_given"),
    [
        (True, True, True, True),
        (False, True, True, False),
        (True, False, True, False),
        (True, True, False, False),
    ],
)
def test_a_key_of_the_machine_s_nodes_is_one_that_they_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_root: bool, has_group: bool, is_below: bool, is_given: bool
) -> None:
    done: list[tuple[Path, str, int]] = []
    machine(monkeypatch, tmp_path if is_below else tmp_path / "other", is_root=is_root, has_group=has_group)
    monkeypatch.setattr(os, "chown", lambda path, _, group, follow_symlinks: done.append((path, "group", group)))
    monkeypatch.setattr(os, "chmod", lambda path, mode: done.append((path, "mode", mode)))
    key = tmp_path / "tls" / "kent-1.key"
    write_request(KENT, key, tmp_path / "tls" / "kent-1.csr")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert done == ([(key, "group", 872), (key, "mode", 0o640)] if is_given else [])


def machine(monkeypatch: pytest.MonkeyPatch, folder: Path, *, is_root: bool = True, has_group: bool = True) -> None:
    """One with this folder of nodes, and their group."""

    def group(name: str) -> grp.struct_group:
        if not has_group:
            raise KeyError(name)
        return grp.struct_group((name, "x", 872, []))

    monkeypatch.setattr(files, "SYSTEM_FOLDER", folder)
    monkeypatch.setattr(os, "geteuid", lambda: 0 if is_root else 1000)
    monkeypatch.setattr(grp, "getgrnam", group)


def test_a_key_that_cannot_be_lent_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, tmp_path)

    def refused(path: Path, *ids: int, follow_symlinks: bool) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "chown", refused)
    with pytest.raises(RunError, match="cannot be written"):
        write_request(KENT, tmp_path / "kent-1.key", tmp_path / "kent-1.csr")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(authority: Authority, tmp_path: Path) -> None:
    for name in ("key", "csr"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(RunError, match="never overwritten"):
            write_request(KENT, tmp_path / "key", tmp_path / "csr")
        (tmp_path / name).unlink()
    write_request(KENT, tmp_path / "key", tmp_path / "csr")
    authority.sign(read_request(tmp_path / "csr", REALM), tmp_path)
    with pytest.raises(RunError, match="never overwritten"):
        authority.sign(read_request(tmp_path / "csr", REALM), tmp_path)
    assert len(authority.issued()) == 1


# --- refusals ------------------------------------------------------------------------------------------------------

OTHER_REALM = NodeId("other.example", KENT.organisation, KENT.name)
BUILDERS: dict[str, tuple[Builder, str]] = {
    "no name": (Builder().subject_name(x509.Name([])), "exactly one name"),
    "two names": (Builder().subject_name(x509.Name([])).add_extension(names(KENT.uri, KENT.uri), True), "exactly one"),
    "a host's name": (
        Builder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("kent.example")]), critical=False),
        "exactly one name",
    ),
    "no node's name": (
        Builder().subject_name(x509.Name([])).add_extension(names("spiffe://police.example/x"), False),
        "not of the form",
    ),
    "another realm": (
        Builder().subject_name(x509.Name([])).add_extension(names(OTHER_REALM.uri), False),
        "this is the CA of police.example",
    ),
    "a CA": (plain().add_extension(x509.BasicConstraints(True, None), critical=True), "certificate of a CA"),
    "an unknown extension": (
        plain().add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"x"), False),
        r"not known here \(1\.2\.3\.4\)",
    ),
    "a known one that means more": (plain().add_extension(x509.OCSPNoCheck(), critical=False), "not known here"),
    "a password": (plain().add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"x"), "attribute"),
}


@pytest.mark.parametrize("case", list(BUILDERS))
def test_what_is_not_a_node_of_the_realm_is_refused(tmp_path: Path, case: str) -> None:
    builder, why = BUILDERS[case]
    with pytest.raises(ConfigError, match=why):
        read_request(written(tmp_path / "csr", builder), REALM)


@pytest.mark.parametrize(
    "make",
    [
        lambda: rsa.generate_private_key(65537, 2048),
        lambda: ec.generate_private_key(ec.SECP256K1()),
        lambda: ec.generate_private_key(ec.SECP521R1()),
    ],
    ids=["RSA", "another curve", "a slow curve"],
)
def test_other_keys_are_refused(
    tmp_path: Path, make: Callable[[], ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]
) -> None:
    with pytest.raises(ConfigError, match=r"P-256 or P-384"):
        read_request(written(tmp_path / "csr", plain(), make()), REALM)


def test_a_key_that_signs_otherwise_is_refused(tmp_path: Path) -> None:
    request = plain().sign(ed25519.Ed25519PrivateKey.generate(), None)
    (tmp_path / "csr").write_bytes(request.public_bytes(Encoding.PEM))
    with pytest.raises(ConfigError, match=r"P-256 or P-384"):
        read_request(tmp_path / "csr", REALM)


def test_a_request_without_the_private_key_is_refused(tmp_path: Path) -> None:
    """Somebody puts another's public key into a request of his own."""
    written(tmp_path / "csr", plain())
    request = x509.load_pem_x509_csr((tmp_path / "csr").read_bytes())
    der = bytearray(request.public_bytes(Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der))
    (tmp_path / "csr").write_bytes(forged.public_bytes(Encoding.PEM))
    with pytest.raises(ConfigError, match="signature is wrong"):
        read_request(tmp_path / "csr", REALM)


def test_the_key_of_the_ca_gets_no_certificate(authority: Authority, tmp_path: Path) -> None:
    key = load_key(authority.key_path)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    wanted = read_request(written(tmp_path / "csr", plain(), key), REALM)
    assert wanted.fingerprint == fingerprint_of(authority.certificate.public_key())
    with pytest.raises(RunError, match="CA's own key"):
        authority.sign(wanted, tmp_path / "out")
    assert authority.issued() == []


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_request_is_refused_in_one_sentence(tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(written(tmp_path / "csr", plain()).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, 10_000)) % len(whole)] = data.draw(st.integers(0, 255))
    (tmp_path / "csr").write_bytes(bytes(whole))
    sentence = ""
    try:
        assert read_request(tmp_path / "csr", REALM).node == KENT
    except ConfigError as error:
        sentence = str(error)
    assert "\n" not in sentence
