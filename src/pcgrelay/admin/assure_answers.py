"""Answers of a node to those who gather evidence about it. Other tools read this JSON: fields are only added."""

from __future__ import annotations

from msgspec import Struct

SELFTEST_PATH = "/v1/selftest"
SEALED_PATH = "/v1/assure/sealed"
TRANSIT_PATH = "/v1/assure/transit"


class SelfTestAnswer(Struct, frozen=True, kw_only=True):
    """The answer to GET /v1/selftest: known-answer tests in this process, by algorithm."""

    frames: dict[str, bool]  # of the library that seals and opens frames
    sessions: dict[str, bool]  # of the library that makes handshakes


class PathsAcross(Struct, frozen=True, kw_only=True):
    """Paths through a relay that came over one network, go on over one, and have one marking."""

    came: str  # the bearer of the neighbour that asked for them
    goes: str  # and of the one that they go on to
    marking: int  # 1 to 3
    relays: tuple[str, ...] = ()  # organisations of the other relays on them, as far as this node knows
    count: int = 0


class LedAcross(Struct, frozen=True, kw_only=True):
    """So many ways from a neighbour on one network to an edge, which the relay would lead on over another network."""

    came: str
    goes: str
    count: int


class TransitAnswer(Struct, frozen=True, kw_only=True):
    """The answer to GET /v1/assure/transit: what a node forwards, and what it would forward if it were asked now."""

    forwards: bool  # it is a relay
    paths: tuple[PathsAcross, ...] = ()
    paths_left: int = 0  # paths that are not in the list, which is bounded
    asked: int = 0  # ways from a neighbour to an edge for which the choice was made, as for a path that is asked for
    led: tuple[LedAcross, ...] = ()  # of these, those that would go on
    refused: dict[str, int] = {}  # and those that would not, by reason


class SealedAnswer(Struct, frozen=True, kw_only=True):
    """The answer to POST /v1/assure/sealed?sha256=...&profile=..."""

    kept: bool = False  # the audit log has the record on the disk
    reason: str = ""  # why there is no record
    exit_code: int = 0
