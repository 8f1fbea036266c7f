"""Two edges and a session between them, of which the near one is driven by the control plane's adapter."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

from msgspec import Struct

from pcgrelay import config
from pcgrelay._core.face import core as native
from pcgrelay.dataplane import events
from pcgrelay.dataplane.adapter import Plane
from tests.support.cores import CoreRealm, Node, carried_out, listen
from tests.support.pki import RealmPki, write_config
from tests.support.waiting import until_async

MET = "met.police.example"
NAME = b"echo"
GATEWAY, DIRECT = 0, 1
PATIENCE_S = 20.0

Address = tuple[str, int]


class PlaneNode(Node):
    """A node whose core belongs to a Plane. Its events are the plane's once that has started."""

    def __init__(self, plane: Plane) -> None:
        self.core = plane._core
        self.core.start()
        self.seen: list[Any] = []


class PlaneRealm:
    """A near edge with an import of two outlets, gateway and direct, and a far edge that exports it."""

    def __init__(self, folder: Path, *, workers: int = 1) -> None:
        files = RealmPki(folder).issue(MET, "met-1")
        node = {"workers": workers}
        path = write_config(folder / "met-1.toml", files, MET, "met-1", listens=["127.0.0.1:9"], node_table=node)
        self._config = config.load(path)
        self.told: list[Struct] = []
        self.failed: list[Exception] = []
        self.realm = CoreRealm()
        self.plane = Plane(native, self._config)
        self.near = PlaneNode(self.plane)
        self.far = self.realm.edge(workers=workers)
        link = self.realm.link(self.near, self.far)
        self.session = self.realm.session(self.near, self.far, [], link)
        self.meter = self.plane.meter_open(2)
        self.row: tuple[Any, ...] = ()

    def start(self) -> None:
        self.plane.start(dict.fromkeys(_kinds(), self.told.append), self.failed.append)

    def stop(self) -> None:
        self.plane.stop()
        self.realm.close()

    def export(self, target: Address, *, granted: bool = True, connect_ms: int = 5_000) -> None:
        grants = [(self.session, [0])] if granted else []
        self.far.core.publish(
            exports=[(0, NAME, 1, 3, native.EXPORT_READY, connect_ms, [target])], imports=[], grants=grants
        )
        carried_out(self.far)

    def publish(
        self,
        direct: Address | None,
        *,
        patience_ms: int = 5_000,
        state: int = native.IMPORT_LIVE,
        shares: int = 0,
        number: int = 0,
        outlets: bool = True,
    ) -> None:
        """shares: of 200 slots, those of the direct outlet."""
        slots = bytes([GATEWAY] * (200 - shares) + [DIRECT] * shares)
        ways = [
            (native.OUTLET_GATEWAY, patience_ms, [], None),
            (native.OUTLET_DIRECT, patience_ms, [direct] if direct else [], None),
        ]
        row = (self.meter, True, True, 10_000, 0, slots, bytes([DIRECT, GATEWAY]), ways) if outlets else None
        routes = [(self.session, 2, 100)] if state == native.IMPORT_LIVE else []
        self.row = (number, NAME, 1, 0, state, routes, row)
        self.plane.publish(exports=[], imports=[self.row], grants=[])

    def listen(self) -> Address:
        return listen(self.near)

    def shadow(self, number: int, outlet: int) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self.plane.import_connect(0, theirs.detach(), outlet, number)
        return ours

    def hand_over(self) -> None:
        """Another plane takes the place of the near edge's, as in an upgrade."""
        old = self.plane
        old.freeze()
        record = bytearray(old.handover_size())
        theirs = old.handover_write(memoryview(record))
        self.plane = Plane(native, self._config)
        assert self.plane.handover_read(memoryview(record), [os.dup(fd) for fd in theirs]) == []
        for fd in theirs:
            os.close(fd)
        old.abandon()
        self.near.core = self.plane._core
        self.meter = self.plane.meter_open(2)
        number, name, marking, priority, state, routes, (_, *rest) = self.row
        self.row = (number, name, marking, priority, state, routes, (self.meter, *rest))
        self.plane.publish(exports=[], imports=[self.row], grants=[])
        self.start()

    def setups(self) -> dict[int, events.SetupEnded]:
        """How the set-up of each shadow ended, by its number."""
        ended: dict[int, events.SetupEnded] = {}
        for event in self.told:
            if isinstance(event, events.SetupEnded) and event.shadow:
                assert event.shadow not in ended, "the end of a set-up is told once"
                ended[event.shadow] = event
        return ended

    async def outcomes(self, count: int) -> dict[int, str]:
        await until_async(lambda: len(self.setups()) >= count)
        return {number: event.outcome for number, event in self.setups().items()}

    async def ends(self, count: int) -> list[events.StreamEnd]:
        """What is told of streams that ended, once there are so many."""

        def ended() -> list[events.StreamEnd]:
            return [event for event in self.told if isinstance(event, events.StreamEnd)]

        await until_async(lambda: len(ended()) >= count)
        return ended()


def _kinds() -> list[type[Struct]]:
    return [kind for kind in vars(events).values() if isinstance(kind, type) and kind.__module__ == events.__name__]


async def heard(connection: socket.socket, count: int) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.get_running_loop().sock_recv(connection, count)
