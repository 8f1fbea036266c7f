"""Vectors of DATAGRAM_LANE (docs/protocol.md, 9.14): the message, and what the acceptor answers to each offer."""

from __future__ import annotations

import struct
from typing import Any

Json = dict[str, Any]
LANES = 2
AT_ONCE = 16 * LANES
RANGE = 64
DONE, VIOLATION, LIMIT, BUSY, REFUSED = 0, 1, 2, 3, 5


def offers() -> Json:
    cases = [
        _case("the first numbers", [(0, 0, 7, 7400), (1, 1, 8, 7401)]),
        _case("a number twice, for either index", [(0, 0, 7, 7400), (0, 0, 9, 7400), (1, 0, 9, 7400)]),
        _case("numbers of the range, in any order", [(0, 63, 7, 1), (0, 5, 7, 1), (0, 0, 7, 1), (1, 127, 7, 1)]),
        _case("a number out of the range", [(0, 64, 7, 1), (0, 4_294_967_295, 7, 1)]),
        _case("numbers that fell out of it", [(0, 63, 7, 1), (0, 100, 7, 1), (0, 30, 7, 1), (0, 40, 7, 1)]),
        _case("no token, no port, no such index", [(0, 0, 0, 7400), (0, 0, 7, 0), (LANES, 0, 7, 7400)]),
        _case("a refused form uses up no number", [(0, 0, 0, 7400), (0, 0, 7, 7400)]),
        _case("too many at once", [(0, number, 7, 7400) for number in range(AT_ONCE + 2)]),
    ]
    return {
        "description": "Section 9.14. 'wire' is a message with its length. A case is what one dialler offers on a new "
        f"link of {LANES} lanes, all within one moment, before any preamble was taken: index, number, token and "
        "port of each offer; 'codes' are those of the answers. An answer with code 0 has a token and a port, any other "
        "has none. The acceptor has room and its ports, and bounds offers as the page says will do. A withdrawal is "
        "what either side makes of messages of the other with token 0, port 0 and REFUSED: 'open' are index and "
        "number of the UDP lanes that both have; 'withdrawn' index and number of each message; 'left' are those that "
        "are there after them, and 'unasked' how many of them found nothing. None is answered.",
        "messages": [
            _message(0, 0, 1, 1, 0),
            _message(1, 5, 0xDEADBEEF, 7402, 0),
            _message(63, 4_294_967_295, 4_294_967_295, 65_535, 0),
            _message(0, 300, 0, 0, BUSY),
            _message(1, 301, 0, 0, REFUSED),
        ],
        "cases": cases,
        "withdrawals": [
            _withdrawal("one index", [(0, 0)]),
            _withdrawal("each index", [(1, 1), (0, 0)]),
            _withdrawal("another number, which is not looked at", [(1, 4_294_967_295)]),
            _withdrawal("one index twice", [(0, 0), (0, 0)]),
            _withdrawal("no such index", [(LANES, 0), (65_535, 1)]),
        ],
    }


def _withdrawal(what: str, withdrawn: list[tuple[int, int]]) -> Json:
    opened = {index: index for index in range(LANES)}  # each number is that of its index: they are the first ones
    left, unasked = dict(opened), 0
    for index, _ in withdrawn:
        if index in left:
            del left[index]
        else:
            unasked += 1
    return {
        "what": what,
        "open": [list(each) for each in opened.items()],
        "withdrawn": [list(each) for each in withdrawn],
        "left": [list(each) for each in left.items()],
        "unasked": unasked,
    }


def _case(what: str, offered: list[tuple[int, int, int, int]]) -> Json:
    seen: set[int] = set()
    codes = []
    for count, (index, number, token, port) in enumerate(offered):
        greatest = max(seen, default=-1)
        low, high = (0, RANGE - 1) if not seen else (greatest - RANGE, greatest + RANGE)
        if count >= AT_ONCE:
            codes.append(LIMIT)
        elif not token or not port or index >= LANES:
            codes.append(VIOLATION)
        elif number in seen or not low <= number <= high:
            codes.append(BUSY)
        else:
            seen.add(number)
            codes.append(DONE)
    return {"what": what, "offers": [list(each) for each in offered], "codes": codes}


def _message(index: int, number: int, token: int, port: int, code: int) -> Json:
    fields = {"index": index, "number": number, "token": token, "port": port, "code": code}
    body = b"\x96\x14" + b"".join(map(_unsigned, fields.values()))
    return {**fields, "wire": (struct.pack(">I", len(body)) + body).hex()}


def _unsigned(value: int) -> bytes:
    """The shortest msgpack form of a whole number that is not negative."""
    if value < 0x80:
        return bytes([value])
    for head, size in ((0xCC, 1), (0xCD, 2), (0xCE, 4)):
        if value < 1 << 8 * size:
            return bytes([head]) + value.to_bytes(size, "big")
    raise ValueError(value)
