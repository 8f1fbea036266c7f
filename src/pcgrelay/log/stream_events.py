"""What is logged of streams: one line for each, when it ends or is refused."""

from __future__ import annotations

from typing import ClassVar

from msgspec import field

from pcgrelay.log.events import Record


class StreamEnd(Record, frozen=True, kw_only=True):
    """The access log: one line for each stream that was open."""

    EVENT: ClassVar[str] = "stream.end"
    AUDIT: ClassVar[bool] = True
    id: str  # of the stream: the same at both edges
    started: str  # when it was opened, by this node's clock
    from_organisation: str
    to_organisation: str
    service: str
    direction: str  # import, export: the side of the stream that this edge is on
    session: int
    sent_bytes: int
    received_bytes: int
    duration_ms: float
    suite: str
    group: str
    code: str
    cause: str
    rule: int | None = None  # that allowed it, at the exporting side: of the far side no rule is known
    rule_text: str = ""
    remote: bool = False
    # Of an import with several outlets:
    outlet: str = ""
    setup_ms: float | None = None  # until the far side answered
    moved: int = 0  # how often it was led on to another outlet
    # Of datagrams:
    protocol: str = "tcp"  # or udp, whose streams are associations
    sent_datagrams: int = 0  # towards the far edge
    received_datagrams: int = 0
    dropped: dict[str, int] = field(default_factory=dict)  # at this edge, by cause


class StreamRefused(Record, frozen=True, kw_only=True):
    """A stream that was refused: by which side, by which rule and why."""

    EVENT: ClassVar[str] = "stream.refused"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    id: str
    started: str
    from_organisation: str
    to_organisation: str
    service: str
    direction: str
    session: int
    suite: str = ""
    group: str = ""
    code: str
    cause: str
    rule: int | None = None
    rule_text: str = ""
    remote: bool = False
    outlet: str = ""  # of an import with several, the last that was tried
    moved: int = 0
    protocol: str = "tcp"


class StreamsEvicted(Record, frozen=True, kw_only=True):
    """The access log: associations of a second that ended because others took their places, by session and cause.

    Where there is an audit log, each has its own line in both.
    """

    EVENT: ClassVar[str] = "stream.evicted"
    service: str
    direction: str
    from_organisation: str
    to_organisation: str
    session: int
    code: str
    cause: str
    remote: bool = False
    outlet: str = ""
    streams: int  # how many
    sent_bytes: int  # by all of them
    received_bytes: int
    sent_datagrams: int
    received_datagrams: int
    dropped: dict[str, int] = field(default_factory=dict)
