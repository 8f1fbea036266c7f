"""Events of the core, one type for each kind. When each is sent stands in the core's stub (`core.pyi`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct


class LaneUp(Struct, frozen=True):
    link: int
    index: int
    number: int


class LaneDown(Struct, frozen=True):
    link: int
    index: int
    number: int
    code: int
    reason: str


class UdpLaneUp(Struct, frozen=True):
    """From now on this side sends datagrams by this UDP lane."""

    link: int
    index: int
    number: int


# Why a UDP lane is not used for sending, or was closed.
UDP_LANE_REASONS = ("silent", "loss", "spent", "replaced", "link", "refused")


class UdpLaneDown(Struct, frozen=True):
    """Not closed: it goes on with PROBE, and may come up again."""

    link: int
    index: int
    number: int
    reason: str  # of UDP_LANE_REASONS
    closed: bool


class UdpLaneSpent(Struct, frozen=True):
    """So many packets went by it that the dialler opens the next one."""

    link: int
    index: int
    number: int


class SessionUp(Struct, frozen=True):
    session: int


class SessionDown(Struct, frozen=True):
    session: int
    code: int
    reason: str
    remote: bool


class SessionStalled(Struct, frozen=True):
    session: int
    flow: int
    code: int
    in_label: int  # of the path that was lost


class SessionResumed(Struct, frozen=True):
    session: int
    flow: int


class SessionMoved(Struct, frozen=True):
    session: int
    in_label: int  # of the candidate that has become the path


class PeerDrains(Struct, frozen=True):
    link: int
    milliseconds: int


class ImportWanted(Struct, frozen=True):
    number: int


class StreamEnd(Struct, frozen=True):
    opener: bool
    number: int  # of the import or export; -1: unknown service
    session: int
    service: bytes
    bytes_sent: int
    bytes_received: int
    duration_us: int
    code: int
    cause: str
    rule: int
    remote: bool
    # Of an import with several outlets:
    outlet: int = 0  # its index
    setup_us: int = 0  # until the far side answered
    moved: int = 0  # how often it was led on from one outlet to the next
    up: bool = True  # the far side answered
    shadow: int = 0  # the number of a shadow connection; 0: an application's
    # These three name it at both edges; no stream: it never had a session.
    id_head: int = 0  # the first four bytes of its session's id; 0: not known to the core
    flow: int = 0
    stream: int = 0
    first_us: int = 0  # of an opener: from its connection to the first byte of the far side; 0: there was none
    # Of an association, which is a stream of datagrams:
    protocol: str = "tcp"  # or udp
    sent_datagrams: int = 0
    received_datagrams: int = 0
    dropped: tuple[int, ...] = ()  # by cause, in the order of DROP_CAUSES


# Why a datagram was dropped.
DROP_CAUSES = ("queue", "age", "no-route", "limit", "too-long", "no-stream", "source", "unreachable", "rate")

# Of these, so many are reported for each stream, and the rest in a tuple behind them.
STREAM_END_FIELDS = 11


class DoneSums(Struct, frozen=True, array_like=True):
    """What streams that are told together have carried, and how long they took."""

    sent_bytes: int = 0
    received_bytes: int = 0
    life_us: int = 0
    first_us: int = 0  # to the first byte of the far side
    lives: tuple[int, ...] = (0,) * 40  # counts by the number of bits of the microseconds
    firsts: tuple[int, ...] = (0,) * 40
    # Of associations:
    sent_datagrams: int = 0
    received_datagrams: int = 0
    dropped: tuple[int, ...] = ()  # by cause, in the order of DROP_CAUSES


# Where the sums stand among the fields of a StreamsDone.
STREAMS_DONE_SUMS = 5


class StreamsDone(Struct, frozen=True):
    """Streams of one kind that were done as both their ends wished, told together.

    Or associations that made room for others: then `code` is LIMIT.
    """

    opener: bool
    number: int  # of the import or export
    session: int
    count: int
    answered_us: int  # so long ago the one that was answered last was answered
    sums: DoneSums = DoneSums()
    outlet: int = 0  # its index, if the import has several
    service: bytes = b""
    details: bytes = b""  # what differs between them, for `end_bodies`; empty: nobody has asked
    protocol: str = "tcp"  # or udp: they were associations
    code: int = 0
    cause: str = "done"
    remote: bool = False  # the far edge ended them
    answered: bool = True  # something came back to their openers


class SetupEnded(Struct, frozen=True):
    """An attempt on one outlet ended: an application's came to nothing, or a shadow's to whatever it came to.

    An application's stream was led on to the next outlet, if there was any. One that was up and broke is told too.
    """

    number: int  # of the import
    outlet: int
    outcome: str  # up, refused, silent, away, denied, local, left, lost; of a stream that was up: early, cut
    cause: str
    code: int
    rule: int
    session: int  # 0: none
    client: int  # tells applications' addresses apart; kept in memory alone, and for minutes
    shadow: int  # its number; 0: an application's
    elapsed_us: int


class StreamsNudged(Struct, frozen=True):
    """A round over the streams of one outlet is over: some were closed, and of the rest there is this to say."""

    number: int  # of the import
    outlet: int
    round: int  # its number
    nudged: int
    open: int  # are left
    idle: int  # of them
    oldest_us: int  # of them: the greatest age


SETUP_ENDED_CLIENT = 7  # the position of client


class LinkRenewed(Struct, frozen=True):
    link: int
    mix: int


class SessionRenewed(Struct, frozen=True):
    session: int
    mix: int


class SessionAgreed(Struct, frozen=True):
    """The far edge has stepped with a renewal, so it has told RENEWED; each worker may say so."""

    session: int
    mix: int


class EventsLost(Struct, frozen=True):
    count: int
    kept: int  # of these, events of links, lanes and sessions (not of single streams)


# Handlers by type of event. A type without a handler does not occur in, or does not matter to, this role.
Handlers = Mapping[type[Struct], Callable[[Any], None]]
