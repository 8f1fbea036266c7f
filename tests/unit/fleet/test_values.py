"""Values of the store: who may write which key, and what is not believed."""

from __future__ import annotations

import msgspec
import pytest

from pcgrelay.fleet import values
from pcgrelay.fleet.values import Value, ValueRefused, open_value, signing_as
from pcgrelay.identity.local import LocalIdentity
from tests.support.fleet_nodes import KENT, MET, Fleet

MINE = f"nodes/{KENT}/kent-1"


@pytest.fixture(scope="module")
def kent(fleet: Fleet) -> LocalIdentity:
    return fleet.node(KENT, "kent-1")


@pytest.fixture(scope="module")
def met(fleet: Fleet) -> LocalIdentity:
    return fleet.node(MET, "met-1")


def test_a_value_of_its_owner_is_believed(kent: LocalIdentity, met: LocalIdentity) -> None:
    value = open_value(MINE, signing_as(kent)(MINE, b"here", 7), 12, met)
    assert (value.body, value.epoch, value.revision, value.signer) == (b"here", 7, 12, kent.config.node.id)


@pytest.mark.parametrize(
    "key",
    [
        f"nodes/{KENT}/kent-2",
        f"nodes/{MET}/kent-1",
        f"counts/{KENT}/kent-2/custody",
        f"cutover/{MET}/custody",
        f"locks/{MET}/change",
        f"orders/{MET}/met-1/upgrade",
    ],
)
def test_a_node_writes_its_own_keys_and_those_of_its_organisation_alone(kent: LocalIdentity, key: str) -> None:
    with pytest.raises(ValueRefused) as refused:
        open_value(key, signing_as(kent)(key, b"here", 7), 12, kent)
    assert refused.value.reason == "value_wrong_signer"


@pytest.mark.parametrize(
    "key",
    [f"cutover/{KENT}/custody", f"locks/{KENT}/change", f"orders/{KENT}/kent-2/upgrade", f"counts/{KENT}/kent-1/x"],
)
def test_what_belongs_to_an_organisation_each_of_its_nodes_may_write(kent: LocalIdentity, key: str) -> None:
    assert open_value(key, signing_as(kent)(key, b"here", 7), 12, kent).body == b"here"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "nodes",
        "nodes/",
        f"nodes/{KENT}",
        f"nodes/{KENT}/",
        f"other/{KENT}/kent-1",
        "nodes/KENT/kent-1",
        f"nodes/{KENT}/{'k' * 600}",
    ],
)
def test_a_key_that_there_cannot_be_is_refused(kent: LocalIdentity, key: str) -> None:
    with pytest.raises(ValueRefused) as refused:
        open_value(key, signing_as(kent)(key, b"here", 7), 12, kent)
    assert refused.value.reason == "value_unknown_key"


def test_a_value_serves_in_the_place_of_no_other(kent: LocalIdentity) -> None:
    data = signing_as(kent)(f"cutover/{KENT}/custody", b"50", 7)
    with pytest.raises(ValueRefused) as refused:
        open_value(f"cutover/{KENT}/other", data, 12, kent)
    assert refused.value.reason == "value_bad_signature"


@pytest.mark.parametrize("change", ["body", "epoch", "sig"])
def test_each_signed_field_is_held_by_the_signature(kent: LocalIdentity, change: str) -> None:
    value = msgspec.msgpack.decode(signing_as(kent)(MINE, b"here", 7), type=Value)
    other = {"body": b"there", "epoch": 8, "sig": value.sig[:-1] + bytes([value.sig[-1] ^ 1])}[change]
    forged = msgspec.msgpack.encode(msgspec.structs.replace(value, **{change: other}))
    with pytest.raises(ValueRefused) as refused:
        open_value(MINE, forged, 12, kent)
    assert refused.value.reason == "value_bad_signature"


def test_a_chain_of_another_is_of_no_use(kent: LocalIdentity, met: LocalIdentity) -> None:
    value = msgspec.msgpack.decode(signing_as(met)(MINE, b"here", 7), type=Value)
    forged = msgspec.msgpack.encode(msgspec.structs.replace(value, signer=kent.chain))
    with pytest.raises(ValueRefused) as refused:
        open_value(MINE, forged, 12, kent)
    assert refused.value.reason == "value_bad_signature"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [("expired", "expired"), ("wrong_ca", "unknown_issuer"), ("revoked", "revoked")],
)
def test_whose_certificate_is_not_trusted_is_not_believed(
    fleet: Fleet, kent: LocalIdentity, wrong: str, reason: str
) -> None:
    other = fleet.node(KENT, f"kent-{wrong.replace('_', '-')}", **{wrong: True})
    judge = LocalIdentity(kent.config)  # with the revocation list as it is now
    key = values.node_key(other.config.node.id)
    with pytest.raises(ValueRefused) as refused:
        open_value(key, signing_as(other)(key, b"here", 7), 12, judge)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\x90", b"\x80", msgspec.msgpack.encode({"body": "text", "signer": [], "sig": b"", "epoch": 1}),
     msgspec.msgpack.encode({"body": b"", "signer": [b"x"] * 9, "sig": b"", "epoch": 1}),
     msgspec.msgpack.encode({"body": b"", "signer": [b"no certificate"], "sig": b"", "epoch": 1}),
     msgspec.msgpack.encode({"body": b"", "signer": [b"x"], "sig": b"", "epoch": -1})],
)  # fmt: skip
def test_what_is_no_value_is_malformed(kent: LocalIdentity, data: bytes) -> None:
    with pytest.raises(ValueRefused) as refused:
        open_value(MINE, data, 12, kent)
    assert refused.value.reason == "value_malformed"


def test_what_is_too_large_is_neither_signed_nor_read(kent: LocalIdentity) -> None:
    with pytest.raises(ValueRefused):
        signing_as(kent)(MINE, bytes(values.BODY_MOST_BYTES + 1), 7)
    with pytest.raises(ValueRefused) as refused:
        open_value(MINE, bytes(values.VALUE_MOST_BYTES + 1), 12, kent)
    assert refused.value.reason == "value_too_large"
