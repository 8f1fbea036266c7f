"""What an edge of a world knows of a session and of its paths."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation.later import Task

if TYPE_CHECKING:
    from tests.simulation.links import Link
    from tests.simulation.renewals import Renewing


@dataclass(eq=False)
class PathEnd:
    """This edge's end of one path."""

    link: Link
    session: int
    in_label: int
    initiator: bool
    out_label: int = 0
    is_open: bool = True
    is_answered: bool = False
    is_final: bool = False  # the far edge itself refused it
    is_candidate: bool = False
    owner: Session | None = None  # who is told of its end

    @property
    def opened(self) -> int:
        return self.in_label if self.initiator else self.out_label


@dataclass(eq=False)
class Session:
    """What an edge knows of one session."""

    id: int
    initiator: bool
    number: int = 0
    state: str = "asking"
    path: PathEnd | None = None
    led: int = 0
    former: PathEnd | None = None
    candidates: list[PathEnd] = field(default_factory=list)
    unresumed: set[int] = field(default_factory=set)
    stalled_us: int = 0
    keeper: Task | None = None
    recovery: Task | None = None
    renewing: Renewing | None = None

    def changed(self) -> None:
        for task in (self.keeper, self.recovery):
            if task:
                task.kick()
