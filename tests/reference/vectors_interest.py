"""Vectors of interest and of chains by their digests (docs/protocol.md, 9.13 and 9.4): messages, and what is told."""

from __future__ import annotations

import hashlib
import re
import struct
from itertools import pairwise
from typing import Any

Json = dict[str, Any]
KENT = "spiffe://police.example/org/kent.police.example/node/kent-1"
OTHER = "spiffe://police.example/org/kent.police.example/node/kent-2"
MET = "spiffe://police.example/org/met.police.example/node/met-1"
NAMES_MOST, EDGES_MOST = 4096, 1024
# What a relay knows: each edge with the services in its entry.
CATALOGUE = {KENT: ["custody", "mail"], OTHER: ["records"], MET: ["custody"]}


def interest() -> Json:
    chains = [[b"leaf"], [b"leaf", b"root"], [b"", b"leafroot"], [bytes(range(256)) * 4, b"\xff" * 700]]
    return {
        "description": "Sections 9.13 and 9.4. 'wire' is a message with its length. In a case of 'told' an edge or a "
        "relay (role 1 or 2) sends WANT with these fields, on a link whose HELLOs both list the feature or not; 'told' "
        "names the edges of 'catalogue', each with its services, of which the relay then tells it, null: as before; "
        "'is_refused' whether it is counted. 'numbered' stands for so many further services, s0000@a.example ..., "
        "or edges. 'digests' are chains and what names them in an ADVERT. A case of 'adverts' "
        "is a list of what one edge sends on a link: a chain, whole or by its digest, or WITHDRAW; 'taken' is whether "
        "each is taken, 'asked' whether ADVERT_GET follows.",
        "messages": [
            {"kind": "WANT", "services": services, "edges": edges, "wire": _want(services, edges).hex()}
            for services, edges in (([], []), (["*"], []), (["*@a.example", "custody@kent.police.example"], [KENT]))
        ]
        + [{"kind": "ADVERT_GET", "edge": KENT, "wire": _framed(b"\x92\x13" + _text(KENT)).hex()}],
        "catalogue": CATALOGUE,
        "told": [
            _case("nothing is named", []),
            _case("a service of one organisation", ["custody@kent.police.example"]),
            _case("two, one of which nobody offers", ["custody@met.police.example", "fuel@kent.police.example"]),
            _case("all of an organisation", ["*@kent.police.example"]),
            _case("an edge whatever it offers", ["custody@met.police.example"], [OTHER]),
            _case("an edge that is not known", [], [MET[:-1] + "9"]),
            _case("everything", ["*"]),
            _case("everything and a name", ["*", "custody@met.police.example"]),
            _case("a name twice", ["custody@met.police.example"] * 2),
            _case("not in order", ["mail@kent.police.example", "custody@kent.police.example"]),
            _case("no organisation", ["custody"]),
            _case("an upper-case letter", ["Custody@kent.police.example"]),
            _case("as many names as there may be", [], services_numbered=NAMES_MOST),
            _case("one name more", [], services_numbered=NAMES_MOST + 1),
            _case("one edge more", [], edges_numbered=EDGES_MOST + 1),
            _case("an edge that is no identity", [], ["kent-1"]),
            _case("from a relay", ["custody@kent.police.example"], role=2),
            _case("without the feature", ["custody@kent.police.example"], listed=False),
        ],
        "digests": [{"chain": [each.hex() for each in chain], "digest": digest(chain).hex()} for chain in chains],
        "adverts": [
            _sequence("again by its digest", ["A", "#A", "#A"]),
            _sequence("never sent whole", ["#A"]),
            _sequence("that of another chain", ["A", "#B", "B", "#B"]),
            _sequence("one that was replaced", ["A", "B", "#A"]),
            _sequence("withdrawn before", ["A", "-", "#A", "A", "#A"]),
        ],
    }


def digest(chain: list[bytes]) -> bytes:
    return hashlib.sha256(b"".join(struct.pack(">I", len(each)) + each for each in chain)).digest()


def numbered(case: Json) -> tuple[list[str], list[str]]:
    """The services and edges of a case."""
    services = [f"s{number:04}@a.example" for number in range(case["numbered"]["services"])]
    edges = [f"{KENT}-{number:04}" for number in range(case["numbered"]["edges"])]
    return case["services"] + services, case["edges"] + edges


def _case(
    name: str,
    services: list[str],
    edges: list[str] | None = None,
    *,
    role: int = 1,
    listed: bool = True,
    services_numbered: int = 0,
    edges_numbered: int = 0,
) -> Json:
    """What a relay tells, by the rules of 9.13 in their order."""
    case: Json = {
        "name": name,
        "role": role,
        "listed": listed,
        "services": services,
        "edges": edges or [],
        "numbered": {"services": services_numbered, "edges": edges_numbered},
    }
    services, identities = numbered(case)
    told: list[str] | None
    if not listed or role == 2:
        told, is_refused = None, True
    elif services == ["*"]:
        told, is_refused = sorted(CATALOGUE), False
    else:
        is_refused = not _is_good(services, NAMES_MOST, r"(\*|[a-z0-9-]{1,63})@[a-z0-9.-]{1,253}")
        is_refused = is_refused or not _is_good(identities, EDGES_MOST, r"spiffe://[^/]+/org/[^/]+/node/[^/]+")
        told = sorted(edge for edge in CATALOGUE if is_refused or _is_needed(edge, services, identities))
    return case | {"told": told, "is_refused": is_refused}


def _is_good(names: list[str], most: int, form: str) -> bool:
    is_rising = all(first.encode() < second.encode() for first, second in pairwise(names))
    return len(names) <= most and is_rising and all(re.fullmatch(form, name) for name in names)


def _is_needed(edge: str, services: list[str], edges: list[str]) -> bool:
    organisation = edge.split("/")[4]
    offered = {f"{service}@{organisation}" for service in (*CATALOGUE[edge], "*")}
    return edge in edges or bool(offered & set(services))


def _sequence(name: str, sent: list[str]) -> Json:
    """A letter is a chain sent whole, # before it: by its digest; - is WITHDRAW."""
    held, taken, asked = "", [], []
    for each in sent:
        is_whole = each[0] not in "#-"
        is_taken = is_whole or each == f"#{held}"
        taken.append(is_taken or each == "-")
        asked.append(each[0] == "#" and not is_taken)
        held = "" if each == "-" else each if is_whole else held
    return {"name": name, "sent": sent, "taken": taken, "asked": asked}


def _want(services: list[str], edges: list[str]) -> bytes:
    return _framed(b"\x93\x12" + _list(services) + _list(edges))


def _list(names: list[str]) -> bytes:
    return bytes([0x90 + len(names)]) + b"".join(map(_text, names))


def _text(text: str) -> bytes:
    data = text.encode()
    return (bytes([0xA0 + len(data)]) if len(data) < 32 else b"\xd9" + bytes([len(data)])) + data


def _framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body
