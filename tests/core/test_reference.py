"""The reference set against itself: two ends, round trips, refusals, and every sealed field flipped."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.ends import End, Given, reconnected, settle, started
from tests.reference.flows import NotNow
from tests.reference.flows import State as FlowState
from tests.reference.frames import (
    PREFIX_SIZE,
    FlowFrame,
    Half,
    Header,
    Type,
    body_associated,
    header_decode,
    length_fits,
)
from tests.reference.keys import (
    Epoch,
    ExporterContext,
    KeyLimits,
    LinkSecrets,
    Preamble,
    Purpose,
    Role,
    Suite,
    Use,
    direction_secret,
    flow_secret,
    hkdf_expand,
)
from tests.reference.lanes import LaneDoor
from tests.reference.lanes import State as LaneState
from tests.reference.records import (
    Kind,
    Record,
    make,
    record_accept,
    record_data,
    record_datagram,
    record_fin,
    record_open,
    records_decode,
    records_encode,
)
from tests.reference.refusals import Reason, Refused
from tests.reference.streams import RX, TABLE, TX, State, Streams

GIVEN = Given(b"l" * 32, b"lb" * 16, b"s" * 32, b"sb" * 16, initiator_label=7, responder_label=9)
MIXED = replace(GIVEN, link_renewals=((1, b"r" * 32),), session_renewals=((1, b"q" * 32),))


def refusal(of: Callable[[], object]) -> Reason:
    with pytest.raises(Refused) as refused:
        of()
    return refused.value.reason


def opened(end: End, *ids: int) -> None:
    end.send_records(*(record_open(stream, "s", 65_536) for stream in ids))


# Keys


def test_hkdf_expand_is_that_of_rfc_5869() -> None:
    secret = bytes.fromhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
    okm = hkdf_expand(secret, bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"), 42).hex()
    assert okm == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"


def test_no_two_keys_are_the_same() -> None:
    roots = [LinkSecrets(b"l" * 32).lane_secret(number) for number in range(4)]
    roots += [flow_secret(b"s" * 32, index) for index in range(4)]
    seen: set[bytes] = set()
    for root in roots:
        for direction in (0, 1):
            epoch = Epoch(Suite.AES_256_GCM, direction_secret(root, direction))
            for _ in range(4):
                seen |= {epoch.key(purpose) for purpose in Purpose} | {epoch.iv(purpose) for purpose in Purpose}
                epoch = epoch.next()
    assert len(seen) == len(roots) * 2 * 4 * len(Purpose) * 2


def test_each_field_changes_the_binding() -> None:
    base = ExporterContext(Use.LINK, Role.EDGE, Role.RELAY, Suite.AES_256_GCM, 0, "c", "s", b"cl", b"sl", b"t")
    changed = [
        replace(base, use=Use.SESSION),
        replace(base, client_role=Role.RELAY),
        replace(base, server_role=Role.EDGE),
        replace(base, suite=Suite.AES_128_GCM),
        replace(base, generation=1),
        replace(base, client_identity="x"),
        replace(base, server_identity="x"),
        replace(base, client_leaf=b"x"),
        replace(base, server_leaf=b"x"),
        replace(base, transcript=b"x"),
        replace(base, client_identity="s", server_identity="c"),
    ]
    assert len(base.encode()) == 190
    assert len({context.binding() for context in [base, *changed]}) == len(changed) + 1


# Frames


@given(st.integers(0, 65_536), st.sampled_from(Type), st.integers(1, 2**32 - 1), st.binary(min_size=7, max_size=7))
def test_header_comes_back(length: int, kind: Type, label: int, rest: bytes) -> None:
    epoch, number = (0, 0) if kind.is_lane else (rest[0], int.from_bytes(rest[1:]))
    header = Header(length, kind, 0 if kind.is_lane else label, epoch, 0, number)
    if length_fits(kind, length):
        assert header_decode(header.encode()) == header
    else:
        assert refusal(lambda: header_decode(header.encode())) is Reason.BAD_LENGTH


@given(st.binary(min_size=16, max_size=16))
def test_any_header_is_taken_whole_or_refused(clear: bytes) -> None:
    try:
        assert header_decode(clear).encode() == clear
    except Refused:
        pass


@pytest.mark.parametrize("suite", Suite)
@given(st.sampled_from(Type), st.binary(max_size=100), st.integers(0, 2**48 - 1))
@settings(max_examples=30)
def test_body_opens_only_with_what_it_was_sealed_with(suite: Suite, kind: Type, clear: bytes, counter: int) -> None:
    epoch, half = Epoch(suite, b"e" * 32, 3), Half(0, 5)
    tag, sealed = half.seal(epoch, kind, counter, clear)
    assert half.open(epoch, kind, counter, tag, sealed) == clear
    flipped = bytes([tag[0] ^ 1]) + tag[1:]
    others: list[Callable[[], bytes]] = [
        lambda: half.open(epoch, kind, counter, flipped, sealed),
        lambda: half.open(epoch, kind, counter, tag, sealed + b"\0"),
        lambda: half.open(epoch, kind, counter ^ 1, tag, sealed),
        lambda: half.open(replace(epoch, number=4), kind, counter, tag, sealed),
        lambda: (
            half.open(epoch, Type(kind ^ 1) if kind ^ 1 in set(Type) else Type.PING, counter, tag, sealed)
            if kind is not Type.PING
            else half.open(epoch, Type.PONG, counter, tag, sealed)
        ),
        lambda: Half(1, 5).open(epoch, kind, counter, tag, sealed),
        lambda: Half(0, 6).open(epoch, kind, counter, tag, sealed),
    ]
    assert [refusal(other) for other in others] == [Reason.BAD_TAG] * len(others)


def test_associated_data_are_twenty_bytes() -> None:
    assert body_associated(1, 0x42, 257, 2, 5).hex() == "00010142" + "00000101" + "00020000" + "0000000000000005"


@pytest.mark.parametrize("bit", range(8))
def test_each_flipped_byte_of_a_frame_is_refused(bit: int) -> None:
    sender, _ = started(GIVEN)
    opened(sender, 1)
    (wire,) = sender.take_out()
    for at in range(len(wire)):
        _, receiver = started(GIVEN)
        damaged = wire[:at] + bytes([wire[at] ^ (1 << bit)]) + wire[at + 1 :]
        assert refusal(partial(receiver.receive, damaged)) is Reason.BAD_TAG
        assert (receiver.lane.state is LaneState.CLOSED) == (at < PREFIX_SIZE)
        assert receiver.flow.state is (FlowState.UP if at < PREFIX_SIZE else FlowState.CLOSED)


# Records


@given(st.binary(max_size=64), st.booleans())
def test_any_body_is_taken_whole_or_refused(body: bytes, datagrams: bool) -> None:
    try:
        assert records_encode(records_decode(body, datagrams=datagrams)) == body
    except Refused:
        assert refusal(lambda: records_decode(body, datagrams=datagrams)) is Reason.BAD_RECORD


def _records() -> st.SearchStrategy[Record]:
    ids, limits = st.integers(1, 2**32 - 2), st.integers(0, 2**64 - 1)
    names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=63)
    return st.one_of(
        st.builds(record_open, ids, names, limits, st.integers(1, 3), st.integers(0, 2)),
        st.builds(record_accept, ids, limits),
        st.builds(record_data, ids, st.binary(min_size=1, max_size=50)),
        st.builds(record_fin, ids, limits),
        st.builds(lambda size: make(0, Kind.PAD, bytes(size)), st.integers(0, 20)),
    )


@given(st.lists(_records()))
def test_records_come_back(records: list[Record]) -> None:
    again = records_decode(records_encode(records))
    assert again == records
    assert [record.fields for record in again] == [record.fields for record in records]


# Streams


def test_table_has_no_row_without_an_end() -> None:
    for state in set(State) - {State.IDLE, State.CLOSED}:
        assert TABLE[state][TX, Kind.RESET] is TABLE[state][RX, Kind.RESET] is State.CLOSED


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([1, 2, 3]), st.sampled_from(Kind), st.integers(0, 40_000))))
def test_what_one_side_may_send_the_other_takes(steps: list[tuple[bool, int, Kind, int]]) -> None:
    ends = {True: Streams(True), False: Streams(False)}
    for from_initiator, stream, kind, value in steps:
        sender, receiver = ends[from_initiator], ends[not from_initiator]
        record = _record(sender, stream, kind, value)
        try:
            sender.sent(record)
        except Refused:
            continue
        assert receiver.received(record, 0.0)
        assert {id_: stream.state for id_, stream in receiver.open.items()}.keys() == sender.open.keys()


def _record(sender: Streams, stream: int, kind: Kind, value: int) -> Record:
    sent = sender.open[stream].tx.sent if stream in sender.open else 0
    match kind:
        case Kind.OPEN:
            return record_open(stream, "s", value)
        case Kind.DATA:
            return record_data(stream, bytes(value % 9_000 + 1))
        case Kind.FIN:
            return record_fin(stream, sent)
        case Kind.RESET:
            return make(stream, kind, bytes(4))
        case Kind.ACCEPT | Kind.CREDIT:
            return make(stream, kind, value.to_bytes(8, "big"))
        case _:
            return make(0, Kind.PAD, b"")


def test_late_records_have_a_budget() -> None:
    streams = Streams(False)
    streams.received(record_open(3, "s", 0), 0.0)
    streams.late_budget.spend(0.0)
    for _ in range(99_999):
        streams.received(record_data(1, b"x"), 0.0)
    assert refusal(lambda: streams.received(record_data(1, b"x"), 0.0)) is Reason.GLITCHES
    assert not streams.received(record_data(1, b"x"), 1.0)


# Two ends


@pytest.mark.parametrize("suite", Suite)
def test_two_ends_come_up_and_speak(suite: Suite) -> None:
    initiator, responder = started(replace(GIVEN, suite=suite))
    opened(initiator, 1)
    initiator.send_records(record_data(1, b"hello"))
    settle(initiator, responder)
    responder.send_records(record_accept(1, 20_000), record_fin(1, 0))
    settle(initiator, responder)
    assert initiator.streams.open[1].state is State.HALF_REMOTE
    assert responder.streams.open[1].rx.sent == 5


def test_bytes_one_at_a_time_give_the_same() -> None:
    initiator, responder = started(GIVEN)
    opened(initiator, 1, 3, 5)
    (wire,) = initiator.take_out()
    arrivals = [arrival for byte in wire for arrival in responder.receive(bytes([byte]))]
    assert [record.stream for arrival in arrivals for record in arrival.records] == [1, 3, 5]


def test_ping_is_answered_and_has_a_budget() -> None:
    initiator, responder = started(GIVEN)
    for token in range(100):
        initiator.lane.ping(token, 1.0)
    settle(initiator, responder, 1.0)
    assert initiator.lane.pings == {}
    initiator.lane.ping(0, 1.0)
    assert refusal(lambda: settle(initiator, responder, 1.0)) is Reason.GLITCHES


def test_silence_ends_a_lane() -> None:
    initiator, _ = started(GIVEN)
    initiator.lane.tick(1.9)
    assert initiator.lane.state is LaneState.UP
    initiator.lane.tick(2.0)
    assert initiator.lane.reason is Reason.SILENT


@pytest.mark.parametrize("mix_id", [0, 1])
def test_lane_and_flow_step(mix_id: int) -> None:
    initiator, responder = started(MIXED)
    for stream in range(1, 600, 2):
        initiator.lane.rekey(mix_id)
        initiator.flow.rekey(mix_id)
        opened(initiator, stream)
        settle(initiator, responder, stream / 10)
        responder.flow.send_ack()
        settle(initiator, responder, stream / 10)
    assert responder.lane.rx.number == responder.flow.rx.number == 300
    assert len(responder.streams.open) == 300


def test_a_lane_that_steps_too_often_is_closed_and_does_not_by_itself() -> None:
    initiator, responder = started(GIVEN)
    initiator.lane.limits = KeyLimits(frames=(1, 1 << 24))
    initiator.lane.use.limits = initiator.lane.limits
    for _ in range(50):
        initiator.lane.ping(1, 0.0)
    settle(initiator, responder)
    assert responder.lane.rx.number == 20
    for _ in range(81):
        initiator.lane.rekey()
    with pytest.raises(Refused) as refused:
        settle(initiator, responder)
    assert refused.value.reason is Reason.GLITCHES
    assert responder.lane.reason is Reason.GLITCHES


def test_a_step_of_a_flow_before_the_last_was_acknowledged_ends_it() -> None:
    initiator, responder = started(GIVEN)
    initiator.flow.rekey()
    settle(initiator, responder)
    initiator.flow.rekey_number = None
    initiator.flow.rekey()
    with pytest.raises(Refused) as refused:
        settle(initiator, responder)
    assert refused.value.reason is Reason.BAD_EPOCH
    assert responder.flow.reason is Reason.BAD_EPOCH


def test_no_second_step_before_the_first_is_acknowledged() -> None:
    initiator, responder = started(GIVEN)
    initiator.flow.rekey()
    with pytest.raises(NotNow):
        initiator.flow.rekey()
    settle(initiator, responder)
    assert initiator.flow.tx_control.number == 0
    responder.flow.send_ack()
    settle(initiator, responder)
    assert initiator.flow.tx_control.number == 1
    initiator.flow.rekey()


def test_soft_limit_steps_and_hard_limit_closes() -> None:
    initiator, responder = started(GIVEN)
    initiator.flow.use.limits = initiator.flow.limits = KeyLimits(frames=(3, 5))
    for stream in (1, 3, 5, 7, 9, 11, 13):
        opened(initiator, stream)
    assert initiator.flow.tx.number == 1
    assert refusal(lambda: opened(initiator, 15)) is Reason.KEY_LIMIT
    settle(initiator, responder)
    assert len(responder.streams.open) == 7


def test_idle_epoch_can_still_step() -> None:
    initiator, responder = started(GIVEN)
    initiator.send_records(record_open(1, "s", 0), now=1_000.0)
    settle(initiator, responder)
    assert responder.flow.rx.number == 1


def test_cap_holds_back() -> None:
    initiator, responder = started(GIVEN)
    initiator.flow.cap = 131_072
    opened(initiator, 1)
    big = records_encode([make(0, Kind.PAD, bytes(60_000))])
    initiator.flow.send_bundle(big)
    initiator.flow.send_bundle(big)
    with pytest.raises(NotNow):
        initiator.flow.send_bundle(big)
    settle(initiator, responder)
    responder.flow.send_ack()
    settle(initiator, responder)
    initiator.flow.send_bundle(big)


# Resumption


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from(["send", "send", "datagrams", "ack", "rekey", "carry", "drop", "cut"]))
    )
)
@settings(max_examples=60)
def test_nothing_is_lost_doubled_or_sealed_twice(steps: list[tuple[bool, str]]) -> None:
    initiator, responder = started(GIVEN)
    ends = {True: initiator, False: responder}
    sealed: dict[tuple[bool, Purpose, int, int], FlowFrame] = {}
    for who, what in steps:
        end, other = ends[who], ends[not who]
        try:
            match what:
                case "send":
                    opened(end, end.streams.next_id())
                case "datagrams":
                    end.flow.send_datagrams(record_datagram(1, 0, b"x").encode())
                case "ack":
                    end.flow.send_ack()
                case "rekey":
                    end.flow.rekey()
                case "carry":
                    for wire in end.take_out():
                        other.receive(wire)
                case "drop":
                    end.flow.out.clear()
                case "cut":
                    reconnected(initiator, responder, end.lane.number + 1)
        except NotNow:
            pass
        _watch(ends, sealed)
    reconnected(initiator, responder, initiator.lane.number + 1)
    assert initiator.is_up
    assert responder.is_up
    assert initiator.streams.open.keys() == responder.streams.open.keys()


def _watch(ends: dict[bool, End], sealed: dict[tuple[bool, Purpose, int, int], FlowFrame]) -> None:
    """No nonce of a flow's key may ever stand under two frames."""
    for who, end in ends.items():
        for frame in [*end.flow.out, *end.flow.retained]:
            key = (who, frame.type.purpose, frame.epoch, frame.number)
            assert sealed.setdefault(key, frame) == frame


def test_flow_confirm_lost_on_the_way_comes_again() -> None:
    initiator, responder = End(GIVEN, True), End(GIVEN, False)
    initiator.flow.start()
    initiator.take_out()
    reconnected(initiator, responder, 1)
    assert initiator.is_up
    assert responder.is_up


def test_resume_with_a_smaller_id_is_ignored() -> None:
    initiator, responder = started(GIVEN)
    responder.flow.resume_id = 5
    initiator.flow.path_lost(0.0)
    initiator.flow.path_ready()
    settle(initiator, responder)
    assert initiator.flow.state is FlowState.RESUMING


def test_replayed_volatile_frame_is_dropped() -> None:
    initiator, responder = started(GIVEN)
    initiator.flow.send_ack()
    frame = initiator.flow.out[0]
    assert responder.flow.receive(frame) is not None
    assert responder.flow.receive(frame) is None
    assert responder.flow.counts["late"] == 1


def test_too_many_resumptions_close() -> None:
    initiator, _ = started(GIVEN)
    for at in range(60):
        initiator.flow.path_lost(at / 2)
    assert refusal(lambda: initiator.flow.path_lost(30.0)) is Reason.TOO_MANY_RESUMES
    initiator.flow.resumes.clear()
    for at in range(200):
        initiator.flow.path_lost(100.0 + 2 * at)


# The door


def test_number_lost_on_the_way_does_not_block_later_ones() -> None:
    secrets = LinkSecrets(b"l" * 32)
    door = LaneDoor(secrets, b"i" * 16, 4)
    for number in range(0, 3_000, 60):
        door.take(Preamble(0, number, b"i" * 16).encode(secrets.proof_key))
    assert refusal(lambda: door.take(Preamble(0, 2_000, b"i" * 16).encode(secrets.proof_key))) is Reason.BAD_PREAMBLE
