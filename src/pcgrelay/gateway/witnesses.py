"""Witnesses: neighbours sign that they know the head of this node's audit log, and this node does so for them.

So whoever changes a log must also change what its neighbours have signed (docs/protocol.md, 9.12). A neighbour is asked
at most once a minute, and answers from a thread: it keeps what it signs on its disk first.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections import Counter
from collections.abc import Collection, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import structs

from pcgrelay.audit.audit_log import AuditLog
from pcgrelay.audit.checkpoint import Checkpoint, base64_text, origin_of
from pcgrelay.audit.keys import LogKeys, PublicKeys, read_keys_record
from pcgrelay.audit.note import Note, NoteRefused, read_signatures
from pcgrelay.audit.witnessing import (
    Known,
    Verdict,
    WitnessRequest,
    head_signed,
    judge,
    parse_request,
    proof_from,
    request_body,
)
from pcgrelay.clock import Clock
from pcgrelay.errors import PcgrelayError, ProofProblem
from pcgrelay.gateway.audit import NodeAudit
from pcgrelay.gateway.tasks import spawn
from pcgrelay.gateway.witness_files import LOGS_OF_ORGANISATION_MOST, WitnessFiles
from pcgrelay.identity.handshake import WITNESS
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.link.link import Link
from pcgrelay.log.audit_events import WitnessConflict, WitnessKeys, WitnessNewLog
from pcgrelay.log.events import Emit
from pcgrelay.messages import Witness, WitnessKind
from pcgrelay.model import NodeId
from pcgrelay.net.ratelimit import TokenBucket
from pcgrelay.state.writes import StateWrites

EACH_MS = 60_000  # a neighbour is asked this often at most,
FRESH_MS = 3_600_000  # and this often at least, even if nothing is new
ANSWER_MS = 10_000
STALE_MS = 86_400_000
# A neighbour may ask so many times at once, and once in so many seconds.
ASKED_AT_ONCE, ASKED_EACH_S = 4, 15.0
# Neighbours are remembered beyond their links only up to so many.
NEIGHBOURS_MOST = 1_024
# The CA of an organisation makes nodes at will. Of all its nodes so many records of keys are written at once, and then
# one a minute, and so many requests are judged at a time.
KEYS_AT_ONCE, KEYS_EACH_S = LOGS_OF_ORGANISATION_MOST, 60.0
JUDGED_AT_ONCE = 2


@dataclass(slots=True)
class _Asked:
    """What is known of one neighbour as a witness of this log."""

    size: int = 0  # that it is believed to know
    asked_ms: int | None = None
    cosigned_ms: int | None = None
    cosigned_s: float = 0.0  # wall time
    cosigned_size: int = 0
    note: Note | None = None  # that it was asked to sign, and has not answered
    cosigner: str = ""  # the key of which the log has a record
    is_again: bool = False  # it was asked once more, from the size that it had named


@dataclass(slots=True)
class _OfLink:
    """What belongs to one link."""

    told: str = ""  # our key that we told: a log that is begun again has another
    learned: tuple[bytes, ...] = ()  # the neighbour's, as they came,
    keys: PublicKeys | None = None  # and as they were verified
    record: WitnessKeys | None = None
    asks: TokenBucket | None = None
    learns: TokenBucket | None = None


@dataclass(slots=True)
class Witnesses:
    """The witnesses of this node's log, and this node as one."""

    local: LocalIdentity
    audit: NodeAudit
    emit: Emit
    clock: Clock
    writes: StateWrites
    refused: Counter[str] = field(default_factory=Counter)
    asked: dict[NodeId, _Asked] = field(default_factory=dict)
    conflicts: set[str] = field(default_factory=set)
    _links: dict[int, _OfLink] = field(default_factory=dict)
    # Neighbours whose request is being judged. Two nodes may have several links, and a fork must not pass on two of
    # them at once.
    _judged: set[NodeId] = field(default_factory=set)
    _turns: dict[str, asyncio.Semaphore] = field(default_factory=dict)  # by organisation, of what is being judged
    _told: dict[str, TokenBucket] = field(default_factory=dict)  # by organisation, for records of keys
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _began_ms: int = 0

    def look(self, links: Iterable[Link]) -> None:
        """Ask whoever is to be asked; called once a second."""
        log = self.audit.log
        if log is None or log.keys is None or (newest := log.newest) is None:
            return
        now_ms = self.clock.monotonic_ms()
        self._began_ms = self._began_ms or now_ms
        there = [link for link in links if WITNESS in link.features and link.controlled and not link.draining]
        self._forget({link.peer for link in there}, now_ms)
        for link in there:
            asked = self.asked.setdefault(link.peer, _Asked())
            if self._is_due(asked, newest, now_ms):
                asked.is_again = False
                self._ask(link, asked, log, newest)

    def receive(self, link: Link, message: Witness) -> None:
        """Handle what a neighbour asks or answers."""
        log = self.audit.log
        if WITNESS not in link.features:
            self.refused["witness_unasked"] += 1
            return
        of_link = self._links.setdefault(link.number, _OfLink())
        if message.keys and message.keys != of_link.learned and not self._learn(link, of_link, message):
            return
        if message.kind == WitnessKind.REQUEST:
            self._asked_by(link, of_link, log, message.body)
            return
        asked = self.asked.get(link.peer)
        if log is None or asked is None or asked.note is None:
            self.refused["witness_unasked"] += 1
            return
        note, asked.note = asked.note, None
        try:
            self._answered(link, of_link, log, asked, note, message)
        except (ProofProblem, ValueError, UnicodeDecodeError):
            self.refused["witness_malformed"] += 1

    def link_down(self, link: Link) -> None:
        """Forget what belongs to a link."""
        self._links.pop(link.number, None)
        if (asked := self.asked.get(link.peer)) is not None:
            asked.note = None

    @property
    def state(self) -> Path | None:
        """The folder of state; nothing: this node keeps no audit log, and witnesses none."""
        return self.audit.state

    @property
    def is_stale(self) -> bool:
        """Whether there are neighbours, or should be, and none has signed for a day."""
        config = self.local.config
        if not self._began_ms or not (self.asked or config.links or config.listens):
            return False
        times = [each.cosigned_ms for each in self.asked.values() if each.cosigned_ms is not None]
        return self.clock.monotonic_ms() - max(times, default=self._began_ms) > STALE_MS

    def _forget(self, linked: Collection[NodeId], now_ms: int) -> None:
        """Remember not too many: of organisations with more than their part, those that went first are forgotten."""
        owned = Counter(peer.organisation for peer in self.asked)
        for peer in list(self.asked):
            if len(self.asked) <= NEIGHBOURS_MOST:
                break
            if peer not in linked and owned[peer.organisation] > NEIGHBOURS_MOST // len(owned):
                owned[peer.organisation] -= 1
                del self.asked[peer]
        if len(self._told) > NEIGHBOURS_MOST:
            self._told = {each: bucket for each, bucket in self._told.items() if not bucket.is_whole(now_ms)}

    # -- asking --------------------------------------------------------------------------------------------------

    def _is_due(self, asked: _Asked, newest: Note, now_ms: int) -> bool:
        if asked.asked_ms is not None and now_ms - asked.asked_ms < (ANSWER_MS if asked.note else EACH_MS):
            return False
        is_new = Checkpoint.parse(newest.text).size != asked.cosigned_size
        return is_new or asked.cosigned_ms is None or now_ms - asked.cosigned_ms >= FRESH_MS

    def _ask(self, link: Link, asked: _Asked, log: AuditLog, newest: Note) -> None:
        asked.asked_ms, asked.note = self.clock.monotonic_ms(), newest
        head = Checkpoint.parse(newest.text)
        old = min(asked.size, head.size)

        async def ask() -> None:
            try:
                _, proof = await asyncio.to_thread(proof_from, log.folder, old, head)
                self._send(link, log.keys, WitnessKind.REQUEST, request_body(old, proof, newest))
            except (PcgrelayError, OSError):
                self.refused["witness_no_proof"] += 1

        self._spawn(ask())

    def _answered(
        self, link: Link, of_link: _OfLink, log: AuditLog, asked: _Asked, note: Note, message: Witness
    ) -> None:
        head = Checkpoint.parse(note.text)
        if message.kind == WitnessKind.COSIGNED:
            keys = of_link.keys
            if keys is None:
                raise NoteRefused("A witness has not told its keys.")
            signature = next((s for s in read_signatures(message.body.decode()) if keys.cosigner.has_signed(s)), None)
            if signature is None:
                raise NoteRefused("A witness has signed by another key than its own.")
            time_s = keys.cosigner.verify(note.text, signature.value)
            asked.size = head.size
            if asked.cosigner != keys.cosigner.vkey and of_link.record is not None:
                if not self._may_tell_keys(link.peer.organisation):
                    # Without its keys on record nobody could verify it later.
                    self.refused["witness_too_many"] += 1
                    return
                asked.cosigner = keys.cosigner.vkey
                self.emit(of_link.record)
            asked.cosigned_size = head.size
            # A witness may say any time; one that is to come would say for years that the log is witnessed.
            asked.cosigned_ms = self.clock.monotonic_ms()
            asked.cosigned_s = min(float(time_s), self.clock.wall().timestamp())
            log.cosigned(note.text, signature)
        elif message.kind == WitnessKind.SIZE:
            size = int(message.body)
            if not 0 <= size <= head.size or size == asked.size:
                raise NoteRefused("A witness knows a size that cannot be.")
            asked.size = size
            # Once, else two sizes in turn would have this node make proofs without end.
            if not asked.is_again:
                asked.is_again = True
                self._ask(link, asked, log, note)
        elif message.kind == WitnessKind.CONFLICT:
            own = log.keys
            if own is not None:
                self._spawn(self._accused(link, log, note, own.public, Note.parse(message.body)))
        else:
            self.refused["witness_refused"] += 1

    def _may_tell_keys(self, organisation: str) -> bool:
        """Whether one more record of keys of the nodes of an organisation is written."""
        now_ms = self.clock.monotonic_ms()
        bucket = self._told.get(organisation)
        if bucket is None:
            bucket = self._told[organisation] = TokenBucket(KEYS_AT_ONCE, 1 / KEYS_EACH_S, now_ms)
        return bucket.spend(now_ms)

    async def _accused(self, link: Link, log: AuditLog, note: Note, keys: PublicKeys, told: Note) -> None:
        """A witness shows what it has signed before. Only what this log has signed itself proves anything."""
        head, newest = head_signed(told, keys), log.newest or note
        own = Checkpoint.parse(newest.text)
        try:
            if head is None:
                raise NoteRefused("A witness shows a note that this log has not signed.")
            if head.size <= own.size:
                # By tiles that lead to the newest head: one that is damaged proves nothing.
                root, _ = await asyncio.to_thread(proof_from, log.folder, head.size, own)
                if root == head.root:
                    raise NoteRefused("A witness shows a note that contradicts nothing.")
        except (PcgrelayError, OSError):
            self.refused["witness_malformed"] += 1
            return
        if log.keys is None or log.keys.public != keys:
            return  # somebody has begun another log meanwhile
        self._conflict(link.peer, keys.origin, newest, told)
        log.refuse(
            f"{link.peer.dotted} has a head of {head.size:,} records that this log has signed, and the log that is "
            "here does not have them: it was cut, written a second time, or a back-up was put back."
        )

    # -- being asked ---------------------------------------------------------------------------------------------

    def _asked_by(self, link: Link, of_link: _OfLink, log: AuditLog | None, body: bytes) -> None:
        own = None if log is None else log.keys
        if own is None or self.state is None:
            self._send(link, None, WitnessKind.REFUSED, b"no_log")
            return
        now_ms = self.clock.monotonic_ms()
        if of_link.asks is None:
            of_link.asks = TokenBucket(ASKED_AT_ONCE, 1 / ASKED_EACH_S, now_ms)
        if link.peer in self._judged or not of_link.asks.spend(now_ms):
            self.refused["witness_too_many"] += 1
            self._send(link, own, WitnessKind.REFUSED, b"busy")
            return
        if of_link.keys is None or of_link.record is None:
            self.refused["witness_keys"] += 1
            self._send(link, own, WitnessKind.REFUSED, b"keys")
            return
        try:
            request = parse_request(body)
        except (ProofProblem, ValueError):
            self.refused["witness_malformed"] += 1
            self._send(link, own, WitnessKind.REFUSED, b"malformed")
            return
        self._judged.add(link.peer)
        self._spawn(self._judge(link, of_link.keys, own, request, WitnessFiles(self.state)))

    async def _judge(
        self, link: Link, keys: PublicKeys, own: LogKeys, request: WitnessRequest, files: WitnessFiles
    ) -> None:
        turn = self._turns.setdefault(link.peer.organisation, asyncio.Semaphore(JUDGED_AT_ONCE))
        try:
            # One at a time for each neighbour, so few wait.
            async with turn:
                await self._judge_now(link, keys, own, request, files)
        except (PcgrelayError, OSError):
            self.refused["witness_unkept"] += 1
            self._send(link, own, WitnessKind.REFUSED, b"unkept")
        finally:
            self._judged.discard(link.peer)
            if not any(peer.organisation == link.peer.organisation for peer in self._judged):
                self._turns.pop(link.peer.organisation, None)

    async def _judge_now(
        self, link: Link, keys: PublicKeys, own: LogKeys, request: WitnessRequest, files: WitnessFiles
    ) -> None:
        before = await asyncio.to_thread(files.read, link.peer)
        vkeys = (keys.ed25519.vkey, keys.ml_dsa_44.vkey, keys.cosigner.vkey)
        is_same = before is not None and before.keys == vkeys
        known = before if before is not None and is_same else Known(origin=keys.origin, keys=vkeys)
        verdict = await asyncio.to_thread(judge, known, request, keys)
        if verdict is Verdict.COSIGN:
            fresh = structs.replace(known, size=request.head.size, note=request.note.encoded.decode())
            # Kept before it is signed.
            await self.writes.run(files.write, link.peer, fresh)
            if before is not None and not is_same:
                self._new_log(link.peer, before)
            signature = own.cosigner.sign(request.note.text, int(self.clock.wall().timestamp()))
            self._send(link, own, WitnessKind.COSIGNED, signature.line.encode())
        elif verdict is Verdict.SIZE:
            self._send(link, own, WitnessKind.SIZE, b"%d\n" % known.size)
        elif verdict is Verdict.CONFLICT:
            self.refused["witness_conflict"] += 1
            self._conflict(link.peer, keys.origin, Note.parse(known.note.encode()), request.note)
            self._send(link, own, WitnessKind.CONFLICT, known.note.encode())
        else:
            self.refused["witness_signature"] += 1
            self._send(link, own, WitnessKind.REFUSED, b"signature")

    def _new_log(self, peer: NodeId, old: Known) -> None:
        self.emit(WitnessNewLog(peer=peer.dotted, origin=old.origin, old_size=old.size, old_root=base64_text(old.root)))

    # -- both ----------------------------------------------------------------------------------------------------

    def _learn(self, link: Link, of_link: _OfLink, message: Witness) -> bool:
        """Take the keys of a neighbour's log, as its certificate signs them; whether they are good."""
        peer, now_ms = link.peer, self.clock.monotonic_ms()
        if of_link.learns is None:
            of_link.learns = TokenBucket(ASKED_AT_ONCE, 1 / ASKED_EACH_S, now_ms)
        if not of_link.learns.spend(now_ms):
            self.refused["witness_too_many"] += 1
            return False
        try:
            ed25519, ml_dsa_44, cosigner, signature, *chain = message.keys
            record = WitnessKeys(
                peer=peer.dotted,
                origin=origin_of(peer.realm, peer.organisation, peer.name),
                ed25519=ed25519.decode("ascii"),
                ml_dsa_44=ml_dsa_44.decode("ascii"),
                cosigner=cosigner.decode("ascii"),
                certificates=tuple(b64encode(each).decode() for each in chain),
                signature=b64encode(signature).decode(),
            )
            keys, certificates = read_keys_record(record)
            if self.local.chain_refusal(certificates) or self.local.identity_of(certificates[0]) != peer:
                raise NoteRefused("The keys of a log are signed by the certificate of another node.")
        except (PcgrelayError, UnicodeDecodeError, ValueError):
            self.refused["witness_keys"] += 1
            return False
        of_link.keys, of_link.record, of_link.learned = keys, record, message.keys
        return True

    def _conflict(self, peer: NodeId, origin: str, known: Note, told: Note) -> None:
        """Keep and tell two notes that cannot both be."""
        first, second = Checkpoint.parse(known.text), Checkpoint.parse(told.text)
        is_new = origin not in self.conflicts
        self.conflicts.add(origin)
        state = self.state
        if not is_new or state is None:
            return

        async def keep() -> None:
            file = ""
            try:
                notes = (known.encoded.decode(), told.encoded.decode())
                file = str(await self.writes.run(WitnessFiles(state).keep_conflict, peer, notes))
            except (PcgrelayError, OSError):
                self.refused["witness_unkept"] += 1
            self.emit(
                WitnessConflict(
                    peer=peer.dotted,
                    origin=origin,
                    known_size=first.size,
                    known_root=base64_text(first.root),
                    told_size=second.size,
                    told_root=base64_text(second.root),
                    file=file,
                )
            )

        self._spawn(keep())

    def _send(self, link: Link, own: LogKeys | None, kind: WitnessKind, body: bytes) -> None:
        """Send, with the keys of the own log in the first message of a link."""
        if not link.controlled:
            return
        of_link = self._links.setdefault(link.number, _OfLink())
        keys: tuple[bytes, ...] = ()
        if own is not None and of_link.told != own.ed25519.verifier.vkey:
            keys = self.audit.told_keys(own)
            of_link.told = own.ed25519.verifier.vkey
        link.send(Witness(int(kind), body, keys))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = spawn(work, "witness", self.emit)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """End what is under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
