"""Headers and bodies of frames: the table of types, the order of the checks, and every bit under a seal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native import probe
from tests.native.probe import Key, Refusal
from tests.reference.frames import Type, header_decode
from tests.reference.refusals import Refused

HOP, BODY = bytes(range(32)), bytes(range(32, 64))
LABEL, NUMBER, HOP_NUMBER = 0xA1B2C3D4, 0x010203040506, 77
CLEAR = b"hello, far edge!"


def header(length: int, kind: int, flow: int = 0, epoch: int = 0, flags: int = 0, number: int = 0) -> bytes:
    clear = bytearray(probe.header_pack(length, kind, flow, epoch, number))
    clear[9] = flags
    return bytes(clear)


def outcome(clear: bytes) -> tuple[str, object]:
    try:
        return "taken", tuple(probe.header_unpack(clear))
    except Refusal as refusal:
        return "refused", refusal.reason


def outcome_of_reference(clear: bytes) -> tuple[str, object]:
    try:
        read = header_decode(clear)
    except Refused as refused:
        return "refused", refused.reason.name
    return "taken", (read.length, read.type, read.flow, read.epoch, read.number)


FIELDS = st.builds(
    header,
    length=st.integers(0, 48) | st.sampled_from([65_535, 65_536, 65_537, 0xFFFFFF]),
    kind=st.sampled_from([*Type, 0x00, 0x09, 0x40, 0x44, 0x80, 0x86, 0xFF]),
    flow=st.sampled_from([0, 0, 1, LABEL, 0xFFFFFFFF]),
    epoch=st.sampled_from([0, 0, 1, 255]),
    flags=st.sampled_from([0, 0, 0, 1, 0x80]),
    number=st.sampled_from([0, 0, 1, (1 << 48) - 1]),
)


@given(clear=FIELDS | st.binary(min_size=16, max_size=16))
def test_a_header_is_read_as_the_reference_reads_it(clear: bytes) -> None:
    assert outcome(clear) == outcome_of_reference(clear)


@pytest.mark.parametrize(
    ("clear", "reason"),
    [
        (header(65_537, 0xFF, 1, 1, 1, 1), "BAD_LENGTH"),
        (header(9, 0xFF, 1, 1, 1, 1), "BAD_TYPE"),
        (header(9, Type.PING, 1, 1, 1, 1), "BAD_FLAGS"),
        (header(9, Type.PING, 1, 1, 0, 1), "BAD_LENGTH"),
        (header(8, Type.PING, 1, 1, 0, 1), "BAD_FIELD"),
        (header(9, Type.ACK), "BAD_LENGTH"),
        (header(8, Type.ACK), "BAD_FIELD"),
    ],
)
def test_the_first_fault_in_order_is_the_reason(clear: bytes, reason: str) -> None:
    assert outcome(clear) == ("refused", reason)


def sealed_frame() -> bytes:
    clear = probe.header_pack(len(CLEAR), Type.BUNDLE, LABEL, 1, NUMBER) + bytes(32) + CLEAR
    body = probe.body_seal(Key(1, BODY, bytes(12), sealing=True), 0, 2, 257, Type.BUNDLE, NUMBER, clear)
    return probe.frame_seal(Key(1, HOP, bytes(12), sealing=True), HOP_NUMBER, body)


def opened(wire: bytes, hop_number: int = HOP_NUMBER, **scope: int) -> bytes:
    """Both seals opened, as receivers do one after the other."""
    said = {"direction": 0, "index": 2, "epoch": 257, "kind": int(Type.BUNDLE), "counter": NUMBER} | scope
    read, clear = probe.frame_open(Key(1, HOP, bytes(12), sealing=False), hop_number, wire)
    assert read == (len(CLEAR), Type.BUNDLE, LABEL, 1, NUMBER)
    return probe.body_open(Key(1, BODY, bytes(12), sealing=False), *said.values(), clear)


def test_a_frame_goes_there_and_back() -> None:
    assert opened(sealed_frame()) == CLEAR


def test_every_bit_of_a_frame_is_under_a_seal() -> None:
    wire = sealed_frame()
    for bit in range(8 * len(wire)):
        changed = bytearray(wire)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Refusal, match="BAD_TAG"):
            opened(bytes(changed))


@pytest.mark.parametrize("scope", [{"direction": 1}, {"index": 3}, {"epoch": 1}, {"kind": 0x43}, {"counter": 7}])
def test_a_body_in_another_place_does_not_open(scope: dict[str, int]) -> None:
    with pytest.raises(Refusal, match="BAD_TAG"):
        opened(sealed_frame(), **scope)


@pytest.mark.parametrize("hop_number", [HOP_NUMBER - 1, HOP_NUMBER + 1])
def test_a_header_opens_only_as_the_next(hop_number: int) -> None:
    with pytest.raises(Refusal, match="BAD_TAG"):
        opened(sealed_frame(), hop_number)


def test_a_body_does_not_go_under_another_header() -> None:
    one, key = sealed_frame(), Key(1, HOP, bytes(12), sealing=True)
    clear = probe.header_pack(len(CLEAR), Type.BUNDLE, LABEL, 1, NUMBER) + bytes(32) + CLEAR[::-1]
    body = probe.body_seal(Key(1, BODY, bytes(12), sealing=True), 0, 2, 257, Type.BUNDLE, NUMBER, clear)
    other = probe.frame_seal(key, HOP_NUMBER, body)
    with pytest.raises(Refusal, match="BAD_TAG"):
        opened(one[:32] + other[32:])
