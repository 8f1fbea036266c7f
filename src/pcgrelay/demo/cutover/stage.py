"""What stands while the service is moved: the realm, the applications, and the folder of all files."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from pcgrelay.demo.cutover.applications import Caller, Keeper
from pcgrelay.demo.cutover.database import Database
from pcgrelay.demo.cutover.drawing import DRAWING
from pcgrelay.demo.cutover.measured import Others
from pcgrelay.demo.cutover.operator import Operator
from pcgrelay.demo.cutover.realm import ADDRESSES, MET, SURREY, MovingRealm, checked_door
from pcgrelay.demo.cutover.telling import Telling
from pcgrelay.demo.cutover.traffic import Traffic
from pcgrelay.demo.folders import named_folder, room, temporary_folder

MET_PER_S = 300.0
SURREY_PER_S = 20.0
KEPT = 4
READY_S = 60.0


@dataclass
class Stage:
    """What stands while the service is moved."""

    telling: Telling
    realm: MovingRealm
    traffic: Traffic
    met: Caller
    surrey: Caller
    kept: list[Keeper]
    operator: Operator

    @property
    def others(self) -> Others:
        outlets = self.operator.outlets(self.realm.surrey).outlets
        return Others(
            connections=self.surrey.connections,
            failed=self.surrey.failed,
            moved=sum(outlet.moved_total for outlet in outlets),
            kept=len(self.kept),
            kept_answers=sum(each.answers for each in self.kept),
            kept_broken=sum(each.broken for each in self.kept),
        )

    @property
    def faults(self) -> tuple[str, ...]:
        """What went wrong in the eyes of applications."""
        found = [*self.met.faults, *self.surrey.faults, *(fault for each in self.kept for fault in each.faults)]
        return tuple(dict.fromkeys(found))


def prepared(console: Console, listen: str, stack: ExitStack, named: Path | None = None) -> Stage:
    """Everything but its first connection. named: where its files are; else in a temporary folder."""
    door = checked_door(listen) if listen else None
    telling = Telling(console)
    folder = temporary_folder(stack) if named is None else named_folder(named, stack)
    database = Database(ADDRESSES)
    traffic = Traffic(database)
    stack.callback(traffic.abandon)
    realm = MovingRealm(folder)
    with room(folder):
        realm.prepare(database.ports, door)
        stack.callback(realm.stop)
        traffic.start()
        realm.launch()
    met, surrey = Caller(realm.doors[MET], MET_PER_S), Caller(realm.doors[SURREY], SURREY_PER_S)
    kept = [Keeper(realm.doors[MET]) for _ in range(KEPT)]
    operator = Operator(folder, realm.refuse_dead)
    return Stage(telling, realm, traffic, met, surrey, kept, operator)


def ready(made: Stage) -> None:
    """Wait for the nodes, and have the applications begin."""
    telling = made.telling
    telling.plain("Kent's custody database moves, for the Met, from an old network to the gateway.", "bold")
    telling.plain()
    for line in DRAWING:
        telling.console.print(line, soft_wrap=True)
    telling.plain()
    made.realm.wait()
    for node in (made.realm.met, made.realm.surrey):
        made.operator.until(
            f"{node.name}'s way over both networks",
            READY_S,
            lambda node=node: all(outlet.state == "ready" for outlet in made.operator.outlets(node).outlets),  # type: ignore[misc]
        )
    made.traffic.work([made.met, made.surrey, *made.kept])
    telling.say(
        f"{len(made.realm.nodes)} nodes run, each a process of its own, and are linked. An application of the Met "
        f"connects {MET_PER_S:g} times a second, {KEPT} more keep their connection. Surrey moved before."
    )
