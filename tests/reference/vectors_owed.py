"""Vectors of what is owed after a renewal: one receiver of a flow or lane, and what it makes of each frame (6.4)."""

from collections.abc import Sequence
from dataclasses import replace

from tests.reference.ends import End, Given
from tests.reference.flows import Flow
from tests.reference.frames import FlowFrame, Type
from tests.reference.keys import KeyLimits, flow_secret
from tests.reference.records import record_datagram, record_open, records_encode
from tests.reference.refusals import Refused
from tests.reference.vectors_frames import GIVEN, given_fields
from tests.reference.vectors_keys import Json, secret

AGREE, STEP, FRAME, DATAGRAMS, WAIT = "agree", "step", "frame", "datagrams", "wait"
OWN, HEARD = "own", "heard"  # a step of the receiver itself, and the far side's ACK
Op = tuple[str, int]
AGELESS = KeyLimits(age=(1e6, 1e6))
RENEWALS = {number: secret(f"renewal {number}") for number in (1, 2, 3)}
# Of an initiator's flow and of a lane alike; no lane is without frames for longer than it takes to be silent, so waits
# are a flow's.
STEPS: list[tuple[str, list[Op]]] = [
    ("one step that was under way, then the mix, then as many plain ones as are due", [
        (AGREE, 1), (STEP, 0), (FRAME, 0), (STEP, 1), (FRAME, 0), (STEP, 0), (STEP, 0), (FRAME, 0)]),
    ("two steps without it", [(AGREE, 1), (FRAME, 0), (STEP, 0), (FRAME, 0), (STEP, 0)]),
    ("the mix is named before both are told", [(STEP, 1), (AGREE, 1), (STEP, 0), (STEP, 0)]),
    ("a second renewal begins anew", [
        (AGREE, 1), (STEP, 0), (STEP, 1), (AGREE, 2), (STEP, 0), (STEP, 2), (STEP, 0), (STEP, 0)]),
    ("a second renewal allows no second step", [(AGREE, 1), (STEP, 0), (AGREE, 2), (STEP, 0)]),
    ("the first of two, and then one step without the second", [
        (AGREE, 1), (AGREE, 2), (STEP, 1), (STEP, 0), (STEP, 0)]),
    ("what was named before is not named anew", [(STEP, 1), (AGREE, 1), (AGREE, 2), (STEP, 1), (STEP, 1)]),
    ("straight to the newest", [(AGREE, 1), (AGREE, 2), (AGREE, 3), (STEP, 3), (STEP, 0), (STEP, 0)]),
]  # fmt: skip
WAITS: list[tuple[str, list[Op]]] = [
    ("a frame after 299 s, and one after 300", [(AGREE, 1), (WAIT, 299), (FRAME, 0), (WAIT, 1), (FRAME, 0)]),
    ("datagrams after 299 s, and after 300", [(AGREE, 1), (WAIT, 299), (DATAGRAMS, 0), (WAIT, 1), (DATAGRAMS, 0)]),
    ("the step with it after 400 s", [(AGREE, 1), (WAIT, 400), (STEP, 1), (FRAME, 0)]),
    ("a plain step after 400 s", [(AGREE, 1), (WAIT, 400), (STEP, 0)]),
    ("a second renewal gives no more time", [(AGREE, 1), (WAIT, 200), (AGREE, 2), (WAIT, 100), (FRAME, 0)]),
    ("a step with the first of two begins the time anew", [
        (AGREE, 1), (AGREE, 2), (WAIT, 299), (STEP, 1), (WAIT, 299), (FRAME, 0), (WAIT, 1), (FRAME, 0)]),
    ("nothing is owed for three days", [(STEP, 1), (AGREE, 1), (WAIT, 259_200), (FRAME, 0), (STEP, 0), (FRAME, 0)]),
    ("silent for three days, then the mix", [(AGREE, 1), (WAIT, 259_200), (STEP, 1), (FRAME, 0)]),
]  # fmt: skip
ANSWERS: list[tuple[str, list[Op]]] = [
    ("a step with what it keeps is the answer that is lost", [(STEP, 1), (OWN, 1), (HEARD, 0), (FRAME, 0)]),
]
# A responder may not have been heard.
UNHEARD: list[tuple[str, list[Op]]] = [
    ("plain steps, until its own step is acknowledged", [
        (AGREE, 1), (STEP, 0), (STEP, 0), (OWN, 1), (STEP, 0), (STEP, 0), (FRAME, 0)]),
    ("one plain step after that, and no other", [
        (AGREE, 1), (STEP, 0), (OWN, 1), (HEARD, 0), (FRAME, 0), (STEP, 0), (FRAME, 0), (STEP, 0)]),
    ("one plain step after that, and the mix", [
        (AGREE, 1), (OWN, 1), (HEARD, 0), (STEP, 0), (STEP, 1), (STEP, 0), (STEP, 0), (FRAME, 0)]),
    ("the next renewal begins anew", [
        (AGREE, 1), (OWN, 1), (HEARD, 0), (STEP, 1), (AGREE, 2), (STEP, 0), (STEP, 0), (OWN, 2), (HEARD, 0), (STEP, 0),
        (STEP, 0)]),
    ("plain steps give no more time", [(AGREE, 1), (WAIT, 299), (STEP, 0), (FRAME, 0), (WAIT, 1), (FRAME, 0)]),
    ("no plain step after 300 s", [(AGREE, 1), (WAIT, 300), (STEP, 0)]),
]  # fmt: skip


def owed() -> Json:
    return {
        "flow": [
            *(_flow(what, ops, is_initiator=True) for what, ops in [*STEPS, *WAITS, *ANSWERS]),
            *(_flow(what, ops, is_initiator=False) for what, ops in UNHEARD),
        ],
        "lane": [_lane(what, ops) for what, ops in STEPS],
        "renewals": {str(number): octets.hex() for number, octets in RENEWALS.items()},
    }


def _given() -> Given:
    renewals = tuple(RENEWALS.items())
    return replace(GIVEN, link_renewals=renewals, session_renewals=renewals)


def _flow(what: str, ops: Sequence[Op], *, is_initiator: bool) -> Json:
    """Frames as they are kept: the header in clear, 16 bytes of no meaning, the tag, the sealed body.

    is_initiator: the receiver, whose steps these are.
    """
    given = _given()
    sender, receiver = (
        Flow(
            flow_secret(given.session_secret, given.index), given.suite, given.index, given.session_binding, initiator,
            renewals=RENEWALS, limits=AGELESS,
        )
        for initiator in (not is_initiator, is_initiator)
    )  # fmt: skip
    steps: list[Json] = []
    now = 0.0

    def carried() -> None:
        while sender.out or receiver.out:
            for frame in _taken(receiver):
                if frame.type in (Type.FLOW_CONFIRM, Type.FLOW_REKEY):
                    steps.append({"at": now, "sends": frame.type.name, "frame": shown(frame).hex()})
                sender.receive(frame, now)
            for frame in _taken(sender):
                step: Json = {"at": now, "type": frame.type.name, "frame": shown(frame).hex(), "outcome": "taken"}
                steps.append(step)
                try:
                    receiver.receive(frame, now)
                except Refused as refused:
                    step["outcome"] = refused.reason.name
                    receiver.out.clear()

    (receiver if is_initiator else sender).start()
    carried()
    for op, value in ops:
        if op == WAIT:
            now += value
        elif op == AGREE:
            receiver.owed.agree(value, now)
            steps.append({"at": now, "agree": value})
        elif op == OWN:
            assert receiver.owed.agreed == value
            receiver.rekey(value, now)
            carried()
        elif op == HEARD:
            sender.send_ack()
            carried()
        else:
            if op == STEP:
                sender.rekey(value, now)
            elif op == DATAGRAMS:
                sender.send_datagrams(record_datagram(1, 0, b"x").encode(), now)
            else:
                sender.send_bundle(records_encode([record_open(2 * sender.next_number + 1, "s", 0)]), now)
            carried()
            if receiver.reason is None:
                receiver.send_ack()
                steps.append({"at": now, "acknowledge": receiver.expected})
                carried()
    return {"what": what, "initiator": is_initiator, **given_fields(given), "steps": steps}


def _taken(flow: Flow) -> list[FlowFrame]:
    taken, flow.out = flow.out, []
    return taken


def shown(frame: FlowFrame) -> bytes:
    return frame.header(1).encode() + bytes(16) + frame.tag + frame.sealed


def _lane(what: str, ops: Sequence[Op]) -> Json:
    """Frames of a lane that is up, the initiator's from CONFIRM on."""
    given = _given()
    sender, receiver = End(given, True), End(given, False)
    sender.lane.confirm()
    receiver.lane.confirm()
    confirm = bytes(sender.lane.out)
    receiver.lane.receive(confirm)
    sender.lane.receive(bytes(receiver.lane.out))
    sender.lane.out.clear()
    steps: list[Json] = [{"type": Type.CONFIRM.name, "wire": confirm.hex(), "outcome": "taken"}]
    for op, value in ops:
        if op == AGREE:
            receiver.lane.owed.agree(value, 0.0)
            steps.append({"agree": value})
            continue
        if op == STEP:
            sender.lane.rekey(value)
        else:
            sender.lane.send(Type.PADDING, bytes(5))
        wire = bytes(sender.lane.out)
        sender.lane.out.clear()
        step: Json = {"type": "REKEY" if op == STEP else "PADDING", "wire": wire.hex(), "outcome": "taken"}
        steps.append(step)
        try:
            receiver.lane.receive(wire)
        except Refused as refused:
            step["outcome"] = refused.reason.name
    return {"what": what, **given_fields(given), "steps": steps}
