"""By whom the keys of a log are vouched for: the certificate of its node, and so the CA of the realm.

The log says its keys itself, in its first record and again at each new certificate, and those of its witnesses. Each
such record is signed by a certificate. It is believed if the CA vouches for that certificate at the time of the record,
and if the certificate names the node whose log it is. Lists of revoked certificates are not asked: they say what is so
today, and the record is of then.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from OpenSSL.crypto import X509, X509Store

from pcgrelay.audit.checkpoint import ORIGIN_PREFIX, origin_of
from pcgrelay.audit.keys import PublicKeys, read_keys_record
from pcgrelay.audit.note import NoteVerifier
from pcgrelay.audit.told import KeysAt
from pcgrelay.audit.verify import Keys, KeysOf
from pcgrelay.errors import PcgrelayError, ProofProblem
from pcgrelay.identity.certificates import identity_of
from pcgrelay.identity.tls import chain_refusal
from pcgrelay.model import NodeId


def keys_of_trust(anchors: Sequence[x509.Certificate]) -> KeysOf:
    """Believe the keys that a node of these CAs has signed for."""

    def keys(told: Sequence[KeysAt], origin: str) -> Keys:
        logs, witnesses = dict[str, NoteVerifier](), dict[str, NoteVerifier]()
        identity, refused = "", list[str]()
        for each in told:
            try:
                public, node = believed(each, anchors)
            except PcgrelayError as error:
                refused.append(f"The keys of {each.keys.origin[:300]}, told at {each.ts}: {error}")
                continue
            if public.origin == origin:
                logs |= {key.vkey: key for key in (public.ed25519, public.ml_dsa_44)}
                identity = node.uri
            else:
                witnesses[public.cosigner.vkey] = public.cosigner
        return Keys(tuple(logs.values()), tuple(witnesses.values()), "certificate", identity, refused=tuple(refused))

    return keys


def believed(told: KeysAt, anchors: Sequence[x509.Certificate]) -> tuple[PublicKeys, NodeId]:
    """Return the keys of a record, and the node that has signed for them. PcgrelayError: they are not believed."""
    public, chain = read_keys_record(told.keys)
    store = X509Store()
    for anchor in anchors:
        store.add_cert(X509.from_cryptography(anchor))
    store.set_time(_moment(told.ts))
    try:
        refusal = chain_refusal(store, chain)
    except Exception:
        # The log says the certificates: whatever the library makes of them is a refusal.
        raise ProofProblem("their certificate cannot be read.") from None
    if refusal:
        raise ProofProblem(f"the CA does not vouch for their certificate ({refusal}).")
    node = identity_of(chain[0], public.origin.removeprefix(ORIGIN_PREFIX).partition("/")[0])
    if origin_of(node.realm, node.organisation, node.name) != public.origin:
        raise ProofProblem(f"their certificate is that of {node.uri}.")
    return public, node


def _moment(ts: str) -> datetime:
    try:
        moment = datetime.fromisoformat(ts)
    except ValueError:
        raise ProofProblem("their record has no time.") from None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ProofProblem("their record has a time beyond the calendar.") from None
