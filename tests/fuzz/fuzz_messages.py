"""Whatever a neighbour sends, what comes out of the reader of control messages is messages, or MessageRefused alone;
the same whether it comes whole or cut anywhere, and each encodes to what decodes to it. A catalogue entry is an Entry
or EntryRefused, of one of the words that the log knows."""

import re
import sys

import msgspec
from cryptography import x509

from pcgrelay import messages
from pcgrelay.catalogue.entries import ENTRY_KIND, Entry, EntryRefused, Offer, SignedEntry, decode_entry, verify_entry
from pcgrelay.messages import MESSAGE_LIMIT_BYTES, MessageReader, MessageRefused, encode_message
from pcgrelay.model import NodeId

NOW_S = 1_800_000_000
IDENTITY = "spiffe://police.example/org/kent.police.example/node/kent-1"
SESSION = bytes(range(16))
MESSAGES: list[messages.Message] = [
    messages.Hello((1,), 1, 1, IDENTITY, (1, 2, 3), 4, 0, 1 << 20, b"", 0, ("a",), bytes(32)),
    messages.Beat(7, False),
    messages.Advert(b"entry", b"signature", (b"leaf", b"root"), (IDENTITY,)),
    messages.Withdraw(IDENTITY, 1),
    messages.PathOpen(SESSION, IDENTITY, IDENTITY, 1, 0, 1, 1 << 20, 5, False, ()),
    messages.PathAccept(SESSION, 1, 1 << 20, 6, 5),
    messages.PathRefuse(SESSION, 5, "no", IDENTITY, 5),
    messages.PathClose(SESSION, 0, 5),
    messages.Carry(SESSION, b"x" * 300),
    messages.Drain(1000),
    messages.Renewed(1, 2),
    messages.Goodbye(1, "so long"),
    messages.Object(1, bytes(32), 7, bytes(range(32)), 100_000),
    messages.ObjectGet(bytes(range(32)), 65_536),
    messages.ObjectPiece(bytes(range(32)), 65_536, b"x" * 300),
    messages.Twin(IDENTITY),
    messages.Witness(1, b"old 0\n\n", (b"vkey",) * 5),
    messages.Witness(2, b"x"),
    messages.Want(("*@kent.police.example", "custody@kent.police.example"), (IDENTITY,)),
    messages.AdvertGet(IDENTITY),
    messages.DatagramLane(1, 5, 7, 7_400),
]
ENTRY = msgspec.msgpack.encode(
    Entry(ENTRY_KIND, IDENTITY, 1, NOW_S + 60, (Offer("custody", 2), Offer("echo", 1, 1, 50, 2)))
)
SEEDS = [*(encode_message(message) for message in MESSAGES), b"".join(map(encode_message, MESSAGES)), ENTRY]
WORDS = [
    *(bytes([code]) for code in (0x80, 0x90, 0x9C, 0xA0, 0xC0, 0xC1, 0xC2, 0xC3, 0xD4, 0xFF)),
    b"\xc4\x10", b"\xc5\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xca\x7f\xc0\0\0", b"\xcf" + b"\xff" * 8,
    b"\xd3\x80" + bytes(7), b"\xd9\xff", b"\xdb\0\0\1\0", b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xde\0\1",
    b"\xc7\x0c\xff" + bytes(12), b"\x91" * 3_000, b"\0\0\0\1", b"\0\4\0\0", b"\0\4\0\1", b"\xc3\x28", b"\xed\xa0\x80",
    IDENTITY.encode(),
]  # fmt: skip


def run(data: bytes) -> object:
    whole, refused = fed([data])
    step = 1 + len(data) % 7
    cut, refused_too = fed([data[at : at + step] for at in range(0, len(data), step)])
    assert (whole, refused) == (cut, refused_too)
    for message in whole:
        assert fed([encode_message(message)]) == ([message], "")
    return (
        tuple(type(message).__name__ for message in whole)[:6],
        re.sub(r"\d+", "", refused)[:60],
        entry_answer(data),
    )


def fed(parts: list[bytes]) -> tuple[list[messages.Message], str]:
    reader, taken, size = MessageReader(), list[messages.Message](), 0
    try:
        for part in parts:
            for message, raw in reader.feed(part):
                assert len(raw) == 4 + int.from_bytes(raw[:4], "big") <= 4 + MESSAGE_LIMIT_BYTES
                taken.append(message)
                size += len(raw)
    except MessageRefused as refusal:
        return taken, str(refusal)
    assert size <= sum(map(len, parts))
    return taken, ""


def entry_answer(data: bytes) -> str:
    """What becomes of data as an entry, and as the chain of one that is good."""
    try:
        entry = decode_entry(SignedEntry(data, b"", ()), NOW_S)
        assert len({offer.service for offer in entry.offers}) == len(entry.offers)
        assert NOW_S <= entry.not_after <= NOW_S + 3_600
        answer = "entry"
    except EntryRefused as refusal:
        answer = refusal.reason
    good = SignedEntry(ENTRY, data[:64], (data,))
    try:
        verify_entry(good, decode_entry(good, NOW_S), lambda chain: None, identity_of)
    except EntryRefused as refusal:
        return f"{answer} {refusal.reason}"
    raise AssertionError("bytes without a signature prove an entry")


def identity_of(certificate: x509.Certificate) -> NodeId:
    return NodeId.from_uri(IDENTITY)


if __name__ == "__main__":
    from tests.fuzz.mutation import main

    sys.exit(main(SEEDS, WORDS, run))
