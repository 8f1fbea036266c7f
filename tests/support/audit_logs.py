"""Audit logs in a folder, as a node writes them, made at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from msgspec import structs

from pcgrelay.audit.checkpoint import Checkpoint
from pcgrelay.audit.history import HISTORY, NEWEST, history_line
from pcgrelay.audit.keys import LogKeys
from pcgrelay.audit.note import (
    COSIGNATURE_ED25519,
    COSIGNATURE_ML_DSA_44,
    ED25519,
    Note,
    NoteSigner,
    NoteVerifier,
    sign_note,
)
from pcgrelay.audit.segments import segment_name
from pcgrelay.audit.tiles import TileWriter
from pcgrelay.audit.tree import leaf_hash
from pcgrelay.log.audit_events import AuditKeys, WitnessKeys
from pcgrelay.signing import sign
from tests.support.pki import Files

ORIGIN = "pcgrelay.police.example/kent.police.example/kent-1"
START_S = 1_793_664_000  # 2026-11-03T00:00:00Z


def time_text(number: int) -> str:
    """The time of a record: ten in a second."""
    tenths = number
    seconds, tenth = divmod(tenths, 10)
    hours, rest = divmod(seconds, 3_600)
    days, hour = divmod(hours, 24)
    return f"2026-11-{3 + days % 27:02d}T{hour:02d}:{rest // 60:02d}:{rest % 60:02d}.{tenth}00Z"


def stream_end(number: int) -> bytes:
    """A record of the usual kind."""
    return (
        b'{"n":%d,"ts":"%s","event":"stream.end","direction":"import","stream":"%016x","service":"custody@kent.police.example",'
        b'"from_organisation":"met.police.example","to_organisation":"kent.police.example","outcome":"closed",'
        b'"sent_bytes":18237,"received_bytes":%d,"duration_ms":312,"suite":"AES-256-GCM","group":"X25519MLKEM768",'
        b'"outlet":"gateway","rule":3,"policy":"7f3ac1aa0912"}'
        % (number, time_text(number).encode(), number, number * 7)
    )


def keys_line(
    number: int,
    kind: type[AuditKeys] | type[WitnessKeys],
    signers: Sequence[NoteSigner],
    cosigner: NoteSigner,
    files: Files,
    ts: str,
) -> bytes:
    """A record of keys, as a node writes it."""
    chain = x509.load_pem_x509_certificates(files.certificate.read_bytes())
    key = load_pem_private_key(files.key.read_bytes(), None)

    def endorse(data: bytes) -> tuple[list[bytes], bytes]:
        return [each.public_bytes(Encoding.DER) for each in chain], sign(key, data)

    origin = signers[0].verifier.name
    record = structs.asdict(LogKeys(origin, signers[0], signers[1], cosigner).endorsed(endorse))
    if kind is WitnessKeys:
        record["peer"] = origin
    fields = msgspec.json.encode(record)
    return b'{"n":%d,"ts":"%s","event":"%s",%s' % (number, ts.encode(), kind.EVENT.encode(), fields[1:])


class AuditLog:
    """A log that grows by records and is signed when somebody says so."""

    def __init__(self, folder: Path, segment_records: int = 1_000, origin: str = ORIGIN) -> None:
        self.folder = folder
        self.signers = [NoteSigner.generate(origin, kind) for kind in (ED25519, COSIGNATURE_ML_DSA_44)]
        self.witness = NoteSigner.generate("hub.example/relay-1", COSIGNATURE_ED25519)
        self.origin = origin
        self._cosigner = NoteSigner.generate(origin.partition("/")[2], COSIGNATURE_ED25519)
        self.size = 0
        self._segment_records = segment_records
        self._tiles = TileWriter(folder)
        (folder / "log").mkdir(parents=True)

    @property
    def vkeys(self) -> list[NoteVerifier]:
        """The public keys of the log."""
        return [each.verifier for each in self.signers]

    @property
    def policy(self) -> str:
        """A policy that knows the log and its witness, and asks for that one."""
        logs = "".join(f"log {each.vkey}\n" for each in self.vkeys)
        return f"{logs}witness relay-1 {self.witness.verifier.vkey}\nquorum relay-1\n"

    def tell_keys(self, files: Files, ts: str = "2026-11-03T00:00:00.000Z") -> None:
        """Add a record of the log's keys, signed by a node's certificate."""
        self.append([keys_line(self.size, AuditKeys, self.signers, self._cosigner, files, ts)])

    def tell_witness(self, files: Files, ts: str = "2026-11-03T00:00:00.000Z") -> None:
        """Add a record of the keys of the witness, signed by its certificate."""
        origin = "pcgrelay.police.example/hub.example/relay-1"
        signers = [NoteSigner.generate(origin, kind) for kind in (ED25519, COSIGNATURE_ML_DSA_44)]
        self.append([keys_line(self.size, WitnessKeys, signers, self.witness, files, ts)])

    def append(self, lines: Sequence[bytes]) -> None:
        """Add records; each says its own number."""
        self._tiles.append([leaf_hash(line) for line in lines])
        done = 0
        while done < len(lines):
            first = self.size - self.size % self._segment_records
            more = lines[done : done + first + self._segment_records - self.size]
            with (self.folder / "log" / segment_name(first)).open("ab") as sink:
                sink.write(b"".join(line + b"\n" for line in more))
            done += len(more)
            self.size += len(more)

    def grow(self, count: int) -> None:
        """Add so many records of the usual kind."""
        self.append([stream_end(number) for number in range(self.size, self.size + count)])

    def head(self, *, is_witnessed: bool = False, is_whole: bool = True) -> Note:
        """Sign the head, and keep nothing of it. is_whole: by ML-DSA-44 too, as the history has it once in 60."""
        time_s = START_S + self.size // 10
        text = Checkpoint(self.origin, self.size, self._tiles.edge().root()).text
        signers = self.signers if is_whole else self.signers[:1]
        return sign_note(text, [*signers, *([self.witness] if is_witnessed else [])], time_s)

    def sign(self, *, is_witnessed: bool = False, is_whole: bool = True) -> Note:
        """Sign the head and keep it."""
        note = self.head(is_witnessed=is_witnessed, is_whole=is_whole)
        with (self.folder / HISTORY).open("ab") as sink:
            sink.write(history_line(time_text(self.size), note))
        (self.folder / NEWEST).write_bytes(note.encoded)
        return note


def make_log(folder: Path, count: int = 3_000, every: int = 700, segment_records: int = 1_000) -> AuditLog:
    """A log of so many records, signed after each `every`, and witnessed at the last of these."""
    log = AuditLog(folder, segment_records)
    while log.size + every <= count:
        log.grow(every)
        log.sign(is_witnessed=log.size + every > count)
    log.grow(count - log.size)
    return log
