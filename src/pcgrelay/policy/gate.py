"""Whether the files of a node may come into force: they are read once, held against what was approved, and judged.

It blocks, for ssh-keygen is asked: a running node does it in a thread. Nothing is changed here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from cryptography import x509
from msgspec import structs

from pcgrelay import config as configuration
from pcgrelay.config import Config
from pcgrelay.config.source import FILE_LIMIT_BYTES
from pcgrelay.errors import ConfigError, RuleProblem
from pcgrelay.files import read_bounded, read_text
from pcgrelay.policy.approving import Proposed, Reason, Refused, Rules, Taken, judge_change, without_people
from pcgrelay.policy.change import WIDENS, Change, Head, ordered, parse_change
from pcgrelay.policy.digest import PolicyFiles, policy_digest
from pcgrelay.policy.in_force import ending_too_late, late_words
from pcgrelay.policy.revoked import fingerprints
from pcgrelay.policy.signatures import (
    CHANGE_NAMESPACE,
    Signature,
    Verified,
    find_signatures,
    read_plain,
    read_revoked,
    verify,
)
from pcgrelay.policy.signed_text import TEXT_LIMIT_BYTES, Line, Misspelt, plain_lines
from pcgrelay.policy.signers import Signer, parse_signers, read_signers
from pcgrelay.policy.used import UsedTexts
from pcgrelay.policy.widening import classify
from pcgrelay.state.approved import CHANGE, POLICY, REVOKED, SIGNERS, TRUST, Approved

TRUST_LIMIT_BYTES = 1 << 20
FIRST_LINES_MOST_BYTES = TEXT_LIMIT_BYTES - 4_096
NONE_USED = UsedTexts()


class ApprovalProblem(RuleProblem):
    """A rule of approval does not allow it; `reason` is of the closed list."""

    def __init__(self, reason: Reason, sentence: str, unnamed: str = "") -> None:
        """unnamed: the sentence for the status, which names nobody, if it is another one."""
        super().__init__(sentence)
        self.reason = reason
        self.unnamed = without_people(unnamed or sentence)


@dataclass(frozen=True, slots=True)
class Policy:
    """A configuration with the contents of the files on which it rests, all read once."""

    text: str
    config: Config
    files: PolicyFiles
    signers: tuple[Signer, ...]
    digest: str

    @property
    def able(self) -> tuple[Signer, ...]:
        """Signers whose keys are not revoked, for sentences: what counts is found by ssh-keygen."""
        gone = fingerprints(self.files.revoked)
        return tuple(each for each in self.signers if each.fingerprint not in gone)

    @property
    def is_approved(self) -> bool:
        """Whether changes of it have to be approved."""
        return self.config.approvals is not None

    def has_trust(self, trust: Sequence[x509.Certificate]) -> bool:
        """Whether these are the trusted certificates that were judged."""
        return x509.load_pem_x509_certificates(self.files.trust) == list(trust)

    def to_keep(self) -> dict[str, bytes]:
        """Its files as the approved copy has them."""
        kept = {
            POLICY: self.text.encode(),
            SIGNERS: self.files.signers,
            TRUST: self.files.trust,
            REVOKED: self.files.revoked,
        }
        return {name: data for name, data in kept.items() if data}


@dataclass(frozen=True, slots=True)
class Paper:
    """A change as it lies beside the configuration, with its signatures."""

    data: bytes
    signatures: tuple[Signature, ...]

    @property
    def sha256(self) -> str:
        """By which a hold names it."""
        return hashlib.sha256(self.data).hexdigest()

    def to_keep(self) -> dict[str, bytes]:
        """Its files as the approved copy has them."""
        return {CHANGE: self.data, **{f"{CHANGE}.{each.principal}.sig": each.data for each in self.signatures}}


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to come into force, and by whom it was approved."""

    policy: Policy
    proposed: Proposed
    taken: Taken
    paper: Paper | None = None  # which approved it,
    head: Head | None = None  # and what that says of itself

    @property
    def is_first(self) -> bool:
        """Whether nothing was approved before."""
        return not self.proposed.before

    def count(self, kind: str) -> int:
        """How many of its lines are of a kind."""
        return sum(line.kind == kind for line in self.proposed.lines)

    def to_keep(self) -> dict[str, bytes]:
        """The files of the approved copy."""
        return {**self.policy.to_keep(), **(self.paper.to_keep() if self.paper else {})}


def read_policy(path: Path) -> Policy:
    """Read a configuration and the files on which its policy rests. PcgrelayError: one of them is refused."""
    text = read_text(path, "configuration", FILE_LIMIT_BYTES)
    config = configuration.parse(text, path)
    listed: tuple[Signer, ...] = ()
    signers = revoked = b""
    if config.approvals is not None:
        signers, listed = read_signers(config.approvals.signers)
        revoked = b"" if config.approvals.revoked is None else read_revoked(config.approvals.revoked)
    trust = read_bounded(config.identity.trust, "trusted certificate", TRUST_LIMIT_BYTES)
    return _policy(text, config, PolicyFiles(signers=signers, trust=trust, revoked=revoked), listed)


def kept_policy(approved: Approved, path: Path) -> Policy:
    """Return the policy of an approved copy. path: of the configuration, from which its relative paths are."""
    files = PolicyFiles(
        signers=approved.files.get(SIGNERS, b""),
        trust=approved.files.get(TRUST, b""),
        revoked=approved.files.get(REVOKED, b""),
    )
    return given_policy(approved.text, files, path)


def given_policy(text: str, files: PolicyFiles, path: Path) -> Policy:
    """Return the policy of a text and files that were read elsewhere. ConfigError: they are refused."""
    listed = parse_signers(files.signers, path) if files.signers else ()
    return _policy(text, configuration.parse(text, path), files, listed)


def propose(held: Policy | None, fresh: Policy) -> Proposed:
    """Return what comes with other files, as lines of a change."""
    if held is None:
        found = classify(None, fresh.config, new_files=fresh.files)
    else:
        found = classify(held.config, fresh.config, held.files, fresh.files)
    lines = tuple(Line(each.kind.value, shown) for each in found for shown in plain_lines(each.sentence))
    if held is None and sum(len(line.sentence) + 11 for line in lines) > FIRST_LINES_MOST_BYTES:
        # Whoever signs the first policy reads its file, to which the digest holds them.
        lines = (Line(WIDENS, f"everything that the file allows: {len(lines)} lines, too many to be shown here"),)
    return Proposed("" if held is None else held.digest, fresh.digest, ordered(lines))


def change_path(path: Path) -> Path:
    """Where the change of a configuration lies: kent-1.change beside kent-1.toml."""
    return path.with_suffix(".change")


def read_paper(path: Path) -> Paper | None:
    """Read a change and the signatures beside it; nothing if there is none. PcgrelayError: one is refused."""
    if not os.path.lexists(path):
        return None
    return Paper(read_plain(path, "change", TEXT_LIMIT_BYTES), find_signatures(path))


def decide(
    held: Policy | None,
    fresh: Policy,
    now: datetime,
    *,
    change: Path | None = None,
    holds: Mapping[str, tuple[str, ...]] | None = None,
    used: UsedTexts = NONE_USED,
) -> Decision | None:
    """Judge files that were read against what was approved last; nothing: nobody has to approve anything.

    change: where the text of the change lies; beside the configuration if nothing is said. holds: who holds which
    change. used: changes that were taken.

    ApprovalProblem: not taken. ConfigError: nothing was approved yet, and this is not approved as the first.
    """
    path = fresh.config.path
    if held is None and not fresh.is_approved:
        return None
    if fresh.is_approved and fresh.config.node.state is None:
        raise ConfigError(
            f"{path}: [approvals] keeps what was approved in the folder of [node] state; write for example: "
            f'state = "/var/lib/pcgrelay/{fresh.config.node.id.name}"'
        )
    proposed = propose(held, fresh)
    if held is not None and not proposed.widens:
        return Decision(fresh, proposed, Taken())
    refuse_late(fresh.config, now)
    try:
        known = Known(holds or {}, used)
        return _approved(held or fresh, fresh, proposed, change or change_path(path), now, known)
    except ApprovalProblem as problem:
        if held is not None:
            raise
        raise ConfigError(
            f"{path}: nothing was approved yet, and [approvals] asks for it."
            f"{'' if problem.reason is Reason.NO_CHANGE else f' {problem}'} "
            f"For the first policy: pcgrelay approve --first -c {path}"
        ) from None


def refuse_late(config: Config, now: datetime) -> None:
    """Raise ConfigError if a rule ends later than [approvals] lets it.

    A check of dates keeps no node from starting, so by that alone a rule that ends too late would be let through.
    """
    late = next(ending_too_late(config, now), None)
    if late is not None and config.approvals is not None:
        words = late_words(late, config.approvals.most_days, now)
        raise ConfigError(f"{config.path}: {words} Write an earlier day, or raise most_days of [approvals].")


@dataclass(frozen=True, slots=True)
class Known:
    """What a node knows of texts by their SHA-256: who holds which, and which were taken."""

    holds: Mapping[str, tuple[str, ...]]
    used: UsedTexts


def _approved(
    judging: Policy, fresh: Policy, proposed: Proposed, where: Path, now: datetime,
    known: Known,
) -> Decision:  # fmt: skip
    """Judge a change that needs signatures, by the signers of the policy that holds."""
    node, approvals = judging.config.node.id, judging.config.approvals
    assert approvals is not None
    paper, change, verified, able = read_paper(where), None, Verified(), judging.able
    if paper is not None:
        change = parsed_change(paper.data, where)
        verified = verify_by(judging, paper.data, paper.signatures, CHANGE_NAMESPACE, now)
        if fresh.files.revoked and fresh.files.revoked != judging.files.revoked:
            # A key that this very change revokes does not sign it either.
            again = replace(judging, files=structs.replace(judging.files, revoked=fresh.files.revoked))
            verified = verify_by(again, paper.data, paper.signatures, CHANGE_NAMESPACE, now, and_by=verified)
            able = tuple(each for each in able if each in again.able)
    rules = Rules(
        node.dotted, node.realm, approvals.needs, able,
        holds=approvals.holds, held=() if paper is None else known.holds.get(paper.sha256, ()),
        used="" if paper is None or change is None else known.used.why_not(paper.sha256, change.head.until),
    )  # fmt: skip
    answer = judge_change(proposed, rules, change, verified, now, CHANGE_NAMESPACE)
    if isinstance(answer, Refused):
        raise ApprovalProblem(answer.reason, answer.sentence, answer.unnamed)
    return Decision(fresh, proposed, answer, paper, None if change is None else change.head)


def verify_by(
    policy: Policy, data: bytes, signatures: tuple[Signature, ...], namespace: str, now: datetime,
    and_by: Verified | None = None,
) -> Verified:  # fmt: skip
    """Verify signatures by the signers and the revoked keys of a policy. RunError: ssh-keygen does not run.

    and_by: only those count that counted there too.
    """
    listed = policy.files.signers, policy.signers
    found = verify(data, signatures, namespace, listed, policy.files.revoked, now)
    if and_by is None:
        return found
    return Verified(tuple(each for each in found.good if each in and_by.good), found.bad or and_by.bad)


def parsed_change(data: bytes, where: Path) -> Change:
    """Read a change. ApprovalProblem: it is misspelt."""
    try:
        return parse_change(data)
    except Misspelt as error:
        raise ApprovalProblem(Reason.TEXT, f"{where} is no change ({error.name}): {error}.") from None


def _policy(text: str, config: Config, files: PolicyFiles, signers: tuple[Signer, ...]) -> Policy:
    digest = policy_digest(config, signers=files.signers, trust=files.trust, revoked=files.revoked)
    return Policy(text, config, files, signers, digest)
