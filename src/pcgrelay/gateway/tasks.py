"""Tasks of a node. An exception in one is logged, and goes no further."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from pcgrelay.log.events import Emit, Failure


def spawn(work: Awaitable[None], where: str, emit: Emit) -> asyncio.Task[None]:
    """Start a task. The caller keeps it and cancels it at the end. where: its name in the log."""

    async def guarded() -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception as error:
            emit(Failure(where=where, error=type(error).__name__))

    return asyncio.create_task(guarded())
