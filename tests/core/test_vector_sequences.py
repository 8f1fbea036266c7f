"""Steps of epoch and resumption, frame by frame as the vectors have them (rekeying.json, resumption.json)."""

from dataclasses import dataclass, field

import pytest

from tests.native import probe
from tests.native.probe import Epoch, LinkKeys, Refusal
from tests.native.probe_flow import Flow
from tests.native.probe_store import Pool
from tests.reference.frames import Type
from tests.support.vectors import Json, load, octets, suite_of

PREFIX = 48
NOW = 1_000_000


@dataclass
class Side:
    """The sender of one direction, beside an observer that opens what it sends."""

    direction: int
    given: Json
    flow_tx: Epoch = field(init=False)
    flow_rx: Epoch = field(init=False)
    lane_tx: Epoch = field(init=False)
    lane_rx: Epoch = field(init=False)
    hop_number: int = 0
    lane: int = -1
    rekey_number: int | None = None
    bodies: dict[int, tuple[Type, bytes]] = field(default_factory=dict)  # numbered frames, in clear
    sent: dict[int, bytes] = field(default_factory=dict)  # and as they were sealed

    def __post_init__(self) -> None:
        secret = probe.expand_number(octets(self.given["session_secret"]), b"flow", self.given["index"], 2)
        self.flow_tx, self.flow_rx = self.epoch(secret, 3, True), self.epoch(secret, 3, False)

    def epoch(self, secret: bytes, purpose: int, sealing: bool) -> Epoch:
        return Epoch(
            secret, direction=self.direction, suite=suite_of(self.given["suite"]), purpose=purpose, sealing=sealing
        )

    def go_over_to(self, number: int) -> None:
        if number == self.lane:
            return
        keys = LinkKeys(octets(self.given["link_secret"]), bytes(16), 1)
        for _ in range(number + 1):
            keys.dial(0)
        secret = keys.take(number)
        self.lane, self.hop_number = number, 0
        self.lane_tx, self.lane_rx = self.epoch(secret, 1, True), self.epoch(secret, 1, False)

    def mix(self, body: bytes, renewals: str, number: int) -> bytes | None:
        """What a REKEY or FLOW_REKEY with this body steps with."""
        mix_id = int.from_bytes(body[4:], "big")
        if mix_id == 0:
            return None
        context = self.direction.to_bytes(1, "big") + number.to_bytes(4, "big")
        return probe.expand(octets(self.given[renewals][str(mix_id)]), b"mix", context, 32)

    def open(self, wire: bytes) -> tuple[probe.Header, bytes, bytes]:
        """What an observer with the receiver's keys sees: the header, the frame with the header in clear, the body."""
        header, clear = probe.frame_open(self.lane_rx.main, self.hop_number, wire)
        kind = Type(header.type)
        if not kind.is_lane and not kind.is_volatile and header.number in self.bodies:
            return header, clear, self.bodies[header.number][1]
        key, epoch = self.lane_rx.side, self.lane_rx.number
        if not kind.is_lane:
            key, epoch = self.flow_rx.main, self.flow_rx.number
        if kind.is_volatile:
            late = header.epoch != epoch & 0xFF
            key, epoch = (self.flow_rx.other, epoch - 1) if late else (self.flow_rx.side, epoch)
        number = self.hop_number if kind.is_lane else header.number
        body = probe.body_open(key, self.direction, self.given["index"], epoch, kind, number, clear)
        if kind is Type.REKEY:
            self.lane_rx.step(self.mix(body, "link_renewals", self.lane))
        elif not kind.is_lane and not kind.is_volatile:
            self.bodies[header.number] = kind, body
            if kind is Type.FLOW_REKEY:
                self.flow_rx.step(self.mix(body, "session_renewals", self.given["index"]))
        return header, clear, body

    def seal(self, header: probe.Header, clear: bytes, body: bytes) -> bytes:
        """The same frame, made by the sender."""
        kind = Type(header.type)
        if kind.is_lane:
            own, epoch, number = self.lane_tx.side, self.lane_tx.number, self.hop_number
        elif kind.is_volatile:
            own, epoch, number = self.flow_tx.side, self.flow_tx.side_number, header.number
        else:
            while header.number not in self.sent:
                self.seal_next()
            return self.under_header(clear[:32] + self.sent[header.number][32:])
        clear = clear[:PREFIX] + body
        sealed = probe.body_seal(own, self.direction, self.given["index"], epoch, kind, number, clear)
        wire = self.under_header(sealed)
        if kind is Type.REKEY:
            self.lane_tx.step(self.mix(body, "link_renewals", self.lane))
        return wire

    def seal_next(self) -> None:
        """Numbered frames are sealed in order and once, whatever becomes of them on the way."""
        number = len(self.sent)
        kind, body = self.bodies[number]
        scope = (self.direction, self.given["index"], self.flow_tx.number, kind, number)
        self.sent[number] = probe.body_seal(self.flow_tx.main, *scope, bytes(PREFIX) + body)
        if kind is Type.FLOW_REKEY:
            self.rekey_number = number
            self.flow_tx.step(self.mix(body, "session_renewals", self.given["index"]))

    def under_header(self, frame: bytes) -> bytes:
        self.hop_number += 1
        return probe.frame_seal(self.lane_tx.main, self.hop_number - 1, frame)

    def acknowledged(self, next_number: int) -> None:
        if self.rekey_number is not None and self.rekey_number < next_number:
            self.rekey_number = None
            self.flow_tx.settle()


def sides_of(case: Json) -> dict[str, Side]:
    """Both senders, who know beforehand what their numbered frames will say."""
    sides = {}
    for direction, name in enumerate(("initiator", "responder")):
        observer = Side(direction, case)
        for step in case["steps"]:
            if step["sends"] == name:
                observer.go_over_to(step["lane"])
                observer.open(octets(step["wire"]))
                observer.hop_number += 1
        sides[name] = Side(direction, case, bodies=observer.bodies)
    return sides


SEQUENCES = [
    pytest.param(case, id=f"{name} {case.get('what', case['suite'])}")
    for name in ("rekeying", "resumption")
    for case in load(name)["cases"]
]


@pytest.mark.parametrize("case", SEQUENCES)
def test_sequences_frame_by_frame(case: Json) -> None:
    """Keys, numbers and epochs of every frame, the lost ones too, with plain steps and with mixes."""
    makers = sides_of(case)
    observers = {name: Side(side.direction, case) for name, side in makers.items()}
    for step in case["steps"]:
        maker, observer = makers[step["sends"]], observers[step["sends"]]
        other = makers["responder" if step["sends"] == "initiator" else "initiator"]
        for side in (maker, observer):
            side.go_over_to(step["lane"])
        if "lane_epoch" in step:
            assert (step["lane_epoch"], step["hop_number"]) == (observer.lane_rx.number, observer.hop_number)
        wire = octets(step["wire"])
        header, clear, body = observer.open(wire)
        observer.hop_number += 1
        assert maker.seal(header, clear, body) == wire, step
        if not step["arrives"]:
            continue
        assert Type(header.type).name == step["type"]
        if "number" in step:
            assert (header.flow, header.epoch, header.number) == (step["flow"], step["epoch"], step["number"])
        if header.type in (Type.ACK, Type.RESUME):
            other.acknowledged(int.from_bytes(body[-8:], "big"))
    for name, side in makers.items():
        end = case["end"][name]
        assert (side.flow_tx.number, side.lane_tx.number) == (end["send_epoch"], end["lane_send_epoch"])


class FlowEnd:
    """A flow of the core that is made to send what the steps say it sent."""

    def __init__(self, case: Json, side: Side) -> None:
        self.bodies = side.bodies
        secret = probe.expand_number(octets(case["session_secret"]), b"flow", case["index"], 2)
        self.flow = Flow(
            Pool(1 << 20),
            secret,
            index=case["index"],
            suite=suite_of(case["suite"]),
            initiator=side.direction == 0,
            binding=octets(case["session_binding"]),
            cap=1 << 20,
        )

    def send(self, kind: Type, number: int, body: bytes) -> bytes:
        """The frame as sealed; body is what the vector's says, from the observer."""
        flow = self.flow
        if not kind.is_volatile and number < flow.next_number:
            return next(frame for frame in flow.retained() if int.from_bytes(frame[10:16], "big") == number)
        if not kind.is_volatile and number > flow.next_number:
            # The way swallowed the one before; the file shows it only when it is sent again.
            missing, text = self.bodies[flow.next_number]
            self.send(missing, flow.next_number, text)
        match kind:
            case Type.FLOW_CONFIRM:
                return flow.confirm(NOW)
            case Type.FLOW_REKEY:
                return flow.rekey(NOW)
            case Type.ACK:
                return flow.ack()
            case Type.RESUME:
                return flow.resume(NOW)
            case _:
                return flow.seal(kind, body, NOW)

    def receive(self, kind: Type, wire: bytes) -> tuple[bool, bool]:
        """Open and act; answer whether the frame was taken, and whether RESUME is to be answered."""
        try:
            body = self.flow.open(wire, NOW)
        except Refusal as refusal:
            if refusal.reason not in ("DUPLICATE", "GAP"):
                raise
            if refusal.reason == "GAP" and self.flow.state != "RESUMING":
                self.flow.break_off(NOW)
            return False, False
        match kind:
            case Type.FLOW_CONFIRM:
                self.flow.take_confirm(body)
            case Type.FLOW_REKEY:
                self.flow.take_rekey(body)
            case Type.ACK:
                self.flow.take_ack(int.from_bytes(body, "big"), NOW)
            case Type.RESUME:
                return True, self.flow.rx_resume(body, NOW)[0]
        return True, False


@pytest.mark.parametrize("case", [param for param in SEQUENCES if "resumption" in str(param.id)])
def test_resumption_by_flows(case: Json) -> None:
    """Two flows of the core make and take every frame, and end in the state that the file says."""
    observers = {"initiator": Side(0, case), "responder": Side(1, case)}
    ends = {name: FlowEnd(case, side) for name, side in sides_of(case).items()}
    lane = 0
    for step in case["steps"]:
        observer, end = observers[step["sends"]], ends[step["sends"]]
        other = ends["responder" if step["sends"] == "initiator" else "initiator"]
        observer.go_over_to(step["lane"])
        if step["lane"] != lane:
            lane = step["lane"]
            for name, lost in ends.items():
                if "only the initiator" not in case["what"] or name == "initiator":
                    lost.flow.break_off(NOW)
        header, _clear, body = observer.open(octets(step["wire"]))
        observer.hop_number += 1
        kind = Type(header.type)
        if kind.is_lane:
            continue
        wire = end.send(kind, header.number, body)
        assert wire[32:] == octets(step["wire"])[32:], step
        assert (wire[8], int.from_bytes(wire[10:16], "big")) == (header.epoch, header.number)
        if step["arrives"]:
            assert other.flow.next_expected == step["next_expected"]
            assert other.receive(kind, wire)[0] == step["taken"]
            assert step["flow_epoch_of_receiver"] <= other.flow.receive_epoch
    for name, end in ends.items():
        flow, wanted = end.flow, case["end"][name]
        numbers = [int.from_bytes(frame[10:16], "big") for frame in flow.retained()]
        assert (flow.state, flow.resume_id, numbers) == (wanted["flow_state"], wanted["resume_id"], wanted["retained"])
        assert (flow.next_number, flow.next_volatile) == (wanted["next_number"], wanted["next_volatile"])
        assert flow.next_expected == wanted["next_expected"]
        assert (flow.send_epoch, flow.receive_epoch) == (wanted["send_epoch"], wanted["receive_epoch"])
