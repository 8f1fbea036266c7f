"""K4 and K6: the node's own chain, its trust, and the revocation lists in force."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import socket
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from msgspec import structs

from pcgrelay.assure.facts import (
    Certificate,
    OwnChain,
    RevocationListFact,
    RevocationLists,
    RevokedIdentity,
)
from pcgrelay.assure.judges.crypto import NOT_TRIED
from pcgrelay.assure.readers.offers import Answer, attempt_of, client_context, offer, show, tls_listeners
from pcgrelay.assure.scene import Scene
from pcgrelay.errors import PcgrelayError
from pcgrelay.files import read_text
from pcgrelay.identity.certificates import subject_of
from pcgrelay.identity.credentials import Credentials, load_certificates, load_crls, load_key
from pcgrelay.identity.tls import chain_refusal, make_store

# The CAs that browsers trust, where Debian and others keep them.
PUBLIC = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt"))
BUNDLE_LIMIT_BYTES = 4 << 20
_PEM = re.compile("-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\\s]+)-----END CERTIFICATE-----")
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


async def read_own_chain(scene: Scene) -> OwnChain:
    """K4, from the files: what the node would show after a restart."""
    return await asyncio.to_thread(_own_chain, scene)


def _own_chain(scene: Scene) -> OwnChain:
    identity = scene.config.identity
    public = _public()
    return OwnChain(
        now=scene.clock.wall(),
        certificates=tuple(certificate_fact(each) for each in load_certificates(identity.certificate, "certificate")),
        trust=tuple(
            certificate_fact(each, is_public=each.fingerprint(hashes.SHA256()) in public)
            for each in load_certificates(identity.trust, "trusted certificate")
        ),
    )


def certificate_fact(certificate: x509.Certificate, *, is_public: bool = False) -> Certificate:
    """Return what is judged of a certificate."""
    key, bits = "other", 0
    public = certificate.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        key, bits = _CURVES.get(public.curve.name, public.curve.name), public.curve.key_size
    elif isinstance(public, rsa.RSAPublicKey):
        key, bits = "RSA", public.key_size
    elif isinstance(public, ed25519.Ed25519PublicKey):
        key, bits = "Ed25519", 256
    elif isinstance(public, ed448.Ed448PublicKey):
        key, bits = "Ed448", 456
    algorithm = certificate.signature_hash_algorithm
    return Certificate(
        subject=subject_of(certificate),
        key=key,
        key_bits=bits,
        signature_hash="" if algorithm is None else algorithm.name,
        names=_uris(certificate),
        not_after=certificate.not_valid_after_utc,
        is_public=is_public,
    )


def _uris(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(names.get_values_for_type(x509.UniformResourceIdentifier))


def _public() -> set[bytes]:
    """Return the digests of the public CAs. They are not parsed: some of them are not of today's form."""
    for path in PUBLIC:
        try:
            text = read_text(path, "bundle of public CAs", BUNDLE_LIMIT_BYTES)
        except PcgrelayError:
            continue
        blocks = _PEM.findall(text)
        return {hashlib.sha256(base64.b64decode("".join(block.split()))).digest() for block in blocks}
    return set()


async def read_revocation_lists(scene: Scene) -> RevocationLists:
    """K6: the lists of the file, and in their place those that neighbours brought, as the running node says.

    A revoked identity, if there is one for tests, is judged by the node's own files and shown to its first listener.
    """
    found = await asyncio.to_thread(_revocation_lists, scene)
    path = scene.config.assure.revoked
    return found if path is None else structs.replace(found, revoked=await _revoked(scene, path))


async def _revoked(scene: Scene, path: Path) -> RevokedIdentity:
    identity = scene.config.identity
    chain, key = load_certificates(path, "revoked certificate"), load_key(path.with_suffix(".key"))
    trust = load_certificates(identity.trust, "trusted certificate")
    lists = load_crls(identity.crl) if identity.crl else ()
    reason = chain_refusal(make_store(Credentials(chain=chain, key=key, trust=trust, crls=lists)), chain)
    listening = next((each for each in tls_listeners(scene.config) if each.is_link), None)
    live, detail = NOT_TRIED, ""
    if listening is not None:
        groups = ":".join(scene.parameters.tls.groups)

        def offering(sock: socket.socket) -> Answer:
            return offer(sock, show(client_context(groups), list(chain), key), shown=True)

        await scene.pace.turn()
        attempt = await asyncio.to_thread(attempt_of, listening, "a revoked identity", False, offering)
        live, detail = attempt.answer, attempt.detail
    until = chain[0].not_valid_after_utc
    return RevokedIdentity(until=until, reason=str(reason or ""), live=live, detail=detail)


def _revocation_lists(scene: Scene) -> RevocationLists:
    path = scene.config.identity.crl
    found: dict[str, RevocationListFact] = {}
    for crl in load_crls(path) if path else ():
        issuer = crl.issuer.rfc4514_string()
        fact = RevocationListFact(issuer=issuer, made=crl.last_update_utc, next=crl.next_update_utc)
        if issuer not in found or fact.made > found[issuer].made:
            found[issuer] = fact
    try:
        brought = scene.status().credentials.lists
    except PcgrelayError:
        brought = ()  # of a node that does not run the files are all there is
    for each in brought:
        if each.source and (each.name not in found or each.not_before > found[each.name].made):
            found[each.name] = RevocationListFact(issuer=each.name, made=each.not_before, next=each.not_after)
    return RevocationLists(now=scene.clock.wall(), configured=path is not None, lists=tuple(found.values()))
