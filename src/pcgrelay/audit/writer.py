"""The thread that writes the audit log: records that wait in a bounded queue, and what it is asked in between.

It touches the files only while it holds their lock, so that a hand-over can take them away at once. If the disk fails,
records are lost, counted, and the first record afterwards tells how many. If what is there does not agree with what was
signed, nothing is written until somebody begins a new log.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pcgrelay.audit.disk import FOLDER_MODE, Disk
from pcgrelay.audit.introduction import Introduction
from pcgrelay.audit.keys import Endorse, has_keys, load_keys, make_keys
from pcgrelay.audit.lines import Queued, body_of, line_of
from pcgrelay.audit.losses import Lost
from pcgrelay.audit.note import Note, Signature
from pcgrelay.audit.pruner import Pruner
from pcgrelay.audit.recovery import newest_head
from pcgrelay.audit.restarting import CERTIFIED, CONFLICT, Restart, move_old
from pcgrelay.audit.room import Room
from pcgrelay.audit.store import LogStore
from pcgrelay.audit.turns import CHECKPOINT_MS, PRUNE_MS, SYNC_MS, Times, follow_priority
from pcgrelay.audit.write_queue import Item, WriteQueue
from pcgrelay.clock import Clock
from pcgrelay.errors import PcgrelayError, ProofProblem
from pcgrelay.files import open_plain, reason_of
from pcgrelay.log.audit_events import AuditFailing, AuditRefusing, AuditTorn, AuditWell
from pcgrelay.log.events import Emit, Failure, Record, time_text
from pcgrelay.model import NodeId

# Records of so long are written together, if nobody waits for one of them.
BATCH_S = 0.2
CHUNK = 128  # records between two moments in which another thread may go on
AGAIN_S = 1.0
# How long a hand-over waits for a write that is under way.
RELEASE_S = 0.5
REST_S = 0.2  # and for records that wait; the others go to the new process as they are
TEXT_MOST_BYTES = 4_096


@dataclass(slots=True)
class Hooks:
    """What the thread calls, in the event loop but for `endorse`."""

    endorse: Endorse  # signs by the node's certificate
    tell: Emit  # the ordinary log
    signed: Callable[[Note], None]  # a new head
    handled: Callable[[], None]  # something was synced, or lost


class LogWriter:
    """The writer of the log below one folder. Only what stands before `the thread` is called from the event loop."""

    def __init__(self, folder: Path, node: NodeId, hooks: Hooks, clock: Clock, disk: Disk) -> None:
        self.folder = folder
        self.keep_days = 36_500
        self.queue = WriteQueue()
        self.durable = 0  # items of the queue that are on the disk, or lost
        self.lost_total = 0
        self.store: LogStore | None = None
        self.failing = self.refusing = ""
        self.signed_at_s = 0.0
        self._node = node
        self._hooks = hooks
        self._clock = clock
        self._disk = disk
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._wake, self._urgent = threading.Event(), threading.Event()
        self._files = threading.Lock()  # whoever has it may touch the files
        self._stopping = False
        self._ended = threading.Event()  # of this thread: another process, or a later thread, has the log
        # The thread's own.
        self._done = 0  # items that were handled
        self._introduction = Introduction(folder, self._endorse, disk)
        self._pruner = Pruner(folder, disk, self._on_record)
        self._lost: Lost | None = None
        self._unsynced: tuple[datetime, datetime] | None = None  # times of the records that are not synced
        self._room = Room(folder, clock)

    def start(self) -> None:
        """Begin to write, if it does not."""
        if self._thread is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._ended,), name="audit", daemon=True)
        self._thread.start()

    @property
    def is_started(self) -> bool:
        """Whether it writes."""
        return self._thread is not None

    def put(self, item: Item) -> None:
        """Queue records or a request."""
        self.queue.put(item)
        if callable(item):
            self.hurry()
        elif not self._wake.is_set():
            self._wake.set()

    def hurry(self) -> None:
        """Have what is queued on the disk as soon as possible."""
        self._urgent.set()
        self._wake.set()

    async def stop(self, seconds: float) -> None:
        """Write, sync and sign what was queued, then end."""
        if self._thread is not None:
            self._stopping = True
            self.hurry()
            await asyncio.to_thread(self._thread.join, seconds)
            self._thread = None

    def release(self) -> tuple[bytes, ...]:
        """End without a sync, so that another process goes on; return the bodies of records that were not written.

        PcgrelayError: a write takes too long; then this one goes on.
        """
        if self._thread is None:
            return ()
        self._ended.set()
        if not self._files.acquire(timeout=RELEASE_S):
            # The thread may have seen that it is to end, and ends with what it does now; another one goes on after it.
            self._thread = None
            self.start()
            raise PcgrelayError("the disk of the audit log is too slow just now")
        try:
            self._write_rest()
            self._close()
        finally:
            self._files.release()
        self.hurry()
        self._thread = None
        lost = () if self._lost is None else (body_of(Queued(self._lost.record, self._clock.wall(), "")),)
        return (*lost, *self.queue.bodies())

    def restore(self, bodies: Sequence[bytes]) -> None:
        """Put first what another process had queued."""
        self.queue.restore(bodies)

    # -- the thread: requests --------------------------------------------------------------------------------------

    def certify(self) -> None:
        """Have the keys signed again if the certificate is another."""
        self._introduction.certify()
        self._append([])

    def sign(self) -> None:
        """Sign what is there, once it is on the disk."""
        self._sync()
        store = self.store
        if store is None or self.refusing:
            return
        now = self._clock.wall()
        try:
            note = store.sign(int(now.timestamp()), time_text(now))
        except (OSError, PcgrelayError) as error:
            self._fail(error)
            return
        if note is not None:
            self.signed_at_s = now.timestamp()
            self._call(self._hooks.signed, note)
        self._introduction.signed(store.signed)

    def add_cosignature(self, text: str, signature: Signature) -> None:
        """Keep what a witness has signed."""
        if self.store is not None:
            try:
                self.store.add_cosignature(text, signature, time_text(self._clock.wall()))
            except (OSError, PcgrelayError) as error:
                self._fail(error)

    def refuse(self, problem: str) -> None:
        """Sign nothing more, in later processes too."""
        with suppress(PcgrelayError):
            self._disk.replace(self.folder / CONFLICT, problem.encode())
        self._sync()
        self._close()
        self._refuse(problem)

    def begin_again(self, restart: Restart) -> str:
        """Begin a new log; return what speaks against it."""
        if not self.refusing:
            return "The audit log is whole and is being written; there is no reason to begin another."
        try:
            move_old(self.folder, self.refusing, restart, self._clock.wall(), self._disk)
        except (OSError, PcgrelayError) as error:
            return str(error)
        self.refusing = ""
        self._open()
        self.sign()
        return self.refusing or self.failing

    # -- the thread: its turns -------------------------------------------------------------------------------------

    def _run(self, ended: threading.Event) -> None:
        while not ended.is_set():
            try:
                self._write(ended)
                return
            except Exception as error:
                # No such fault is known. What was not synced is read again from the files.
                with self._files:
                    if not ended.is_set():
                        self._close()
                self._call(self._hooks.tell, Failure(where="audit", error=type(error).__name__))
                time.sleep(AGAIN_S)

    def _write(self, ended: threading.Event) -> None:
        times = Times(self._clock.monotonic_ms())
        while True:
            self._wake.wait(times.wait_s(self._clock.monotonic_ms(), is_idle=self._is_idle()))
            if not self._urgent.is_set():
                self._urgent.wait(BATCH_S)
            urgent = self._urgent.is_set()
            self._wake.clear()
            self._urgent.clear()
            follow_priority()
            with self._files:
                if ended.is_set():
                    return
                is_last = self._stopping
                if self.store is None and not self.refusing:
                    self._open()
                if self.store is not None or self.refusing:
                    self._drain()
                if is_last:
                    self._room.forget()
                if self._lost is not None:
                    self._append([])
                now_ms = self._clock.monotonic_ms()
                if urgent or is_last or now_ms >= times.sync_ms:
                    self._sync()
                    times.sync_ms = self._clock.monotonic_ms() + SYNC_MS
                if is_last or now_ms >= times.checkpoint_ms:
                    self.sign()
                    self._sync_tiles()
                    times.checkpoint_ms = now_ms + CHECKPOINT_MS
                if now_ms >= times.prune_ms:
                    self._prune(self._look)
                    times.prune_ms = now_ms + PRUNE_MS
                elif self._pruner.is_busy:
                    self._prune(self._pruner.step)
                if is_last:
                    self._close()
                    return

    def _is_idle(self) -> bool:
        if self.store is None:
            return bool(self.refusing)
        return self.store.synced == self.store.size and self._lost is None and not self._pruner.is_busy

    def _open(self) -> None:
        """Open the log, or begin it; an error is told, and tried again."""
        try:
            self.folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
            if (self.folder / CONFLICT).exists():
                raise ProofProblem(_text_of(self.folder / CONFLICT))
            self._introduction.open()
            if not has_keys(self.folder):
                if newest_head(self.folder)[0] is not None:
                    raise ProofProblem("The keys of the audit log are gone, and heads of it were signed.")
                make_keys(self.folder)
                (self.folder / CERTIFIED).unlink(missing_ok=True)
            store = LogStore(self.folder, load_keys(self.folder, self._node), self._disk)
        except ProofProblem as problem:
            self._refuse(str(problem))
        except (PcgrelayError, OSError) as error:
            self._fail(error)
        else:
            self.store = store
            self._well()
            self._append([])
            for torn in store.torn:
                record = AuditTorn(file=torn.file, size_bytes=torn.size_bytes)
                self._append([Queued(record, self._clock.wall(), "")])
                self._call(self._hooks.tell, record)
            self._prune(lambda store: self._pruner.open())
            if store.newest is not None:
                self._call(self._hooks.signed, store.newest)

    def _drain(self) -> None:
        """Write all that is queued, in pieces."""
        while self.queue and not self._ended.is_set():
            self._write_piece()
            # Another thread that waits for Python's lock gets it now.
            time.sleep(0)

    def _write_rest(self) -> None:
        """Write what is queued up to the first request, as long as that is quick; without a store it stays."""
        until = time.monotonic() + REST_S
        while self.queue and self.store is not None and not self.queue.is_request_next and time.monotonic() < until:
            self._write_piece()

    def _write_piece(self) -> None:
        lost, taken = self.lost_total, self.queue.taken
        try:
            piece = self.queue.take(CHUNK)
            if piece:
                self._append(piece)
            elif (request := self.queue.take_request()) is not None:
                request()
        except Exception:
            # No such fault is known. What was taken is told of, if it is not yet.
            if lost == self.lost_total and self.queue.taken > taken:
                now = self._clock.wall()
                self._count_lost(Lost(self.queue.taken - taken, now, now, "fault"))
            raise
        finally:
            # Whoever waits for what was queued later does not wait for this for ever.
            self._done = self.queue.handled

    def _append(self, piece: Sequence[Queued | bytes]) -> None:
        """Write records, behind what the log has to say of itself. What the disk does not take is told later."""
        store = self.store
        if store is None or not self._may_try():
            self._lose(piece, "refusing" if self.refusing else "full")
            return
        told = self._before(store)
        if not told and not piece:
            return
        now = self._clock.wall()
        before = [Queued(record, now, "") for record in told]
        lines = [
            line_of(store.size + index, each if isinstance(each, bytes) else body_of(each))
            for index, each in enumerate((*before, *piece))
        ]
        size = store.size
        store.append(lines)
        if store.size < size:
            self._undone(size - store.size)
        kept = store.size - size - len(before)
        if kept >= 0:
            self._lost = None
            for number, record in enumerate(told, size):
                self._introduction.written(record, number)
            since = _moment(piece[0], self._clock) if piece else self._clock.wall()
            until = _moment(piece[-1], self._clock) if piece else since
            self._unsynced = (since if self._unsynced is None else self._unsynced[0], until)
        if kept < len(piece):
            self._lose(piece[max(0, kept) :], "full")
            self._fail(store.trouble)
            self._room.full()

    def _may_try(self) -> bool:
        """Whether the disk may take something."""
        try:
            return self._room.may_try()
        except OSError as error:
            self._fail(error)
            return False

    def _before(self, store: LogStore) -> list[Record]:
        """What the log says of itself first: its keys, logs before it, and what was lost."""
        told = self._introduction.records(store)
        return told if self._lost is None else [*told, self._lost.record]

    def _endorse(self, data: bytes) -> tuple[Sequence[bytes], bytes]:
        return self._hooks.endorse(data)

    def _undone(self, count: int) -> None:
        """Count records that were written and could not be synced."""
        since, until = self._unsynced or (self._clock.wall(), self._clock.wall())
        self._count_lost(Lost(count, since, until, "full"))
        self._introduction.undone()

    def _lose(self, piece: Sequence[Queued | bytes], reason: str) -> None:
        if piece:
            since, until = _moment(piece[0], self._clock), _moment(piece[-1], self._clock)
            self._count_lost(Lost(len(piece), since, until, reason))

    def _count_lost(self, lost: Lost) -> None:
        self.lost_total += lost.count
        if self._lost is not None:
            lost.add(self._lost.count, self._lost.since, self._lost.until)
        self._lost = lost

    def _sync(self) -> None:
        """Have all that was written on the disk; on an error it is lost, for nobody knows what of it is there."""
        store = self.store
        if store is not None and store.synced != store.size:
            before = store.size
            try:
                store.sync()
                self._introduction.synced(store.synced)
                if not self._room.is_full:
                    self._well()
            except (OSError, PcgrelayError) as error:
                self._undone(before - store.size)
                self._fail(error)
            self._unsynced = None
        self.durable = self._done
        self._call(self._hooks.handled)

    def _prune(self, act: Callable[[LogStore], None]) -> None:
        """Remove what is older than it must be kept, if it can be put on record."""
        store = self.store
        if store is None or self._lost is not None or not self._may_try():
            return
        try:
            act(store)
        except (OSError, PcgrelayError) as error:
            self._fail(error)

    def _look(self, store: LogStore) -> None:
        self._pruner.look(store, self._clock.wall(), self.keep_days)

    def _on_record(self, record: Record) -> bool:
        """Write and sign a record of what is to go; whether that is done."""
        self._append([Queued(record, self._clock.wall(), "")])
        store = self.store
        size = 0 if store is None else store.size
        self.sign()
        if store is None or store.signed < size or self._lost is not None:
            return False
        self._call(self._hooks.tell, record)
        return True

    def _sync_tiles(self) -> None:
        if self.store is not None:
            try:
                self.store.sync_tiles()
            except (OSError, PcgrelayError) as error:
                self._fail(error)

    def _refuse(self, problem: str) -> None:
        self.refusing = problem
        self._call(self._hooks.tell, AuditRefusing(problem=problem))

    def _fail(self, error: Exception | None) -> None:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        if not self.failing:
            self._call(self._hooks.tell, AuditFailing(reason=reason))
        self.failing = reason

    def _well(self) -> None:
        if self.failing:
            self.failing = ""
            self._call(self._hooks.tell, AuditWell(lost=self.lost_total))

    def _close(self) -> None:
        self._pruner.close()
        if self.store is not None:
            self.store.close()
            self.store = None

    def _call(self, function: Callable[..., None], *args: object) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function, *args)


def _text_of(path: Path) -> str:
    """What a file says that forbids to sign, whatever is in it."""
    with open_plain(path) as source:
        text = (source.read(TEXT_MOST_BYTES) or b"").decode("utf-8", "replace")
    return text or f"{path} is there, so this log is not signed."


def _moment(each: Queued | bytes, clock: Clock) -> datetime:
    return each.moment if isinstance(each, Queued) else clock.wall()
