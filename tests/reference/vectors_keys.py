"""Vectors of section 3, of the exporter context (2.5) and of the preamble (4.1)."""

import hashlib
import hmac
from dataclasses import replace

from tests.reference.keys import (
    EXPORTER_LABEL,
    Epoch,
    ExporterContext,
    LinkSecrets,
    Preamble,
    Purpose,
    Role,
    Suite,
    Use,
    direction_secret,
    flow_secret,
    mix_of,
    nonce,
)
from tests.reference.lanes import LaneDoor
from tests.reference.refusals import Refused

Json = dict[str, object]
EPOCHS = 4


def secret(name: str, size: int = 32) -> bytes:
    """A fixed value for a name."""
    return hashlib.sha256(b"pcgrelay vector: " + name.encode()).digest()[:size]


def suite_name(suite: Suite) -> str:
    return suite.name.replace("_", "-")


def key_schedule() -> Json:
    link, session = LinkSecrets(secret("link")), secret("session")
    hop = (Purpose.HOP_HEADER, Purpose.HOP_BODY)
    flow = (Purpose.FLOW_DATA, Purpose.FLOW_CONTROL, Purpose.FLOW_DATAGRAM)
    return {
        "description": "Section 3. For each lane and flow, direction and way of stepping ('plain': mix is 32 zero "
        "bytes; 'mixed': each step into epoch e takes renewal_secrets[e - 1]) the secret of epochs 0 to 3, and for "
        "each suite the key and iv of each purpose. Hex.",
        "link_secret": link.link_secret.hex(),
        "session_secret": session.hex(),
        "renewal_secrets": [_renewal(epoch).hex() for epoch in range(1, EPOCHS)],
        "proof_key": link.proof_key.hex(),
        "lanes": [
            {
                "number": number,
                "lane_root": link.lane_root(number).hex(),
                "lane_secret": link.lane_secret(number).hex(),
                "chains": _chains(link.lane_secret(number), number, hop),
            }
            for number in range(4)
        ],
        "flows": [
            {
                "index": index,
                "flow_secret": flow_secret(session, index).hex(),
                "chains": _chains(flow_secret(session, index), index, flow),
            }
            for index in range(4)
        ],
    }


def _renewal(epoch: int) -> bytes:
    return secret(f"renewal {epoch}")


def _chains(root: bytes, number: int, purposes: tuple[Purpose, ...]) -> list[Json]:
    return [_chain(root, number, purposes, d, mixed) for d in (0, 1) for mixed in (False, True)]


def _chain(root: bytes, number: int, purposes: tuple[Purpose, ...], direction: int, mixed: bool) -> Json:
    epoch = Epoch(Suite.AES_256_GCM, direction_secret(root, direction))
    epochs: list[Json] = []
    for at in range(EPOCHS):
        mix = mix_of(_renewal(at), direction, number) if mixed and at else bytes(32)
        if at:
            epoch = epoch.next(mix)
        keys: Json = {
            suite_name(suite): {
                purpose.name: {"key": of.key(purpose).hex(), "iv": of.iv(purpose).hex()} for purpose in purposes
            }
            for suite in Suite
            for of in [replace(epoch, suite=suite)]
        }
        entered: Json = {"mix": mix.hex()} if at else {}
        epochs.append({"epoch": at, **entered, "secret": epoch.secret.hex(), "keys": keys})
    return {"direction": direction, "way": "mixed" if mixed else "plain", "epochs": epochs}


def nonces() -> Json:
    counters = [0, 1, 255, 256, (1 << 32) - 1, 1 << 32, (1 << 48) - 1, (1 << 64) - 1]
    ivs = [bytes(12), b"\xff" * 12, secret("iv", 12)]
    cases = [{"iv": iv.hex(), "counter": c, "nonce": nonce(iv, c).hex()} for iv in ivs for c in counters]
    return {"description": "Section 3: nonce = iv XOR (u32(0) || u64(counter)).", "cases": cases}


def exporter() -> Json:
    edge, relay = "spiffe://police.example/org/kent.example/node/kent-1", "spiffe://police.example/org/hub/node/r-1"
    leaves = b"client leaf", b"server leaf"
    base = ExporterContext(Use.LINK, Role.EDGE, Role.RELAY, Suite.AES_256_GCM, 0, edge, relay, *leaves, b"transcript")
    far = replace(base, server_role=Role.EDGE, server_identity="spiffe://police.example/org/met.example/node/met-1")
    contexts = [
        base,
        replace(far, use=Use.SESSION, suite=Suite.AES_128_GCM),
        replace(base, use=Use.LINK_RENEWAL, generation=1, suite=Suite.CHACHA20_POLY1305),
        replace(far, use=Use.SESSION_RENEWAL, generation=0x01020304),
    ]
    return {
        "description": "Section 2.5. Leaves and transcript are given in hex and stand for DER and the two HELLOs.",
        "label": EXPORTER_LABEL.decode(),
        "cases": [_context(context) for context in contexts],
    }


def _context(context: ExporterContext) -> Json:
    return {
        "purpose": context.use,
        "client_role": context.client_role,
        "server_role": context.server_role,
        "suite": suite_name(context.suite),
        "generation": context.generation,
        "client_identity": context.client_identity,
        "server_identity": context.server_identity,
        "client_leaf": context.client_leaf.hex(),
        "server_leaf": context.server_leaf.hex(),
        "transcript": context.transcript.hex(),
        "context": context.encode().hex(),
        "binding": context.binding().hex(),
    }


def preambles() -> Json:
    secrets, link_id = LinkSecrets(secret("link")), secret("link id", 16)
    good = Preamble(1, 3, link_id).encode(secrets.proof_key)
    other_key = LinkSecrets(secret("another link")).proof_key
    places = {"magic": 0, "version": 5, "index": 7, "number": 11, "reserved": 15, "link id": 16}
    places |= {"proof, first byte": 32, "proof, last byte": 47}
    changed = [(name, good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]) for name, at in places.items()]
    honest = {
        "reserved, with a good proof": _proved(good[:15] + b"\x01" + good[16:32], secrets.proof_key),
        "version 2, with a good proof": _proved(good[:5] + b"\x02" + good[6:32], secrets.proof_key),
        "index outside, with a good proof": Preamble(4, 3, link_id).encode(secrets.proof_key),
        "proof of another link": Preamble(1, 3, link_id).encode(other_key),
        "unknown link": Preamble(1, 3, secret("unknown link", 16)).encode(secrets.proof_key),
    }
    accepted = [Preamble(index, number, link_id) for index, number in [(0, 0), (1, 1), (0xFFFF, 63), (2, 0xFFFFFFFF)]]
    return {
        "description": "Section 4.1. 'accepted': what a dialler sends. 'refused': each is refused by an acceptor that "
        "has taken nothing yet. 'numbers': one acceptor takes them in order, all of index 0 and with no lane up.",
        "link_secret": secrets.link_secret.hex(),
        "proof_key": secrets.proof_key.hex(),
        "link_id": link_id.hex(),
        "lanes": 4,
        "accepted": [
            {"index": p.index, "number": p.number, "wire": p.encode(secrets.proof_key).hex()} for p in accepted
        ],
        "refused": [
            {"what": what, "wire": wire.hex(), "reason": "BAD_PREAMBLE"} for what, wire in [*changed, *honest.items()]
        ],
        "numbers": _numbers(LaneDoor(secrets, link_id, 4)),
    }


def _proved(clear: bytes, proof_key: bytes) -> bytes:
    return clear + hmac.digest(proof_key, clear, "sha256")[:16]


def _numbers(door: LaneDoor) -> list[Json]:
    steps: list[Json] = []
    for number in [0, 0, 2, 1, 67, 66, 2, 3, 130, 65, 131, 68, 400]:
        wire = Preamble(0, number, door.link_id).encode(door.secrets.proof_key)
        try:
            door.take(wire)
            taken = True
        except Refused:
            taken = False
        steps.append({"number": number, "wire": wire.hex(), "taken": taken})
    return steps
