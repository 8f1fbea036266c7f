"""Records: what the one cursor takes and what it refuses, beside the reference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native import probe
from tests.native.probe import Refusal
from tests.reference.records import Kind, Record, Transport, make, record_datagram, records_decode
from tests.reference.refusals import Refused

STREAMS = st.sampled_from([0, 1, 2, 0xFFFFFFFE])
RECORD = st.builds(
    lambda stream, kind, data: stream.to_bytes(4, "big") + bytes([kind]) + len(data).to_bytes(3, "big") + data,
    STREAMS,
    st.integers(0, 9),
    st.binary(max_size=24) | st.binary(min_size=8, max_size=8),
)


@st.composite
def opens(draw: st.DrawFn) -> bytes:
    """OPEN records, most of them nearly right."""
    name = draw(st.binary(min_size=0, max_size=66))
    size = draw(st.sampled_from([len(name)] * 4 + [0, 1, 63, 64]))
    fields = draw(st.sampled_from([(1, 0, 0), (3, 2, 0), (0, 0, 0), (4, 0, 0), (1, 3, 0), (1, 0, 1), (1, 0, 2)]))
    data = draw(st.binary(min_size=8, max_size=8)) + bytes([*fields, size]) + name
    return (1).to_bytes(4, "big") + bytes([Kind.OPEN]) + len(data).to_bytes(3, "big") + data


BODIES = st.lists(RECORD | opens(), max_size=5).map(b"".join)


def refused_by_reference(body: bytes, datagrams: bool) -> str | None:
    try:
        records_decode(body, datagrams=datagrams)
    except Refused as refused:
        return refused.reason.name
    return None


def refused(body: bytes, datagrams: bool) -> str | None:
    try:
        probe.record_check(body, datagrams=datagrams)
    except Refusal as refusal:
        return refusal.reason
    return None


@given(body=BODIES, cut=st.integers(0, 30), datagrams=st.booleans())
def test_bodies_are_judged_as_the_reference_judges_them(body: bytes, cut: int, datagrams: bool) -> None:
    body = body[: len(body) - cut] if cut < 10 else body
    assert refused(body, datagrams) == refused_by_reference(body, datagrams)


@given(body=BODIES)
def test_records_are_read_as_the_reference_reads_them(body: bytes) -> None:
    if refused_by_reference(body, False) is not None:
        return
    read: list[Record] = []
    at = 0
    while at < len(body):
        record, used = probe.record_read(body[at:])
        read.append(make(record.stream, Kind(record.kind), record.data))
        at += used
    assert read == records_decode(body)


def test_no_truncation_of_a_record_is_a_record() -> None:
    whole = probe.record_open(1, 65_536, 2, 1, b"custody")
    for size in range(1, len(whole)):
        with pytest.raises(Refusal, match="BAD_RECORD"):
            probe.record_read(whole[:size])


@given(
    stream=st.integers(1, 0xFFFFFFFF),
    limit=st.integers(0, (1 << 64) - 1),
    name=st.binary(min_size=1, max_size=63),
    transport=st.sampled_from(Transport),
)
def test_an_open_goes_there_and_back(stream: int, limit: int, name: bytes, transport: Transport) -> None:
    wire = probe.record_open(stream, limit, 3, 2, name, transport)
    record, used = probe.record_read(wire)
    assert used == len(wire)
    assert (record.stream, record.value, record.marking, record.priority, record.service) == (stream, limit, 3, 2, name)
    assert record.transport == transport


@given(stream=st.integers(1, 0xFFFFFFFF), number=st.integers(0, (1 << 64) - 1), datagram=st.binary(max_size=40))
def test_the_head_of_a_datagram_is_that_of_the_reference(stream: int, number: int, datagram: bytes) -> None:
    wire = probe.record_datagram(stream, number, len(datagram)) + datagram
    assert wire == record_datagram(stream, number, datagram).encode()
