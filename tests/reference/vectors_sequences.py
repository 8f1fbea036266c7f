"""Vectors that are sequences: streams (7.1, 7.2), re-keying (5.4, 6.4) and resumption (6.3)."""

from collections.abc import Iterable
from dataclasses import replace

from tests.reference.ends import End, Given
from tests.reference.keys import Suite
from tests.reference.records import (
    Kind,
    Record,
    record_accept,
    record_credit,
    record_data,
    record_fin,
    record_open,
    record_reset,
)
from tests.reference.refusals import Refused
from tests.reference.streams import RX, TABLE, TX, State, Streams
from tests.reference.vectors_frames import GIVEN, given_fields
from tests.reference.vectors_keys import Json, secret
from tests.reference.vectors_owed import owed

Step = tuple[bool, Record]
WINDOW = 65_536
GO = record_open(1, "s", WINDOW)
YES = record_accept(1, WINDOW)
END = record_fin(1, 0)
# How an edge comes to each state; the flag says that the edge sends. The stream is 1, the initiator's.
WAYS: dict[State, tuple[str, list[Step]]] = {
    State.IDLE: ("responder", []),
    State.OPENING: ("initiator", [(TX, GO)]),
    State.OPENING_FIN: ("initiator", [(TX, GO), (TX, END)]),
    State.ANSWERING: ("responder", [(RX, GO)]),
    State.ANSWERING_FIN: ("responder", [(RX, GO), (RX, END)]),
    State.OPEN: ("initiator", [(TX, GO), (RX, YES)]),
    State.HALF_LOCAL: ("initiator", [(TX, GO), (RX, YES), (TX, END)]),
    State.HALF_REMOTE: ("initiator", [(TX, GO), (RX, YES), (RX, END)]),
    State.CLOSED: ("initiator", [(TX, GO), (RX, YES), (TX, record_reset(1, 8))]),
}
EVENTS = [YES, record_data(1, b"x"), END, record_reset(1, 0), record_credit(1, WINDOW + 1)]


def streams() -> Json:
    return {
        "description": "Section 7.1 and 7.2. 'states': how one edge comes to each state of stream 1, and what each "
        "record does there; a record that the edge sends is listed only if it may. 'sequences': steps in order "
        "and what each does. A step's outcome is the state that follows, 'late', or the reason of the refusal, which "
        "ends it.",
        "states": [_state(state, edge, way) for state, (edge, way) in WAYS.items()],
        "sequences": [sequence(what, edge, steps) for what, edge, steps in _sequences()],
    }


def _state(state: State, edge: str, way: list[Step]) -> Json:
    sent = [(TX, record) for record in EVENTS if (TX, record.kind) in TABLE[state]]
    received = [(RX, record) for record in [GO, *EVENTS]]
    return {
        "state": state.value,
        "edge": edge,
        "way": [_step_of(sending, record) for sending, record in way],
        "events": [
            {**_step_of(sending, record), "outcome": _outcomes(edge, [*way, (sending, record)])[-1]}
            for sending, record in sent + received
        ],
    }


def _step_of(sending: bool, record: Record) -> Json:
    return {"sends": "edge" if sending else "peer", "kind": record.kind.name, "wire": record.encode().hex()}


def sequence(what: str, edge: str, steps: list[Step]) -> Json:
    outcomes = _outcomes(edge, steps)
    done = [
        {**_step_of(sending, record), "outcome": outcome}
        for (sending, record), outcome in zip(steps, outcomes, strict=False)
    ]
    return {"what": what, "edge": edge, "steps": done}


def _outcomes(edge: str, steps: Iterable[Step]) -> list[str]:
    table, outcomes = Streams(edge == "initiator"), []
    for sending, record in steps:
        try:
            if sending:
                table.sent(record)
            elif not table.received(record, 0.0):
                outcomes.append("ignored" if record.kind is Kind.DATAGRAM else "late")
                continue
        except Refused as refused:
            return [*outcomes, refused.reason.name]
        stream = table.open.get(record.stream)
        outcomes.append(stream.state.value if stream else State.CLOSED.value)
    return outcomes


def _sequences() -> list[tuple[str, str, list[Step]]]:
    early, past, zero = bytes(16_384), record_data(1, b"x"), record_open(1, "s", 0)
    far = 1 << 31
    return [
        ("a short conversation", "responder", [
            (RX, GO), (RX, record_data(1, b"abc")), (TX, YES), (TX, record_data(1, b"de")), (RX, record_fin(1, 3)),
            (TX, record_fin(1, 2)), (RX, record_credit(1, WINDOW))]),
        ("16,384 bytes before ACCEPT, and one more", "responder", [
            (RX, GO), (RX, record_data(1, early)), (RX, past)]),
        ("CREDIT before ACCEPT", "responder", [
            (RX, GO), (TX, record_credit(1, 16_385)), (RX, record_data(1, early)), (RX, past), (RX, past)]),
        ("ACCEPT of 16,383", "initiator", [(TX, GO), (RX, record_accept(1, 16_383))]),
        ("ACCEPT below an earlier CREDIT", "initiator", [
            (TX, GO), (RX, record_credit(1, 20_000)), (RX, record_accept(1, 19_999))]),
        ("ACCEPT of 2^31", "initiator", [(TX, GO), (RX, record_accept(1, far))]),
        ("ACCEPT of 2^31 + 1", "initiator", [(TX, GO), (RX, record_accept(1, far + 1))]),
        ("CREDIT of 2^31 beyond what was sent", "initiator", [
            (TX, GO), (TX, past), (RX, record_credit(1, far + 1)), (RX, record_credit(1, far + 2))]),
        ("CREDIT of 2^64 - 1", "initiator", [(TX, GO), (RX, record_credit(1, (1 << 64) - 1))]),
        ("CREDIT repeated, then lowered", "initiator", [
            (TX, GO), (RX, YES), (RX, record_credit(1, WINDOW)), (RX, record_credit(1, WINDOW - 1))]),
        ("OPEN of 2^31 + 1", "responder", [(RX, record_open(1, "s", far + 1))]),
        ("an answerer without credit, then with it", "initiator", [
            (TX, zero), (RX, YES), (TX, record_credit(1, 1)), (RX, past), (RX, past)]),
        ("FIN one too small", "responder", [(RX, GO), (RX, past), (RX, record_fin(1, 0))]),
        ("FIN one too great", "responder", [(RX, GO), (RX, past), (RX, record_fin(1, 2))]),
        ("the responder's parity", "responder", [(RX, record_open(2, "s", 0))]),
        ("the initiator's parity", "initiator", [(RX, record_open(1, "s", 0))]),
        ("stream 5, then 3", "responder", [(RX, record_open(5, "s", 0)), (RX, record_open(3, "s", 0))]),
        ("stream 3 passed over is late", "responder", [
            (RX, record_open(5, "s", 0)), (RX, record_data(3, b"x")), (RX, record_reset(3, 0))]),
        ("stream 7 above the last", "responder", [(RX, record_open(5, "s", 0)), (RX, record_data(7, b"x"))]),
        ("an id used again", "responder", [(RX, GO), (RX, record_reset(1, 8)), (RX, GO)]),
        ("ACCEPT that crosses a RESET", "initiator", [(TX, GO), (TX, record_reset(1, 8)), (RX, YES)]),
        ("ACCEPT of the peer's own stream", "responder", [(RX, GO), (RX, YES)]),
    ]  # fmt: skip


class Tape:
    """Two ends, and all that passes between them, frame by frame."""

    def __init__(self, given: Given) -> None:
        self.initiator, self.responder = End(given, True), End(given, False)
        self.ends = {"initiator": self.initiator, "responder": self.responder}
        self.steps: list[Json] = []
        for end in self.ends.values():
            end.lane.confirm()
        self.play()
        self.initiator.flow.start()
        self.play()

    def play(self, *, lost: bool = False) -> None:
        """Note what waits to be sent, and hand it over unless it is lost, until both are silent."""
        while True:
            waiting = [(sender, wire) for sender, end in self.ends.items() for wire in end.take_out()]
            for sender, wire in waiting:
                self._note(sender, wire, lost)
            if not waiting:
                return

    def _note(self, sender: str, wire: bytes, lost: bool) -> None:
        receiver = self.ends["responder" if sender == "initiator" else "initiator"]
        step: Json = {"sends": sender, "lane": receiver.lane.number, "wire": wire.hex(), "arrives": not lost}
        if not lost:
            epoch, flow_epoch, before = receiver.lane.rx.number, receiver.flow.rx.number, receiver.lane.rx_count
            expected = receiver.flow.expected
            event, *_none = receiver.lane.receive(wire)
            step |= {"type": event.type.name, "lane_epoch": epoch, "hop_number": before}
            if event.frame is not None:
                arrivals = receiver.take_flow_frame(event.frame, 0.0)
                step |= {"flow": event.label, "epoch": event.frame.epoch, "number": event.frame.number}
                step |= {"flow_epoch_of_receiver": flow_epoch, "next_expected": expected, "taken": bool(arrivals)}
        self.steps.append(step)

    def end_state(self) -> Json:
        return {
            name: {
                "flow_state": end.flow.state.value,
                "resume_id": end.flow.resume_id,
                "next_number": end.flow.next_number,
                "next_volatile": end.flow.next_volatile,
                "next_expected": end.flow.expected,
                "retained": [frame.number for frame in end.flow.retained],
                "send_epoch": end.flow.tx.number,
                "receive_epoch": end.flow.rx.number,
                "lane_send_epoch": end.lane.tx.number,
            }
            for name, end in self.ends.items()
        }


def rekeying() -> Json:
    return {
        "description": "Sections 5.4 and 6.4. Each step is one wire frame on lane 0. Lane and flow are stepped by "
        "their initiator plainly, then with mix 1, then by the responder; between FLOW_REKEY and its acknowledgement "
        "volatile frames go under the old epoch. 'link_renewals' and 'session_renewals' give the renewal secret of "
        "mix id 1. 'epoch' is the header's; 'flow_epoch_of_receiver' what its receiver had when the frame came. "
        "'owed': what a responder that has the renewals makes of each frame. 'agree': both have told RENEWED for that "
        "mix id; 'acknowledge': it has said ACK. 'at' counts seconds in which the flow is up. Frames of a flow are "
        "shown with their header in clear, for label 1, and 16 bytes of no meaning before the tag.",
        "owed": owed(),
        "cases": [_rekeying(suite) for suite in Suite],
    }


def _rekeying(suite: Suite) -> Json:
    link, session = secret("link renewal"), secret("session renewal")
    given = replace(GIVEN, suite=suite, link_renewals=((1, link),), session_renewals=((1, session),))
    tape = Tape(given)
    initiator, responder = tape.initiator, tape.responder
    for end, mix_id in ((initiator, 0), (initiator, 1), (responder, 1)):
        end.lane.rekey(mix_id)
        tape.play()
        end.flow.rekey(mix_id)
        tape.play()
        end.send_records(*([GO] if mix_id == 0 else [record_credit(1, WINDOW + end.flow.next_number)]))
        end.flow.send_ack()
        tape.play()
        other = responder if end is initiator else initiator
        other.flow.send_ack()
        tape.play()
        end.flow.send_ack()
        tape.play()
    return {
        **given_fields(given),
        "link_renewals": {"1": link.hex()},
        "session_renewals": {"1": session.hex()},
        "steps": tape.steps,
        "end": tape.end_state(),
    }


def resumption() -> Json:
    return {
        "description": "Section 6.3. Each step is one wire frame. Frames of a lane that was cut have 'arrives': false. "
        "The frames sent again keep number, epoch, tag and body under a header of the new lane. In 'gap' the second "
        "BUNDLE is swallowed by the way while the lane stays up.",
        "cases": [
            _cut("cut before any BUNDLE arrived", arrived=0, both_see=True),
            _cut("cut after two BUNDLEs, both sides see it", arrived=2, both_see=True),
            _cut("cut after two BUNDLEs, only the initiator resumes", arrived=2, both_see=False),
            _cut("cut within a step of epoch", arrived=1, both_see=True, step=True),
            _gap(),
        ],
    }


def _cut(what: str, *, arrived: int, both_see: bool, step: bool = False) -> Json:
    tape = Tape(GIVEN)
    initiator, responder = tape.initiator, tape.responder
    for at in range(4):
        if step and at == 2:
            initiator.flow.rekey()
        initiator.send_records(record_open(1 + 2 * at, "s", WINDOW))
        tape.play(lost=at >= arrived)
    responder.send_records(record_open(2, "s", WINDOW))
    tape.play(lost=True)
    for end in (initiator, responder):
        if both_see or end is initiator:
            end.flow.path_lost(0.0)
        end.new_lane(1).confirm()
    tape.play()
    for end in (initiator, responder):
        end.flow.path_ready()
    tape.play()
    for end in (initiator, responder):
        end.flow.send_ack()
    tape.play()
    return {"what": what, **given_fields(GIVEN), "steps": tape.steps, "end": tape.end_state()}


def _gap() -> Json:
    tape = Tape(GIVEN)
    initiator, responder = tape.initiator, tape.responder
    for at in range(3):
        initiator.send_records(record_open(1 + 2 * at, "s", WINDOW))
        if at == 1:
            initiator.flow.out.clear()
        tape.play()
    initiator.flow.send_ack()
    responder.flow.send_ack()
    tape.play()
    return {"what": "gap", **given_fields(GIVEN), "steps": tape.steps, "end": tape.end_state()}
