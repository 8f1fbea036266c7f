"""Two real edges that have nothing between them but a relay that lies, and an application that keeps the score."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.scenarios.kit.echo_witness import Echo, Talk, ending, host_port, received
from tests.scenarios.kit.lying_relay import LyingRelay
from tests.scenarios.kit.malicious_member import EVIL
from tests.scenarios.kit.nodes import KENT, MET, Address, Node, Stage
from tests.support.ports import free_port
from tests.support.waiting import until

ANSWER_S = 20.0
READY_S = 40.0
# Long enough for a handshake on a crowded machine: one that its deadline ends is put off, and puts all off that waits.
DEADLINE_MS = 4_000
BLOCK_BYTES = 20_000


@dataclass
class LiedTo:
    """Kent exports, the Met imports; the services `echo` and `echo2` differ in their marking, so in their sessions."""

    stage: Stage
    relay: LyingRelay
    kent: Node
    met: Node
    doors: dict[str, Address]
    echo: Echo
    random: random.Random

    async def ready(self, service: str = "echo") -> None:
        """Wait until the service has a session whose path is good."""

        def is_ready() -> bool:
            status = self.met.service(service)
            # An edge that was lost a moment ago is used as before, but would not be preferred to another yet.
            return status.state == "ready" and status.routes[0].state in {"ready", "settling"}

        await asyncio.to_thread(until, is_ready, READY_S, f"{service} is ready again")

    async def converse(self, service: str = "echo") -> Conversation:
        return await asyncio.to_thread(Conversation, self, service)

    async def probe(self, service: str = "echo") -> None:
        """A whole conversation that nobody lies about."""
        conversation = await self.converse(service)
        await asyncio.to_thread(conversation.emit, BLOCK_BYTES)
        await asyncio.to_thread(conversation.finish)
        assert conversation.ended == "eof"
        conversation.judge()


@dataclass
class Conversation:
    """One application of the Met and the server at Kent, and what became of what they said to each other.

    Whatever a relay does, what arrived is a beginning of what was sent, and an end that looks clean has all of it.
    """

    scene: LiedTo
    service: str
    sent: bytearray = field(default_factory=bytearray)
    back: bytearray = field(default_factory=bytearray)
    ended: str = ""

    def __post_init__(self) -> None:
        self._talks = len(self.scene.echo.talks)
        self.sock = socket.socket()
        self.sock.settimeout(ANSWER_S)
        try:
            self.sock.connect(self.scene.doors[self.service])
        except ConnectionResetError:
            # The session may be over before the connection was looked at.
            self.ended = "reset"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    @property
    def talk(self) -> Talk | None:
        """The server's side; nothing, if its connection was never made. It is told by what it was first sent."""
        head = bytes(self.sent[:64])
        talks = self.scene.echo.talks[self._talks :]
        return next((talk for talk in talks if talk.received and head.startswith(bytes(talk.received[:64]))), None)

    def emit(self, size: int) -> None:
        """Send a random block and take in what comes back of it; less, if it is cut short."""
        if self.ended:
            return
        block = self.scene.random.randbytes(size)
        self.sent += block
        try:
            self.sock.sendall(block)
            self.back += received(self.sock, size)
        except TimeoutError:
            self.ended = "silence"
        except OSError:
            self.ended = "reset"

    def finish(self) -> None:
        """Say that no more comes, and take in the rest."""
        if not self.ended:
            try:
                self.sock.shutdown(socket.SHUT_WR)
                rest, self.ended = ending(self.sock)
                self.back += rest
            except OSError:
                self.ended = "reset"
        self.sock.close()

    def judge(self) -> None:
        assert self.sent.startswith(self.back), "an altered byte came back"
        if self.ended == "eof":
            assert self.back == self.sent, "the application saw a clean end too early"
        talk = self.talk
        if talk is None:
            return
        until(lambda: talk.ended, ANSWER_S, "the server's connection ends")
        assert self.sent.startswith(talk.received), "an altered byte was delivered"
        if talk.ended == "eof":
            assert talk.received == self.sent, "the server saw a clean end too early"


@asynccontextmanager
async def lied_to(folder: Path) -> AsyncIterator[LiedTo]:
    doors: dict[str, Address] = {name: ("127.0.0.1", free_port()) for name in ("echo", "echo2", "ghost", "trap")}
    target = ("127.0.0.1", free_port())
    with Stage(folder) as stage:
        async with LyingRelay(stage.pki) as relay:
            to_relay = [{"peer": relay.member.dotted, "address": host_port(relay.port)}]
            policy = {"handshake_deadline_ms": DEADLINE_MS}
            export = {"target": host_port(target[1]), "allow": [MET]}
            kent = stage.node(
                KENT,
                "kent-1",
                links=to_relay,
                exports=[
                    {"service": "echo", **export},
                    {"service": "echo2", **export, "marking": "OFFICIAL-SENSITIVE"},
                ],
                node_table={"memory": "64MiB", "lanes": 1},
                policy=dict(policy),
            )
            met = stage.node(
                MET,
                "met-1",
                links=to_relay,
                imports=[
                    {"service": f"echo@{KENT}", "listen": host_port(doors["echo"][1])},
                    {"service": f"echo2@{KENT}", "listen": host_port(doors["echo2"][1])},
                    {"service": f"ghost@{KENT}", "listen": host_port(doors["ghost"][1])},
                    {"service": f"trap@{EVIL}", "listen": host_port(doors["trap"][1])},
                ],
                node_table={"memory": "64MiB", "lanes": 1},
                policy=dict(policy),
            )
            with Echo(target) as echo:
                await asyncio.to_thread(stage.start)
                scene = LiedTo(stage, relay, kent, met, doors, echo, random.Random(7))
                await scene.ready("echo")
                await scene.ready("echo2")
                yield scene
