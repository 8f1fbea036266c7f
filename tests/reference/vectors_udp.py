"""Vectors of UDP lanes: packets, and what one receiver makes of each (4.5)."""

import hashlib

from tests.reference.frames import Half, Header, Type
from tests.reference.keys import LinkSecrets, Purpose, Suite
from tests.reference.packets import PROBE, REPORT, Receiver, epoch_of, own_packet, packet_seal, probe, report
from tests.reference.vectors_keys import Json

LINK_SECRET = hashlib.sha256(b"pcgrelay vectors: link of UDP lanes").digest()
TOKEN, INDEX, NUMBER, LABEL = 0x7AC0_FFEE, 3, 5, 0x0102_0304
BODY_TAG = hashlib.sha256(b"pcgrelay vectors: a tag of a body").digest()[:16]
BODY = hashlib.sha256(b"pcgrelay vectors: a sealed body").digest()


class Script:
    """Packets to one receiver, in order."""

    def __init__(self, suite: Suite, direction: int) -> None:
        self.secret = LinkSecrets(LINK_SECRET).lane_secret(NUMBER)
        self.epoch = epoch_of(self.secret, direction, suite)
        self.half = Half(direction, INDEX)
        self.receiver = Receiver(self.epoch, self.half, TOKEN)
        self.fields: Json = {
            "suite": suite.name.replace("_", "-"),
            "direction": direction,
            "link_secret": LINK_SECRET.hex(),
            "number": NUMBER,
            "index": INDEX,
            "lane_secret": self.secret.hex(),
            "token": TOKEN,
        }
        self.steps: list[Json] = []

    def datagrams(self, hop: int, header: Header | None = None, body: bytes = BODY) -> bytes:
        header = header or Header(len(body), Type.DATAGRAMS, LABEL, 2, number=9)
        return packet_seal(self.epoch, TOKEN, hop, header, BODY_TAG, body)

    def own(self, hop: int, kind: int, body: bytes) -> bytes:
        return own_packet(self.epoch, TOKEN, hop, self.half, kind, body)

    def give(self, what: str, packet: bytes) -> None:
        outcome, body = self.receiver.take(packet)
        step = {"what": what, "wire": packet.hex(), "outcome": outcome}
        self.steps.append(step | ({"body": body.hex()} if body else {}))

    def case(self, what: str) -> Json:
        return {"what": what, **self.fields, "packets": self.steps}


def changed(packet: bytes, at: int) -> bytes:
    return packet[:at] + bytes([packet[at] ^ 1]) + packet[at + 1 :]


def _good(suite: Suite, direction: int) -> Json:
    script = Script(suite, direction)
    script.give("PROBE", script.own(0, PROBE, probe(0x1122_3344_5566_7788, 1_200)))
    script.give("PROBE without padding", script.own(1, PROBE, probe(2, 8)))
    script.give("REPORT", script.own(2, REPORT, report(0x1122_3344_5566_7788, 3)))
    script.give("DATAGRAMS", script.datagrams(3))
    script.give("the longest", script.datagrams(4, body=BODY * 37 + BODY[:16]))
    script.give("the shortest", script.datagrams(5, body=BODY[:8]))
    return script.case("packets that are taken")


def _order() -> Json:
    script = Script(Suite.AES_256_GCM, 0)
    for hop in (0, 3, 1, 3, 2, 2_000, 977, 976, 1_500, 2_000, 977, (1 << 24) - 1, 2_001):
        script.give(f"hop number {hop}", script.datagrams(hop))
    script.give("hop number 2^24", script.datagrams(1 << 24))
    return script.case("in any order, within the window, each once")


def _changed() -> Json:
    script = Script(Suite.AES_256_GCM, 0)
    packet = script.datagrams(7)
    for what, at in (
        ("token", 3), ("hop number", 11), ("header", 15), ("tag of the header", 40), ("tag of the body", 50),
        ("first byte of the body", 60), ("last byte of the body", len(packet) - 1),
    ):  # fmt: skip
        script.give(f"one bit of the {what}", changed(packet, at))
    script.give("cut by a byte", packet[:-1])
    script.give("one byte more", packet + b"\0")
    script.give("under another hop number", packet[:4] + (8).to_bytes(8, "big") + packet[12:])
    script.give("as it was sealed", packet)
    script.give("67 bytes", packet[:67])
    script.give("1,261 bytes", packet + bytes(1_261 - len(packet)))
    script.give("nothing", b"")
    other = epoch_of(script.secret, 1, Suite.AES_256_GCM)
    header = Header(len(BODY), Type.DATAGRAMS, LABEL, number=9)
    script.give("of the other direction", packet_seal(other, TOKEN, 20, header, BODY_TAG, BODY))
    tag_alone, head = script.epoch.seal(Purpose.HOP_HEADER, 21, BODY_TAG, header.encode())
    script.give(
        "with the tag of the body alone as associated data, as on a lane",
        TOKEN.to_bytes(4, "big") + (21).to_bytes(8, "big") + head + tag_alone + BODY_TAG + BODY,
    )
    return script.case("changed on their way")


def _malformed() -> Json:
    script = Script(Suite.AES_256_GCM, 0)
    n = len(BODY)
    for hop, (what, header) in enumerate(
        {
            "a length that is not that of the body": Header(n - 1, Type.DATAGRAMS, LABEL),
            "a flag": Header(n, Type.DATAGRAMS, LABEL, flags=1),
            "label 0": Header(n, Type.DATAGRAMS, 0),
            "BUNDLE": Header(n, Type.BUNDLE, LABEL),
            "PADDING": Header(n, Type.PADDING),
            "an unknown type": Header(n, 0x0B),
            "PROBE with a label": Header(n, PROBE, 1),
            "PROBE with an epoch": Header(n, PROBE, 0, 1),
            "PROBE with a number": Header(n, PROBE, number=1),
            "REPORT of another length": Header(n, REPORT),
            "PROBE whose body does not open": Header(n, PROBE),
        }.items()
    ):
        script.give(what, script.datagrams(hop, header))
    return script.case("frames that the neighbour may not send by a UDP lane: the next ones are taken all the same")


def udp_lanes() -> dict[str, object]:
    return {
        "description": "Packets of UDP lanes (4.5) and what their receiver makes of each, in the order in which they "
        "come: datagrams, probe or report if it is taken, else the cause under which it is dropped. "
        "body: of PROBE and REPORT, opened. The bodies of DATAGRAMS are no frame's: a hop does not open them.",
        "cases": [
            *(_good(suite, direction) for suite in Suite for direction in (0, 1)),
            _order(),
            _changed(),
            _malformed(),
        ],
    }
