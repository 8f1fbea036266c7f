"""Vectors of the exchange of objects (docs/protocol.md, 9.10): its messages, and what a receiver makes of them."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

Json = dict[str, Any]
PIECE = 65_536
MOST = 1 << 20
NAME = hashlib.sha256(b"name of the CA").digest()


def objects() -> Json:
    return {
        "description": "Section 9.10. Byte index i of an object is i * i mod 251. 'wire' has the length before the "
        "message; of a piece only its first bytes, up to the data. In a case the receiver has epoch 5 of the object of "
        "that name; 'sent' is what the neighbour sends, 'answers' the offsets that it is asked for, one after each, "
        "null: it is not asked; 'taken' is whether the whole is judged. A piece is given by offset and length.",
        "name": NAME.hex(),
        "messages": [_messages(size) for size in (1, 100, PIECE, PIECE + 1, 150_000)],
        "cases": [
            _case("one piece", 100, 6, [(0, 100)]),
            _case("three pieces", 150_000, 6, [(0, PIECE), (PIECE, PIECE), (2 * PIECE, 150_000 - 2 * PIECE)]),
            _case("a full piece alone", PIECE, 6, [(0, PIECE)]),
            _case("an epoch that is equal", 100, 5, []),
            _case("an epoch that is older", 100, 4, []),
            _case("nothing", 0, 6, []),
            _case("too large", MOST + 1, 6, []),
            _case("the second piece first", 150_000, 6, [(PIECE, PIECE)]),
            _case("the first piece twice", 150_000, 6, [(0, PIECE), (0, PIECE)]),
            _case("a piece that is too short", 150_000, 6, [(0, PIECE - 1)]),
            _case("a last piece that is too long", 100, 6, [(0, 101)]),
        ],
    }


def content(size: int) -> bytes:
    return bytes(index * index % 251 for index in range(size))


def _messages(size: int) -> Json:
    data = content(size)
    digest = hashlib.sha256(data).digest()
    told = b"\x96" + _number(13) + _number(1) + _octets(NAME) + _number(6) + _octets(digest) + _number(size)
    offsets = range(0, size, PIECE)
    asked = [b"\x93" + _number(14) + _octets(digest) + _number(at) for at in offsets]
    pieces = [(_number(15) + _octets(digest) + _number(at), data[at : at + PIECE]) for at in offsets]
    return {
        "size": size,
        "epoch": 6,
        "hash": digest.hex(),
        "object": _framed(told).hex(),
        "gets": [_framed(each).hex() for each in asked],
        "pieces": [
            _framed(b"\x94" + head + _octets(part))[: 4 + 1 + len(head) + len(_octets_head(part))].hex()
            for head, part in pieces
        ],
    }


def _case(name: str, size: int, epoch: int, sent: list[tuple[int, int]]) -> Json:
    """What a receiver does, by the rules of 9.10 in their order."""
    is_wanted = epoch > 5 and 0 < size <= MOST
    answers: list[int | None] = [0 if is_wanted else None]
    expected, is_on = 0, is_wanted
    for offset, length in sent:
        is_on = is_on and offset == expected and length == min(PIECE, size - expected)
        expected += length if is_on else 0
        answers.append(expected if is_on and expected < size else None)
    taken = is_on and expected == size
    return {
        "name": name,
        "size": size,
        "epoch": epoch,
        "sent": [{"offset": offset, "length": length} for offset, length in sent],
        "answers": answers,
        "taken": taken,
    }


def _framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def _number(value: int) -> bytes:
    """The shortest form of msgpack."""
    if value < 0x80:
        return bytes([value])
    if value <= 0xFF:
        return b"\xcc" + struct.pack(">B", value)
    if value <= 0xFFFF:
        return b"\xcd" + struct.pack(">H", value)
    return b"\xce" + struct.pack(">I", value)


def _octets_head(data: bytes) -> bytes:
    if len(data) <= 0xFF:
        return b"\xc4" + struct.pack(">B", len(data))
    if len(data) <= 0xFFFF:
        return b"\xc5" + struct.pack(">H", len(data))
    return b"\xc6" + struct.pack(">I", len(data))


def _octets(data: bytes) -> bytes:
    return _octets_head(data) + data
