"""Vectors of TWIN (docs/protocol.md, 9.11): the message, and who is told of what a neighbour tells."""

from __future__ import annotations

import struct
from typing import Any

Json = dict[str, Any]
ME = "spiffe://police.example/org/hub.example/node/relay-2"
KENT = "spiffe://police.example/org/kent.police.example/node/kent-1"
MET = "spiffe://police.example/org/met.police.example/node/met-1"


def twins() -> Json:
    return {
        "description": "Section 9.11. 'wire' is a TWIN with its length. In a case a neighbour of role 1 (edge) or 2 "
        "(relay) tells this node, 'me', of an identity; 'listed' is whether both list the feature, 'linked' the "
        "identities of the other links of this node. 'holds' is whether this node's operator is told, 'passed' the "
        "identities whose links are told in turn.",
        "me": ME,
        "messages": [{"identity": identity, "wire": _wire(identity).hex()} for identity in (ME, KENT)],
        "cases": [
            _case("its own, by a relay", 2, ME, [KENT]),
            _case("its own, by an edge", 1, ME, [KENT]),
            _case("a neighbour's, by a relay", 2, KENT, [KENT, MET]),
            _case("a neighbour's, by an edge", 1, KENT, [KENT, MET]),
            _case("of none that is linked, by a relay", 2, KENT, [MET]),
            _case("its own, and the feature is not listed", 2, ME, [KENT], listed=False),
            _case("no identity", 2, "kent-1", [KENT]),
        ],
    }


def _case(name: str, role: int, identity: str, linked: list[str], *, listed: bool = True) -> Json:
    """What a receiver does, by the rules of 9.11 in their order."""
    is_taken = listed and identity.startswith("spiffe://") and (identity == ME or role == 2)
    return {
        "name": name,
        "role": role,
        "identity": identity,
        "linked": linked,
        "listed": listed,
        "holds": is_taken and (identity == ME or identity in linked),
        "passed": [each for each in linked if is_taken and each == identity],
    }


def _wire(identity: str) -> bytes:
    text = identity.encode()
    body = b"\x92\x10" + b"\xd9" + bytes([len(text)]) + text
    return struct.pack(">I", len(body)) + body
