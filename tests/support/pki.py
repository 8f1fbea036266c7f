"""A realm for tests: certificates as they should be, and wrong in every way that a peer may try.

The odd ones are signed here with the CA's own key, because the product refuses to make them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pcgrelay.ca import Authority

REALM = "police.example"
ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")  # an AlgorithmIdentifier, in DER


@dataclass(frozen=True)
class Files:
    """What one node needs, as files of one folder."""

    certificate: Path
    key: Path
    trust: Path
    crl: Path

    @property
    def leaf(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate.read_bytes())


class RealmPki:
    """A realm in a folder, with its CA and, for the asking, a second CA that nobody trusts."""

    def __init__(self, folder: Path, name: str = REALM) -> None:
        self.folder = folder
        self.name = name
        self.authority = Authority.create(folder / "ca", name)
        self._stranger: Authority | None = None

    @property
    def trust(self) -> Path:
        return self.authority.certificate_path

    @property
    def crl(self) -> Path:
        return self.authority.crl_path

    @property
    def ca_certificate(self) -> x509.Certificate:
        return self.authority.certificate

    def crls(self) -> list[x509.CertificateRevocationList]:
        return [x509.load_pem_x509_crl(self.crl.read_bytes())]

    def unnumber(self) -> None:
        """Take the number off the list, as CAs write it that keep none: such a list stays at those whose file it is."""
        (listed,) = self.crls()
        numbered = [each for each in listed.extensions if isinstance(each.value, x509.CRLNumber)]
        self.crl.write_bytes(self._signed_again(listed, listed.last_update_utc, without=numbered))

    def list_made(self, moment: datetime) -> bytes:
        """Return the list as it would be if it had been made at that moment."""
        (listed,) = self.crls()
        return self._signed_again(listed, moment)

    def _signed_again(
        self,
        listed: x509.CertificateRevocationList,
        made: datetime,
        without: Sequence[x509.Extension[x509.ExtensionType]] = (),
    ) -> bytes:
        builder = x509.CertificateRevocationListBuilder(
            issuer_name=listed.issuer,
            last_update=made,
            next_update=listed.next_update_utc,
            extensions=[each for each in listed.extensions if each not in without],
            revoked_certificates=list(listed),
        )
        key = load_pem_private_key(self.authority.key_path.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def issue(
        self,
        organisation: str,
        node: str,
        *,
        expired: bool = False,
        not_yet_valid: bool = False,
        revoked: bool = False,
        wrong_ca: bool = False,
        no_san: bool = False,
        two_sans: bool = False,
        uris: Sequence[str] | None = None,
        into: str | None = None,
    ) -> Files:
        """Issue to a node, rightly, or wrongly in the way that is named. uris: exactly these names in the leaf.

        Two certificates of one node need two folders: name the second with `into`.
        """
        out = self.folder / (into or f"{node}.{organisation}")
        now = datetime.now(UTC).replace(microsecond=0)
        before, after = now - timedelta(minutes=5), now + timedelta(days=90)
        if expired:
            before, after = now - timedelta(days=30), now - timedelta(days=1)
        if not_yet_valid:
            before, after = now + timedelta(days=1), now + timedelta(days=30)
        authority = self.other_authority() if wrong_ca else self.authority
        own = f"spiffe://{self.name}/org/{organisation}/node/{node}"
        if no_san:
            uris = []
        elif two_sans:
            uris = [own, f"spiffe://{self.name}/org/other.{organisation}/node/{node}"]
        if uris is None:
            authority.issue(organisation, node, out, not_before=before, not_after=after)
        else:
            self._issue_odd(authority, out / node, uris, (before, after))
        if wrong_ca:
            (out / "realm-ca.pem").write_bytes(self.trust.read_bytes())
        if revoked:
            self.authority.revoke(organisation, node)
        return Files(out / f"{node}.pem", out / f"{node}.key", self.trust, self.crl)

    def other_authority(self) -> Authority:
        """Return a CA that nobody trusts."""
        if self._stranger is None:
            self._stranger = Authority.create(self.folder / "stranger", self.name)
        return self._stranger

    def _issue_odd(
        self, authority: Authority, stem: Path, uris: Iterable[str], dates: tuple[datetime, datetime]
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        leaf = sign_odd(authority, key.public_key(), names, *dates)
        stem.parent.mkdir(parents=True, exist_ok=True)
        Path(f"{stem}.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
        key_path = Path(f"{stem}.key")
        key_path.touch(mode=0o600)
        key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (stem.parent / "realm-ca.pem").write_bytes(authority.certificate_path.read_bytes())


def sign_odd(
    authority: Authority,
    public_key: ec.EllipticCurvePublicKey,
    names: Sequence[x509.GeneralName],
    before: datetime,
    after: datetime,
    *,
    ca: bool = False,
    usages: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
) -> x509.Certificate:
    """Sign a leaf with whatever names, none included; it gets no place in the CA's index."""
    key = load_pem_private_key(authority.key_path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.certificate.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(before)
        .not_valid_after(after)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=True)
    return builder.sign(key, hashes.SHA256())


def chain_in_ber(uri: str) -> tuple[list[bytes], ec.EllipticCurvePrivateKey]:
    """Leaf, intermediate and root, and the leaf's key. The length in the intermediate has a byte too many.

    That is no DER. OpenSSL takes it, and every signature is good.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("root", "intermediate")]
    root, middle, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))

    def certificate(subject: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name) -> x509.CertificateBuilder:
        before, after = now - timedelta(minutes=5), now + timedelta(days=1)
        return x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number(), before, after)

    ca, name = x509.BasicConstraints(ca=True, path_length=None), x509.UniformResourceIdentifier(uri)
    top = certificate(names[0], root, names[0]).add_extension(ca, critical=True).sign(root, hashes.SHA256())
    below = certificate(names[1], middle, names[0]).add_extension(ca, critical=True).sign(root, hashes.SHA256())
    leaf = (
        certificate(x509.Name([]), own, names[1])
        .add_extension(x509.SubjectAlternativeName([name]), critical=True)
        .sign(middle, hashes.SHA256())
    )
    signed = below.tbs_certificate_bytes
    signed = bytes([signed[0], signed[1] + 1, 0]) + signed[2:]
    signature = b"\0" + root.sign(signed, ec.ECDSA(hashes.SHA256()))
    body = signed + ECDSA_WITH_SHA256 + bytes([0x03, len(signature)]) + signature
    odd = b"\x30\x82" + len(body).to_bytes(2, "big") + body
    return [leaf.public_bytes(Encoding.DER), odd, top.public_bytes(Encoding.DER)], own


def write_config(
    path: Path,
    files: Files,
    organisation: str,
    node: str,
    *,
    role: str = "edge",
    realm: str = REALM,
    listens: Iterable[Mapping[str, Any] | str] = (),
    links: Iterable[Mapping[str, Any]] = (),
    exports: Iterable[Mapping[str, Any]] = (),
    imports: Iterable[Mapping[str, Any]] = (),
    bearers: Iterable[Mapping[str, Any]] = (),
    directs: Iterable[Mapping[str, Any]] = (),
    drills: Iterable[Mapping[str, Any]] = (),
    callers: Iterable[Mapping[str, Any]] = (),
    crl: bool = True,
    **tables: Mapping[str, Any],
) -> Path:
    """Write a configuration that is right, with the given entries; node=, policy= and so on override single keys.

    The tables of node and realm are `node_table` and `realm_table`, because `node` and `realm` are the names. A listen
    may be given as its address alone.
    """
    identity: dict[str, Any] = {"certificate": str(files.certificate), "key": str(files.key), "trust": str(files.trust)}
    if crl:
        identity["crl"] = str(files.crl)
    whole: dict[str, dict[str, Any]] = {
        "node": {
            "name": node,
            "organisation": organisation,
            "realm": realm,
            "role": role,
            "workers": 1,
            "memory": "64MiB",
            "admin": str(path.with_suffix(".sock")),
            **tables.pop("node_table", {}),
        },
        "identity": {**identity, **tables.pop("identity", {})},
        "policy": {"members": ["*"], **tables.pop("policy", {})},
    }
    if bundle := tables.pop("realm_table", None):
        whole["realm"] = dict(bundle)
    arrays = {
        "listen": [{"address": entry} if isinstance(entry, str) else entry for entry in listens],
        "link": links,
        # The targets of most tests take one connection, and that is not the probe's.
        "export": [{"probe": "none", **entry} for entry in exports],
        "import": imports,
        "bearer": bearers,
        "direct": directs,
        "drill": drills,
        "caller": callers,
    }
    lines = []
    for name, table in [*whole.items(), *tables.items()]:
        lines += [f"[{name}]", *_keys(table), ""]
    for name, entries in arrays.items():
        for entry in entries:
            lines += [f"[[{name}]]", *_keys(entry), ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _keys(table: Mapping[str, Any]) -> list[str]:
    # A key with a dot is a name, as of an organisation.
    return [f"{json.dumps(key) if '.' in key else key} = {_toml(value)}" for key, value in table.items()]


def _toml(value: Any) -> str:
    """But for dates and tables, what is written here is spelt alike in JSON and in TOML."""
    if isinstance(value, date):
        return str(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_keys(value)) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
