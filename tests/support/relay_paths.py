"""A relay between two edges on links that keep what is said: for tests of forwarding without a socket."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec import structs

from pcgrelay.clock import SetClock
from pcgrelay.dataplane.api import DataPlaneRefused, PathSpec
from pcgrelay.messages import Message, PathAccept, PathOpen, PathRefuse
from pcgrelay.model import NodeId
from pcgrelay.path.budget import Budget
from pcgrelay.path.labels import Labels
from pcgrelay.path.relay import RelayPaths
from pcgrelay.policy.clearances import OPEN
from tests.support.path_links import LABEL, ME, MIB, SESSION, A, B, FakeLink, asked


class FakePlane:
    def __init__(self) -> None:
        self.paths: dict[int, dict[str, int]] = {}
        self.refuses = False

    def path_add(self, path: int, spec: PathSpec) -> None:
        if self.refuses:
            raise DataPlaneRefused("no")
        self.paths[path] = structs.asdict(spec)

    def path_remove(self, path: int) -> None:
        del self.paths[path]


class Relay:
    """A relay between edge A on one link and edge B on another."""

    def __init__(self) -> None:
        self.a, self.b = FakeLink(1, A), FakeLink(2, B)
        self.routes = {B: self.b, A: self.a}
        self.others: list[FakeLink] = []  # that lead to B too
        self.coming: list[FakeLink] = []  # that may do so in a moment
        self.plane = FakePlane()
        self.clock = SetClock(datetime(2027, 1, 1, tzinfo=UTC))
        self.not_allowed: set[NodeId] = set()
        self.clearances = OPEN
        self.behind: dict[int, tuple[str, ...]] = {}  # the relays that a neighbour announces, by its link
        self.relay_paths = RelayPaths(
            ME,
            plane=self.plane,
            labels=Labels(self.clock),
            next_link=self.next_link,  # type: ignore[arg-type]
            awaits_way=lambda destination, wanted, marking: any(wanted(link) for link in self.coming),  # type: ignore[arg-type]
            reach=lambda source, destination: "not_a_member" if self.not_allowed & {source, destination} else None,
            relays_behind=lambda destination, link: self.behind.get(link.number, ()),
            clearances=lambda: self.clearances,
            budget=Budget(1 << 30),
            emit=lambda record: None,
            clock=self.clock,
        )

    def next_link(self, destination: NodeId, wanted: Any, marking: int) -> FakeLink | None:
        links = [link] if (link := self.routes.get(destination)) else []
        for link in (*links, *self.others):
            if wanted(link) and self.clearances.clears(marking, link.bearer, self.behind.get(link.number, ())):
                return link
        return None

    def hear(self, link: FakeLink, message: Message) -> None:
        self.relay_paths.receive(link, message)  # type: ignore[arg-type]

    def opened(self, **changes: Any) -> PathOpen:
        self.hear(self.a, asked(**changes))
        (onward,) = self.b.take()
        assert isinstance(onward, PathOpen)
        return onward

    def accepted(self, **changes: Any) -> dict[FakeLink, int]:
        """The labels by which the path was opened on either side."""
        onward = self.opened(**changes)
        self.hear(self.b, PathAccept(SESSION, 2, MIB, 77, onward.label))
        (answer,) = self.a.take()
        assert isinstance(answer, PathAccept)
        assert answer.opened == LABEL
        return {self.a: LABEL, self.b: onward.label}

    def refusal(self) -> tuple[int, str]:
        (message,) = self.a.take()
        assert isinstance(message, PathRefuse)
        assert message.by == ME.uri
        assert message.opened == LABEL
        return message.code, message.reason
