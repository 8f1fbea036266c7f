"""Names of the store's members are looked up on the threads that names of links are."""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from pcgrelay.net import resolver
from pcgrelay.net.resolver import Outcome, Use


class StoreResolver(AbstractResolver):
    """The resolver of `net`, as aiohttp asks for one. The caller sets the deadline."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        answer = await resolver.RESOLVER.find(host, Use.TARGET)
        if answer.outcome is not Outcome.FOUND:
            raise OSError("the name of a member of the store has no address")
        return [
            ResolveResult(hostname=host, host=number, port=port, family=found, proto=0, flags=socket.AI_NUMERICHOST)
            for found, number in answer.found
            if family in (socket.AF_UNSPEC, found)
        ]

    async def close(self) -> None:
        """Do nothing: the threads are the process's."""
