"""Examine a whole log: its records, their tree, each head that was signed, and by whom.

It is a stream: 256 records are in memory at a time, and one head. Records are compared first, then signatures are
verified, because the keys for these stand in records. So a sentence like "record 5 is not the one that was signed"
means: by the head of that time, and whether that head is signed is the other half of the answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from msgspec import Struct, structs

from pcgrelay.audit.heads import Heads
from pcgrelay.audit.history import HISTORY, SignedHead
from pcgrelay.audit.note import ED25519, TYPE_NAMES, NoteRefused, NoteVerifier, Verified, verify_note
from pcgrelay.audit.policy import Policy
from pcgrelay.audit.problems import Problems
from pcgrelay.audit.report import Report, Signer, Trust, Verdict, Witnessing
from pcgrelay.audit.roots import Roots
from pcgrelay.audit.segments import segments_of
from pcgrelay.audit.told import KeysAt, Told
from pcgrelay.audit.walk import Walk, WalkEnded
from pcgrelay.clock import SYSTEM_CLOCK, Clock
from pcgrelay.errors import PcgrelayError, RunError


class Keys(Struct, frozen=True):
    """The keys of a log and of its witnesses, and by what they are known."""

    logs: tuple[NoteVerifier, ...]
    witnesses: tuple[NoteVerifier, ...]
    trust: Trust
    identity: str = ""  # in the certificate
    policy: Policy | None = None
    refused: tuple[str, ...] = ()  # records of keys that are not believed, a sentence each


UNKNOWN = "None of the signatures is by a key of the log that is known."
# A node may remove old segments meanwhile, once an hour. Then heads and records that were read do not belong together.
TRIES = 3
# From what the log says of keys, and its origin, to what is believed of it.
KeysOf = Callable[[Sequence[KeysAt], str], Keys]


def keys_of_policy(policy: Policy) -> KeysOf:
    """Believe the keys that a policy names, and nothing that the log says."""

    def keys(_: Sequence[KeysAt], origin: str) -> Keys:
        return Keys(policy.logs_of(origin), tuple(policy.witnesses.values()), "policy", policy=policy)

    return keys


def keys_of_itself(told: Sequence[KeysAt], origin: str) -> Keys:
    """Take the keys that the log itself names, where nothing else is known. This proves that it is of one piece."""
    logs, witnesses = dict[str, NoteVerifier](), dict[str, NoteVerifier]()
    for each in told:
        with suppress(NoteRefused):
            if each.keys.origin == origin:
                logs |= {vkey: NoteVerifier.parse(vkey) for vkey in (each.keys.ed25519, each.keys.ml_dsa_44)}
            else:
                witnesses[each.keys.cosigner] = NoteVerifier.parse(each.keys.cosigner)
    return Keys(tuple(logs.values()), tuple(witnesses.values()), "itself" if logs else "none")


def verify_log(
    folder: Path,
    keys_of: KeysOf = keys_of_itself,
    seen: Sequence[SignedHead] = (),
    clock: Clock = SYSTEM_CLOCK,
) -> Report:
    """Examine the log in a folder (STATE/audit). seen: checkpoints of it that others have.

    ProofProblem: one of these is of another log. ConfigError, PermissionProblem: a file cannot be read. RunError: old
    records go again and again while they are read.
    """
    for _ in range(TRIES):
        with _Front(folder) as front:
            try:
                report = _examine(folder, keys_of, seen, clock)
            except PcgrelayError:
                if front.is_same:
                    raise
                continue
            if front.is_same:
                return report
    raise RunError(f"{folder}: old records go faster than the log is read; run this again.")


class _Front:
    """The beginning of a log as it is while it is examined: its oldest record, and the file of its history."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first = self._first_of()
        try:
            # As long as it is open, no other file gets its number.
            self._history = os.open(folder / HISTORY, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            self._history = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._history >= 0:
            os.close(self._history)

    @property
    def is_same(self) -> bool:
        """Whether nothing was removed since."""
        return self._first_of() == self._first and self._is_same_history()

    def _first_of(self) -> int:
        segments = segments_of(self._folder)
        return segments[0].first if segments else 0

    def _is_same_history(self) -> bool:
        if self._history < 0:
            return True
        try:
            return os.path.samestat(os.stat(self._folder / HISTORY), os.fstat(self._history))
        except OSError:
            return False


def _examine(folder: Path, keys_of: KeysOf, seen: Sequence[SignedHead], clock: Clock) -> Report:
    started_ms = clock.monotonic_ms()
    problems = Problems()
    heads = Heads(folder, [structs.replace(head, is_elsewhere=True) for head in seen], problems)
    told = Told(heads.signed_size)
    walk = Walk(folder, problems, heads.signed_size)
    roots = Roots(folder, heads.in_order(), heads.signed_size, walk.place_of, problems)
    with suppress(WalkEnded):
        for group in walk.groups():
            roots.add(group.start, group.lines)
            told.add(group.lines)
    _judge_end(roots, heads, problems)
    if walk.first > told.pruned_until:
        problems.add(
            "missing",
            f"Records 0 to {walk.first - 1:,} are not there, and no signed record says that they were removed.",
            0,
        )
    signatures = _Signatures(heads, keys_of(told.keys, heads.origin), problems)
    signatures.verify()
    return Report(
        folder=str(folder),
        verdict=_verdict(problems, signatures),
        origin=heads.origin,
        first=walk.first,
        size=roots.size,
        since=told.since,
        until=told.until,
        signed_size=heads.signed_size,
        signed_at=heads.last.ts if heads.last else "",
        checkpoints=roots.agreed,
        signatures=signatures.count,
        other_heads=signatures.others,
        trust=signatures.keys.trust,
        identity=signatures.keys.identity,
        signers=signatures.signers,
        not_believed=signatures.keys.refused,
        witnesses=signatures.witnesses,
        accepted_size=signatures.accepted_size,
        holes=tuple(told.holes),
        holes_count=told.holes_count,
        begun_again=told.begun_again,
        pruned_told=walk.first <= told.pruned_until,
        heads_removed=told.heads_removed,
        torn=walk.torn,
        short_tiles=roots.short_tiles,
        first_short_tile=roots.first_short_tile,
        problems=tuple(problems.first),
        problems_count=problems.count,
        duration_ms=clock.monotonic_ms() - started_ms,
    )


def _judge_end(roots: Roots, heads: Heads, problems: Problems) -> None:
    beyond = roots.finish()
    if beyond is None:
        return
    size = beyond.checkpoint.size
    when = f" on {beyond.ts}" if beyond.ts else ""
    problems.add(
        "cut",
        f"The log ends with record {roots.size - 1:,}, and {size:,} records were signed{when} ({beyond.where}): "
        "its end was cut off."
        if roots.size
        else f"There is no record, and {size:,} were signed{when} ({beyond.where}).",
        roots.size,
    )


def _verdict(problems: Problems, signatures: _Signatures) -> Verdict:
    if problems.count:
        return "changed"
    if signatures.keys.policy is not None and signatures.accepted_size is None:
        return "unproved"
    return "whole" if signatures.keys.trust in ("policy", "certificate") and signatures.count else "unproved"


class _Signatures:
    """The signatures of all heads of a log."""

    def __init__(self, heads: Heads, keys: Keys, problems: Problems) -> None:
        self.keys = keys
        self.count = 0
        self.signers: tuple[Signer, ...] = ()
        self.accepted_size: int | None = None
        self.others = 0  # heads that none of the known keys has signed, and a later one that is known covers
        # The history has the Ed25519 signature of each head, and only sometimes that by ML-DSA-44. Whoever believes the
        # latter alone goes by the heads that have it: what stands before one of these is covered by it.
        self._may_be_others = all(key.kind != ED25519 for key in keys.logs)
        self._last_other: SignedHead | None = None
        self._known_size = 0
        self._heads = heads
        self._problems = problems
        self._witnessed: dict[str, tuple[int, int]] = {}  # of each: size, time

    @property
    def witnesses(self) -> tuple[Witnessing, ...]:
        """The youngest cosignature of each, the largest first."""
        found = sorted(self._witnessed.items(), key=lambda item: item[1], reverse=True)
        return tuple(Witnessing(name, size, moment_of(time_s)) for name, (size, time_s) in found)

    def verify(self) -> None:
        """Verify all signatures by known keys."""
        if not self.keys.logs:
            for sentence in self.keys.refused:
                self._problems.add("signature", sentence)
            if self._heads.last is not None and self.keys.trust in ("policy", "certificate"):
                self._problems.add(
                    "signature", f"None of the keys of {self._heads.origin} is known by this {self.keys.trust}."
                )
            return
        for head in self._all():
            try:
                self._verify(head)
            except NoteRefused as refusal:
                self._problems.add("signature", f"{head.where}: {refusal}")
        last = self._last_other
        if last is not None and last.checkpoint.size > self._known_size:
            self._problems.add("signature", f"{last.where}: {UNKNOWN}")

    def _all(self) -> Iterator[SignedHead]:
        yield from self._heads.all()
        yield from self._heads.seen

    def _verify(self, head: SignedHead) -> None:
        if not any(key.has_signed(each) for key in self.keys.logs for each in head.note.signatures):
            if not self._may_be_others:
                raise NoteRefused(UNKNOWN)
            self.others += 1
            if self._last_other is None or self._last_other.checkpoint.size <= head.checkpoint.size:
                self._last_other = head
            return
        verified = verify_note(head.note, (*self.keys.logs, *self.keys.witnesses))
        by_log = [each for each in verified if each.by in self.keys.logs]
        self.count += 1
        self._known_size = max(self._known_size, head.checkpoint.size)
        for each in verified:
            if each not in by_log:
                known = self._witnessed.get(each.by.name, (-1, 0))
                self._witnessed[each.by.name] = max(known, (head.checkpoint.size, each.time_s))
        if head is self._heads.newest or head.checkpoint.size == self._heads.signed_size:
            self.signers = _signers(by_log)
        if self.keys.policy is not None and self.keys.policy.is_met(verified):
            self.accepted_size = max(self.accepted_size or 0, head.checkpoint.size)


def _signers(verified: Sequence[Verified]) -> tuple[Signer, ...]:
    names = dict.fromkeys(each.by.name for each in verified)
    return tuple(
        Signer(name, tuple(TYPE_NAMES[each.by.kind] for each in verified if each.by.name == name)) for name in names
    )


def moment_of(time_s: int) -> str:
    """A time in seconds since 1970 as text, whatever a signature says."""
    try:
        return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return "a time beyond the calendar"
