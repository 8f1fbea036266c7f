"""The core gives every vector byte for byte, and refuses what the reference refuses, for the same reason.

The exporter's context (exporter.json) is the control plane's, and its tests hold it to that file. What streams.json
says is in test_stream.py; what whole sequences of frames say, in test_vector_sequences.py.
"""

from typing import Any

import pytest

from tests.native import probe
from tests.native.probe import Epoch, Key, LinkKeys, Refusal
from tests.native.probe_edge import Edge
from tests.native.probe_link import Lane
from tests.reference.frames import Type
from tests.reference.keys import Purpose, Suite
from tests.reference.records import Kind
from tests.support.vectors import Json, load, octets, suite_of

# -- key_schedule.json, nonces.json -----------------------------------------------------------------------------------


def chains() -> list[Any]:
    """Each lane and flow with each of its ways of stepping."""
    schedule = load("key_schedule")
    found = []
    for lane in schedule["lanes"]:
        for chain in lane["chains"]:
            name = f"lane {lane['number']} {chain['direction']} {chain['way']}"
            found.append(pytest.param(lane["lane_secret"], lane["number"], chain, 1, id=name))
    for flow in schedule["flows"]:
        for chain in flow["chains"]:
            name = f"flow {flow['index']} {chain['direction']} {chain['way']}"
            found.append(pytest.param(flow["flow_secret"], flow["index"], chain, 3, id=name))
    return found


def test_lane_secrets() -> None:
    schedule = load("key_schedule")
    keys = LinkKeys(octets(schedule["link_secret"]), bytes(16), 1)
    assert keys.proof_key.hex() == schedule["proof_key"]
    for lane in schedule["lanes"]:
        number, _preamble = keys.dial(0)
        assert number == lane["number"]
        assert keys.take(number).hex() == lane["lane_secret"]


def test_flow_secrets() -> None:
    schedule = load("key_schedule")
    for flow in schedule["flows"]:
        secret = probe.expand_number(octets(schedule["session_secret"]), b"flow", flow["index"], 2)
        assert secret.hex() == flow["flow_secret"]


@pytest.mark.parametrize(("secret", "number", "chain", "purpose"), chains())
def test_epochs(secret: str, number: int, chain: Json, purpose: int) -> None:
    """Secrets are compared; keys and IVs by what they seal, for the core shows neither."""
    renewals = load("key_schedule")["renewal_secrets"]
    sealing = chain["direction"] == 0
    for suite in Suite:
        epoch = Epoch(octets(secret), direction=chain["direction"], suite=suite, purpose=purpose, sealing=sealing)
        for wanted in chain["epochs"]:
            if wanted["epoch"]:
                mix = octets(wanted["mix"])
                if chain["way"] == "mixed":
                    context = chain["direction"].to_bytes(1, "big") + number.to_bytes(4, "big")
                    assert probe.expand(octets(renewals[wanted["epoch"] - 1]), b"mix", context, 32) == mix
                epoch.step(mix if chain["way"] == "mixed" else None)
                if sealing:
                    epoch.settle()
            assert (epoch.number, epoch.secret.hex()) == (wanted["epoch"], wanted["secret"])
            keys = wanted["keys"][suite.name.replace("_", "-")]
            for place, key in ((purpose, epoch.main), (purpose + 1, epoch.side)):
                named = keys[Purpose(place).name]
                assert_same_key(suite, key, octets(named["key"]), octets(named["iv"]), sealing)
            if purpose == Purpose.FLOW_DATA:
                named, datagrams = keys["FLOW_DATAGRAM"], epoch.datagrams(epoch.number)
                assert datagrams is not None
                assert_same_key(suite, datagrams, octets(named["key"]), octets(named["iv"]), sealing)


def assert_same_key(suite: Suite, key: Key, wanted: bytes, iv: bytes, sealing: bool) -> None:
    other = Key(suite, wanted, iv, sealing=not sealing)
    sealer, opener = (key, other) if sealing else (other, key)
    tag, sealed = sealer.seal(7, b"aad", b"clear")
    assert opener.open(7, b"aad", tag, sealed) == b"clear"


@pytest.mark.parametrize("case", load("nonces")["cases"], ids=lambda case: f"{case['iv'][:4]} {case['counter']}")
def test_nonces(case: Json) -> None:
    """Sealed under (iv, counter), a frame opens under (nonce, 0): the core's nonce is the vector's."""
    if case["counter"] == (1 << 64) - 1:
        # No counter is left after it, so the core never seals under it; it opens.
        sealer = Key(1, bytes(32), octets(case["nonce"]), sealing=True)
        tag, sealed = sealer.seal(0, b"", b"clear")
        opener = Key(1, bytes(32), octets(case["iv"]), sealing=False)
        assert opener.open(case["counter"], b"", tag, sealed) == b"clear"
        return
    tag, sealed = Key(1, bytes(32), octets(case["iv"]), sealing=True).seal(case["counter"], b"", b"clear")
    assert Key(1, bytes(32), octets(case["nonce"]), sealing=False).open(0, b"", tag, sealed) == b"clear"


# -- preambles.json ---------------------------------------------------------------------------------------------------

PREAMBLES = load("preambles")


def link_keys() -> LinkKeys:
    return LinkKeys(octets(PREAMBLES["link_secret"]), octets(PREAMBLES["link_id"]), PREAMBLES["lanes"])


@pytest.mark.parametrize("case", PREAMBLES["accepted"], ids=lambda case: str(case["number"]))
def test_preambles_that_are_sent(case: Json) -> None:
    wire = octets(case["wire"])
    assert probe.proof(octets(PREAMBLES["proof_key"]), wire[:32]) == wire[32:]
    if case["number"] > 100:
        return  # nobody dials four thousand million lanes; its proof was compared above
    keys = link_keys()
    for _ in range(case["number"]):
        keys.dial(0)
    assert keys.dial(case["index"]) == (case["number"], wire)


@pytest.mark.parametrize("case", PREAMBLES["refused"], ids=lambda case: case["what"])
def test_preambles_that_are_refused(case: Json) -> None:
    with pytest.raises(Refusal) as refused:
        link_keys().check(octets(case["wire"]))
    assert refused.value.reason == case["reason"]


def test_numbers_of_lanes() -> None:
    keys = link_keys()
    for step in PREAMBLES["numbers"]:
        if step["taken"]:
            assert keys.check(octets(step["wire"])) == (0, step["number"])
        else:
            with pytest.raises(Refusal, match="BAD_PREAMBLE"):
                keys.check(octets(step["wire"]))


# -- frames.json ------------------------------------------------------------------------------------------------------


def purpose_key(suite: Suite, secret: bytes, purpose: Purpose, sealing: bool) -> Key:
    context = bytes([purpose])
    key = probe.expand(secret, b"key", context, suite.key_size)
    return Key(suite, key, probe.expand(secret, b"iv", context, 12), sealing=sealing)


@pytest.mark.parametrize(
    "case", load("frames")["cases"], ids=lambda case: f"{case['type']} {case['suite']} {case['direction']}"
)
def test_frames(case: Json) -> None:
    suite, kind, body = suite_of(case["suite"]), Type[case["type"]], octets(case["body"])
    lane, flow = octets(case["lane_epoch_secret"]), octets(case["flow_epoch_secret"])
    header = probe.header_pack(len(body), kind, case["flow"], 0 if kind.is_lane else 1, case["number"])
    assert header.hex() == case["header"]
    secret, epoch = (lane, case["lane_epoch"]) if kind.is_lane else (flow, case["flow_epoch"])
    counter = case["hop_number"] if kind.is_lane else case["number"]
    scope = (case["direction"], case["index"], epoch, kind, counter)

    clear = header + bytes(32) + body
    sealed = probe.body_seal(purpose_key(suite, secret, kind.purpose, True), *scope, clear)
    wire = probe.frame_seal(purpose_key(suite, lane, Purpose.HOP_HEADER, True), case["hop_number"], sealed)
    assert wire.hex() == case["wire"]

    hop = purpose_key(suite, lane, Purpose.HOP_HEADER, False)
    opened, prefixed = probe.frame_open(hop, case["hop_number"], wire)
    assert opened == (len(body), kind, case["flow"], 0 if kind.is_lane else 1, case["number"])
    assert probe.body_open(purpose_key(suite, secret, kind.purpose, False), *scope, prefixed) == body


# -- records.json -----------------------------------------------------------------------------------------------------

RECORDS = load("records")


@pytest.mark.parametrize("case", RECORDS["accepted"], ids=lambda case: case["what"])
def test_records_that_are_taken(case: Json) -> None:
    wire, fields, stream, kind = octets(case["wire"]), case["fields"], case["stream"], Kind[case["kind"]]
    probe.record_check(wire, datagrams=case["in"] == "DATAGRAMS")
    record, used = probe.record_read(wire)
    assert used == len(wire)
    assert (record.stream, record.kind, record.data.hex()) == (stream, kind, case["data"])
    assert fields == fields_of(record)
    assert written(record) == wire


def fields_of(record: probe.Record) -> Json:
    match Kind(record.kind):
        case Kind.OPEN:
            service = record.service.decode()
            return {
                "limit": record.value,
                "marking": record.marking,
                "priority": record.priority,
                "transport": record.transport,
                "service": service,
            }
        case Kind.ACCEPT | Kind.CREDIT:
            return {"limit": record.value}
        case Kind.FIN:
            return {"final_offset": record.value}
        case Kind.RESET:
            return {"code": record.code, "rule": record.rule}
        case Kind.DATAGRAM:
            return {"number": record.value}
        case _:
            return {}


def written(record: probe.Record) -> bytes:
    match Kind(record.kind):
        case Kind.OPEN:
            classes = record.marking, record.priority
            return probe.record_open(record.stream, record.value, *classes, record.service, record.transport)
        case Kind.ACCEPT | Kind.CREDIT | Kind.FIN:
            return probe.record_number(record.stream, record.kind, record.value)
        case Kind.RESET:
            return probe.record_reset(record.stream, record.code, record.rule)
        case Kind.DATAGRAM:
            head = probe.record_datagram(record.stream, record.value, len(record.data) - 8)
            return head + record.data[8:]
        case _:
            return probe.record_head(record.stream, record.kind, len(record.data)) + record.data


@pytest.mark.parametrize("case", RECORDS["refused"], ids=lambda case: case["what"])
def test_records_that_are_refused(case: Json) -> None:
    with pytest.raises(Refusal) as refused:
        probe.record_check(octets(case["wire"]), datagrams=case["in"] == "DATAGRAMS")
    assert refused.value.reason == case["reason"]


# -- refusals.json ----------------------------------------------------------------------------------------------------

REFUSALS = load("refusals")
SESSION, LINK = 5, 9


def receiver() -> tuple[Edge, Lane]:
    """The acceptor and responder of the file, ready for the first byte."""
    edge = Edge()
    suite = suite_of(REFUSALS["suite"])
    keys = LinkKeys(octets(REFUSALS["link_secret"]), bytes(16), 1)
    keys.dial(0)
    edge.link_add(LINK, suite=suite, dialler=False, lanes=1, binding=octets(REFUSALS["link_binding"]))
    edge.session_add(
        SESSION,
        secret=octets(REFUSALS["session_secret"]),
        binding=octets(REFUSALS["session_binding"]),
        suite=suite,
        initiator=False,
        flows=1,
        cap=1 << 20,
    )
    edge.session_path(SESSION, link=LINK, in_label=REFUSALS["responder_label"], out_label=REFUSALS["initiator_label"])
    # It has a service, whose target never answers: a stream is neither accepted nor refused.
    edge.publish([(0, b"s")], [], [(SESSION, 0)])
    edge.connects = False
    return edge, edge.lane_start(LINK, index=0, number=0, secret=keys.take(0))


@pytest.mark.parametrize("piece", [1, 1 << 20], ids=["byte by byte", "whole"])
@pytest.mark.parametrize("case", REFUSALS["cases"], ids=lambda case: case["what"])
def test_refusals(case: Json, piece: int) -> None:
    edge, lane = receiver()
    *good, bad = map(octets, case["wires"])
    for wire in good:
        feed(lane, wire, piece)
        lane.take()
    assert edge.refused() == {}
    assert edge.has_session(SESSION)
    feed(lane, bad, piece)
    assert edge.refused() == ({} if case["closes"] == "lane" else {case["reason"]: 1})
    assert lane.reason == (case["reason"] if case["closes"] == "lane" else None)
    assert edge.has_session(SESSION) == (case["closes"] != "session")
    # A lane that was up says CLOSE, a session FLOW_CLOSE, an unknown label LOST: one frame each.
    said = lane.said if case["closes"] == "lane" else lane.take()
    assert bool(said) == (len(good) > 0)


def feed(lane: Lane, wire: bytes, piece: int) -> None:
    for at in range(0, len(wire), piece):
        if lane.state == "CLOSED":
            return
        lane.feed(wire[at : at + piece])
