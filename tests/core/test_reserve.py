"""The reserve of the memory is for frames that pass through: readers that stand still may not keep what lies in it."""

from tests.support.virtual_wires import World, conversation

MEMORY, RESERVE = 1 << 20, 1 << 19
READERS = 100
PIECE = 9_000  # less than a frame, so that frames are put together in buffers


def test_readers_that_stand_still_keep_nothing_of_the_reserve() -> None:
    world = World()
    near, far = world.edge(), world.edge(memory=MEMORY, reserve=RESERVE)
    link = world.link(near, far)
    world.service(near, far, world.session(near, far, [link], cap=16 << 20))
    wire = link.wires[0]
    conversations = [conversation(world, near, far) for _ in range(READERS)]
    for _, there in conversations:
        far.reads(there, False)
    most = 0
    # What comes first has their queues made, which is refused where memory is short; then comes all that their credit
    # allows.
    for size in (1_000, 100_000):
        for here, _ in conversations:
            near.write(here, bytes(size))
            world.turn()
            while wire.collect():
                while wire.under_way[0]:
                    wire.deliver(0, PIECE)
                    most = max(most, far.memory[0])
                wire.deliver(1)
                world.turn()
    assert wire.is_up
    # A frame was put together in the reserve, which is free again; the streams of some were ended for want of memory.
    assert MEMORY < most < MEMORY + RESERVE / 8
    assert far.memory[0] <= MEMORY
    causes = [there.cause for _, there in conversations]
    assert 0 < causes.count((3, False)) == len(causes) - causes.count(None) < READERS
