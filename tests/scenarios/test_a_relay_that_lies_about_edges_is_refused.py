"""A relay claims callers, invents services, answers for edges that it cannot reach, and meddles with handshakes.

Its word counts for nothing: each edge believes the other's certificate and signature alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
import pytest_asyncio

from pcgrelay.identity.exporter import Purpose
from pcgrelay.identity.handshake import Handshake
from pcgrelay.messages import Advert, Carry, Message, PathAccept, PathClose, PathOpen, PathRefuse, Withdraw
from pcgrelay.model import NodeId, Role
from tests.reference.frames import FlowFrame, Type, body_encode
from tests.reference.records import Kind, record_open
from tests.reference.refusals import Code
from tests.scenarios.kit.echo_witness import await_more, counts, ending
from tests.scenarios.kit.lying_relay import Path, Side
from tests.scenarios.kit.lying_relay_setup import BLOCK_BYTES, LiedTo, lied_to
from tests.scenarios.kit.malicious_member import EVIL, Member, Refused, advert
from tests.scenarios.kit.nodes import KENT, MET
from tests.support.pki import REALM
from tests.support.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.tier_test]

KENT_ID, MET_ID = NodeId(REALM, KENT, "kent-1"), NodeId(REALM, MET, "met-1")
WINDOW = 1 << 20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiedTo]:
    async with lied_to(tmp_path_factory.mktemp("edges")) as begun:
        yield begun


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def honest_again(scene: LiedTo) -> AsyncIterator[None]:
    """After each lie the same relay, honest, carries what it is given."""
    await scene.ready("echo")
    yield
    scene.relay.be_honest()
    assert not scene.relay.faults
    await scene.ready("echo")
    await scene.probe("echo")


def session_ended(scene: LiedTo, marking: int = 1) -> None:
    """Let go of the session that is up, by a frame that does not open, so that the edges begin a new one."""
    path = scene.relay.latest(marking)
    number = path.next_number["kent-1"]
    scene.relay.send_frame(path, path.b, FlowFrame(Type.BUNDLE, 0, number, bytes(16), bytes(8)))


async def setup_refused(scene: LiedTo, **fields: object) -> dict[str, object]:
    """The next line of the Met's log that says why a session with Kent was not made."""
    return await asyncio.to_thread(scene.met.await_log, "session.failed", 10.0, peer=KENT_ID.dotted, **fields)


# -- whose session it is ----------------------------------------------------------------------------------------------


async def test_another_caller_is_claimed(scene: LiedTo) -> None:
    """The relay rewrites the source of a path; Kent's edge asks the certificate, which names somebody else."""
    claimed = NodeId(REALM, "trusted.police.example", "trusted-1")

    def lie(to: Side, message: Message) -> Sequence[Message]:
        if isinstance(message, PathOpen) and to.name == "kent-1" and not message.resume:
            return (msgspec.structs.replace(message, source=claimed.uri),)
        return (message,)

    scene.relay.on_message = lie
    before, since = counts(scene.kent), scene.kent.moment()
    session_ended(scene)
    line = await asyncio.to_thread(scene.kent.await_log, "handshake.refused", 10.0, since, purpose="session")
    assert (line["reason"], line["peer"]) == ("unexpected_identity", claimed.dotted)
    await asyncio.to_thread(await_more, scene.kent, "unexpected_identity", before)


@pytest.mark.parametrize("changes", [{"priority": 2}, {"marking": 3}])
async def test_another_class_is_claimed(scene: LiedTo, changes: dict[str, int]) -> None:
    """The relay raises the class of a session: its edges mean different ones, and find out."""

    def lie(to: Side, message: Message) -> Sequence[Message]:
        if isinstance(message, PathOpen) and to.name == "kent-1":
            return (msgspec.structs.replace(message, **changes),)
        return (message,)

    scene.relay.on_message = lie
    before = len(scene.kent.log("handshake.refused", reason="session_class"))
    session_ended(scene)
    refused = lambda: len(scene.kent.log("handshake.refused", reason="session_class")) > before
    await asyncio.to_thread(until, refused, 10.0, "the edges find out")


async def test_a_marking_is_lowered_so_that_what_is_not_cleared_takes_it(scene: LiedTo) -> None:
    """The relay says OFFICIAL of a path that is more: whoever judges by that lets it pass, and no byte follows."""

    def lie(to: Side, message: Message) -> Sequence[Message]:
        if isinstance(message, PathOpen) and to.name == "kent-1" and message.marking == 2:
            return (msgspec.structs.replace(message, marking=1),)
        return (message,)

    await scene.ready("echo2")
    # Kent's own line may come a moment after the Met is ready.
    both_up = lambda: {each.marking for each in scene.kent.status().sessions if each.state == "up"} == {1, 2}
    await asyncio.to_thread(until, both_up, 10.0, "both sessions are up at Kent")
    scene.relay.on_message = lie
    before = len(scene.kent.log("handshake.refused", reason="session_class"))
    ups = len(scene.kent.log("session.up"))
    session_ended(scene, marking=2)
    refused = lambda: len(scene.kent.log("handshake.refused", reason="session_class")) > before
    await asyncio.to_thread(until, refused, 10.0, "the edges find out")
    assert len(scene.kent.log("session.up")) == ups
    scene.relay.be_honest()
    await scene.ready("echo2")
    await scene.probe("echo2")


@pytest.mark.parametrize("claimed", ["relay", "evil"])
async def test_the_relay_answers_the_handshake_itself(scene: LiedTo, claimed: str) -> None:
    """It terminates the session's TLS with a certificate of its own, and another member's is no better."""
    member = scene.relay.member if claimed == "relay" else Member.new(scene.stage.pki)
    handshakes: dict[bytes, Handshake] = {}

    def lie(to: Side, message: Message) -> Sequence[Message]:
        if not isinstance(message, Carry) or to.name != "kent-1":
            return (message,)
        if message.session not in handshakes:
            parameters = member.parameters(role=Role.EDGE)
            handshakes[message.session] = Handshake(
                member.context, parameters, client=False, purpose=Purpose.SESSION, judge=lambda peer: None
            )
        handshake = handshakes[message.session]
        path = scene.relay.paths[message.session]
        try:
            answer = handshake.receive(message.data)
        except Exception as refused:
            answer = getattr(refused, "farewell", b"")
        if answer:
            path.a.linked.send(Carry(message.session, answer))
        return ()

    before = counts(scene.met)
    scene.relay.on_message = lie
    session_ended(scene)
    await asyncio.to_thread(await_more, scene.met, "unexpected_identity", before)
    await setup_refused(scene, reason="unexpected_identity")


async def test_a_handshake_is_replayed(scene: LiedTo) -> None:
    """What was carried once to Kent is carried to it again, on a path of the relay's own."""
    carried: list[bytes] = []

    def record(to: Side, message: Message) -> Sequence[Message]:
        if isinstance(message, Carry) and to.name == "kent-1":
            carried.append(message.data)
        return (message,)

    scene.relay.on_message = record
    session_ended(scene)
    await asyncio.to_thread(until, lambda: len(carried) >= 2, 10.0, "a handshake was carried")
    await scene.ready("echo")
    before = counts(scene.kent)
    side = scene.relay.sides["kent-1"]
    via = (scene.relay.member.id.uri,)
    asked, _ = await side.linked.path(KENT_ID, source=MET_ID.uri, via=via)
    for data in carried[:2]:
        side.linked.send(Carry(asked.session, data))
    await asyncio.to_thread(await_more, scene.kent, "tls_error", before)


@pytest.mark.parametrize("to", ["kent-1", "met-1"])
@pytest.mark.parametrize("alter", ["flips a bit", "leaves out", "repeats", "cuts short"])
async def test_a_handshake_is_altered(scene: LiedTo, to: str, alter: str) -> None:
    told = asyncio.Event()

    def lie(side: Side, message: Message) -> Sequence[Message]:
        if not isinstance(message, Carry) or side.name != to or told.is_set():
            return (message,)
        told.set()
        changed = bytearray(message.data)
        changed[len(changed) // 2] ^= 4
        return {
            "flips a bit": (Carry(message.session, bytes(changed)),),
            "leaves out": (),
            "repeats": (message, message),
            "cuts short": (Carry(message.session, message.data[:-1]),),
        }[alter]

    # Counted, for after many failures the log has only some of them.
    seen = sum(scene.met.status().refusals.values())
    scene.relay.on_message = lie
    session_ended(scene)
    await asyncio.wait_for(told.wait(), 10)
    await asyncio.to_thread(until, lambda: sum(scene.met.status().refusals.values()) > seen, 10.0, "the set-up fails")


async def test_two_sessions_exchange_their_handshakes(scene: LiedTo) -> None:
    """What belongs to the one class is carried to the other, both ways: the keys come out for neither."""
    await scene.ready("echo2")
    mixed: dict[int, bytes] = {}

    def lie(to: Side, message: Message) -> Sequence[Message]:
        if isinstance(message, PathOpen) and not message.resume:
            mixed[message.marking] = message.session
        if isinstance(message, Carry) and len(mixed) == 2 and message.session in mixed.values():
            other = next(session for session in mixed.values() if session != message.session)
            return (Carry(other, message.data),)
        return (message,)

    seen = len(scene.met.log("session.failed")) + len(scene.met.log("session.up"))
    scene.relay.on_message = lie
    for marking in (1, 2):
        path = scene.relay.latest(marking)
        scene.relay.send_frame(path, path.b, FlowFrame(Type.BUNDLE, 0, path.next_number["kent-1"], bytes(16), bytes(8)))
    await asyncio.to_thread(
        until, lambda: len(scene.met.log("session.failed")) + len(scene.met.log("session.up")) > seen, 15.0
    )
    scene.relay.be_honest()
    await scene.ready("echo2")
    # Whatever came of it, a session has the marking that its own path was asked for.
    await scene.probe("echo2")


# -- paths ------------------------------------------------------------------------------------------------------------


async def test_a_path_is_accepted_to_where_the_relay_cannot_reach(scene: LiedTo) -> None:
    """It says yes and carries nothing: the set-up ends by its deadline, and is tried again."""

    def lie(to: Side, message: Message) -> Sequence[Message]:
        if isinstance(message, PathOpen) and to.name == "kent-1" and not message.resume:
            path = scene.relay.paths[message.session]
            path.a.linked.send(PathAccept(message.session, message.flows, message.cap, path.a_in))
            return ()
        return (message,)

    scene.relay.on_message = lie
    session_ended(scene)
    await setup_refused(scene, reason="deadline")


async def test_more_is_accepted_than_was_asked(scene: LiedTo) -> None:
    def lie(to: Side, message: Message) -> Sequence[Message]:
        if isinstance(message, PathAccept) and to.name == "met-1":
            return (msgspec.structs.replace(message, flows=64, cap=1 << 30),)
        return (message,)

    scene.relay.on_message = lie
    session_ended(scene)
    await setup_refused(scene, reason="more_than_asked")


async def test_a_refusal_is_made_up(scene: LiedTo) -> None:
    """The relay may refuse to carry; the line names the author that it claims and no word that it made up.

    The session is tried again.
    """

    def lie(to: Side, message: Message) -> Sequence[Message]:
        if isinstance(message, PathOpen) and to.name == "kent-1" and not message.resume:
            path = scene.relay.paths[message.session]
            path.a.linked.send(PathRefuse(message.session, Code.REFUSED, "no_reason", KENT_ID.uri))
            return ()
        return (message,)

    scene.relay.on_message = lie
    session_ended(scene)
    await setup_refused(scene, reason="other")


ASKS = {
    "a path to another edge": ({"destination": MET_ID.uri}, "not_this_edge"),
    "a path from another realm": ({"source": "spiffe://other.example/org/a.example/node/a-1"}, "wrong_realm"),
    "a path from the edge itself": ({"source": KENT_ID.uri}, "wrong_realm"),
    "a path from nobody": ({"source": "met-1"}, "malformed"),
    "a path that did not come this way": ({"via": ()}, "wrong_sender"),
    "a path that comes twice": ({"via": ("twice", "twice")}, "loop"),
    "a path of no marking": ({"marking": 0}, "malformed"),
    "a path of a marking that is none": ({"marking": 9}, "malformed"),
    "a path with the least cap missed": ({"cap": 131_071}, "malformed"),
    "another way for a session that is not": ({"resume": True}, "unknown_session"),
}


@pytest.mark.parametrize("name", ASKS)
async def test_a_path_is_asked_for_that_cannot_be(scene: LiedTo, name: str) -> None:
    changes, reason = ASKS[name]
    relay_uri = scene.relay.member.id.uri
    values: dict[str, object] = {"source": MET_ID.uri, "via": (relay_uri,)} | changes
    if values["via"] == ("twice", "twice"):
        values["via"] = (relay_uri, relay_uri)
    before = counts(scene.kent)
    with pytest.raises(Refused, match=reason):
        await scene.relay.sides["kent-1"].linked.path(KENT_ID, **values)
    await asyncio.to_thread(await_more, scene.kent, reason, before)


async def test_a_session_is_led_away_in_anothers_name(scene: LiedTo) -> None:
    """A new path for the Met's session is asked for in the name of another member."""
    side, session = scene.relay.sides["kent-1"], scene.relay.latest().asked
    via = (scene.relay.member.id.uri,)
    before = counts(scene.kent)
    stranger = f"spiffe://{REALM}/org/{EVIL}/node/evil-0"
    with pytest.raises(Refused, match="unknown_session"):
        await side.linked.path(
            KENT_ID, session=session.session, source=stranger, via=via, resume=True, flows=session.flows
        )
    await asyncio.to_thread(await_more, scene.kent, "unknown_session", before)


# -- what is exported ------------------------------------------------------------------------------------------------


async def test_the_relay_calls_as_itself(scene: LiedTo) -> None:
    """It has a certificate of the realm, so it may have a session; it is granted nothing, and nothing is dialled."""
    side = scene.relay.sides["kent-1"]
    seen = len(scene.echo.talks)
    caller = Member(scene.relay.member.id.organisation, "relay-1", scene.relay.member.files)
    side.linked.member = caller
    far = await side.linked.session(KENT_ID, via=())
    refusals = {"echo": Code.REFUSED, "echo2": Code.REFUSED, "ssh": Code.UNKNOWN, "127.0.0.1:22": Code.UNKNOWN}
    for number, (service, code) in enumerate(refusals.items()):
        stream = 2 * number + 1
        far.send(record_open(stream, service, WINDOW, marking=3))

        def resets(stream: int = stream) -> list[int]:
            records = (record for arrival in far.arrivals for record in arrival.records)
            return [r.number("code") for r in records if r.kind is Kind.RESET and r.stream == stream]

        await far.neighbour.until(lambda resets=resets: bool(resets()))
        assert resets() == [code], service
    far.send_frame(Type.FLOW_CLOSE, body_encode(Type.FLOW_CLOSE, code=0))
    side.linked.member = scene.relay.member

    def causes() -> list[str]:
        lines = scene.kent.log("stream.refused", from_organisation=scene.relay.member.id.organisation)
        return [line["cause"] for line in lines]

    await asyncio.to_thread(until, lambda: len(causes()) == len(refusals))
    assert causes() == ["not-allowed", "not-allowed", "unknown-service", "unknown-service"]
    assert len(scene.echo.talks) == seen


def entry_of_kent(scene: LiedTo) -> Advert:
    return scene.relay.exchange[KENT_ID.uri]


def forged_entries(scene: LiedTo) -> dict[str, tuple[Advert, str]]:
    """Entries by which a service `ghost` of Kent's would come to be, and the word of each refusal."""
    true, relay, evil = entry_of_kent(scene), scene.relay.member, Member.new(scene.stage.pki)
    stale = Member(KENT, "kent-1", scene.stage.pki.issue(KENT, "kent-1", into="wrong-ca", wrong_ca=True))
    revoked = Member(KENT, "kent-9", scene.stage.pki.issue(KENT, "kent-9", into="expired-9", expired=True))
    path = (relay.id.uri,)
    now_s, now_ms = int(time.time()), time.time_ns() // 1_000_000

    def by(member: Member, edge: NodeId = KENT_ID, **changes: object) -> Advert:
        return advert(member, "ghost", path=path, edge=edge, **changes)

    def changed(**fields: object) -> Advert:
        return msgspec.structs.replace(msgspec.structs.replace(true, path=path), **fields)

    good_chain = true.chain
    renamed = true.entry.replace(b"\xa4echo", b"\xa4gost")
    later = (now_ms + 10_000).to_bytes(8, "big")
    assert renamed != true.entry
    return {
        "unsigned": (changed(entry=renamed, signature=b""), "bad_signature"),
        "altered": (changed(entry=renamed), "bad_signature"),
        "with a signature of zero": (changed(signature=bytes(len(true.signature))), "bad_signature"),
        "signed by the relay": (by(relay), "wrong_edge"),
        "signed by the relay under Kent's chain": (by(relay, chain=good_chain), "bad_signature"),
        "signed by another member": (by(evil), "wrong_edge"),
        "signed by another member under Kent's chain": (by(evil, chain=good_chain), "bad_signature"),
        "Kent's certificate behind another's": (by(evil, chain=(*evil.chain, *good_chain)), "wrong_edge"),
        "signed by a foreign CA": (by(stale), "unknown_issuer"),
        "signed by a certificate that is past": (by(revoked, edge=revoked.id), "expired"),
        "past its time": (by(evil, edge=evil.id, not_after=now_s - 10), "expired"),
        "too long before its time": (by(evil, edge=evil.id, not_after=now_s + 7_200), "lives_too_long"),
        "with no content": (changed(entry=b""), "malformed"),
        "with content of another kind": (changed(entry=msgspec.msgpack.encode([1, 2, 3])), "malformed"),
        "of the Met itself": (advert(evil, "ghost", path=path, edge=MET_ID), "loop"),
        "by a way that it did not come": (msgspec.structs.replace(true, path=()), "wrong_sender"),
        "by a way through the Met": (msgspec.structs.replace(true, path=(MET_ID.uri, *path)), "loop"),
        "by a way that comes twice": (msgspec.structs.replace(true, path=path * 2), "malformed"),
        "with a number made later": (
            changed(entry=true.entry.replace(sequence_of(true).to_bytes(8, "big"), later)),
            "bad_signature",
        ),
    }


def sequence_of(signed: Advert) -> int:
    return int(msgspec.msgpack.decode(signed.entry)[2])


async def test_a_service_is_invented(scene: LiedTo) -> None:
    side = scene.relay.sides["met-1"]
    for name, (entry, word) in forged_entries(scene).items():
        before = counts(scene.met)
        side.linked.send(entry)
        await asyncio.to_thread(await_more, scene.met, word, before)
        assert not scene.met.service("ghost").routes, name
    reasons = {line["reason"] for line in scene.met.log("catalogue.refused", peer=scene.relay.member.dotted)}
    assert reasons >= {"bad_signature", "wrong_edge", "unknown_issuer", "expired", "lives_too_long", "malformed"}
    assert scene.met.service("ghost").state != "ready"


async def test_a_stale_entry_is_passed_off_as_new(scene: LiedTo) -> None:
    """An older entry of a member, good in all but its age, does not bring back what it has withdrawn."""
    side, evil = scene.relay.sides["met-1"], Member.new(scene.stage.pki)
    path = (scene.relay.member.id.uri,)
    old = advert(evil, "trap", path=path, sequence=1_000)
    new = advert(evil, path=path, sequence=2_000)
    before = counts(scene.met)
    side.linked.send(old)
    await asyncio.to_thread(until, lambda: scene.met.service("trap").routes, 10.0, "the trap is known")
    side.linked.send(new)
    await asyncio.to_thread(until, lambda: not scene.met.service("trap").routes, 10.0, "the trap is gone")
    side.linked.send(old)
    await asyncio.to_thread(await_more, scene.met, "old_sequence", before)
    assert not scene.met.service("trap").routes
    side.linked.send(Withdraw(evil.id.uri, 2_000))


# -- what is cut ------------------------------------------------------------------------------------------------------


async def test_a_session_is_cut_off_in_good_order(scene: LiedTo) -> None:
    """In the middle of a stream the relay lets TCP end on all its connections, and then says that Kent knows nothing.

    The application is reset; it never sees an end that looks clean.
    """

    def lie(to: Side, message: Message) -> Sequence[Message]:
        if isinstance(message, PathOpen) and to.name == "kent-1" and message.resume:
            path = scene.relay.paths[message.session]
            path.a.linked.send(PathRefuse(message.session, Code.UNKNOWN, "unknown_session", KENT_ID.uri))
            return ()
        return (message,)

    with await scene.converse() as conversation:
        await asyncio.to_thread(conversation.emit, BLOCK_BYTES)
        scene.relay.on_message = lie
        scene.relay.cut()
        rest, ended = await asyncio.to_thread(ending, conversation.sock)
    assert (rest, ended) == (b"", "reset")
    await asyncio.to_thread(scene.met.await_log, "session.down", 10.0, reason="unknown_session")


async def test_lanes_are_cut_and_nothing_is_lost(scene: LiedTo) -> None:
    """TCP ends on the lanes alone while a stream runs: the session resumes, and every byte arrives once."""
    with await scene.converse() as conversation:
        for _ in range(3):
            await asyncio.to_thread(conversation.emit, BLOCK_BYTES)
            for side in scene.relay.sides.values():
                assert side.neighbour is not None
                side.neighbour._writer.close()
        await asyncio.to_thread(conversation.emit, BLOCK_BYTES)
        await asyncio.to_thread(conversation.finish)
    assert conversation.ended == "eof"
    await asyncio.to_thread(conversation.judge)


@pytest.mark.parametrize("word", ["LOST", "PATH_CLOSE"])
async def test_a_path_is_said_to_be_lost_again_and_again(scene: LiedTo, word: str) -> None:
    """A relay may always refuse to carry. The edges look for another way, and no byte is altered or missing."""
    with await scene.converse() as conversation:
        for _ in range(4):
            path: Path = scene.relay.latest()
            assert path.a.neighbour is not None
            if word == "LOST":
                body = body_encode(Type.LOST, flow=path.a_in, code=Code.UNREACHABLE)
                path.a.neighbour.send(Type.LOST, body)
            else:
                path.a.linked.send(PathClose(path.asked.session, Code.UNREACHABLE))
                path.b.linked.send(PathClose(path.asked.session, Code.UNREACHABLE))
            await asyncio.to_thread(conversation.emit, BLOCK_BYTES)
        await asyncio.to_thread(conversation.finish)
    assert conversation.ended == "eof"
    await asyncio.to_thread(conversation.judge)
