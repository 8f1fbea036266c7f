"""Renewals of links and sessions as `session.renewer` orders them: a fresh secret at either end, each at its time; each
tells the other that it keeps it; and who has told and heard that may name it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pcgrelay._core.face import core as native
from tests.simulation.virtual import FAULTS

if TYPE_CHECKING:
    from tests.simulation.nodes import Node
    from tests.simulation.world import World

LATE_MS = 1_500  # at most, between the ends


class End(Protocol):
    """What one node knows of a link or session."""

    node: Node

    @property
    def is_open(self) -> bool: ...
    def has_stepped(self, mix: int) -> bool: ...
    def renew(self, secret: bytes, mix: int) -> None: ...
    def mix(self, mix: int) -> None: ...


@dataclass(eq=False)
class Attempt:
    """One renewal at one end."""

    mix: int
    keeps: bool = False
    told: bool = False
    heard: bool = False


class Renewing:
    """All renewals of a link or session, one after another. The client is the end that has dialled or begun."""

    def __init__(self, world: World, client: End, server: End, say: Callable[..., None]) -> None:
        self._world = world
        self._ends = (client, server)
        self._say = say
        self._told = 0  # the newest that the client has told
        self._agreed = 0  # and that it has heard as well
        self._agreed_by_server = 0  # the client may never have heard of that
        self._is_unheard = False
        self._attempts: dict[Node, Attempt] = {}
        self._is_under_way = False

    def begin(self, *, alone: int | None, unheard: bool = False) -> None:
        """alone: the number of the one end that gets the secret, for the handshake fails at the other.

        unheard: the answer of the server is lost, which only that of a session can be: a link ends by it.
        """
        world = self._world
        client, server = self._ends
        if self._is_under_way or not all(end.is_open for end in self._ends) or not client.has_stepped(self._agreed):
            return
        if isinstance(server, SessionEnd):
            if not server.has_stepped(self._agreed_by_server):
                return
            self._is_unheard = unheard
        self._is_under_way = True
        mix = self._told + 1
        secret = hashlib.sha256(f"renewal {world.scenario.seed} {world.renewal_taken()}".encode()).digest()
        self._attempts = {end.node: Attempt(mix) for end in self._ends}
        for number, end in enumerate(self._ends):
            if alone is None or alone == number:
                world.later.after(world.dice.uniform(0, LATE_MS), self._keep, end, secret, mix)
        world.later.after(2 * LATE_MS + 1_000, self._over)

    def _over(self) -> None:
        self._is_under_way = False

    def _keep(self, end: End, secret: bytes, mix: int) -> None:
        if not end.is_open:
            return
        end.renew(hashlib.sha256(secret).digest() if self._strikes("other_secret") else secret, mix)
        if self._strikes("early_mix"):
            end.mix(mix)

    def _strikes(self, fault: str) -> bool:
        return bool(self._world.library.virtual_strikes(FAULTS.index(fault)))

    # -- what the ends say

    def kept(self, node: Node, mix: int) -> None:
        """The core of this node has it on every lane or flow."""
        attempt = self._attempts.get(node)
        if attempt is not None and attempt.mix == mix:
            attempt.keeps = True
            self._go_on(node, attempt)

    def heard(self, node: Node, mix: int) -> None:
        """The other end keeps it."""
        attempt = self._attempts.get(node)
        if attempt is not None and attempt.mix == mix:
            attempt.heard = True
            self._go_on(node, attempt)

    def agreed(self, node: Node, mix: int) -> None:
        """The core of the client has taken a step of the server for the answer."""
        client, _ = self._ends
        if node is client.node and mix > self._agreed:
            self._world.count("renewal learned")
            self._agreed = mix
            client.mix(mix)

    def _go_on(self, node: Node, attempt: Attempt) -> None:
        client, server = self._ends
        end = client if node is client.node else server
        # The client tells it first, and the server when it has heard the client.
        if attempt.keeps and not attempt.told and (end is client or attempt.heard):
            attempt.told = True
            if end is client:
                self._told = attempt.mix
            if end is client or not self._is_unheard:
                self._say(node, "renewed", attempt.mix)
        if attempt.told and attempt.heard and end.is_open:
            self._world.count("renewal agreed")
            if end is client:
                self._agreed = attempt.mix
            else:
                self._agreed_by_server = attempt.mix
                if self._is_unheard:
                    self._world.count("renewal unheard")
            end.mix(attempt.mix)


@dataclass(eq=False)
class SessionEnd:
    """One edge's end of a session."""

    node: Any
    session: Any

    @property
    def is_open(self) -> bool:
        return bool(self.node.alive and self.session.number and self.session.state in ("up", "stalled"))

    def has_stepped(self, mix: int) -> bool:
        return bool(self.node.core.session_has_stepped(self.session.number, mix, self.node.world.scenario.lanes))

    def renew(self, secret: bytes, mix: int) -> None:
        # Its core may have ended it, and nobody has heard of that yet.
        with suppress(native.CoreError):
            self.node.core.session_renew(self.session.number, secret=bytearray(secret), mix=mix)

    def mix(self, mix: int) -> None:
        with suppress(native.CoreError):
            self.node.core.session_mix(self.session.number, mix)


def session_renewing(world: World, client: SessionEnd, server: SessionEnd) -> Renewing:
    """What the ends tell each other travels in a connection of the renewal's own."""

    def say(node: Node, what: str, mix: int) -> None:
        other = server if node is client.node else client
        world.later.after(2 * world.flight_ms(), hear, other, mix)

    def hear(end: SessionEnd, mix: int) -> None:
        if end.is_open:
            renewing.heard(end.node, mix)

    renewing = Renewing(world, client, server, say)
    client.session.renewing = server.session.renewing = renewing
    return renewing
