"""How streams ended, as a node has told it."""

from pcgrelay._core.face import core as native
from tests.support.cores import Node


def ends(node: Node) -> list[tuple[object, ...]]:
    node.poll()
    return [event for event in node.seen if event[0] == native.EVENT_STREAM_END]


def end_of(node: Node) -> tuple[object, ...]:
    return node.wait_kind(native.EVENT_STREAM_END, 20.0)


def causes(node: Node) -> tuple[object, object]:
    """Code and cause of the one stream that ended."""
    event = end_of(node)
    return event[8], event[9]
