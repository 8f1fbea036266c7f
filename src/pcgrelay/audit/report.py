"""The result of an examination of a log, for programs and for people."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from pcgrelay.audit.problems import Problem

Verdict = Literal["whole", "unproved", "changed"]
Trust = Literal["policy", "certificate", "itself", "none"]


class Signer(Struct, frozen=True):
    """By whom the newest head is signed."""

    name: str
    types: tuple[str, ...]  # of its signatures


class Witnessing(Struct, frozen=True):
    """The youngest cosignature of one witness."""

    name: str
    size: int  # records that it has seen
    ts: str


class Hole(Struct, frozen=True):
    """Records that were lost before they were written; the log says so itself."""

    number: int  # of the record that says it
    count: int
    since: str
    until: str
    reason: str


class BegunAgain(Struct, frozen=True):
    """Somebody has begun this log in the place of one that could not be signed any more; the log says so itself."""

    number: int  # of the record that says it
    ts: str
    old_size: int  # of the last head of the log before it; 0: none was known
    old_root: str  # base64
    folder: str  # where the log before it was put
    problem: str  # why it could not be signed
    uid: int
    by: str
    reason: str


class TornEnd(Struct, frozen=True):
    """The end of the newest segment, which has no newline."""

    path: str
    size_bytes: int


class Report(Struct, frozen=True, kw_only=True):
    """What is known of a log."""

    folder: str
    verdict: Verdict
    origin: str  # empty: nobody has signed yet
    first: int  # number of the first record that is there
    size: int  # records, those that were removed from the front included
    since: str  # time of the first record that is there; empty: there is none
    until: str
    signed_size: int  # of the newest head
    signed_at: str
    checkpoints: int  # that agree with the records
    signatures: int  # of the log, that hold
    other_heads: int = 0  # that none of the known keys has signed; a head that one has signed covers them
    trust: Trust  # by what the log's keys are known
    identity: str = ""  # in the certificate by which they are known
    signers: tuple[Signer, ...] = ()
    not_believed: tuple[str, ...] = ()  # keys that the log names and nobody vouches for: a sentence each
    witnesses: tuple[Witnessing, ...] = ()
    accepted_size: int | None = (
        None  # of the largest head that the policy's quorum has signed; none: no policy, or no head
    )
    holes: tuple[Hole, ...] = ()
    holes_count: int = 0
    begun_again: BegunAgain | None = None
    pruned_told: bool = True  # a signed record says that records were removed from the front
    heads_removed: bool = False  # a signed record says that of these most heads were removed too
    torn: TornEnd | None = None
    short_tiles: int = 0  # tiles that are not there or too short; proofs need them, and they are made of the records
    first_short_tile: str = ""
    problems: tuple[Problem, ...] = ()
    problems_count: int = 0
    duration_ms: int = 0

    @property
    def records(self) -> int:
        """Number of records that are there."""
        return self.size - self.first

    @property
    def unsigned(self) -> int:
        """Records after the newest head."""
        return max(0, self.size - self.signed_size)
