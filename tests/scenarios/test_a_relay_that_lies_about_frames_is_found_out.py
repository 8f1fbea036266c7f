"""A relay alters, repeats, leaves out, exchanges and forges the frames between two edges, each at three moments.

No byte that it altered is delivered, no end that it made looks clean, and the far edge counts what it saw by name.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pytest
import pytest_asyncio

from tests.reference.frames import FlowFrame, Type
from tests.scenarios.kit.echo_witness import await_more, counts
from tests.scenarios.kit.lying_relay import Path, Side
from tests.scenarios.kit.lying_relay_setup import ANSWER_S, BLOCK_BYTES, Conversation, LiedTo, lied_to

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.tier_test]

# The stream's first frame, one in the middle, and the one that says how long the stream was.
MOMENTS = ("first", "middle", "last")
# What follows: the session ends and the application is reset; or the flow mends itself and nothing is missing.
Fate = Literal["ends", "mends"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiedTo]:
    async with lied_to(tmp_path_factory.mktemp("frames")) as begun:
        yield begun


class Liar:
    """Lies once, about the next bundle of a session that goes to one of the edges."""

    def __init__(self, scene: LiedTo, to: str, lie: Lie) -> None:
        self.scene = scene
        self.to = to
        self.lie = lie
        self.armed = False
        self.told = asyncio.Event()
        self.victim: Path | None = None
        self.held: FlowFrame | None = None
        self.random = random.Random(11)

    def __call__(self, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
        if to.name != self.to or frame.type is not Type.BUNDLE or path.asked.marking != 1:
            return (frame,)
        if self.held is not None and path is self.victim:
            held, self.held = self.held, None
            return self.lie.release(held, frame)
        if not self.armed or self.told.is_set():
            return (frame,)
        self.victim = path
        self.told.set()
        return self.lie.tell(self, path, to, frame)


Tell = Callable[[Liar, Path, Side, FlowFrame], Sequence[FlowFrame]]


@dataclass(frozen=True)
class Lie:
    """What a relay may do with one frame, what comes of it, and the word under which the edge counts it."""

    name: str
    tell: Tell
    fate: Fate
    word: str
    # With a second frame at hand.
    release: Callable[[FlowFrame, FlowFrame], Sequence[FlowFrame]] = lambda held, frame: (held, frame)
    # The edge that finds it out is not the one that the frame goes to but the one that it came from.
    at_sender: bool = False
    # The frame itself arrives too; so a stream whose last frame it was may be whole before the session ends.
    arrives: bool = False


def flipped(data: bytes, chosen: random.Random) -> bytes:
    changed = bytearray(data)
    changed[chosen.randrange(len(data))] ^= 1 << chosen.randrange(8)
    return bytes(changed)


def body_flipped(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    return (replace(frame, sealed=flipped(frame.sealed, liar.random)),)


def tag_flipped(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    return (replace(frame, tag=flipped(frame.tag, liar.random)),)


def truncated_by_a_byte(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    return (replace(frame, sealed=frame.sealed[:-1]),)


def truncated_to_one_record(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    return (replace(frame, sealed=frame.sealed[:9]),)


def lengthened(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    return (replace(frame, sealed=frame.sealed + bytes(8)),)


def made_up(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    return (replace(frame, tag=liar.random.randbytes(16), sealed=liar.random.randbytes(64)),)


def of_another_type(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    return (replace(frame, type=Type.DATAGRAMS, number=1 << 40),)


def of_the_next_epoch(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    return (replace(frame, epoch=frame.epoch + 1),)


def of_a_greater_number(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    return (replace(frame, number=frame.number + 5),)


def of_a_lesser_number(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    return (replace(frame, number=0),)


def repeated(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    return (frame, frame, frame)


def repeated_as_the_next(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    return (frame, replace(frame, number=frame.number + 1))


def an_old_one_again(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    old = path.seen[to.name, Type.FLOW_CONFIRM]
    return (replace(frame, tag=old.tag, sealed=old.sealed * 2), frame)


def left_out(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    return ()


def kept_for_later(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    liar.held = frame
    return ()


def in_the_wrong_order(held: FlowFrame, frame: FlowFrame) -> Sequence[FlowFrame]:
    return (frame, held)


def with_bodies_exchanged(held: FlowFrame, frame: FlowFrame) -> Sequence[FlowFrame]:
    return (
        replace(held, tag=frame.tag, sealed=frame.sealed),
        replace(frame, tag=held.tag, sealed=held.sealed),
    )


def sent_back(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    """To the edge that it came from, under the number that this one waits for."""
    sender = path.other(to)
    liar.scene.relay.send_frame(path, sender, replace(frame, number=path.next_number[sender.name]))
    return (frame,)


def led_into_another_session(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    """Under the other session's label and the number that it waits for; and that session's own frame in its place."""
    other = liar.scene.relay.latest(2)
    liar.scene.relay.send_frame(other, to, replace(frame, number=other.next_number[to.name]))
    return (replace(other.seen[to.name, Type.FLOW_CONFIRM], number=frame.number, epoch=frame.epoch),)


def forged(kind: Type, size: int) -> Tell:
    def tell(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
        number = 1 << 40 if kind.is_volatile else frame.number
        return (FlowFrame(kind, frame.epoch, number, liar.random.randbytes(16), liar.random.randbytes(size)), frame)

    return tell


def an_old_ack(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    """Which was true once."""
    return (frame, path.seen[to.name, Type.ACK])


def an_old_ack_as_new(liar: Liar, path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    return (frame, replace(path.seen[to.name, Type.ACK], number=1 << 40))


LIES = [
    Lie("flips a bit of the body", body_flipped, "ends", "bad_tag"),
    Lie("flips a bit of the tag", tag_flipped, "ends", "bad_tag"),
    Lie("takes a byte off the end", truncated_by_a_byte, "ends", "bad_tag"),
    Lie("leaves nine bytes of the body", truncated_to_one_record, "ends", "bad_tag"),
    Lie("puts bytes behind the body", lengthened, "ends", "bad_tag"),
    Lie("makes a body up", made_up, "ends", "bad_tag"),
    Lie("names another type", of_another_type, "ends", "bad_tag"),
    Lie("names the next epoch", of_the_next_epoch, "ends", "bad_epoch"),
    Lie("names a greater number", of_a_greater_number, "mends", "gaps_total"),
    Lie("names a lesser number", of_a_lesser_number, "mends", "duplicate_frames_total"),
    Lie("repeats a frame", repeated, "mends", "duplicate_frames_total"),
    Lie("repeats a frame as the next", repeated_as_the_next, "ends", "bad_tag", arrives=True),
    Lie("passes an old frame off as new", an_old_one_again, "ends", "bad_tag"),
    Lie("leaves a frame out", left_out, "mends", "gaps_total"),
    Lie("changes the order", kept_for_later, "mends", "gaps_total", in_the_wrong_order),
    Lie("exchanges two bodies", kept_for_later, "ends", "bad_tag", with_bodies_exchanged),
    Lie("sends a frame back", sent_back, "ends", "bad_tag", at_sender=True, arrives=True),
    Lie("exchanges two flows", led_into_another_session, "ends", "bad_tag"),
    Lie("forges ACK", forged(Type.ACK, 8), "ends", "bad_tag", arrives=True),
    Lie("forges RESUME", forged(Type.RESUME, 16), "ends", "bad_tag", arrives=True),
    Lie("forges FLOW_CLOSE", forged(Type.FLOW_CLOSE, 4), "ends", "bad_tag", arrives=True),
    Lie("forges FLOW_REKEY", forged(Type.FLOW_REKEY, 12), "ends", "bad_tag", arrives=True),
    Lie("repeats an old ACK", an_old_ack, "mends", "duplicate_frames_total"),
    Lie("passes an old ACK off as new", an_old_ack_as_new, "ends", "bad_tag", arrives=True),
]


# `make test` tells each lie at one moment, the moments in turn; the rest is for `make test-all`.
CASES = [
    pytest.param(
        lie, moment, id=f"{lie.name}-{moment}", marks=() if MOMENTS[number % 3] == moment else (pytest.mark.tier_all,)
    )
    for number, lie in enumerate(LIES)
    for moment in MOMENTS
]


@pytest.mark.parametrize(("lie", "moment"), CASES)
async def test_a_relay_that(scene: LiedTo, lie: Lie, moment: str) -> None:
    for to in ("kent-1", "met-1"):
        await scene.ready("echo")
        await scene.ready("echo2")
        await scene.relay.acknowledged(to)
        await told(scene, Liar(scene, to, lie), moment)


async def told(scene: LiedTo, liar: Liar, moment: str) -> None:
    lie = liar.lie
    finder = scene.kent if (liar.to == "kent-1") is not lie.at_sender else scene.met
    before = counts(finder)
    scene.relay.on_frame = liar

    async def conversed() -> Conversation:
        liar.armed = moment == "first"
        with await scene.converse() as conversation:
            await asyncio.to_thread(conversation.emit, BLOCK_BYTES)
            liar.armed = moment != "last"
            await asyncio.to_thread(conversation.emit, BLOCK_BYTES)
            liar.armed = True
            await asyncio.to_thread(conversation.finish)
        return conversation

    conversing = asyncio.create_task(conversed())
    await asyncio.wait_for(liar.told.wait(), ANSWER_S)
    if lie.fate == "mends" or lie.tell is kept_for_later:
        # Other streams of the flow bring a frame in each direction: then what is missing is missed.
        with await scene.converse() as other:
            await asyncio.to_thread(other.emit, 10)
            await asyncio.to_thread(other.finish)
        other.judge()
    conversation = await conversing
    await asyncio.to_thread(await_more, finder, lie.word, before)
    await asyncio.to_thread(conversation.judge)
    fates = {"reset", "eof"} if lie.arrives else {"reset"} if lie.fate == "ends" else {"eof"}
    assert conversation.ended in fates, liar.to
    assert not scene.relay.faults


async def test_a_relay_that_is_honest_is_none_the_wiser(scene: LiedTo) -> None:
    """What the other tests find is the lie, not the double."""
    scene.relay.be_honest()
    await scene.ready("echo")
    before = {node: counts(node) for node in (scene.kent, scene.met)}
    for _ in range(5):
        await scene.probe("echo")
        await scene.probe("echo2")
    for node, figures in before.items():
        after = counts(node)
        assert all(after.get(lie.word, 0) == figures.get(lie.word, 0) for lie in LIES)
