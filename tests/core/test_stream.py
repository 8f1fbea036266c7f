"""The states of a stream: the table of the core is that of the page, and an edge of the core goes through it as told.

What an edge grants is its own choice. So what rests on a limit of the edge is led with the parts: table and credit.
"""

from typing import Any

import pytest

from tests.native import probe
from tests.native.probe import ReceiveCredit, Refusal, SendCredit
from tests.native.probe_edge import Application
from tests.reference.records import Kind, records_decode
from tests.reference.streams import RX, TABLE, TX, State
from tests.support.reference_peer import Peer
from tests.support.vectors import load, octets

Json = dict[str, Any]
STREAMS = load("streams")
COUNT_LATE_RECORDS = 17
EARLY = 16_384


# -- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", probe.EVENTS)
def test_the_table_is_that_of_the_reference(state: State, event: str) -> None:
    way, _, kind = event.rpartition(" ")
    named = {"ACC": Kind.ACCEPT}.get(kind) or Kind[kind]
    wanted = [TABLE[state].get((sending, named)) for sending in ((TX, RX) if not way else (way == "tx",))]
    following = probe.stream_step(probe.STATES.index(state.value), probe.EVENTS.index(event))
    assert [None if following is None else State(probe.STATES[following])] == list(set(wanted))


@pytest.mark.parametrize("state", probe.STATES)
def test_whatever_its_state_a_stream_may_be_forgotten(state: str) -> None:
    assert len(probe.EVENTS) == probe.FORGET
    assert probe.stream_step(probe.STATES.index(state), probe.FORGET) == probe.STATES.index("CLOSED")


def test_there_are_no_other_states() -> None:
    assert list(probe.STATES) == [state.value for state in State]


# -- streams.json, with an edge ---------------------------------------------------------------------------------------


class Led:
    """An edge that is led through the steps of a vector, all on its stream 1 or whatever the peer opens."""

    def __init__(self, edge: str) -> None:
        self.peer = Peer(is_initiator=edge == "initiator")
        self.peer.be_blind()
        self.peer.edge.connects = False
        self.application: Application | None = None
        self.ids: dict[int, Application] = {}

    def step(self, step: Json) -> str:
        """Do it; the state that follows, 'late', or the reason."""
        wire = octets(step["wire"])
        (record,) = records_decode(wire)
        late = self.peer.edge.counted(COUNT_LATE_RECORDS)
        if step["sends"] == "peer":
            before = len(self.peer.edge.answered)
            self.peer.send_body(wire)
            for application in self.peer.edge.answered[before:]:
                self.ids[record.stream] = application
        else:
            self.edge_sends(record.stream, record.kind, record.data)
            self.peer.settle()
            assert (record.stream, record.kind) in [(each.stream, each.kind) for each in self.peer.records()]
        if refused := self.peer.edge.refused():
            (reason,) = refused
            assert not self.peer.edge.has_session(5)
            return reason
        if self.peer.edge.counted(COUNT_LATE_RECORDS) > late:
            return "late"
        return self.ids[record.stream].state or "CLOSED"

    def edge_sends(self, stream: int, kind: Kind, data: bytes) -> None:
        edge = self.peer.edge
        if kind is Kind.OPEN:
            opened = edge.connect()
            assert opened is not None
            self.ids[stream] = opened
            return
        application = self.ids[stream]
        match kind:
            case Kind.ACCEPT:
                edge.connects = True
                edge.reads(application, True)
            case Kind.DATA:
                edge.write(application, data)
            case Kind.FIN:
                edge.write(application, b"", close=True)
            case Kind.RESET:
                edge.reset(application)


def by_edge(steps: list[Json]) -> bool:
    """Does it rest on no limit that the edge grants?"""
    return not any(step["sends"] == "edge" and step["kind"] == "CREDIT" for step in steps)


def state_cases() -> list[Any]:
    cases = []
    for state in STREAMS["states"]:
        for event in state["events"]:
            steps = [*state["way"], event]
            if by_edge(steps):
                cases.append(
                    pytest.param(state["edge"], steps, id=f"{state['state']}, {event['sends']} {event['kind']}")
                )
    return cases


@pytest.mark.parametrize(("edge", "steps"), state_cases())
def test_each_record_in_each_state(edge: str, steps: list[Json]) -> None:
    led = Led(edge)
    outcomes = [led.step(step) for step in steps]
    assert outcomes[-1] == steps[-1]["outcome"]


SEQUENCES = {sequence["what"]: sequence for sequence in STREAMS["sequences"]}


@pytest.mark.parametrize("what", [what for what, each in SEQUENCES.items() if by_edge(each["steps"])])
def test_sequences(what: str) -> None:
    sequence = SEQUENCES[what]
    led = Led(sequence["edge"])
    for step in sequence["steps"]:
        assert led.step(step) == step["outcome"]


# -- streams.json, where limits of the edge are given -----------------------------------------------------------------


class Pieces:
    """One stream of the core's own parts, with limits as the vector says."""

    def __init__(self) -> None:
        self.state = 0
        self.tx, self.rx = SendCredit(EARLY), ReceiveCredit()
        self.rx.grant(EARLY, 1)

    def step(self, sends: bool, kind: str, wire: bytes) -> str:
        record, _used = probe.record_read(wire)
        try:
            if kind != "CREDIT":
                name = kind if kind == "RESET" else f"{'tx' if sends else 'rx'} {kind}"
                following = probe.stream_step(self.state, probe.EVENTS.index(name))
                if following is None:
                    return "BAD_STATE"
                self.state = following
            if kind in ("OPEN", "ACCEPT", "CREDIT"):
                self.limit(sends, kind == "OPEN", record.value)
            elif kind == "DATA":
                self.tx.spend(len(record.data)) if sends else self.rx.receive(len(record.data))
        except Refusal as refusal:
            return refusal.reason
        return probe.STATES[self.state]

    def limit(self, sends: bool, opens: bool, limit: int) -> None:
        if sends:
            if opens:
                self.rx = ReceiveCredit()
            self.rx.grant(limit, 1)
        else:
            if opens:
                self.tx = SendCredit(0)
            self.tx.raise_to(limit)


@pytest.mark.parametrize("what", [what for what, each in SEQUENCES.items() if not by_edge(each["steps"])])
def test_sequences_with_limits_of_the_edge(what: str) -> None:
    stream = Pieces()
    for step in SEQUENCES[what]["steps"]:
        assert stream.step(step["sends"] == "edge", step["kind"], octets(step["wire"])) == step["outcome"]
