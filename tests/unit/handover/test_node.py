"""The control plane's part of what is handed over: an older record is read, a newer one too, nonsense is refused."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec import structs

from pcgrelay.errors import RunError
from pcgrelay.handover.node import (
    NodeHandover,
    PaperEndHandover,
    ServiceHandover,
    StreamCountsHandover,
    decode_handover,
    encode_handover,
)
from pcgrelay.handover.records import (
    EntryHandover,
    LabelsHandover,
    LinkHandover,
    PathHandover,
    RelayPathHandover,
    SessionHandover,
)

# As version 1 wrote it. It stays, so that whatever comes later reads it.
LINK = {
    "number": 7,
    "peer": "spiffe://police.example/org/hub.example/node/relay-1",
    "peer_role": 2,
    "bearer": "internet",
    "dialled": True,
    "lanes": 2,
    "cap": 131_072,
    "suite": 1,
    "group": "X25519MLKEM768",
    "tls_suite": "TLS_AES_256_GCM_SHA384",
    "link_id": bytes(16),
    "chain": [b"der"],
}
VERSION_1: dict[str, Any] = {
    "started_ms": 12,
    "links": [LINK],
    "entries": [{"link": 7, "entry": b"e", "signature": b"s", "chain": [b"c"], "path": []}],
    "labels": {"following": 9, "resting": [[100, 8]]},
    "last_session": 4,
    "imports": [{"number": 0, "service": "custody@kent.police.example", "listen": "127.0.0.1:5432", "is_open": True}],
    "tally": {"opened_total": 3, "closed_total": {"done": 3}},
    "refused": {"neighbours": {"silent": 1}},
}

WHOLE = NodeHandover(
    started_ms=1,
    links=(LinkHandover(**{**LINK, "chain": (b"der",), "draining": True, "opened_ms": 5, "lanes_up": {0: 3, 1: 4}}),),
    entries=(EntryHandover(link=7, entry=b"e", signature=b"s", chain=(b"c",), path=("p",)),),
    labels=LabelsHandover(following=3, resting=((9, 1),)),
    sessions=(
        SessionHandover(
            id=bytes(16),
            number=4,
            edge="spiffe://police.example/org/kent.police.example/node/kent-1",
            marking=1,
            initiator=True,
            priority=0,
            began_ms=6,
            flows=2,
            cap=131_072,
            suite=1,
            group="X25519MLKEM768",
            tls_suite="TLS_AES_256_GCM_SHA384",
            chain=(b"der",),
            unresumed=(1,),
            features=("datagrams", "session-class"),
            path=PathHandover(
                link=7, peer="p", in_label=1, out_label=2, flows=2, cap=3, marking=1, priority=0, initiator=True
            ),
        ),
    ),
    last_session=4,
    relay_paths=(
        RelayPathHandover(
            number=1,
            session=bytes(16),
            source="a",
            destination="b",
            a=1,
            b=2,
            a_in=3,
            a_out=4,
            b_in=5,
            flows=1,
            cap=2,
            priority=0,
            opened_ms=3,
        ),
    ),
    last_relay_path=1,
    imports=(ServiceHandover(number=0, service="x@y", listen="127.0.0.1:1", is_open=True, opened_total=2),),
    exports=(ServiceHandover(number=1, service="z@y", refused_total=3),),
    stream_counts=StreamCountsHandover(opened_total=1, closed_total={"done": 1}, refused_total={"stream_limit": 1}),
    refused={"paths": {"loop": 2}},
)


def test_it_is_read_as_it_was_written() -> None:
    assert decode_handover(encode_handover(WHOLE)) == WHOLE


def test_the_record_of_version_1_is_read() -> None:
    handover = decode_handover(msgspec.msgpack.encode(VERSION_1))
    assert handover.links[0].number == 7
    assert handover.links[0].lanes_up == {}
    assert handover.labels == LabelsHandover(following=9, resting=((100, 8),))
    assert handover.imports[0].is_open
    assert (handover.sessions, handover.relay_paths, handover.last_relay_path) == ((), (), 0)
    assert handover.refused == {"neighbours": {"silent": 1}}


def test_what_a_record_of_before_does_not_have_gets_a_value_that_is_safe() -> None:
    """As commit 321ff9f wrote it: without an audit log, ends of rules, and markings of a relay's paths."""
    new = ("paper_ends", "audit")
    path = structs.asdict(WHOLE.relay_paths[0])
    for field in ("marking", "via"):
        del path[field]
    before = {**VERSION_1, "forwards": [path]}
    handover = decode_handover(msgspec.msgpack.encode(before))
    assert [getattr(handover, field) for field in new] == [(), ()]
    # Nobody knows how it is marked, so it is judged as if by the highest.
    assert (handover.relay_paths[0].marking, handover.relay_paths[0].via) == (3, ())


def test_ends_of_rules_and_lines_that_wait_are_read_as_they_were_written() -> None:
    ends = (PaperEndHandover(rule="export 3", end=datetime(2027, 3, 31, tzinfo=UTC), told=True, announced=7),)
    whole = structs.replace(WHOLE, paper_ends=ends, audit=(b'"ts":"2026-11-03T02:14:07.113Z","event":"x"}',))
    assert decode_handover(encode_handover(whole)) == whole


def test_what_a_later_version_adds_is_passed_over() -> None:
    later = {**VERSION_1, "more": [1, 2], "links": [{**LINK, "colour": "blue"}]}
    assert decode_handover(msgspec.msgpack.encode(later)) == decode_handover(msgspec.msgpack.encode(VERSION_1))


@pytest.mark.parametrize("data", [b"", b"\xc1", msgspec.msgpack.encode(7), msgspec.msgpack.encode({"links": []})])
def test_nonsense_is_refused_in_a_sentence(data: bytes) -> None:
    with pytest.raises(RunError, match=r"cannot be read \(.*\); restart it instead\.$"):
        decode_handover(data)


def test_one_that_is_cut_anywhere_is_refused() -> None:
    data = encode_handover(WHOLE)
    for length in range(len(data)):
        with pytest.raises(RunError):
            decode_handover(data[:length])


def test_one_with_another_byte_is_read_or_refused() -> None:
    data = encode_handover(WHOLE)
    rng = random.Random(4)
    for _ in range(2_000):
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            decode_handover(bytes(changed))
        except RunError:
            continue
