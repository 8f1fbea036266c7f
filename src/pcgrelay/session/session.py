"""The state of one session with another edge."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum, auto

from cryptography import x509

from pcgrelay.handover.records import SessionHandover, read_chain, write_chain
from pcgrelay.identity.handshake import ACK_64K, DATAGRAMS
from pcgrelay.identity.renewal import Schedule
from pcgrelay.link.link import Link
from pcgrelay.log.events import SessionUp
from pcgrelay.model import NodeId, Suite
from pcgrelay.net.backoff import Retry
from pcgrelay.net.proxy_protocol import caller_tlvs
from pcgrelay.net.ratelimit import TokenBucket
from pcgrelay.path.edge import PathEnd


class State(Enum):
    """States of a session; the transitions are drawn in `table`."""

    ASKING = auto()
    HANDSHAKE = auto()
    STARTING = auto()
    UP = auto()
    STALLED = auto()
    CLOSED = auto()


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What a session is for: an edge, and the class (marking, priority) of the streams that it carries."""

    edge: NodeId
    marking: int
    priority: int = 0


@dataclass(eq=False, slots=True)
class Session:
    """One session. number: its number in the core; 0 until the core has it. *_ms: the monotonic clock."""

    id: bytes
    key: Key
    initiator: bool
    began_ms: int
    state: State = State.ASKING
    number: int = 0
    keyed_ms: int = 0  # when it got its keys
    flows: int = 0
    cap: int = 0
    suite: Suite | None = None
    group: str = ""
    tls_suite: str = ""
    chain: tuple[x509.Certificate, ...] = ()  # the far edge's certificates, leaf first
    features: frozenset[str] = frozenset()  # those that both ends list
    generation: int = 0  # of the last renewal; 0: none yet
    attempted: int = 0  # the greatest generation that the far edge may have taken
    schedule: Schedule | None = None  # of renewals; None until the session has keys
    renewals: TokenBucket | None = None  # limits the renewals that the far edge may begin
    path: PathEnd | None = None
    led: int = 0  # label of the path that the core was given last; 0: not known
    former: PathEnd | None = None  # the previous path, until all flows have resumed
    candidates: list[PathEnd] = field(default_factory=list)  # paths that may become its path, the oldest first
    is_refused: bool = False  # its path was closed as one that is not allowed, until there is a new path
    lost: Link | None = None  # the link of the path that was lost, until there is a new path
    stalled_ms: int = 0
    unresumed: set[int] = field(default_factory=set)  # flows not yet resumed since the last change of path
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    mending: bool = False
    resumed_ms: int | None = None  # when it last resumed after it had lost its path
    ways: Retry | None = None  # back-off of the search for a path
    moves: Retry | None = None  # back-off of moves while the path works
    spare_ms: int | None = None  # since when it has had no stream and only a draining link

    @classmethod
    def restored(cls, handover: SessionHandover) -> Session:
        """Make the session that a hand-over record describes. The caller restores its path."""
        return cls(
            id=handover.id,
            key=Key(NodeId.from_uri(handover.edge), handover.marking, handover.priority),
            initiator=handover.initiator,
            began_ms=handover.began_ms,
            state=State.STALLED if handover.stalled else State.UP,
            number=handover.number,
            flows=handover.flows,
            cap=handover.cap,
            suite=Suite(handover.suite),
            group=handover.group,
            tls_suite=handover.tls_suite,
            chain=read_chain(handover.chain),
            features=frozenset(handover.features),
            generation=handover.generation,
            attempted=handover.attempted,
            schedule=Schedule(handover.authenticated_ms or handover.began_ms),
            stalled_ms=handover.stalled_ms,
            unresumed=set(handover.unresumed),
        )

    def to_handover(self) -> SessionHandover:
        """Return the hand-over record of this session."""
        return SessionHandover(
            id=self.id,
            number=self.number,
            edge=self.key.edge.uri,
            marking=self.key.marking,
            initiator=self.initiator,
            priority=self.key.priority,
            began_ms=self.began_ms,
            flows=self.flows,
            cap=self.cap,
            suite=int(self.suite or 0),
            group=self.group,
            tls_suite=self.tls_suite,
            chain=write_chain(self.chain),
            features=tuple(sorted(self.features)),
            generation=self.generation,
            attempted=self.attempted,
            authenticated_ms=self.schedule.authenticated_ms if self.schedule else 0,
            stalled=self.state is State.STALLED,
            stalled_ms=self.stalled_ms,
            unresumed=tuple(self.unresumed),
            path=self.path.to_handover() if self.path else None,
        )

    @property
    def carries_datagrams(self) -> bool:
        """Whether the far edge knows datagrams: to another one an OPEN for them would be a violation."""
        return DATAGRAMS in self.features

    @property
    def ack_bytes(self) -> int:
        """How many bytes the far edge takes at most before it acknowledges (6.2)."""
        return 1 << 16 if ACK_64K in self.features else 1 << 18

    @property
    def id_head(self) -> int:
        """The first four bytes of its id, by which both edges name its streams."""
        return int.from_bytes(self.id[:4])

    @property
    def caller(self) -> bytes:
        """Its peer, as targets are told of it."""
        return caller_tlvs(self.key.edge)

    @property
    def via(self) -> str:
        """The neighbour on its path, as a dotted name; empty if it has no path."""
        return self.path.link.peer.dotted if self.path else ""

    @property
    def paths(self) -> tuple[PathEnd, ...]:
        """The paths that carry it: its own, and the former one until all flows have resumed."""
        return tuple(path for path in (self.path, self.former) if path is not None)


def up_record(session: Session, now_ms: int) -> SessionUp:
    """Return the log record of a session that has come up."""
    assert session.suite is not None
    return SessionUp(
        session=session.number,
        peer=session.key.edge.dotted,
        via=session.via,
        initiator=session.initiator,
        flows=session.flows,
        cap=session.cap,
        marking=session.key.marking,
        priority=session.key.priority,
        suite=session.suite.title,
        group=session.group,
        tls_suite=session.tls_suite,
        duration_ms=now_ms - session.began_ms,
    )
