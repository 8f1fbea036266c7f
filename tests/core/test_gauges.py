"""What is told of a session or link whose flows or lanes share a worker: of all of them, not of the last that moved."""

from tests.native.probe_edge import Edge
from tests.support.virtual_wires import World, conversation, two_edges

FLOWS = 3


def busy_flows() -> tuple[World, Edge, Edge, int]:
    """Each flow of near retains what an application wrote: far's acknowledgements are kept back."""
    world, near, far, session = two_edges(flows=FLOWS)
    conversations = [conversation(world, near, far) for _ in range(FLOWS)]
    world.wait(0.1)
    for wire in world.links[0].wires.values():
        wire.stopped[1] = True
    for number, (here, _) in enumerate(conversations):
        near.write(here, bytes(1000 * (number + 1)))
    world.wait(0.1)
    return world, near, far, session


def retained(edge: Edge, session: int) -> list[int]:
    return [int(str(edge.flow(session, index)["retained_bytes"])) for index in range(FLOWS)]


def test_the_retained_bytes_of_a_session_are_those_of_all_its_flows() -> None:
    world, near, _, session = busy_flows()
    assert all(size > 1000 for size in retained(near, session))
    assert near.session_stats(session)["retained_bytes"] == sum(retained(near, session))
    # One flow is acknowledged, the others wait on.
    world.links[0].wires[1].stopped[1] = False
    world.settle()
    assert sorted(size > 0 for size in retained(near, session)) == [False, True, True]
    assert near.session_stats(session)["retained_bytes"] == sum(retained(near, session))
    for wire in world.links[0].wires.values():
        wire.stopped[1] = False
    world.wait(0.1)
    assert near.session_stats(session)["retained_bytes"] == sum(retained(near, session)) == 0


def test_what_waits_for_a_lane_is_retained_too() -> None:
    world, near, _, session = busy_flows()
    for wire in world.links[0].wires.values():
        wire.cut()
    world.settle()
    stats = near.session_stats(session)
    assert stats["retained_bytes"] == sum(retained(near, session)) > 6000
    assert (stats["flows_up"], stats["streams"]) == (0, FLOWS)


def test_the_epoch_of_a_session_is_its_newest() -> None:
    """Flows step each for itself: one that is behind says nothing of the session."""
    world, near, far, session = two_edges(flows=2)
    first = conversation(world, near, far)
    second = conversation(world, near, far)
    far.limits(1, 1 << 40, 1 << 60)
    for _ in range(3):
        far.write(first[1], b"step")
        world.wait(0.2)
    far.write(second[1], b"step")
    world.wait(0.2)
    epochs = [int(str(near.flow(session, index)["receive_epoch"])) for index in range(2)]
    assert epochs[0] != epochs[1]
    assert near.session_stats(session)["epoch"] == max(epochs)


def test_the_round_trip_of_a_link_is_that_of_its_slowest_lane() -> None:
    world, near, _, _ = two_edges(flows=2)
    link = world.links[0]
    slow, fast = link.wires[0], link.wires[1]
    slow.stopped[1] = True
    world.wait(1.0)
    slow.stopped[1] = False
    world.settle()
    # From here on only the other lane is answered.
    slow.stopped[1] = True
    world.wait(1.0)
    assert near.link_stats(link.number)["rtt_us"] > 10_000
    slow.cut()
    world.settle()
    assert fast.is_up
    assert near.link_stats(link.number)["lanes_up"] == 1
    assert near.link_stats(link.number)["rtt_us"] < 10_000
