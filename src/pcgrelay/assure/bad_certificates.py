"""A bank of bad certificates, made on the fly under a throw-away CA that no node trusts.

Each kind has the reason for which it must be refused where that CA is trusted, as the code of this version does for the
judgement here. To a live listener the CA is unknown, so every kind is refused there too, whatever else is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from pcgrelay.identity.certificates import Refusal
from pcgrelay.identity.credentials import Credentials

DAY = timedelta(days=1)
# IANA's arc for documentation (RFC 5612 has one for numbers of enterprises): nobody's extension.
NOBODYS = ObjectIdentifier("1.3.6.1.4.1.32473.1")
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
Key = CertificateIssuerPrivateKeyTypes


@dataclass(frozen=True, slots=True)
class Issuer:
    """A CA: certificate and key."""

    certificate: x509.Certificate
    key: Key


@dataclass(frozen=True, slots=True)
class Bad:
    """One bad certificate with its chain, leaf first; the key is that of the leaf."""

    kind: str
    due: Refusal
    chain: tuple[x509.Certificate, ...]
    key: Key


class Bank:
    """All kinds, for one realm and one name that would be let in if only the certificate were good."""

    def __init__(self, realm: str, organisation: str, now: datetime | None = None) -> None:
        self._now = (now or datetime.now(UTC)).replace(microsecond=0)
        self._realm, self._organisation = realm, organisation
        self.root = self._ca("pcgrelay assure throw-away CA")
        self.stranger = self._ca("pcgrelay assure stranger")
        self.unlisted = self._ca("pcgrelay assure CA without a list")
        self.fenced = self._ca("pcgrelay assure CA of others", issuer=self.root, excluded=realm)
        self._revoked = self._leaf(self.root)
        self.server, self.server_key = self._leaf(self.root, "server")

    def credentials(self) -> Credentials:
        """What a node would have that trusts the throw-away CA."""
        trust = (self.root.certificate, self.unlisted.certificate)
        crls = (self._crl(self.root, self._revoked[0].serial_number), self._crl(self.fenced))
        return Credentials(chain=(self.server,), key=self.server_key, trust=trust, crls=crls)

    def good(self) -> Bad:
        """One that is good where the throw-away CA is trusted, so that the judgement here is known to take any."""
        leaf, key = self._leaf(self.root)
        return Bad("good", Refusal.OTHER, (leaf,), key)

    def bad(self) -> list[Bad]:
        """Make one of each kind."""
        made: list[Bad] = []

        def add(kind: str, due: Refusal, leaf: tuple[x509.Certificate, Key], *above: Issuer) -> None:
            chain = (leaf[0], *(each.certificate for each in above))
            made.append(Bad(kind, due, chain, leaf[1]))

        root, uri = self.root, self._uri
        own = uri()
        self_signed = self._ca("pcgrelay assure self-signed", names=(own,), is_ca=False)
        add("signed by itself", Refusal.UNKNOWN_ISSUER, (self_signed.certificate, self_signed.key))
        add("of an unknown CA", Refusal.UNKNOWN_ISSUER, self._leaf(self.stranger), self.stranger)
        namesake = self._ca("pcgrelay assure throw-away CA")
        add("of a CA with the name of ours", Refusal.UNKNOWN_ISSUER, self._leaf(namesake), namesake)
        add("signed by another key in our CA's name", Refusal.BAD_SIGNATURE, self._leaf(namesake, aki=self.root))
        add("expired", Refusal.EXPIRED, self._leaf(root, start=-20 * DAY, end=-DAY))
        add("not yet valid", Refusal.NOT_YET_VALID, self._leaf(root, start=5 * DAY))
        add("revoked", Refusal.REVOKED, self._revoked)
        add("of a CA without a revocation list", Refusal.NO_CRL, self._leaf(self.unlisted))
        add("without a name", Refusal.NO_SPIFFE_SAN, self._leaf(root, names=()))
        add("with a web address for a name", Refusal.NO_SPIFFE_SAN, self._leaf(root, names=("https://a.example/",)))
        add("with a host name alone", Refusal.NO_SPIFFE_SAN, self._leaf(root, names=(), hosts=("relay.example",)))
        add("with two names", Refusal.TWO_SANS, self._leaf(root, names=(own, uri("assure-2"))))
        add("of another realm", Refusal.WRONG_REALM, self._leaf(root, names=(uri(realm="other.example"),)))
        add("with a name that is none", Refusal.MALFORMED, self._leaf(root, names=(f"spiffe://{self._realm}/nobody",)))
        add("of a CA in place of a node", Refusal.CA_AS_LEAF, self._leaf(root, is_ca=True))
        add("for servers alone", Refusal.WRONG_USAGE, self._leaf(root, purposes=BOTH[:1]))
        add("for signing code", Refusal.WRONG_USAGE, self._leaf(root, purposes=(ExtendedKeyUsageOID.CODE_SIGNING,)))
        add("with a key of RSA 1024", Refusal.WEAK, self._leaf(root, key=_rsa(1024)))
        add("with an extension that must be known", Refusal.UNKNOWN_EXTENSION, self._leaf(root, unknown=True))
        node = Issuer(*self._leaf(root, "node"))
        add("signed by a node", Refusal.UNKNOWN_ISSUER, self._leaf(node), node)
        short = self._ca("pcgrelay assure CA of nodes", issuer=root, path_length=0)
        deep = self._ca("pcgrelay assure CA below it", issuer=short)
        add("below a CA that may have none below", Refusal.WRONG_ISSUER, self._leaf(deep), deep, short)
        add("of a CA that may not give the name", Refusal.WRONG_NAME, self._leaf(self.fenced), self.fenced)
        return made

    # -- making ------------------------------------------------------------------------------------------------

    def _uri(self, node: str = "assure-1", realm: str = "") -> str:
        return f"spiffe://{realm or self._realm}/org/{self._organisation}/node/{node}"

    def _crl(self, issuer: Issuer, *revoked: int) -> x509.CertificateRevocationList:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.certificate.subject)
            .last_update(self._now - DAY)
            .next_update(self._now + 30 * DAY)
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(_authority(issuer), critical=False)
        )
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(self._now - DAY).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(issuer.key, hashes.SHA256())

    def _ca(
        self,
        name: str,
        *,
        issuer: Issuer | None = None,
        path_length: int | None = None,
        names: Sequence[str] = (),
        is_ca: bool = True,
        excluded: str = "",
    ) -> Issuer:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = issuer.key if issuer else key
        builder = (
            x509.CertificateBuilder(
                issuer.certificate.subject if issuer else subject,
                subject,
                key.public_key(),
                x509.random_serial_number(),
                self._now - 30 * DAY,
                self._now + 30 * DAY,
            )
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=path_length), critical=True)
            .add_extension(_usage(of_ca=is_ca), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(_alternatives(names), critical=True)
        if excluded:
            fence = x509.NameConstraints(None, [x509.UniformResourceIdentifier(excluded)])
            builder = builder.add_extension(fence, critical=True)
        return Issuer(builder.sign(signer, hashes.SHA256()), key)

    def _leaf(
        self,
        issuer: Issuer,
        node: str = "assure-1",
        *,
        names: Sequence[str] | None = None,
        hosts: Sequence[str] = (),
        start: timedelta = -DAY,
        end: timedelta = 20 * DAY,
        purposes: Sequence[ObjectIdentifier] = BOTH,
        key: Key | None = None,
        is_ca: bool = False,
        unknown: bool = False,
        aki: Issuer | None = None,
    ) -> tuple[x509.Certificate, Key]:
        key = key or ec.generate_private_key(ec.SECP256R1())
        names = (self._uri(node),) if names is None else names
        builder = (
            x509.CertificateBuilder(
                issuer.certificate.subject,
                x509.Name([]),
                key.public_key(),
                x509.random_serial_number(),
                self._now + start,
                self._now + end,
            )
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(_usage(of_ca=is_ca), critical=True)
            .add_extension(x509.ExtendedKeyUsage(list(purposes)), critical=False)
            .add_extension(_authority(aki or issuer), critical=False)
        )
        if names or hosts:
            builder = builder.add_extension(_alternatives(names, hosts), critical=True)
        if unknown:
            builder = builder.add_extension(x509.UnrecognizedExtension(NOBODYS, b"\x05\x00"), critical=True)
        return builder.sign(issuer.key, hashes.SHA256()), key


def _rsa(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)  # it is to be refused


def _authority(issuer: Issuer) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())


def _alternatives(names: Sequence[str], hosts: Sequence[str] = ()) -> x509.SubjectAlternativeName:
    general: list[x509.GeneralName] = [x509.UniformResourceIdentifier(each) for each in names]
    return x509.SubjectAlternativeName([*general, *(x509.DNSName(each) for each in hosts)])


def _usage(*, of_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=of_ca,
        crl_sign=of_ca,
        encipher_only=False,
        decipher_only=False,
    )
