"""Tasks of a node. An exception in one is logged, and goes no further."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from pcgrelay.log.events import Emit, Failure


def spawn(work: Coroutine[Any, Any, None], where: str, emit: Emit) -> asyncio.Task[None]:
    """Start a task. The caller keeps it and cancels it at the end. where: its name in the log.

    If it is cancelled before the event loop has come to it, nothing of the work is done, its `finally` neither.
    """

    async def guarded() -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception as error:
            emit(Failure(where=where, error=type(error).__name__))

    task = asyncio.create_task(guarded())
    # Work that was never begun would else be reported as forgotten.
    task.add_done_callback(lambda _: work.close())
    return task
