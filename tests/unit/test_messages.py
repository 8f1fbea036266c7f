"""Control messages: whole, in pieces, too large, malformed, from a newer node."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay import messages as m
from tests.support.all_messages import ALL, HELLO, SESSION


def read(data: bytes, step: int = 1 << 20) -> list[m.Message]:
    reader = m.MessageReader()
    return [message for at in range(0, len(data), step) for message, _ in reader.feed(data[at : at + step])]


def framed(value: object) -> bytes:
    body = msgspec.msgpack.encode(value)
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize("step", [1, 3, 1 << 20])
def test_all_come_back_whole_and_in_pieces(step: int) -> None:
    assert read(b"".join(m.encode_message(message) for message in ALL), step) == ALL


def test_the_reader_gives_the_bytes_of_each_message() -> None:
    data = m.encode_message(HELLO) + m.encode_message(m.Beat(1, False))
    assert b"".join(whole for _, whole in m.MessageReader().feed(data)) == data


def test_an_advert_that_goes_to_many_is_encoded_once() -> None:
    one, equal, other = (m.Advert(b"entry", b"", (b"leaf",), (name,)) for name in ("a", "a", "b"))
    first = m.encode_message(one)
    assert m.encode_message(one) is first
    assert m.encode_message(other) != first
    assert read(m.encode_message(one) + m.encode_message(equal) + m.encode_message(other)) == [one, equal, other]


def test_tags_are_those_of_the_protocol() -> None:
    assert [msgspec.msgpack.decode(m.encode_message(message)[4:])[0] for message in ALL] == list(range(1, 21))


def test_codes_are_those_of_the_protocol() -> None:
    assert [m.code_name(number) for number in range(12)] == [
        "done", "violation", "limit", "busy", "unknown", "refused", "unreachable", "timeout", "aborted", "draining",
        "expired", "11",
    ]  # fmt: skip


def test_a_newer_nodes_further_fields_are_ignored() -> None:
    assert read(framed([2, 7, True, "what is this", [1, 2]])) == [m.Beat(7, True)]


def test_an_older_node_does_not_say_which_request_it_answers() -> None:
    older = [[6, SESSION, 2, 1 << 20, 6], [7, SESSION, 5, "not_a_member", "spiffe://r"], [8, SESSION, 0]]
    assert read(b"".join(map(framed, older))) == [
        m.PathAccept(SESSION, 2, 1 << 20, 6, 0),
        m.PathRefuse(SESSION, 5, "not_a_member", "spiffe://r", 0),
        m.PathClose(SESSION, 0, 0),
    ]


def test_an_unknown_tag_is_ignored_and_counted() -> None:
    reader, heard = m.MessageReader(), []
    reader.on_unknown = lambda: heard.append(reader.unknown_total)
    data = framed([99, "new"]) + m.encode_message(m.Beat(1, False)) + framed([0])
    assert [message for message, _ in reader.feed(data)] == [m.Beat(1, False)]
    assert reader.unknown_total == 2
    assert heard == [1, 2]


@pytest.mark.parametrize(
    "value",
    [
        [2, 7],  # a field is missing
        [2, "7", True],
        [2, -1, True],
        [8, b"short", 0],
        [8, SESSION, 0, 1 << 32],
        [8, SESSION, 70_000],
        [9, SESSION, bytes(16_385)],
        [5, SESSION, "a", "b", 1, 0, 65, 1 << 20, 5, False, []],  # flows
        [5, SESSION, "a", "b", 1, 0, 2, 1 << 20, 0, False, []],  # label 0
        [5, SESSION, "a", "b", 1, 0, 2, 1 << 20, 5, False, ["r"] * 9],
        [5, SESSION, "a" * 2000, "b", 1, 0, 2, 1 << 20, 5, False, []],
        [3, b"", b"", [], []],  # no chain
        {"tag": 2},
        7,
        [],
        ["2", 7, True],
        [True, 7, True],
    ],
)
def test_what_does_not_fit_is_refused(value: object) -> None:
    with pytest.raises(m.MessageRefused):
        read(framed(value))


def test_a_length_beyond_the_limit_is_refused_at_once() -> None:
    with pytest.raises(m.MessageRefused):
        read((m.MESSAGE_LIMIT_BYTES + 1).to_bytes(4, "big"))


def test_a_huge_array_is_refused_without_being_made() -> None:
    with pytest.raises(m.MessageRefused):
        read((5).to_bytes(4, "big") + b"\xdd\xff\xff\xff\xff")


def test_text_that_is_not_utf_8_is_refused() -> None:
    body = b"\x93\x04\xa2\xd9\x41\x01"
    with pytest.raises(m.MessageRefused):
        read(len(body).to_bytes(4, "big") + body)


def test_deep_nesting_is_refused() -> None:
    body = b"\x91" * 100_000
    with pytest.raises(m.MessageRefused):
        read(len(body).to_bytes(4, "big") + body)


def test_too_large_a_message_is_not_sent() -> None:
    with pytest.raises(m.MessageRefused):
        m.encode_message(m.Advert(bytes(160_000), b"", (bytes(120_000),), ()))


@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_give_the_same_answer_whole_and_in_pieces(data: bytes, step: int) -> None:
    answers = []
    for size in (step, 1 << 20):
        try:
            answers.append(repr(read(data, size)))
        except m.MessageRefused:
            answers.append("refused")
    assert answers[0] == answers[1] or "refused" in answers
