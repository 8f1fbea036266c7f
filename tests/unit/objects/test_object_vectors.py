"""The exchange of objects against the vectors that the reference has made."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from pcgrelay.clock import SetClock
from pcgrelay.link.link import Link
from pcgrelay.messages import MessageReader, Object, ObjectGet, ObjectPiece, encode_message
from pcgrelay.objects.exchange import HeldObject, ObjectExchange
from tests.support.vectors import Json, load, octets

VECTORS = load("objects")
NAME = octets(VECTORS["name"])


def content(size: int) -> bytes:
    return bytes(index * index % 251 for index in range(size))


@pytest.mark.parametrize("case", VECTORS["messages"], ids=lambda case: str(case["size"]))
def test_messages_are_those_of_the_vectors(case: Json) -> None:
    data, digest = content(case["size"]), octets(case["hash"])
    assert hashlib.sha256(data).digest() == digest
    told = Object(1, NAME, case["epoch"], digest, case["size"])
    assert encode_message(told) == octets(case["object"])
    offsets = range(0, len(data), 65_536)
    assert [encode_message(ObjectGet(digest, at)) for at in offsets] == [octets(each) for each in case["gets"]]
    for at, head in zip(offsets, case["pieces"], strict=True):
        piece = ObjectPiece(digest, at, data[at : at + 65_536])
        assert encode_message(piece) == octets(head) + piece.data
        assert [message for message, _ in MessageReader().feed(encode_message(piece))] == [piece]
    assert [message for message, _ in MessageReader().feed(octets(case["object"]))] == [told]


class Receiver:
    """A link and a store that has epoch 5."""

    features, number, backlog_bytes = frozenset({"objects"}), 1, 0

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.judged: list[Any] = []
        self.exchange = ObjectExchange({}, self, self._spawn, SetClock(datetime(2026, 1, 1, tzinfo=UTC)))

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def held(self) -> Iterator[HeldObject]:
        return iter(())

    def refusal(self, announced: Object) -> str | None:
        return None if announced.epoch > 5 else ""

    async def take(self, announced: Object, data: bytes, link: Link) -> str | None:
        raise AssertionError

    def _spawn(self, work: Awaitable[None], name: str) -> Any:
        self.judged.append(work)
        cast("Any", work).close()

    def hear(self, message: Object | ObjectPiece) -> list[int | None]:
        self.sent.clear()
        self.exchange.receive(cast("Link", self), message)
        return [message.offset for message in self.sent] or [None]


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_a_receiver_asks_as_the_vectors_say(case: Json) -> None:
    data = content(case["size"])
    digest = hashlib.sha256(data).digest()
    receiver = Receiver()
    answers = receiver.hear(Object(1, NAME, case["epoch"], digest, case["size"]))
    for sent in case["sent"]:
        part = (data + bytes(1))[sent["offset"] : sent["offset"] + sent["length"]]
        answers += receiver.hear(ObjectPiece(digest, sent["offset"], part))
    assert answers == case["answers"]
    assert len(receiver.judged) == case["taken"]
