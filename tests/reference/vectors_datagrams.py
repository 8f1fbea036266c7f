"""Vectors of DATAGRAMS: what one receiver of a flow makes of each frame (6.2, 6.4), and streams of datagrams (7.3)."""

from dataclasses import replace

from tests.reference.flows import Flow
from tests.reference.frames import FlowFrame, Type
from tests.reference.keys import flow_secret
from tests.reference.records import (
    Transport,
    record_accept,
    record_credit,
    record_data,
    record_datagram,
    record_fin,
    record_open,
    record_reset,
    records_encode,
)
from tests.reference.refusals import Refused
from tests.reference.streams import RX, TX
from tests.reference.vectors_frames import GIVEN, given_fields
from tests.reference.vectors_keys import Json
from tests.reference.vectors_owed import shown
from tests.reference.vectors_sequences import Step, sequence

LATE = {"late datagrams": "late", "replayed": "replayed"}


class Script:
    """The initiator's frames, kept by number, and a responder that gets them as the script says."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.sender, self.receiver = (
            Flow(flow_secret(GIVEN.session_secret, 0), GIVEN.suite, 0, GIVEN.session_binding, initiator)
            for initiator in (True, False)
        )
        self.sealed: dict[int, FlowFrame] = {}
        self.steps: list[Json] = []
        self.now = 0.0
        self.sender.start()
        self.carry()

    def carry(self) -> None:
        """Hand over what waits, but DATAGRAMS: what of it the sender sent is shown."""
        while self.sender.out or self.receiver.out:
            for frame in _taken(self.sender):
                self._give(frame)
            for frame in _taken(self.receiver):
                self.sender.receive(frame)

    def seal(self, *numbers: int) -> None:
        for number in numbers:
            self.sender.next_datagrams = number
            self.sender.send_datagrams(record_datagram(1, number, b"datagram").encode())
            self.sealed[number] = self.sender.out.pop()

    def give(self, *numbers: int) -> None:
        for number in numbers:
            self._give(self.sealed[number])

    def forge(self, which: int, **changes: object) -> None:
        self._give(replace(self.sealed[which], **changes))  # type: ignore[arg-type]

    def step(self, *, acknowledged: bool = True) -> None:
        self.sender.rekey()
        self.carry()
        if acknowledged:
            self.acknowledge()

    def acknowledge(self) -> None:
        self.receiver.send_ack()
        self.steps.append({"acknowledge": self.receiver.expected})
        self.carry()

    def _give(self, frame: FlowFrame) -> None:
        step: Json = {"at": self.now, "type": frame.type.name, "number": frame.number, "epoch": frame.epoch}
        step |= {"frame": shown(frame).hex(), "outcome": "taken"}
        self.steps.append(step)
        counts = self.receiver.counts.copy()
        try:
            self.receiver.receive(frame, self.now)
        except Refused as refused:
            step["outcome"] = refused.reason.name
            self.receiver.out.clear()
        for count in self.receiver.counts - counts:
            step["outcome"] = LATE[count]

    def case(self) -> Json:
        return {"what": self.what, **given_fields(GIVEN), "steps": self.steps}


def _taken(flow: Flow) -> list[FlowFrame]:
    taken, flow.out = flow.out, []
    return taken


def _any_order() -> Script:
    script = Script("they overtake each other, come twice, and some do not come")
    script.seal(*range(8))
    script.give(0, 3, 1, 3, 2, 6, 5, 0, 6, 7)
    return script


def _window() -> Script:
    script = Script("the window is the greatest number and the 1,023 below it")
    script.seal(0, 1, 2, 1_023, 1_024, 3_976, 3_977, 5_000, 1 << 40)
    script.give(1_023, 0, 1_024, 0, 1, 1, 5_000, 2, 3_976, 3_977, 5_000, 1 << 40, 5_000)
    return script


def _steps() -> Script:
    script = Script("over steps of epoch: the present one and the one before")
    script.seal(0, 1, 2, 3)
    script.give(0)
    script.step(acknowledged=False)
    # Not acknowledged: the sender goes on with the old key.
    script.seal(4)
    script.give(4, 1)
    script.acknowledge()
    script.seal(5, 6)
    script.give(5, 2)
    script.step()
    script.seal(7)
    script.give(7, 6, 3)
    return script


def _former() -> Script:
    script = Script("the key of the epoch before serves for 30 s")
    script.seal(0, 1, 2)
    script.step()
    script.now = 30.0
    script.give(0)
    script.now = 30.5
    script.give(1)
    script.seal(3)
    script.give(3)
    return script


def _forged(what: str, which: int, **changes: object) -> Script:
    script = Script(what)
    script.seal(0, 1)
    script.give(0)
    script.forge(which, **changes)
    return script


def _control_key() -> Script:
    script = Script("sealed with FLOW_CONTROL")
    half, body = script.sender.tx_half, record_datagram(1, 0, b"datagram").encode()
    padding = half.seal(script.sender.tx_control, Type.FLOW_PADDING, 0, body)
    script.sealed[0] = FlowFrame(Type.DATAGRAMS, 0, 0, *padding)
    script.give(0)
    return script


def _own_numbers() -> Script:
    script = Script("numbers and late frames of DATAGRAMS are not those of ACK")
    script.seal(0, 1, 2)
    script.give(2)
    script.sender.send_ack()
    script.carry()
    script.give(1)
    script.sender.send_ack()
    script.carry()
    script.give(0)
    return script


def _not_records() -> Script:
    script = Script("a record of a BUNDLE")
    script.sender.send_datagrams(records_encode([record_data(1, b"x")]))
    script.sealed[0] = script.sender.out.pop()
    script.give(0)
    return script


def _scripts() -> list[Script]:
    return [
        _any_order(), _window(), _steps(), _former(), _own_numbers(),
        _forged("a number that a relay changed", 1, number=7),
        _forged("a body that a relay changed", 1, sealed=bytes(24)),
        _forged("one that was taken is not opened", 0, sealed=bytes(24)),
        _forged("an epoch that nobody has a key of", 1, epoch=9),
        _control_key(), _not_records(),
    ]  # fmt: skip


def _sequences() -> list[tuple[str, str, list[Step]]]:
    opened = record_open(1, "s", 0, transport=Transport.DATAGRAM)
    yes, datagram = record_accept(1, 0), record_datagram(1, 0, b"x")
    return [
        ("a question and its answer", "responder", [
            (RX, opened), (RX, datagram), (TX, yes), (TX, datagram), (RX, record_reset(1, 0)), (RX, datagram)]),
        ("the opener hears ACCEPT", "initiator", [
            (TX, opened), (TX, datagram), (RX, yes), (RX, datagram), (TX, record_reset(1, 0)), (RX, datagram)]),
        ("OPEN with a limit", "responder", [(RX, record_open(1, "s", 1, transport=Transport.DATAGRAM))]),
        ("ACCEPT with a limit", "initiator", [(TX, opened), (RX, record_accept(1, 16_384))]),
        ("DATA", "responder", [(RX, opened), (RX, record_data(1, b"x"))]),
        ("FIN", "responder", [(RX, opened), (RX, record_fin(1, 0))]),
        ("CREDIT", "responder", [(RX, opened), (RX, record_credit(1, 0))]),
        ("a datagram of no stream", "responder", [(RX, datagram)]),
        ("a datagram of a stream of bytes", "responder", [(RX, record_open(1, "s", 0)), (RX, datagram)]),
    ]  # fmt: skip


def datagrams() -> Json:
    return {
        "description": "Sections 6.2, 6.4 and 7.3. 'flows': what a responder makes of each frame of the initiator, "
        "which is shown with its header in clear, for label 1, and 16 bytes of no meaning before the tag: 'taken', "
        "'late', 'replayed', or the reason for which the session ends. 'at' counts seconds. 'acknowledge': it has said "
        "ACK. 'streams': steps in order, as in streams.json; a datagram of no open stream of datagrams is 'ignored'.",
        "flows": [script.case() for script in _scripts()],
        "streams": [sequence(what, edge, steps) for what, edge, steps in _sequences()],
    }
