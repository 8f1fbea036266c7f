"""Vectors of a second path of a session (docs/protocol.md, 9.5): what moves the session to it, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.reference.ends import End, Given
from tests.reference.flows import forged
from tests.reference.frames import FlowFrame, Type, body_encode
from tests.reference.records import record_open, records_encode
from tests.reference.refusals import Reason, Refused
from tests.reference.vectors_frames import given_fields
from tests.reference.vectors_keys import secret

Json = dict[str, Any]
GIVEN = Given(secret("link"), secret("link binding"), secret("session"), secret("session binding"))
CANDIDATE, CANDIDATE_OUT = 0x3333, 0x4444


def candidates() -> Json:
    return {
        "description": "Section 9.5. What the initiator sends to a responder whose session has one path, and a second "
        "one as a candidate, both over the same link. 'label' is that of the frame, 'moves' whether the responder's "
        "path is the candidate from then on, 'is_candidate' whether there still is one. The session is up after each.",
        **given_fields(GIVEN),
        "candidate_label": CANDIDATE,
        "candidate_out_label": CANDIDATE_OUT,
        "cases": [
            _case("RESUME with a greater id", [_resume(1)]),
            _case("RESUME with a much greater id", [_resume(900)]),
            _case("RESUME with the id that both have", [_resume(0)]),
            _case("RESUME with a smaller id", [_resume(5, on_path=True), _resume(4)]),
            _case("RESUME with the id of the last", [_resume(5, on_path=True), _resume(5)]),
            _case("RESUME that came on the path before", [_resume(5, on_path=True, repeat=True)]),
            _case("RESUME whose body does not open", [_resume(1, damage=True), _resume(2)]),
            _case("ACK", [_volatile(Type.ACK, next_number=1), _resume(1)]),
            _case("FLOW_CLOSE", [_volatile(Type.FLOW_CLOSE, code=0), _resume(1)]),
            _case("BUNDLE", [_bundle(), _resume(1)]),
            _case("FLOW_CONFIRM of a flow that starts", [lambda end: [(CANDIDATE, _first(end))]], started=False),
            _case("RESUME of a flow that starts, then FLOW_CONFIRM", [_resume(1), lambda end: [(0, _first(end))]],
                  started=False),
        ],
    }  # fmt: skip


# What the initiator sends, with the label of each: 0 is that of the path that the responder has by then.
Step = Callable[[End], list[tuple[int, FlowFrame]]]


def _resume(resume_id: int, *, on_path: bool = False, repeat: bool = False, damage: bool = False) -> Step:
    def send(end: End) -> list[tuple[int, FlowFrame]]:
        body = body_encode(Type.RESUME, resume_id=resume_id, next_number=end.flow.expected)
        end.flow.send_volatile(Type.RESUME, body)
        frame = end.flow.out.pop()
        if damage:
            frame = forged(frame, sealed=frame.sealed[:-1] + bytes([frame.sealed[-1] ^ 1]))
        first = [(0 if on_path else CANDIDATE, frame)]
        return [*first, (CANDIDATE, frame)] if repeat else first

    return send


def _volatile(kind: Type, **fields: int) -> Step:
    def send(end: End) -> list[tuple[int, FlowFrame]]:
        end.flow.send_volatile(kind, body_encode(kind, **fields))
        return [(CANDIDATE, end.flow.out.pop())]

    return send


def _bundle() -> Step:
    def send(end: End) -> list[tuple[int, FlowFrame]]:
        end.flow.send_bundle(records_encode([record_open(1, "s", 65_536)]), 0.0)
        return [(CANDIDATE, end.flow.out.pop())]

    return send


def _first(end: End) -> FlowFrame:
    end.flow.start()
    return end.flow.out.pop()


def _case(what: str, steps: list[Step], *, started: bool = True) -> Json:
    sender, receiver = End(GIVEN, True), End(GIVEN, False)
    receiver.candidates[CANDIDATE] = CANDIDATE_OUT
    sender.lane.confirm()
    receiver.lane.confirm()
    if started:
        sender.flow.start()
    frames = [{"wire": wire.hex()} for wire in sender.take_out()]
    for each in frames:
        receiver.receive(bytes.fromhex(each["wire"]))
    if started:
        for wire in receiver.take_out():
            sender.receive(wire)
    out: list[Json] = []
    for step in steps:
        for label, frame in step(sender):
            label = label or receiver.label_in
            sender.lane.send_flow(label, frame)
            wire = bytes(sender.lane.out)
            sender.lane.out.clear()
            _taken(receiver, wire)
            out.append(
                {
                    "label": label,
                    "type": frame.type.name,
                    "wire": wire.hex(),
                    "moves": receiver.label_in == CANDIDATE,
                    "is_candidate": CANDIDATE in receiver.candidates,
                    "resume_id": receiver.flow.resume_id,
                    "next_expected": receiver.flow.expected,
                }
            )
    return {"what": what, "before": frames, "frames": out}


def _taken(receiver: End, wire: bytes) -> None:
    try:
        receiver.receive(wire)
    except Refused as refused:
        if refused.reason is not Reason.UNKNOWN_FLOW:
            raise
