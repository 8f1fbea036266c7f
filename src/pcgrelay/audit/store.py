"""The files of a log that is written. One thread of one process has it.

The order of writing is: records, fdatasync, tiles, signature, history, checkpoint. So nothing that a power failure may
take is ever signed, and whoever has a checkpoint can rely on the records before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import date, timedelta
from pathlib import Path

from pcgrelay.audit.checkpoint import Checkpoint
from pcgrelay.audit.disk import FOLDER_MODE, AppendFile, Disk
from pcgrelay.audit.history import HISTORY, NEWEST, history_line
from pcgrelay.audit.keys import LogKeys
from pcgrelay.audit.lines import time_in
from pcgrelay.audit.note import SIGNATURES_MOST, Note, Signature, sign_note
from pcgrelay.audit.recovery import Found, find, tiles_of
from pcgrelay.audit.segments import FOLDER, SEGMENT_MOST_BYTES, Segment, segment_name
from pcgrelay.audit.thinning import Thinning
from pcgrelay.audit.tile_sync import TileSync, read_mark
from pcgrelay.audit.tiles import TileWriter
from pcgrelay.audit.tree import leaf_hash
from pcgrelay.errors import ProofProblem
from pcgrelay.files import open_plain

DAY_CHARACTERS = len("2026-11-03")
# The ML-DSA-44 signature of a head is 3.2 KB of text: the newest head always has it, the history once in so many.
HISTORY_WHOLE_EACH = 60
# Of the signatures under one head, those of witnesses of one organisation: it must not keep the others out.
OF_ORGANISATION_MOST = 8


class LogStore:
    """The log below one folder, open at its end."""

    def __init__(self, folder: Path, keys: LogKeys, disk: Disk) -> None:
        """Open what is there, or begin.

        ProofProblem: it does not agree with what was signed. PcgrelayError, OSError: it cannot be read or written.
        """
        self.folder = folder
        self.keys = keys
        self._disk = disk
        (folder / FOLDER).mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        found = find(folder, keys.public, disk)
        self.torn = found.torn
        self.size = self.synced = found.size
        self.newest: Note | None = None if found.head is None else found.head.note
        self.signed = 0 if found.head is None else found.head.checkpoint.size
        tiles, mark = tiles_of(folder, found, read_mark(folder), disk)
        self._tiles: TileWriter | None = tiles
        self._tile_sync = TileSync(folder, mark, disk)
        self.trouble: Exception | None = None  # why the last records were not written
        self._leaves: list[bytes] = []  # of records that are not synced
        self._signed_heads = 0
        with ExitStack() as opened:  # a disk that fails is tried again each second
            self._history = disk.open(folder / HISTORY, found.history_bytes)
            opened.callback(self._history.close)
            self._file = self._last_segment(found)
            opened.callback(self._file.close)
            self._synced_bytes = self._file.size
            self._day = self._day_of(found.segment)
            # What another process has written may not be on the disk yet.
            self._file.sync()
            opened.pop_all()

    def _last_segment(self, found: Found) -> AppendFile:
        if found.segment is None:
            return self._disk.open(self._path(0), 0)
        return self._disk.open(found.segment.path, found.segment_bytes)

    def append(self, lines: Sequence[bytes]) -> int:
        """Write records, each numbered as it must be; return how many.

        Fewer: the disk takes no more, or what it had taken before is lost; `trouble` says why.
        """
        done = 0
        try:
            while done < len(lines):
                if self._is_full(lines[done]):
                    self._begin_segment(lines[done])
                chunk = self._fitting(lines[done:])
                self._file.append(b"".join(line + b"\n" for line in chunk))
                self._leaves += map(leaf_hash, chunk)
                self.size += len(chunk)
                done += len(chunk)
        except (OSError, ProofProblem) as error:
            self.trouble = error
        return done

    def sync(self) -> None:
        """Return when all records are on the disk. OSError, ProofProblem: those since the last time are gone."""
        if self.synced == self.size:
            return
        try:
            self._file.sync()
            self._grown().append(self._leaves)
        except (OSError, ProofProblem):
            self._undo()
            raise
        self._leaves.clear()
        self.synced, self._synced_bytes = self.size, self._file.size

    def sign(self, time_s: int, ts: str) -> Note | None:
        """Sign the head of what is synced; nothing if that is signed. PcgrelayError, OSError: it cannot be kept.

        time_s: seconds since 1970. ts: the same moment as records have it.
        """
        if self.synced == self.signed:
            return None
        head = Checkpoint(self.keys.origin, self.synced, self._grown().edge().root())
        note = sign_note(head.text, self.keys.signers, time_s)
        is_whole = self._signed_heads % HISTORY_WHOLE_EACH == 0
        self._remember(ts, note if is_whole else Note(note.text, note.signatures[:1]), synced=True)
        self._disk.replace(self.folder / NEWEST, note.encoded)
        self._signed_heads += 1
        self.newest, self.signed = note, head.size
        return note

    def sync_tiles(self, until: int | None = None) -> None:
        """Have tiles outlast a power failure: those before this record, or as it is done once a minute.

        PcgrelayError, OSError: it cannot be.
        """
        if until is None:
            self._tile_sync.turn(self.synced)
        else:
            self._tile_sync.reach(until)

    def add_cosignature(self, text: str, signature: Signature, ts: str) -> None:
        """Keep what a witness has signed, if it is the newest head: in the history sizes never fall.

        PcgrelayError, OSError: it cannot be kept.
        """
        newest = self.newest
        if newest is None or newest.text != text:
            return
        by = (signature.name, signature.key_id)
        standing = [each for each in newest.signatures if (each.name, each.key_id) != by]
        others = _with_room(standing, signature.name, self.keys.origin)
        if others is None:
            return
        # With a signature of the log's own, for each line of the history has one.
        self._remember(ts, Note(text, (newest.signatures[0], signature)), synced=False)
        self.newest = Note(text, (*others, signature))
        self._disk.replace(self.folder / NEWEST, self.newest.encoded)

    @property
    def history_bytes(self) -> int:
        """How long the history is, without what could not be written."""
        return self._history.size

    def replace_history(self, copy: Thinning) -> None:
        """Put a copy of the history in its place, with what was written meanwhile. OSError: the old one stays."""
        copy.finish(self._history.size)
        path = self._history.path
        try:
            self._disk.rename(copy.draft.path, path)
        finally:
            # Also if only the folder could not be synced: what is appended goes to the file of that name.
            if not copy.draft.path.exists():
                self._history.close()
                self._history = copy.hand_over()
                self._history.path = path

    def close(self) -> None:
        """Let go of the files; what is written stays."""
        self._file.close()
        self._history.close()

    def _remember(self, ts: str, note: Note, *, synced: bool) -> None:
        self._history.append(history_line(ts, note))
        if synced:
            self._history.sync()

    def _undo(self) -> None:
        """Forget what is not synced. After an error nobody knows what of it is on the disk."""
        self._leaves.clear()
        self.size = self.synced
        self._tiles = None
        with suppress(OSError):
            self._file.cut(self._synced_bytes)

    def _grown(self) -> TileWriter:
        """The tiles of what is synced, read again if the last write of them failed."""
        if self._tiles is None:
            self._tiles = TileWriter(self.folder, self.synced, self._disk)
        return self._tiles

    def _is_full(self, line: bytes) -> bool:
        return (self._file.size > 0 and self._is_other_day(line)) or self._file.size + len(
            line
        ) + 1 > SEGMENT_MOST_BYTES

    def _is_other_day(self, line: bytes) -> bool:
        day = time_in(line)[:DAY_CHARACTERS]
        # A record that was left out at first comes up to a minute late, perhaps after midnight.
        return day != self._day and day != _day_before(self._day)

    def _fitting(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        """As many lines as the segment takes."""
        room = SEGMENT_MOST_BYTES - self._file.size
        for count, line in enumerate(lines):
            room -= len(line) + 1
            if room < 0:
                return lines[:count]
        if not self._file.size:
            self._day = time_in(lines[0])[:DAY_CHARACTERS]
        return lines

    def _begin_segment(self, line: bytes) -> None:
        self.sync()
        file = self._disk.open(self._path(self.size), 0)
        self._file.close()
        self._file, self._synced_bytes = file, 0
        self._day = time_in(line)[:DAY_CHARACTERS]

    def _path(self, first: int) -> Path:
        return self.folder / FOLDER / segment_name(first)

    def _day_of(self, segment: Segment | None) -> str:
        if segment is None or not self._file.size:
            return ""
        with open_plain(segment.path) as source:
            return time_in(source.readline(128))[:DAY_CHARACTERS]


def _day_before(day: str) -> str:
    try:
        return (date.fromisoformat(day) - timedelta(days=1)).isoformat()
    except (ValueError, OverflowError):
        return ""


def _with_room(signatures: Sequence[Signature], witness: str, origin: str) -> Sequence[Signature] | None:
    """Return the signatures under a head with room for one more witness; nothing: its organisation has its part.

    If there is no room, the organisation with most witnesses gives up one, unless that is the newcomer's own. origin:
    the name of the log, under which its own stand.
    """
    organisation = _organisation(witness)
    owned = Counter(_organisation(each.name) for each in signatures if each.name != origin)
    if owned[organisation] >= OF_ORGANISATION_MOST:
        return None
    if len(signatures) < SIGNATURES_MOST:
        return signatures
    fullest, count = owned.most_common(1)[0]
    if count <= owned[organisation] + 1:
        return None
    gone = next(each for each in reversed(signatures) if _organisation(each.name) == fullest)
    return [each for each in signatures if each is not gone]


def _organisation(witness: str) -> str:
    """The organisation of a witness, whose name is ORGANISATION/NODE."""
    return witness.partition("/")[0]
