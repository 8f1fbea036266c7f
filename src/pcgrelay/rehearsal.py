"""A node's handshake with itself, in memory: whether its files make a link, decided by the code that makes links.

A second implementation of the checks would differ from the first. So nothing is decided here: the contexts are those of
a start, the handshake is that of a link, and an edge's catalogue entry is signed, encoded and verified as neighbours do
it. The code here only finds words for a refusal.

Dates change, everything else stays. So what is refused because of a date is tried again without regard to dates, and,
because dates may decide between two CAs of one name, at each moment at which other files are valid. Only what is
refused in all these cases can never become valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
from cryptography import x509
from OpenSSL import SSL

from pcgrelay.catalogue.entries import Entry, EntryRefused, Offer, decode_entry, sign_entry, verify_entry
from pcgrelay.config import Config
from pcgrelay.errors import PcgrelayError
from pcgrelay.identity.certificates import Refusal, explain_failure
from pcgrelay.identity.credentials import Credentials
from pcgrelay.identity.dates import dated_of, moments
from pcgrelay.identity.exporter import Purpose, wipe_secret
from pcgrelay.identity.handshake import Handshake
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.messages import Advert, MessageReader, MessageRefused, encode_message
from pcgrelay.model import NodeId, Role

MOMENTS_MOST = 64
ENTRY_LIFE_S = 1_800
OF_DATES = frozenset({Refusal.EXPIRED, Refusal.NOT_YET_VALID, Refusal.CRL_NOT_CURRENT})
_OF_LISTS = frozenset({Refusal.NO_CRL, Refusal.CRL_NOT_CURRENT, Refusal.BAD_CRL, Refusal.REVOKED})


@dataclass(frozen=True, slots=True)
class Fault:
    """Why no neighbour would accept this node, or it no neighbour with files like its own."""

    reason: str  # the reason of the refusal
    where: str  # key of [identity]
    sentence: str
    mend: str = ""
    is_date: bool = False  # with other dates, or another clock, it would be accepted


class _Anywhen:
    """In place of a moment: all dates are valid."""


ANYWHEN = _Anywhen()


def rehearse(config: Config, credentials: Credentials, now: datetime) -> Fault | None:
    """Return what keeps this node from links because of the files of [identity], or None."""
    fault = _refused_at(config, credentials, now)
    if fault is None or fault.reason not in OF_DATES:
        return fault
    lasting = _refused_at(config, credentials, ANYWHEN)
    if lasting is None:
        return replace(fault, is_date=True)
    for moment in moments(dated_of(credentials), MOMENTS_MOST):
        if _refused_at(config, credentials, moment) is None:
            return replace(fault, is_date=True)
    return lasting


def _refused_at(config: Config, credentials: Credentials, moment: datetime | _Anywhen) -> Fault | None:
    """Return the refusal at that moment, or None."""
    judged_at = moment if isinstance(moment, datetime) else None
    try:
        local = LocalIdentity(config, credentials)
    except ValueError as error:
        return Fault("identity", "identity.certificate", f"The certificate cannot be used: {error}.", "Name another.")
    except PcgrelayError as error:
        return Fault("tls_error", "identity.certificate", str(error))
    except (SSL.Error, TypeError):
        return Fault("tls_error", "identity.key", "TLS does not take the private key.", _KEY_MEND)
    local.judge_at(judged_at)
    try:
        _hands_shaken(local)
        if word := local.chain_refusal(credentials.chain):
            raise HandshakeRefused(word, "")
    except HandshakeRefused as refused:
        return _in_words(refused.reason, credentials, judged_at)
    if config.node.role is Role.EDGE and (sentence := _entry_refusal(local)):
        return Fault("entry", "identity.certificate", sentence, _KEY_MEND)
    return None


def _hands_shaken(local: LocalIdentity) -> None:
    """Make a link with oneself; raise the refusal of either end, preferring the cause over its echo."""
    parameters = replace(local.link_parameters(), may_relay=bool)
    client, server = (
        Handshake(local.context, parameters, client=client, purpose=Purpose.LINK, judge=_anybody, with_itself=True)
        for client in (True, False)
    )
    data = client.start()
    while client.established is None and data:
        data = server.receive(data)
        data = client.receive(data)
    for end in (client, server):
        if end.established is not None:
            wipe_secret(end.established.secret)
    if client.established is None:
        raise HandshakeRefused(Refusal.OTHER, "The handshake of this node with itself did not finish.")


def _anybody(peer: NodeId) -> str | None:
    return None


def _entry_refusal(local: LocalIdentity) -> str:
    """Return why neighbours would refuse this edge's catalogue entry, or an empty string."""
    config = local.config
    offers = [Offer(export.service.service, 1) for export in config.exports]
    try:
        signed = sign_entry(
            config.node.id,
            offers,
            sequence=0,
            not_after=ENTRY_LIFE_S,
            key=local.credentials.key,
            chain=local.chain,
        )
        whole = encode_message(Advert(signed.entry, signed.signature, signed.chain, ()))
        ((_, _),) = MessageReader().feed(whole)
        entry: Entry = decode_entry(signed, 0)
        verify_entry(signed, entry, lambda chain: local.chain_refusal(list(chain)), local.identity_of)
    except (MessageRefused, msgspec.ValidationError):
        return "The certificate, or the chain above it, is too large for an entry of the catalogue."
    except EntryRefused as refused:
        return f"Neighbours would refuse this node's entry in the catalogue: {refused.reason.replace('_', ' ')}."
    except (PcgrelayError, ValueError, TypeError) as error:
        return str(error)
    return ""


# -- words -------------------------------------------------------------------------------------------------------------

_SENTENCES = {
    Refusal.UNKNOWN_ISSUER: (
        "identity.trust",
        "The chain of the certificate does not lead to a CA in trust that is its own issuer (a root).",
        "Put the root's certificate into trust, and the intermediate ones into certificate.",
    ),
    Refusal.WRONG_USAGE: (
        "identity.certificate",
        "The certificate, or that of a CA above it, may not be used for TLS as server and as client both.",
        "Issue a new one with the key usage digitalSignature and the purposes serverAuth and clientAuth, or with none.",
    ),
    Refusal.WRONG_ISSUER: (
        "identity.certificate",
        "A certificate of the chain may not sign the one below it: it is none of a CA, or its path length forbids it.",
        "Issue a new one below a CA that may.",
    ),
    Refusal.WRONG_NAME: (
        "identity.certificate",
        "A CA of the chain may not give this name: its name constraints forbid it.",
        "Issue a new one below a CA that may.",
    ),
    Refusal.UNKNOWN_EXTENSION: (
        "identity.certificate",
        "A certificate of the chain has an extension that must be understood and is not, or is broken.",
        "Issue a new one without that.",
    ),
    Refusal.WEAK: (
        "identity.certificate",
        "A key or signature of the chain is too weak for TLS here.",
        "Issue a new one with P-256 and SHA-256.",
    ),
    Refusal.BAD_SIGNATURE: (
        "identity.certificate",
        "A signature of the chain is wrong for the CA that OpenSSL takes for its issuer.",
        "Give CAs of one name key identifiers, or take the old one out of trust.",
    ),
    Refusal.BAD_CRL: (
        "identity.crl",
        "The revocation list that OpenSSL takes for the issuer's is not signed by it, or is one of a part only.",
        "Fetch a whole list that names its issuer's key (authorityKeyIdentifier).",
    ),
    Refusal.NO_CRL: (
        "identity.crl",
        "There is no revocation list that serves for this certificate.",
        "Fetch the whole list of each CA.",
    ),
    Refusal.CRL_NOT_CURRENT: (
        "identity.crl",
        "A revocation list is out of date, or not yet valid.",
        "Fetch the newest list of each CA, and check the clock.",
    ),
    Refusal.REVOKED: ("identity.crl", "The certificate, or that of a CA above it, was revoked.", "Issue a new one."),
    Refusal.EXPIRED: ("identity.certificate", "A certificate of the chain has expired.", "Issue a new one."),
    Refusal.NOT_YET_VALID: (
        "identity.certificate",
        "A certificate of the chain is not valid yet.",
        "Set the clock of this machine, or wait.",
    ),
}
_KEY_MEND = "Issue a new one, with a P-256 key."


def _in_words(reason: str, credentials: Credentials, moment: datetime | None) -> Fault:
    untold = f"No handshake is possible with this certificate and key ({reason.replace('_', ' ')})."
    other = ("identity.certificate", untold, _KEY_MEND)
    where, sentence, mend = next((words for word, words in _SENTENCES.items() if word == reason), other)
    # The chain walk knows names and dates. Its finding is used only if it is the same fault.
    when = moment or max(certificate.not_valid_before_utc for certificate in credentials.chain)
    lists: Sequence[x509.CertificateRevocationList] = credentials.crls if reason in _OF_LISTS else ()
    why = explain_failure(credentials.leaf, credentials.chain[1:], credentials.trust, lists, when)
    if why.reason == reason:
        sentence = why.sentence
        if reason == Refusal.UNKNOWN_ISSUER:
            where = "identity.certificate"
            mend = "Put the CA's certificate into trust, and the intermediate ones into certificate."
    return Fault(reason, where, sentence, mend)
