"""Signatures of people under a pack: ssh-keygen -Y sign of SHA256SUMS, kept beside it.

A signature is named after the role in which somebody signs; who that was is decided by the key, which a list of signers
gives to one address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pcgrelay.assure.sums import SUMS
from pcgrelay.errors import RunError, UsageProblem
from pcgrelay.policy.signatures import Bad, Signature, find_signatures, fingerprint_of_signature, verify
from pcgrelay.policy.signatures import sign as sign_text
from pcgrelay.policy.signers import read_signers

NAMESPACE = "pcgrelay-evidence@1"
_ROLE = re.compile(r"[a-z0-9][a-z0-9 .@_-]{0,60}", re.IGNORECASE)


def sign(folder: Path, key: Path, role: str) -> Path:
    """Sign a pack's SHA256SUMS with a person's key; return the signature's file, which has the role in its name.

    UsageProblem: role is none. RunError: ssh-keygen is not there or refuses, or this role has signed already.
    """
    if not _ROLE.fullmatch(role):
        raise UsageProblem("--as names a role in letters, digits, blanks and .@_-, as: information assurance")
    slug = role.strip().replace(" ", "-")
    path = folder / f"{SUMS}.{slug}.sig"
    if path.exists():
        raise RunError(f"{path}: this role has signed already.")
    return sign_text(folder / SUMS, key, NAMESPACE, slug)


def verify_signatures(folder: Path, signers: Path, now: datetime) -> Iterator[tuple[str, str, str]]:
    """Yield for each signature its role, the address of who signed, and why it does not count; "": it counts.

    ConfigError: the list of signers is refused, or there are too many signatures.
    """
    data, people = read_signers(signers)
    text = (folder / SUMS).read_bytes()
    for found in find_signatures(folder / SUMS):
        try:
            fingerprint = fingerprint_of_signature(found.data)
        except ValueError:
            fingerprint = ""
        principal = next((each.principal for each in people if each.fingerprint == fingerprint), "")
        if not principal:
            yield found.principal, "", "nobody in the list of signers has that key"
            continue
        if not any(NAMESPACE in each.namespaces for each in people if each.fingerprint == fingerprint):
            yield (
                found.principal,
                principal,
                f"the list of signers does not name {NAMESPACE} for the key of {principal}",
            )
            continue
        done = verify(text, [Signature(principal, found.data)], NAMESPACE, (data, people), b"", now)
        bad: Bad | None = next(iter(done.bad), None)
        yield found.principal, principal, bad.sentence if bad else ""
