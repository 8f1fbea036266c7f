"""Whatever the store of a fleet has, a value is believed as a node has signed it for that key, or refused with a reason
of the closed list; what is believed can be shown. And whatever its JSON interface answers, it is an answer of that
form, or a problem of the store that has a name.

Each input is tried as a whole value, as a body that a node has signed, as an answer to each kind of request, and as
what a watch says.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from pcgrelay.admin.fleet_answers import FleetNode
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.samples import Outlet
from pcgrelay.cutover.shared import SharedState
from pcgrelay.cutover.shared_figures import EdgeFigures
from pcgrelay.fleet import wire
from pcgrelay.fleet.client import Found, StoreAccess, StoreClient, _found, _refusal
from pcgrelay.fleet.errors import SILENCES, STORE_REFUSALS, StoreProblem
from pcgrelay.fleet.follower import Follower
from pcgrelay.fleet.lock import Holder, holder_of
from pcgrelay.fleet.report import NodeReport, Order, read_body
from pcgrelay.fleet.values import REASONS, SignedValue, ValueRefused, open_value, root_of, sign_value
from pcgrelay.fleet_table import _cells
from pcgrelay.gateway.shared_cutovers import Seat
from pcgrelay.identity.certificates import Refusal, identity_of
from pcgrelay.identity.credentials import Credentials
from pcgrelay.identity.tls import chain_refusal, make_store, set_verify_time
from pcgrelay.model import NodeId
from pcgrelay.printable import json_bytes
from pcgrelay.views.fleet import _node

REALM, KENT = "police.example", "kent.police.example"
NOW = datetime(2026, 11, 30, tzinfo=UTC)
NODE = f"kent-1.{KENT}"
SERVICE = "custody@met.police.example"
ROOT = root_of(REALM)
WORDS_OF_REFUSALS = {*REASONS, *(each.value for each in Refusal)}


def key_of(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def certificate(subject: str, uri: str, number: int) -> x509.Certificate:
    """The same bytes in each run, so that an input that was found can be run again. No URI: the CA."""
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    year = timedelta(days=365)
    builder = x509.CertificateBuilder(issuer, own, key_of(subject).public_key(), number, NOW - year, NOW + year)
    builder = builder.add_extension(x509.BasicConstraints(ca=not uri, path_length=None), critical=True)
    if uri:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        builder = builder.add_extension(names, critical=True)
    return builder.sign(key_of("ca"), None)


CA = certificate("ca", "", 1)
LEAF = certificate("kent-1", NodeId(REALM, KENT, "kent-1").uri, 2)
CHAIN = (LEAF.public_bytes(Encoding.DER),)


class Judge:
    """Judges as a node does, at one moment."""

    def __init__(self) -> None:
        self._store = make_store(Credentials(chain=(CA,), key=key_of("ca"), trust=(CA,), crls=()))
        set_verify_time(self._store, NOW)

    def chain_refusal(self, chain: Sequence[x509.Certificate]) -> str | None:
        return chain_refusal(self._store, chain)

    def identity_of(self, leaf: x509.Certificate) -> NodeId:
        return identity_of(leaf, REALM)


JUDGE = Judge()
OUTLET = Outlet("gateway")
BODIES: dict[str, tuple[Any, Any]] = {  # by key: a good body, and its kind
    f"nodes/{KENT}/kent-1": (
        NodeReport(
            process="be7abff4273ed7d9", role="edge", version="0.1.0", at_s=1_796_024_572.9, condition="ready",
            ready=True, streams=7, load_percent=3, certificate_end_s=1_803_800_566, order=3, order_reason="no room",
        ),
        NodeReport,
    ),
    f"locks/{KENT}/change": (Holder(node=NODE, act="drain", by="jo", nonce="1", since_s=1_796_000_000), Holder),
    f"orders/{KENT}/kent-1/upgrade": (Order(act="upgrade", process="be7abff4273ed7d9", token=7), Order),
    f"cutover/{KENT}/{SERVICE}/state": (
        SharedState(
            service=SERVICE, plan_sha256="ab" * 32, run=1, epoch=4, phase=Phase.SOAKING, step=2, seat=9, node=NODE,
            at="2026-11-30T00:00:00Z", what="stepped", sentence="A step forward.",
        ),
        SharedState,
    ),
    f"cutover/{KENT}/{SERVICE}/seat": (Seat(node=NODE), Seat),
    f"counts/{KENT}/kent-1/cutover/{SERVICE}": (
        EdgeFigures(service=SERVICE, plan_sha256="ab" * 32, run=1, new=OUTLET, old=OUTLET), EdgeFigures,
    ),
}  # fmt: skip
ENCODED = {key: msgspec.msgpack.encode(body) for key, (body, _) in BODIES.items()}
VALUES = {key: sign_value(key, body, 5, key_of("kent-1"), CHAIN) for key, body in ENCODED.items()}
SIGNED = {(key, body, 5) for key, body in ENCODED.items()}


def _kv(key: str, value: bytes) -> dict[str, object]:
    return {
        "key": msgspec.json.decode(msgspec.json.encode((ROOT + key).encode())),
        "value": msgspec.json.decode(msgspec.json.encode(value)),
        "create_revision": "7",
        "mod_revision": "9",
        "lease": "100",
    }


FIRST = next(iter(VALUES))
ANSWERS: list[object] = [
    {"header": {"revision": "9"}, "kvs": [_kv(key, value) for key, value in VALUES.items()], "more": True},
    {"header": {"revision": "9"}, "succeeded": True},
    {"header": {}, "ID": "100", "TTL": "5"},
    {"result": {"header": {"revision": "9"}, "ID": "100", "TTL": "5"}},
    {"result": {"header": {"revision": "9"}, "created": True}},
    {"result": {"header": {"revision": "9"}, "events": [{"kv": _kv(FIRST, VALUES[FIRST])}, {"type": "DELETE"}]}},
    {"result": {"canceled": True, "compact_revision": "3"}},
    {"error": {"grpc_code": 14, "message": "etcdserver: no leader"}},
    {"code": 5, "message": "etcdserver: requested lease not found"},
    {"token": "abc.1"},
]
KINDS = (
    wire.RangeAnswer, wire.WriteAnswer, wire.LeaseAnswer, wire.KeepAliveAnswer, wire.TokenAnswer, wire.WatchLine,
    wire.ErrorBody,
)  # fmt: skip
SEEDS = [*VALUES.values(), *ENCODED.values(), *(json.dumps(each).encode() for each in ANSWERS)]
WORDS = [
    b"\xc0", b"\x90", b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", b"\xd3",
    b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", b"\xc4\x00", b"\x91" * 3_000,
    b"\xa50.1.0", b"\xff", b'"-1"', b'"9223372036854775807"', b"null", b"{}", b"[]", b"[" * 3_000, b'{"result":' * 500,
    b'"DELETE"', b'"\\u0000"', b"\x1b[2J", b"NaN", b"1e999", *(key.encode() for key in VALUES),
]  # fmt: skip


def run(data: bytes) -> object:
    values = tuple(value_answer(key, data) for key in VALUES)
    return values, tuple(body_answer(key, data) for key in VALUES), json_answers(data)


def value_answer(key: str, data: bytes) -> str:
    try:
        value = open_value(key, data, 9, JUDGE)
    except ValueRefused as refused:
        return known(refused)
    assert (key, value.body, value.epoch) in SIGNED, "what nobody has signed for that key was believed"
    shown(value)
    return "believed"


def known(refused: ValueRefused) -> str:
    assert refused.reason in WORDS_OF_REFUSALS, refused.reason
    return refused.reason


def body_answer(key: str, data: bytes) -> object:
    """A node of the organisation says it, so the signature holds."""
    probe = SignedValue(key=key, body=data, epoch=5, signer=NodeId(REALM, KENT, "kent-1"), revision=9)
    if read_body(probe, BODIES[key][1]) is None:
        return "none"  # without the work of signing it
    try:
        signed = sign_value(key, data, 5, key_of("kent-1"), CHAIN)
    except ValueRefused as refused:
        return known(refused)
    holder_of(key, signed, JUDGE)
    return shown(open_value(key, signed, 9, JUDGE))


def shown(value: SignedValue) -> object:
    """What is made of a body where people look. A row of the fleet is the same after it went over the admin socket."""
    body = read_body(value, BODIES[value.key][1])
    if isinstance(body, Holder):
        assert body.words.isprintable()
    if isinstance(body, NodeReport):
        node = _node(value.signer.dotted, body)
        again = msgspec.json.decode(json_bytes(node), type=FleetNode)
        assert _cells(again) == _cells(node)
    return type(body).__name__


def json_answers(data: bytes) -> object:
    answers = []
    for kind in KINDS:
        try:
            answer = wire.decode(data, kind)
        except ValueError:
            answers.append("none")
            continue
        answers.append(used(answer))
    return tuple(answers)


def used(answer: object) -> str:
    """What the client makes of an answer."""
    client = StoreClient(StoreAccess(("https://etcd-1.store.example:2379",), ROOT), SYSTEM_CLOCK)
    if isinstance(answer, wire.RangeAnswer):
        found = {name: _found(each) for each in answer.kvs if (name := client._name(each.key)) is not None}
        return followed(found)
    if isinstance(answer, wire.ErrorBody):
        return reason_of(_refusal(answer))
    if isinstance(answer, wire.WatchLine):
        try:
            changes = client._changes(answer)
        except StoreProblem as problem:
            return reason_of(problem)
        return followed({each.key: each.found for each in changes.changes if each.found is not None})
    return "taken"


def followed(found: dict[str, Found]) -> str:
    """What a table takes of it."""
    follower = Follower(None, "", JUDGE, SYSTEM_CLOCK, lambda key, value: None)
    for name, each in found.items():
        follower._take(name, each)
    for value in follower.values.values():
        assert (value.key, value.body, value.epoch) in SIGNED, "what nobody has signed for that key was believed"
    assert set(follower.refused) <= WORDS_OF_REFUSALS
    return f"{len(follower.values)} {sorted(follower.refused)}"


def reason_of(problem: StoreProblem) -> str:
    assert problem.reason in (*SILENCES, *STORE_REFUSALS)
    return problem.reason


if __name__ == "__main__":
    from tests.fuzz.mutation import main

    sys.exit(main(SEEDS, WORDS, run))
