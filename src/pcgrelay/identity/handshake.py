"""The handshake: TLS, identities, one HELLO in each direction, export of the secret (docs/protocol.md, 2).

`Handshake` knows no socket: bytes in, bytes out. `link.control` drives that of a link over a socket;
`session.handshake` carries that of a session in CARRY messages through relays.

        client                                server
    WANTS_TLS  -- ClientHello -->         WANTS_TLS
               <-- ServerHello, certificate, Finished --
               -- certificate, Finished, HELLO -->        identity, then HELLO judged
    WANTS_HELLO                <-- HELLO --               export: DONE
    HELLO judged, export: DONE

The server is DONE before its HELLO is sent, so that its core can have the secret before the client can use it. The
caller sends what `receive` returned only after it has given the secret to the core.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from cryptography import x509
from OpenSSL import SSL

from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.figures import Durations
from pcgrelay.identity.certificates import IdentityRefused, Refusal, read_certificate, read_identity
from pcgrelay.identity.exporter import VERSION, KeyContext, Purpose, export_secret
from pcgrelay.identity.renewal import Renewal
from pcgrelay.identity.skew import Skews
from pcgrelay.identity.tls import HYBRID_GROUPS, HandshakeRefused, TlsDriver
from pcgrelay.messages import Code, Goodbye, Hello, Message, MessageReader, MessageRefused, encode_message
from pcgrelay.model import NodeId, Role, Suite

HANDSHAKE_LIMIT_BYTES = 131_072  # ten times a large hybrid handshake with a chain of four certificates
# With less in flight than this, the flows of a path stall at every round trip (docs/protocol.md, 8).
CAP_LEAST_BYTES = 131_072
CAP_MOST_BYTES = 1 << 30
LANES_MOST = 64
LINK_ID_BYTES = 16
SESSION_CLASS = "session-class"  # feature: HELLO names the session and its class
OBJECTS = "objects"  # feature of links: OBJECT and what belongs to it
BUNDLES = "realm-bundle"  # feature of links: OBJECT of kind 2
TWINS = "twins"  # feature of links: TWIN
WITNESS = "witness-1"  # feature of links: WITNESS
INTEREST = "interest"  # feature of links: WANT
CHAIN_HASH = "chain-hash"  # feature of links: ADVERT with a digest for the chain, and ADVERT_GET
DATAGRAMS = "datagrams"  # feature of links and sessions: services of datagrams
UDP_LANES = "udp-lanes"  # feature of links: DATAGRAM_LANE; listed by a node whose file has udp_lanes
ACK_64K = "ack-64k"  # feature of sessions: ACK after 64 KiB
SESSION_FEATURES = (SESSION_CLASS, DATAGRAMS, ACK_64K)
LINK_FEATURES = (OBJECTS, BUNDLES, TWINS, WITNESS, INTEREST, CHAIN_HASH, DATAGRAMS)

_client_suite_key = {suite.value: suite for suite in Suite}


@dataclass(frozen=True, slots=True)
class HandshakeParameters:
    """What this side offers in a handshake and requires of the other. cap: bytes for each flow and direction."""

    me: NodeId
    role: Role
    leaf: bytes  # DER
    suites: tuple[Suite, ...]
    post_quantum_required: bool
    lanes: int = 0
    flows: int = 0
    cap: int = 0
    session: bytes = b""  # id of the session in PATH_OPEN; empty: the handshake of a link
    marking: int = 0
    priority: int = 0
    class_required: bool = False  # a peer that does not name the class of the session is refused
    may_relay: Callable[[str], bool] = bool  # whether an organisation may have relays; by default any with a name may
    skews: Skews = field(default_factory=lambda: Skews(SYSTEM_CLOCK))  # records the peer's clock
    link_features: tuple[str, ...] | None = None  # those of links that this side lists; None: LINK_FEATURES
    took: Durations = field(default_factory=Durations)  # records how long completed handshakes took


@dataclass(frozen=True, slots=True)
class HandshakeResult:
    """The result of a handshake. secret (32 bytes) is the only copy; the receiver wipes it."""

    peer: NodeId
    peer_role: Role
    suite: Suite
    group: str
    tls_suite: str
    client: bool
    secret: bytearray
    binding: bytes
    lanes: int
    flows: int
    cap: int
    link_id: bytes
    chain: tuple[x509.Certificate, ...]  # the peer's verified chain, leaf first
    generation: int = 0  # 0: a set-up; else that of the renewal
    features: frozenset[str] = frozenset()  # those that both ends list


# Given an identity that TLS has proved: the reason for which it is refused, or None.
Judge = Callable[[NodeId], str | None]
# Given the id of the link in HELLO: what its renewal must match, or None.
Renewable = Callable[[bytes], Renewal | None]
_OF_LINKS = (Purpose.LINK, Purpose.LINK_RENEWAL)


class _State(Enum):
    WANTS_TLS = auto()
    WANTS_HELLO = auto()
    DONE = auto()


class Handshake:
    """One side of one handshake. Any method may raise HandshakeRefused; then the object must not be used any more."""

    def __init__(
        self,
        context: SSL.Context,
        parameters: HandshakeParameters,
        *,
        client: bool,
        purpose: Purpose,
        judge: Judge,
        renewal: Renewal | None = None,
        renewable: Renewable | None = None,
        with_itself: bool = False,
    ) -> None:
        """renewal: what is renewed. renewable: finds it for a server of links, which knows it only from HELLO.

        with_itself: both ends are this node, without a network (`rehearsal`).
        """
        self.tls = TlsDriver(context, client=client)
        self.reader = MessageReader()
        self.established: HandshakeResult | None = None
        self._parameters = parameters
        self._client = client
        self._purpose = purpose
        self._judge = judge
        self._renewal = renewal
        self._renewable = renewable
        self._with_itself = with_itself
        self._generation = renewal.generation if renewal else 0
        self._state = _State.WANTS_TLS
        self._began_ns = time.monotonic_ns()
        self._received_bytes = 0
        self._group = ""
        self._chain: tuple[bytes, ...] = ()  # the peer's verified chain in DER, leaf first
        self._peer: NodeId | None = None
        self._hello_sent: tuple[Hello, bytes] | None = None

    def start(self) -> bytes:
        """Return the first bytes of a client; empty for a server."""
        if not self._client:
            return b""
        self.tls.handshake()
        return self.tls.take()

    def receive(self, data: bytes) -> bytes:
        """Handle bytes of the peer and return those to send. The handshake is complete once `established` is set.

        Raises HandshakeRefused, with the bytes that may still be sent as its farewell.
        """
        self._received_bytes += len(data)
        if self._received_bytes > HANDSHAKE_LIMIT_BYTES:
            raise HandshakeRefused("too_many_bytes", "The peer sent more than any handshake needs.")
        self.tls.feed(data)
        try:
            self._step()
        except HandshakeRefused as refused:
            # An alert or GOODBYE may be queued: it tells the peer's log more than a closed connection.
            refused.farewell = self.tls.take()
            raise
        return self.tls.take()

    def _step(self) -> None:
        if self._state is _State.WANTS_TLS:
            if not self.tls.handshake():
                return
            self._peer = self._peer_judged()
            self._state = _State.WANTS_HELLO
            if self._client:
                self._hello_sent = self._said(self._hello_of_client())
        try:
            for message, whole in self.reader.feed(self.tls.read()):
                self._unknown_judged()
                self._hello_received(message, whole)
                if self._is_last_word():
                    return
            self._unknown_judged()
        except MessageRefused as error:
            raise self._farewell(error.code, "hello", str(error)) from None

    def _is_last_word(self) -> bool:
        """Whether the server has had its say, and what came behind it is left in the reader for the link.

        To the server of a link the link stands once it has said HELLO; what it says next can come in the same bytes.
        """
        return self._state is _State.DONE and self._client and self._purpose in _OF_LINKS

    def _unknown_judged(self) -> None:
        """Refuse messages of an unknown kind before HELLO; later ones are ignored.

        The reader does not call back: each would hold the other then, and TLS with its keys would not be freed when the
        handshake is dropped, but when the collector finds them.
        """
        if self._state is not _State.DONE and self.reader.unknown_total:
            raise MessageRefused("The peer's first message is no HELLO.")

    def _peer_judged(self) -> NodeId:
        self._group = group = self.tls.group()
        if self._parameters.post_quantum_required and group not in HYBRID_GROUPS:
            raise HandshakeRefused("group", f"The key agreement {group} is not post-quantum, which the policy demands.")
        self._chain = self.tls.peer_chain()
        try:
            peer = read_identity(self._chain[0], self._parameters.me.realm)
        except IdentityRefused as refused:
            raise HandshakeRefused(refused.reason, str(refused)) from None
        if peer == self._parameters.me and not self._with_itself:
            raise HandshakeRefused("own_identity", "The peer bears this node's own identity.")
        word = self._judge(peer)
        if word is not None:
            raise self._farewell(Code.REFUSED, word, f"{peer} may not come in here: {word.replace('_', ' ')}.")
        return peer

    def _hello_of_client(self) -> Hello:
        if self._renewal is not None:
            # Suite and link stay; only the keys are new.
            return self._hello(suites=[self._renewal.suite.value], link_id=self._renewal.link_id)
        return self._hello(suites=[suite.value for suite in self._parameters.suites], link_id=b"")

    def _hello(self, *, suites: Sequence[int], link_id: bytes) -> Hello:
        parameters = self._parameters
        return Hello(
            versions=(VERSION,),
            purpose=self._purpose,
            role=parameters.role,
            identity=parameters.me.uri,
            suites=tuple(suites),
            lanes=parameters.lanes,
            flows=parameters.flows,
            cap=parameters.cap,
            link_id=link_id,
            generation=self._generation,
            features=(parameters.skews.feature(), *self._features()),
            nonce=os.urandom(32),
            session=parameters.session,
            marking=parameters.marking,
            priority=parameters.priority,
        )

    def _hello_received(self, message: Message, whole: bytes) -> None:
        if self._state is _State.DONE:
            raise HandshakeRefused("hello", "The peer said more than HELLO before the handshake was over.")
        if isinstance(message, Goodbye):
            refused = HandshakeRefused("peer_refused", f"The peer said goodbye with code {message.code}.")
            refused.shuts_out = message.code == Code.REFUSED
            raise refused
        if not isinstance(message, Hello):
            raise self._farewell(Code.VIOLATION, "hello", "The peer's first message is no HELLO.")
        self._hello_judged(message)
        if self._client:
            self._finish_as_client(message, whole)
        else:
            self._finish_as_server(message, whole)
        self._state = _State.DONE

    def _hello_judged(self, hello: Hello) -> None:
        """Check what both sides require of the other's HELLO."""
        assert self._peer is not None
        if VERSION not in hello.versions or (self._client and hello.versions != (VERSION,)):
            raise self._farewell(Code.VIOLATION, "version", "The peer does not speak version 1 of the protocol.")
        if not self._client and self._renewable is not None and hello.purpose == Purpose.LINK_RENEWAL:
            self._renewal_found(self._renewable(hello.link_id))
        if hello.purpose != self._purpose or not self._is_generation(hello.generation):
            raise self._farewell(Code.VIOLATION, "hello", "The peer's HELLO is for another purpose.")
        self._generation = hello.generation
        self._class_judged(hello)
        if hello.identity != self._peer.uri:
            raise self._farewell(Code.VIOLATION, "hello", "The peer's HELLO and certificate name different nodes.")
        of_links = self._purpose in _OF_LINKS
        if hello.role not in (Role.EDGE, Role.RELAY) or (not of_links and hello.role != Role.EDGE):
            raise self._farewell(Code.VIOLATION, "hello", "The peer's role does not fit.")
        if of_links and hello.role == Role.RELAY and not self._parameters.may_relay(self._peer.organisation):
            raise self._farewell(Code.REFUSED, "not_a_relay", f"{self._peer} may not be a relay of this node.")
        offered = hello.lanes if of_links else hello.flows
        if offered < 1 or hello.cap < CAP_LEAST_BYTES or hello.cap > CAP_MOST_BYTES:
            raise self._farewell(Code.VIOLATION, "hello", "The peer's HELLO offers too little or too much.")

    def _class_judged(self, hello: Hello) -> None:
        """Check that both ends mean the same session and class: a relay could alter both in PATH_OPEN."""
        parameters = self._parameters
        if not parameters.session:
            return  # the handshake of a link
        if not (hello.session or SESSION_CLASS in hello.features):
            if not parameters.class_required:
                return  # an older peer
            raise self._farewell(
                Code.VIOLATION, "session_class", "The peer names no class of the session, which has a marking here."
            )
        if (hello.session, hello.marking, hello.priority) != (
            parameters.session,
            parameters.marking,
            parameters.priority,
        ):
            raise self._farewell(
                Code.VIOLATION, "session_class", "The peer's HELLO is for another session, or another class of it."
            )

    def _renewal_found(self, renewal: Renewal | None) -> None:
        """Note which link the client wants to renew. It must be the client's own."""
        if renewal is None or renewal.peer != self._peer:
            raise self._farewell(Code.UNKNOWN, "renewal_unknown_link", "The peer has no such link to renew.")
        self._renewal = renewal
        self._purpose = Purpose.LINK_RENEWAL

    def _is_generation(self, generation: int) -> bool:
        if self._renewal is None or self._client:
            return generation == self._generation
        return generation >= self._renewal.generation

    def _finish_as_client(self, hello: Hello, whole: bytes) -> None:
        assert self._hello_sent is not None
        mine, my_bytes = self._hello_sent
        if len(hello.suites) != 1 or hello.suites[0] not in mine.suites:
            raise self._farewell(Code.VIOLATION, "suite", "The peer chose a suite that was not offered.")
        if self._purpose is Purpose.LINK and len(hello.link_id) != LINK_ID_BYTES:
            raise self._farewell(Code.VIOLATION, "hello", "The peer's HELLO names no link.")
        if self._renewal is not None and hello.link_id != self._renewal.link_id:
            raise self._farewell(Code.VIOLATION, "hello", "The peer's HELLO names another link.")
        self._export(Suite(hello.suites[0]), hello, hello.link_id, my_bytes + whole)

    def _finish_as_server(self, hello: Hello, whole: bytes) -> None:
        allowed = (_client_suite_key[number] for number in hello.suites if number in _client_suite_key)
        mine = self._parameters.suites if self._renewal is None else (self._renewal.suite,)
        suite = next((suite for suite in allowed if suite in mine), None)
        if suite is None:
            raise self._farewell(Code.REFUSED, "suite", "The peer offers no suite that the policy allows.")
        link_id = self._renewal.link_id if self._renewal else b""
        if hello.link_id != link_id:
            raise self._farewell(Code.VIOLATION, "hello", "The peer's HELLO names a link before there is one.")
        if self._purpose is Purpose.LINK:
            link_id = os.urandom(LINK_ID_BYTES)
        _, my_bytes = self._said(self._hello(suites=[suite.value], link_id=link_id))
        self._export(suite, hello, link_id, whole + my_bytes)

    def _export(self, suite: Suite, theirs: Hello, link_id: bytes, transcript: bytes) -> None:
        assert self._peer is not None
        parameters = self._parameters
        peer_role = Role(theirs.role)
        chain = self._chain_read()  # before the export: it may be refused
        client, server = (parameters.me, parameters.role, parameters.leaf), (self._peer, peer_role, self._chain[0])
        if not self._client:
            client, server = server, client
        context = KeyContext(
            purpose=self._purpose,
            client_role=client[1],
            server_role=server[1],
            suite=suite,
            generation=self._generation,
            client_uri=client[0].uri,
            server_uri=server[0].uri,
            client_leaf=client[2],
            server_leaf=server[2],
            transcript=transcript,
        )
        parameters.skews.hear(self._peer, theirs.features)
        parameters.took.add((time.monotonic_ns() - self._began_ns) // 1_000)
        secret, binding = export_secret(self.tls.connection, context)
        self.established = HandshakeResult(
            peer=self._peer,
            peer_role=peer_role,
            suite=suite,
            group=self._group,
            tls_suite=self.tls.suite(),
            client=self._client,
            secret=secret,
            binding=binding,
            lanes=min(parameters.lanes, theirs.lanes),
            flows=min(parameters.flows, theirs.flows),
            cap=min(parameters.cap, theirs.cap),
            link_id=link_id,
            chain=chain,
            generation=self._generation,
            features=frozenset(self._features()) & {*theirs.features},
        )

    def _features(self) -> tuple[str, ...]:
        if self._parameters.session:
            return SESSION_FEATURES
        listed = self._parameters.link_features
        return LINK_FEATURES if listed is None else listed

    def _chain_read(self) -> tuple[x509.Certificate, ...]:
        """Parse the chain, so that it can be judged again later."""
        try:
            return tuple(read_certificate(der) for der in self._chain)
        except ValueError:
            # OpenSSL accepts BER; the library that judges the chain later accepts DER only.
            raise HandshakeRefused(Refusal.MALFORMED, "A certificate above the peer's cannot be read.") from None

    def _said(self, hello: Hello) -> tuple[Hello, bytes]:
        whole = encode_message(hello)
        self.tls.write(whole)
        return hello, whole

    def _farewell(self, code: int, reason: str, sentence: str) -> HandshakeRefused:
        """Queue GOODBYE and return the refusal to raise. The peer gets the code, never the cause."""
        self.tls.write(encode_message(Goodbye(code, "")))
        return HandshakeRefused(reason, sentence)


def session_cap(memory_bytes: int, flows: int) -> int:
    """Return the cap in bytes that an edge asks for each flow and direction of a session.

    At most a bandwidth-delay product of 16 MiB, and an eighth of the memory for the whole session.
    """
    return max(CAP_LEAST_BYTES, min(16 << 20, memory_bytes // 8 // flows))
