"""Whoever dials a node, or answers to one, with the wrong certificate, name, version, group or memory is refused.

Each refusal has its word in the log and in a counter, and two good edges talk on through the same node.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from OpenSSL import SSL

from pcgrelay.identity.pyopenssl import set_groups, was_resumed
from pcgrelay.identity.tls import HandshakeRefused, TlsDriver, make_context
from pcgrelay.link.control import handshake_over
from pcgrelay.model import NodeId
from tests.scenarios.kit.echo_witness import await_more, counts, host_port
from tests.scenarios.kit.malicious_member import EVIL, HUB_ROLE, Member, Refused, advert, anybody, connect
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Node
from tests.scenarios.kit.under_attack import Battle, battle_begun
from tests.support.pki import REALM, RealmPki
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

STRANGER = "stranger.example"
MEMBERS = [KENT, MET, EVIL, HUB]
HYBRID = "X25519MLKEM768"

_folders = itertools.count(1)


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Battle]:
    folder = tmp_path_factory.mktemp("peers")
    with battle_begun(folder, policy={"members": MEMBERS, "relays": [HUB]}, revoked=[(EVIL, "revoked-1")]) as begun:
        yield begun


@pytest.fixture(autouse=True)
def undisturbed(battle: Battle) -> Iterator[None]:
    """Whatever a test does, the good application notices nothing."""
    yield
    battle.witness.check()


def bare_context(member: Member | None, groups: str = HYBRID) -> SSL.Context:
    """TLS as most programs speak it, with that member's certificate or none."""
    context = SSL.Context(SSL.TLS_METHOD)
    set_groups(context, groups)
    if member is not None:
        context.use_certificate(member.credentials.leaf)
        context.use_privatekey(member.credentials.key)  # type: ignore[arg-type]
    return context


def tls_1_2(member: Member) -> SSL.Context:
    context = bare_context(member, "X25519:P-256")
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    return context


def odd(pki: RealmPki, node: str, **changes: object) -> Member:
    """A member whose certificate is wrong in one way."""
    into = f"{node}-{next(_folders)}"
    return Member(EVIL, node, pki.issue(EVIL, node, into=into, **changes))  # type: ignore[arg-type]


def revoked(pki: RealmPki) -> Member:
    """Issued and revoked before the nodes read the list."""
    folder = pki.folder / f"revoked-1.{EVIL}"
    good = Member.new(pki).files
    return Member(
        EVIL,
        "revoked-1",
        dataclasses.replace(good, certificate=folder / "revoked-1.pem", key=folder / "revoked-1.key"),
    )


def with_context(member: Member, context: SSL.Context) -> Member:
    member.context = context
    return member


def without_certificate(pki: RealmPki) -> Member:
    return with_context(Member.new(pki), bare_context(None))


def with_filler(pki: RealmPki) -> Member:
    """A nameless leaf that signs, and behind it the good certificate of somebody else."""
    nameless, good = odd(pki, "filler-1", no_san=True), Member.new(pki)
    stuffed = dataclasses.replace(nameless.credentials, chain=(nameless.credentials.leaf, good.credentials.leaf))
    return with_context(nameless, make_context(stuffed, post_quantum_required=True))


def under_anothers_name(pki: RealmPki) -> Member:
    """Its certificate is good, and HELLO names another node."""
    member = Member.new(pki)
    member.id = NodeId(REALM, EVIL, "somebody-else")
    return member


def uri(text: str) -> list[str]:
    return [text]


WRONG: dict[str, tuple[Callable[[RealmPki], Member], str]] = {
    "no certificate": (without_certificate, "no_certificate"),
    "a foreign CA": (lambda pki: odd(pki, "foreign-1", wrong_ca=True), "unknown_issuer"),
    "an expired certificate": (lambda pki: odd(pki, "expired-1", expired=True), "expired"),
    "a certificate of tomorrow": (lambda pki: odd(pki, "early-1", not_yet_valid=True), "not_yet_valid"),
    "a revoked certificate": (revoked, "revoked"),
    "no SPIFFE name": (lambda pki: odd(pki, "nameless-1", no_san=True), "no_spiffe_san"),
    "two names": (lambda pki: odd(pki, "double-1", two_sans=True), "two_sans"),
    "a name of another kind": (lambda pki: odd(pki, "web-1", uris=uri("https://evil.example/")), "no_spiffe_san"),
    "a name of another form": (lambda pki: odd(pki, "odd-1", uris=uri(f"spiffe://{REALM}/evil")), "malformed"),
    "a name in capitals": (
        lambda pki: odd(pki, "loud-1", uris=uri(f"spiffe://{REALM}/org/{EVIL}/node/LOUD-1")),
        "malformed",
    ),
    "a name of another realm": (
        lambda pki: odd(pki, "away-1", uris=uri(f"spiffe://other.example/org/{EVIL}/node/away-1")),
        "wrong_realm",
    ),
    "an identity in a filler certificate": (with_filler, "no_spiffe_san"),
    "another name in HELLO": (under_anothers_name, "hello"),
    "no membership": (lambda pki: Member.new(pki, STRANGER), "not_a_member"),
    "TLS 1.2": (lambda pki: with_context(Member.new(pki), tls_1_2(Member.new(pki))), "tls_version"),
    "a classical group alone": (
        lambda pki: with_context(Member.new(pki), bare_context(Member.new(pki), "X25519:P-256")),
        "group",
    ),
}


@pytest.mark.parametrize("name", WRONG)
async def test_who_dials_with(battle: Battle, name: str) -> None:
    make, reason = WRONG[name]
    member = make(battle.stage.pki)
    for victim in ("relay", "kent"):
        node = battle.node(victim)
        before = counts(node)
        linked = None
        try:
            linked = await member.link(battle.ports[victim])
            # A client may believe itself done before the server has judged it: then the server hangs up.
            await linked.ended(5)
        except HandshakeRefused:
            pass
        await asyncio.to_thread(await_more, node, reason, before)
        assert node.log("handshake.refused", reason=reason)
        assert not node.log("link.up", peer=member.dotted)
        if linked is not None:
            await linked.close()


async def test_who_says_that_it_is_a_relay(battle: Battle) -> None:
    """An organisation that may link may not have relays for that; and an edge is believed nothing of others."""
    pki = battle.stage.pki
    for victim in ("relay", "kent"):
        node = battle.node(victim)
        before = counts(node)
        pretender = Member.new(pki, role=HUB_ROLE)
        with suppress(HandshakeRefused):
            linked = await pretender.link(battle.ports[victim])
            await linked.ended(5)
            await linked.close()
        await asyncio.to_thread(await_more, node, "not_a_relay", before)
        assert node.log("handshake.refused", reason="not_a_relay")
        assert not node.log("link.up", peer=pretender.dotted)

        before = counts(node)
        other = Member.new(pki)
        async with Member.new(pki).linked(battle.ports[victim]) as edge:
            behind = (edge.member.id.uri,)
            with pytest.raises(Refused, match="not_a_relay"):
                await edge.path(NodeId(REALM, KENT, "kent-1"), source=other.id.uri, via=behind)
            edge.send(advert(other, "trap", path=behind))
            await asyncio.to_thread(await_more, node, "not_a_relay", before, 2)
        assert node.log("catalogue.refused", reason="not_a_relay")


async def test_a_peer_for_whom_all_is_right_comes_in(battle: Battle) -> None:
    """What the other cases are refused for is what is wrong with them."""
    for victim in ("relay", "kent"):
        async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
            node = battle.node(victim)
            line = await asyncio.to_thread(node.await_log, "link.up", peer=linked.member.dotted)
            assert line["group"] == HYBRID


# -- who answers ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def answering(member: Member, port: int) -> AsyncIterator[None]:
    """A server that answers the handshakes of whoever dials it, as that member."""
    loop = asyncio.get_running_loop()

    async def answer() -> None:
        while True:
            sock, _ = await loop.sock_accept(listener)
            with sock:
                sock.setblocking(False)
                with suppress(HandshakeRefused):
                    _, connection = await handshake_over(
                        sock, member.context, member.parameters(), anybody, client=False, deadline_ms=3_000
                    )
                    connection.abandon()

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen()
        listener.setblocking(False)
        task = asyncio.create_task(answer())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


ANSWERS: dict[str, tuple[Callable[[RealmPki], Member], str]] = {
    name: (make, "unexpected_identity" if name == "no membership" else reason)
    for name, (make, reason) in WRONG.items()
    # A server without a certificate cannot even begin, and what it does not offer the dialler hears as an alert.
    if name not in ("no certificate", "TLS 1.2", "a classical group alone")
} | {"the certificate of another node": (Member.new, "unexpected_identity")}


async def test_who_is_dialled_and_answers_wrongly(battle: Battle) -> None:
    """One edge dials them all: each link fails under its own name, and none comes up."""
    pki = battle.stage.pki
    members = {name: (make(pki), reason) for name, (make, reason) in ANSWERS.items()}
    ports = {name: free_port() for name in members}
    links = [
        {"peer": f"peer-{number}.{EVIL}", "address": host_port(ports[name])} for number, name in enumerate(members)
    ]
    dialler: Node = battle.stage.node("dialler.example", "dialler-1", links=links, policy={"members": []})
    async with AsyncExitStack() as servers:
        for name, (member, _) in members.items():
            await servers.enter_async_context(answering(member, ports[name]))
        await asyncio.to_thread(dialler.start)
        try:
            for number, (_, reason) in enumerate(members.values()):
                peer = f"peer-{number}.{EVIL}"
                line = await asyncio.to_thread(dialler.await_log, "link.failed", 10.0, peer=peer)
                # TLS itself can say no more than that the name is not the one that was dialled.
                assert line["reason"] in {reason, "unexpected_identity" if reason == "hello" else reason}, peer
            assert not dialler.log("link.up")
            assert {link.state for link in dialler.status().links} <= {"down", "connecting"}
        finally:
            dialler.kill()


# -- resumption -------------------------------------------------------------------------------------------------------


async def spoken(battle: Battle, victim: str, driver: TlsDriver) -> bool:
    """Do the TLS handshake with a node; whether it leant on an earlier one."""
    loop = asyncio.get_running_loop()
    with await connect(battle.ports[victim]) as sock:
        driver.handshake()
        await loop.sock_sendall(sock, driver.take())
        while not driver.handshake():
            driver.feed(await asyncio.wait_for(loop.sock_recv(sock, 65_536), 20))
        await loop.sock_sendall(sock, driver.take())
        # Tickets come behind the handshake; the node waits for HELLO and says nothing else.
        try:
            driver.feed(await asyncio.wait_for(loop.sock_recv(sock, 65_536), 0.3))
            driver.read()
        except (TimeoutError, HandshakeRefused):
            pass
    return was_resumed(driver.connection)


def shaken(client: TlsDriver, server: TlsDriver) -> None:
    """The handshake of two that need no socket."""
    for _ in range(4):
        client.handshake()
        server.feed(client.take())
        server.handshake()
        client.feed(server.take())


def careless_session(pki: RealmPki, client: SSL.Context) -> SSL.Session:
    """A session with a ticket, of a server that has the relay's certificate and gives tickets to everybody."""
    folder = pki.folder / f"relay-1.{HUB}"
    relay = Member(
        HUB,
        "relay-1",
        dataclasses.replace(Member.new(pki).files, certificate=folder / "relay-1.pem", key=folder / "relay-1.key"),
    )
    server_context = bare_context(relay)
    server_context.set_session_cache_mode(SSL.SESS_CACHE_BOTH)
    server_context.set_session_id(b"careless")
    mine, theirs = TlsDriver(client, client=True), TlsDriver(server_context, client=False)
    shaken(mine, theirs)
    theirs.write(b"x")
    mine.feed(theirs.take())
    assert mine.read() == b"x"
    session = mine.connection.get_session()
    assert session is not None
    # It is a good one: that server takes it again.
    again, other = TlsDriver(client, client=True), TlsDriver(server_context, client=False)
    again.connection.set_session(session)
    with pytest.raises(HandshakeRefused, match="resumed"):
        shaken(again, other)
    return session


@pytest.mark.parametrize("way", ["ticket", "session id", "foreign ticket"])
@pytest.mark.parametrize("victim", ["relay", "kent"])
async def test_a_handshake_is_never_resumed(battle: Battle, victim: str, way: str) -> None:
    """The second handshake offers what the first one left; the node asks for certificates again.

    A ticket of another server travels in the same extension as any other pre-shared key.
    """
    member = Member.new(battle.stage.pki)
    context = bare_context(member)
    context.set_session_cache_mode(SSL.SESS_CACHE_BOTH)
    if way == "session id":
        context.set_options(SSL.OP_NO_TICKET)
    if way == "foreign ticket":
        session = careless_session(battle.stage.pki, context)
    else:
        first = TlsDriver(context, client=True)
        assert not await spoken(battle, victim, first)
        found = first.connection.get_session()
        assert found is not None
        session = found
    again = TlsDriver(context, client=True)
    again.connection.set_session(session)
    assert not await spoken(battle, victim, again)
    # It was a whole handshake: the node showed its certificate again.
    assert again.peer_chain()


async def test_the_refused_leave_nothing_behind(battle: Battle) -> None:
    """Descriptors and links of the nodes are as before, once a hundred of them were refused."""
    node, pki = battle.relay, battle.stage.pki
    member = odd(pki, "many-1", no_san=True)
    descriptors, links = node.descriptors, len(node.status().links)
    before = counts(node)
    for _ in range(100):
        try:
            linked = await member.link(battle.ports["relay"])
        except HandshakeRefused:
            continue
        await linked.ended(5)
        await linked.close()
    await asyncio.to_thread(await_more, node, "no_spiffe_san", before, 100)
    await asyncio.to_thread(until, lambda: node.descriptors <= descriptors, 10.0, "descriptors are as before")
    assert len(node.status().links) <= links
