"""A drawing of the realm as one node sees it: itself, its neighbours, and the edges that they announce (pure).

Nodes stand in columns by the fewest links from this node. A line is a link of this node, with its state, or one that
an announced way leads over, of which this node knows no more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BOX_WIDTH, BOX_HEIGHT = 196.0, 44.0
COLUMN, ROW = 250.0, 62.0
MARGIN = 8.0
NODES_MOST = 80
TEXT_MOST = 26  # characters that fit into a box


@dataclass(frozen=True, slots=True)
class Box:
    """One node."""

    name: str
    organisation: str
    kind: str  # me, near (a neighbour), far
    x: float
    y: float

    @property
    def short(self) -> str:
        """The organisation as far as there is room."""
        text = self.organisation
        return text if len(text) <= TEXT_MOST else f"{text[: TEXT_MOST - 1]}…"


@dataclass(frozen=True, slots=True)
class Wire:
    """One line between two nodes."""

    x1: float
    y1: float
    x2: float
    y2: float
    state: str  # up, down, far


@dataclass(frozen=True, slots=True)
class RealmPicture:
    """The whole drawing."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]
    left_out: int  # nodes that are not drawn

    @property
    def words(self) -> str:
        """What it shows, for those who do not see it."""
        me = next(box for box in self.boxes if box.kind == "me")
        near = sum(box.kind == "near" for box in self.boxes)
        far = sum(box.kind == "far" for box in self.boxes) + self.left_out
        down = sum(wire.state == "down" for wire in self.wires)
        lost = f"; {down} of its links not up" if down else ""
        return f"{me.name} with {near} neighbours and {far} nodes beyond them{lost}. The tables below have all of it."


def draw_realm(me: str, links: Iterable[tuple[str, bool]], ways: Iterable[Sequence[str]]) -> RealmPicture:
    """Return the drawing. me and all names: name.organisation.

    links: each neighbour, and whether a link to it is up. ways: the nodes from a neighbour to an edge, both included.
    """
    wires: dict[tuple[str, str], str] = {}
    for peer, is_up in links:
        if is_up or wires.get((me, peer)) != "up":
            wires[me, peer] = "up" if is_up else "down"
    for way in ways:
        for one, other in zip((me, *way), way, strict=False):
            if one != other and (one, other) not in wires and (other, one) not in wires:
                wires[one, other] = "far"
    depths = _depths(me, wires)
    drawn = list(depths)[:NODES_MOST]
    places = _places(drawn, depths)
    neighbours = {pair[1] for pair, state in wires.items() if state != "far" and pair[0] == me}
    boxes = tuple(
        Box(*_halves(node), "me" if node == me else "near" if node in neighbours else "far", *places[node])
        for node in drawn
    )
    lines = tuple(
        _wire(places[one], places[other], state)
        for (one, other), state in wires.items()
        if one in places and other in places
    )
    columns = 1 + max(depths[node] for node in drawn)
    rows = max(sum(depths[each] == depths[node] for each in drawn) for node in drawn)
    return RealmPicture(
        width=2 * MARGIN + (columns - 1) * COLUMN + BOX_WIDTH,
        height=2 * MARGIN + (rows - 1) * ROW + BOX_HEIGHT,
        boxes=boxes,
        wires=lines,
        left_out=len(depths) - len(drawn),
    )


def _depths(me: str, wires: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Return the fewest lines from this node to each other one, nearest first."""
    beside: dict[str, list[str]] = {}
    for one, other in wires:
        beside.setdefault(one, []).append(other)
        beside.setdefault(other, []).append(one)
    found, waiting = {me: 0}, deque([me])
    while waiting:
        node = waiting.popleft()
        for other in sorted(beside.get(node, ())):
            if other not in found:
                found[other] = found[node] + 1
                waiting.append(other)
    return found


def _places(drawn: Sequence[str], depths: dict[str, int]) -> dict[str, tuple[float, float]]:
    """Return the upper left corner of each box: columns by depth, each in the middle of the height."""
    columns: dict[int, list[str]] = {}
    for node in drawn:
        columns.setdefault(depths[node], []).append(node)
    rows = max(map(len, columns.values()))
    places = {}
    for depth, nodes in columns.items():
        top = MARGIN + (rows - len(nodes)) * ROW / 2
        for row, node in enumerate(nodes):
            places[node] = (MARGIN + depth * COLUMN, top + row * ROW)
    return places


def _wire(one: tuple[float, float], other: tuple[float, float], state: str) -> Wire:
    left, right = sorted((one, other))
    if left[0] == right[0]:
        # Both in one column: at their right edges.
        x = left[0] + BOX_WIDTH
        return Wire(x, left[1] + BOX_HEIGHT / 2, x, right[1] + BOX_HEIGHT / 2, state)
    return Wire(left[0] + BOX_WIDTH, left[1] + BOX_HEIGHT / 2, right[0], right[1] + BOX_HEIGHT / 2, state)


def _halves(node: str) -> tuple[str, str]:
    name, _, organisation = node.partition(".")
    return name, organisation
