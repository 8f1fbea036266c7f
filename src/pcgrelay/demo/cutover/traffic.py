"""The database and the applications at work, in one thread of this process with a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import uvloop

from pcgrelay.demo.cutover.applications import DEADLINE_S, Caller, Keeper, run_all
from pcgrelay.demo.cutover.database import Database
from pcgrelay.errors import RunError

STARTED_S = 5.0


class Traffic:
    """From the start of the thread to its end. `stop` waits for what is under way; `abandon` does not."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._started = threading.Event()
        self._applications: list[Caller | Keeper] = []
        self._ends: asyncio.Event | None = None
        self._working: asyncio.Task[None] | None = None
        self._problem: BaseException | None = None

    def start(self) -> None:
        """Have the database answer."""
        self._thread.start()
        if not self._started.wait(STARTED_S):
            raise RunError("The demonstration's database did not start; the machine may be too busy.")
        self.refuse_ended()

    def work(self, applications: Sequence[Caller | Keeper]) -> None:
        """Have the applications begin."""
        self._applications = list(applications)
        self._loop.call_soon_threadsafe(self._begin)

    def hang_up(self) -> None:
        """Have the applications that keep a connection make another one."""
        for each in self._applications:
            if isinstance(each, Keeper):
                self._loop.call_soon_threadsafe(each.hang_up)

    def refuse_ended(self) -> None:
        """RunError: it ended, which it never does by itself."""
        if self._problem is not None:
            raise RunError(f"The demonstration's own traffic ended: {type(self._problem).__name__}: {self._problem}")

    def stop(self) -> None:
        """End the applications, each after its last answer."""
        if self._ends is not None:
            self._loop.call_soon_threadsafe(self._ends.set)
            done = threading.Event()
            self._loop.call_soon_threadsafe(lambda: self._when_done(done))
            if not done.wait(DEADLINE_S + STARTED_S):
                raise RunError(f"The applications did not come to an end within {DEADLINE_S + STARTED_S:g} s.")
        self.refuse_ended()

    def abandon(self) -> None:
        """End everything at once, whatever its state."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(STARTED_S)
        else:
            self._database.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(self._went_wrong)
        try:
            self._loop.run_until_complete(self._database.start())
            self._started.set()
            self._loop.run_forever()
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._database.close()
            # One round, so that what was cancelled and closed comes to its end.
            self._loop.run_until_complete(asyncio.sleep(0))
        except Exception as error:  # the thread's end; it is told by whoever asks next
            self._problem = error
            self._started.set()
        finally:
            self._loop.close()

    def _went_wrong(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Keep what no task was told of; whoever asks next is."""
        self._problem = self._problem or context.get("exception") or RuntimeError(context.get("message"))

    def _begin(self) -> None:
        self._ends = asyncio.Event()
        self._working = self._loop.create_task(run_all(self._applications, self._ends))
        self._working.add_done_callback(self._noted)

    def _noted(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._problem = task.exception()

    def _when_done(self, done: threading.Event) -> None:
        assert self._working is not None
        self._working.add_done_callback(lambda _: done.set())
