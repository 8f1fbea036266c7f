"""A realm's bundle made from a text that people write, by the key of the realm's signer.

The signer's key and certificate lie in a folder of their own (`Authority.issue_signer`), so that whoever signs bundles
needs nothing of the CA. The epoch is one more than that of the bundle that is replaced.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from pcgrelay.ca.authority import DAYS_MOST, SIGNER_STEM
from pcgrelay.ca.certificates import SKEW
from pcgrelay.config.settings import RealmTerms
from pcgrelay.errors import ConfigError, RunError, UsageProblem
from pcgrelay.files import read_bounded, read_text, write_replacing
from pcgrelay.identity.credentials import key_matches, load_certificates, load_crls, load_key
from pcgrelay.identity.dates import Span
from pcgrelay.model import Marking, NameProblem, check_dotted
from pcgrelay.realm.bundle import (
    BUNDLE_MOST_BYTES,
    EPOCH_MOST,
    LISTS_MOST,
    NAMES_MOST,
    BundleRefused,
    Content,
    check_pattern,
    check_signer,
    make_bundle,
    unverified,
    version_numbers,
)

BUNDLE_DAYS = 30
TEXT_LIMIT_BYTES = 4 << 20
EXAMPLE = 'write for example: members = ["*.police.example", "hub.example"]'


class Draft(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The text. A key that is not there: the bundle says nothing of it."""

    realm: str
    members: tuple[str, ...] | None = None
    relays: tuple[str, ...] | None = None
    clearances: dict[str, str] | None = None
    minimum_version: str = ""


@dataclass(frozen=True, slots=True)
class Signed:
    """A bundle that was written."""

    epoch: int
    end: datetime
    size: int


def read_draft(path: Path) -> tuple[Draft, RealmTerms]:
    """Read a text of a bundle. ConfigError: it is none, or a name or marking in it is wrong."""
    text = read_text(path, "text of a bundle", TEXT_LIMIT_BYTES)
    try:
        draft = msgspec.convert(tomllib.loads(text), Draft)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: this is no TOML ({error}).") from None
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}; {EXAMPLE}.") from None
    _named(path, "realm", partial(check_dotted, draft.realm, "realm"))
    if draft.minimum_version and not version_numbers(draft.minimum_version):
        raise ConfigError(f'{path}: minimum_version: "{draft.minimum_version[:24]}" is no version; write as "0.1.0".')
    terms = RealmTerms(
        members=_patterns(path, "members", draft.members),
        relays=_patterns(path, "relays", draft.relays),
        clearances=_clearances(path, draft.clearances),
    )
    return draft, terms


def sign_bundle(
    text: Path,
    signer: Path,
    out: Path,
    now: datetime,
    *,
    days: int = BUNDLE_DAYS,
    epoch: int | None = None,
    crls: Sequence[Path] = (),
) -> Signed:
    """Sign a text and write the bundle to `out`; it ends with the signer's certificate at the latest.

    signer: the folder of its key and certificate. epoch: None: one more than that of the bundle in `out`.
    ConfigError: a file cannot be used. UsageProblem: days or epoch is out of bounds.
    """
    if not 1 <= days <= DAYS_MOST:
        raise UsageProblem(f"--days: {days} is out of bounds; give 1 to {DAYS_MOST}.")
    draft, terms = read_draft(text)
    chain = load_certificates(signer / f"{SIGNER_STEM}.pem", "signer's certificate")
    key = load_key(signer / f"{SIGNER_STEM}.key")
    try:
        check_signer(chain[0], draft.realm)
    except BundleRefused:
        place = signer / f"{SIGNER_STEM}.pem"
        raise ConfigError(f"{place}: this is not the certificate of the signer of {draft.realm}.") from None
    if not key_matches(key, chain[0]):
        raise ConfigError(f"{signer / SIGNER_STEM}.key: this key does not belong to the certificate beside it.")
    start = now.replace(microsecond=0)
    end = min(start + timedelta(days=days), chain[0].not_valid_after_utc)
    if end <= start:
        raise ConfigError(f"{signer / SIGNER_STEM}.pem: the certificate has expired; make another signer.")
    number = _next_epoch(out, draft.realm) if epoch is None else epoch
    if not 1 <= number <= EPOCH_MOST:
        raise UsageProblem(f"--epoch: {number} is out of bounds; give 1 to {EPOCH_MOST:,}.")
    lists = [crl.public_bytes(Encoding.DER) for path in crls for crl in load_crls(path)]
    if len(lists) > LISTS_MOST:
        raise UsageProblem(f"--crl: a bundle has at most {LISTS_MOST} lists.")
    # Clocks of other machines may be behind this one's; no bundle begins before its signer's certificate.
    span = Span(max(start - SKEW, chain[0].not_valid_before_utc), end)
    minimum = draft.minimum_version
    data = make_bundle(draft.realm, number, span, terms, lists=lists, minimum=minimum, key=key, chain=chain)
    write_replacing(out, data)
    return Signed(number, end, len(data))


def read_content(path: Path) -> Content:
    """Return what a bundle says, without a look at who signed it. ConfigError: it is none."""
    try:
        return unverified(read_bounded(path, "realm bundle", BUNDLE_MOST_BYTES))
    except BundleRefused as refused:
        raise ConfigError(f"{path}: {refused}") from None


def _next_epoch(out: Path, realm: str) -> int:
    if not out.exists():
        return 1
    before = read_content(out)
    if before.realm != realm:
        raise RunError(f"{out}: this is the bundle of another realm; choose another file.")
    return before.epoch + 1


def _patterns(path: Path, key: str, names: Sequence[str] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    _refuse_count(path, key, names)
    for name in names:
        _named(path, key, partial(check_pattern, name))
    if len(set(names)) != len(names):
        raise ConfigError(f"{path}: {key}: a name is there twice; remove one of the two.")
    return tuple(names)


def _clearances(path: Path, table: dict[str, str] | None) -> tuple[tuple[str, Marking], ...] | None:
    if table is None:
        return None
    _refuse_count(path, "clearances", table)
    known = {marking.value: marking for marking in Marking}
    for name, word in table.items():
        _named(path, "clearances", partial(check_dotted, name, "organisation"))
        if word not in known:
            raise ConfigError(f'{path}: clearances: "{word[:40]}" is no marking; there are: {", ".join(known)}.')
    return tuple((name, known[table[name]]) for name in sorted(table))


def _refuse_count(path: Path, key: str, names: Iterable[str]) -> None:
    count = len(list(names))
    if not count:
        raise ConfigError(f"{path}: {key}: name at least one organisation, or remove this key.")
    if count > NAMES_MOST:
        raise ConfigError(f"{path}: {key}: a bundle names at most {NAMES_MOST:,}; this has {count:,}.")


def _named(path: Path, key: str, check: Callable[[], str]) -> None:
    try:
        check()
    except NameProblem as problem:
        raise ConfigError(f"{path}: {key}: {problem}.") from None
