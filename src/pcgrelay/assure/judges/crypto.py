"""Judges of handshakes, certificates and keys: K1 to K8 and K10."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from pcgrelay.assure.facts import (
    REFUSED,
    TAKEN,
    UNREACHABLE,
    Attempts,
    Certificate,
    CertificateBank,
    Channels,
    OwnChain,
    RevocationLists,
    RevokedIdentity,
    SelfTests,
)
from pcgrelay.assure.judgement import Judgement, asked, failed, judge_all, listed, passed
from pcgrelay.assure.parameters import Parameters

RSA_LEAST_BITS = 3_072  # as strong as P-256 (NIST SP 800-57 part 1, table 2)
CURVES = ("P-256", "P-384", "P-521", "Ed25519", "Ed448")
HASHES = ("", "sha256", "sha384", "sha512")
NOT_TRIED = "not tried"
REVOKED = "revoked"  # the reason, and a word of the alert


def old_tls_is_refused(facts: Attempts, parameters: Parameters) -> Judgement:
    """K1: nothing older than TLS 1.3 is taken anywhere."""
    expected = "TLS 1.0, 1.1 and 1.2 are refused at each listener"
    return judge_all(_wrong(facts), f"{len(facts.attempts)} handshakes refused", expected)


def other_cryptography_is_refused(facts: Attempts, parameters: Parameters) -> Judgement:
    """K2: what is outside of the profile is refused, what is in it is taken."""
    groups = ", ".join(parameters.tls.groups)
    expected = f"only {groups}, the suites of TLS 1.3 that the protocol names, and signatures of the profile"
    taken = sum(each.answer == TAKEN for each in facts.attempts)
    words = f"{taken} of the profile taken, {len(facts.attempts) - taken} others refused"
    return judge_all(_wrong(facts), words, expected)


def _wrong(facts: Attempts) -> Iterator[str]:
    for each in facts.attempts:
        if each.answer == UNREACHABLE:
            yield f"{each.listener} does not answer ({each.detail})"
        elif each.wanted and each.answer != TAKEN:
            yield f"{each.listener} refuses {each.offered}, which the profile names"
        elif not each.wanted and each.answer != REFUSED:
            yield f"{each.listener} takes {each.offered}"


def groups_are_of_the_profile(facts: Channels, parameters: Parameters) -> Judgement:
    """K3: the group of each link and session; and what a peer without one was answered."""
    groups = parameters.tls.groups
    expected = f"each live link and session has {' or '.join(groups)}"
    wrong = [
        f"the {each.kind} with {each.peer} has {each.group or 'no group'}"
        for each in facts.channels
        if each.group not in groups
    ]
    wrong += _wrong(Attempts(attempts=facts.attempts))
    return judge_all(wrong, f"{len(facts.channels)} links and sessions, each with one of these", expected)


def crypto_inventory_is_complete(facts: Channels, parameters: Parameters) -> Judgement:
    """K10: suite and group of everything that is up are known, and the suite is one of the profile."""
    expected = "suite and group of each live link and session are known, and the suite is one of the profile"
    wrong = []
    for each in facts.channels:
        if not each.suite or not each.group:
            wrong.append(f"the {each.kind} with {each.peer} has no {'suite' if not each.suite else 'group'}")
        elif each.suite not in parameters.tls.suites:
            wrong.append(f"the {each.kind} with {each.peer} has {each.suite}")
    return judge_all(wrong, f"{len(facts.channels)} of {len(facts.channels)} known", expected)


def proofs_are_recent(facts: Channels, parameters: Parameters) -> Judgement:
    """K7: the age of the last proof of each link and session."""
    most = parameters.keys.proved_most_s
    expected = f"both ends proved their identities within {most:,} s"
    wrong = []
    for each in facts.channels:
        if each.proved_s is None:
            wrong.append(f"the {each.kind} with {each.peer} does not say when")
        elif each.proved_s > most:
            wrong.append(f"the {each.kind} with {each.peer} did so {each.proved_s:,.0f} s ago")
    oldest = max((each.proved_s or 0.0 for each in facts.channels), default=0.0)
    return judge_all(wrong, f"{len(facts.channels)} links and sessions, the oldest proof {oldest:,.0f} s ago", expected)


def own_chain_is_good(facts: OwnChain, parameters: Parameters) -> Judgement:
    """K4: keys, signatures, the one name, the CA, and the date."""
    least = parameters.keys.certificate_least_days
    expected = f"P-256 or better, SHA-256, one SPIFFE name, a CA of the realm's own, more than {least} days left"
    if not facts.certificates:
        return failed("there is no certificate", expected)
    leaf = facts.certificates[0]
    wrong = [fault for each in (*facts.certificates, *facts.trust) for fault in _weak(each)]
    spiffe = [name for name in leaf.names if name.startswith("spiffe://")]
    if len(leaf.names) != 1 or len(spiffe) != 1:
        wrong.append(f"the certificate has {len(leaf.names)} URI names, {len(spiffe)} of them SPIFFE")
    wrong += [f"{each.subject} is a public CA" for each in facts.trust if each.is_public]
    left = leaf.not_after - facts.now
    if left <= timedelta(days=least):
        wrong.append(f"the certificate ends in {left.days} days ({leaf.not_after:%Y-%m-%d})")
    return judge_all(wrong, f"{leaf.key}, one SPIFFE name, {left.days} days left", expected)


def _weak(each: Certificate) -> Iterator[str]:
    if each.key == "RSA" and each.key_bits < RSA_LEAST_BITS:
        yield f"{each.subject} has an RSA key of {each.key_bits} bits"
    elif each.key != "RSA" and each.key not in CURVES:
        yield f"{each.subject} has a key of the kind {each.key}"
    if each.signature_hash not in HASHES:
        yield f"{each.subject} is signed with {each.signature_hash}"


def revocation_list_is_current(facts: RevocationLists, parameters: Parameters) -> Judgement:
    """K6: there is a list, in its time, made within the days of the profile, and the node refuses what is on it."""
    most = parameters.keys.crl_most_days
    expected = f"a list is in force, in its time, made within {most} days, and a revoked identity is refused as such"
    if not facts.configured or not facts.lists:
        return failed("there is no revocation list", expected)
    wrong = []
    for each in facts.lists:
        age = facts.now - each.made
        if each.next is not None and each.next < facts.now:
            wrong.append(f"the list of {each.issuer} was over on {each.next:%Y-%m-%d}")
        elif age > timedelta(days=most):
            wrong.append(f"the list of {each.issuer} was made {age.days} days ago")
        elif age < -timedelta(hours=1):
            wrong.append(f"the list of {each.issuer} is of the future; look at both clocks")
    oldest = max((facts.now - each.made).days for each in facts.lists)
    words = f"{len(facts.lists)} in force, the oldest made {oldest} days ago"
    if wrong or facts.revoked is None:
        why = f"{words}; no revoked identity was shown ([assure] revoked is not set)"
        return failed(listed(wrong), expected) if wrong else asked(why, expected)
    where = "by its lists, and it has no listener" if facts.revoked.live == NOT_TRIED else "by its listener"
    cure = "see what pcgrelay status says of lists; [assure] revoked names an identity that the realm has revoked"
    return judge_all(_unrevoked(facts.revoked, facts.now), f"{words}; a revoked identity is refused {where}",
                     expected, cure)  # fmt: skip


def _unrevoked(shown: RevokedIdentity, now: datetime) -> Iterator[str]:
    if shown.until < now:
        yield f"the revoked identity ended on {shown.until:%Y-%m-%d}, so its refusal shows nothing"
    elif shown.live == NOT_TRIED and shown.reason != REVOKED:
        yield f"by the node's own lists the revoked identity is {shown.reason or 'good'}"
    elif shown.live == TAKEN:
        yield "the listener takes a revoked identity"
    elif shown.live not in (REFUSED, NOT_TRIED):
        yield f"the listener does not answer ({shown.detail})"
    elif shown.live == REFUSED and REVOKED not in shown.detail:
        yield f"the listener refuses the revoked identity for another reason ({shown.detail})"


def bad_certificates_are_refused(facts: CertificateBank, parameters: Parameters) -> Judgement:
    """K5: each kind is refused by its name here, and refused by the node."""
    expected = "every one is refused, by its name"
    wrong = []
    for each in facts.tries:
        if each.reason != each.due:
            wrong.append(f"{each.kind}: {each.reason or 'taken'} instead of {each.due}")
        if each.live not in (REFUSED, NOT_TRIED):
            wrong.append(f"{each.kind}: the listener's answer is: {each.live}")
    live = sum(each.live == REFUSED for each in facts.tries)
    return judge_all(wrong, f"{len(facts.tries)} kinds refused by name, {live} of them by the listener too", expected)


def known_answers_are_right(facts: SelfTests, parameters: Parameters) -> Judgement:
    """K8: each algorithm gives the published answer, in both processes."""
    expected = "each cipher and HKDF give the published answers, here and in the node"
    wrong = [f"{each.algorithm} is wrong ({each.where})" for each in facts.answers if not each.right]
    places = {each.where for each in facts.answers}
    missing = {"here", "node"} - places
    if wrong or missing:
        return failed(listed([*wrong, *(f"nothing was tested: {each}" for each in sorted(missing))]), expected)
    return passed(f"{len(facts.answers)} answers right", expected)
