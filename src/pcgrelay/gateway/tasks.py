"""Tasks of a node: the failure of one is logged and goes no further."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from pcgrelay.log.events import Emit, Failure


def spawn(work: Awaitable[None], where: str, emit: Emit) -> asyncio.Task[None]:
    """Begin a task. Whoever calls keeps it, and cancels it at the end."""

    async def guarded() -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception as error:
            emit(Failure(where=where, error=type(error).__name__))

    return asyncio.create_task(guarded())
