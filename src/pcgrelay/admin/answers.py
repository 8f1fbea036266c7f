"""What a node answers when it is asked to do something. Other tools read this JSON: names are only added."""

from __future__ import annotations

from msgspec import Struct

RELOAD_PATH = "/v1/reload"
DRAIN_PATH = "/v1/drain"


class ReloadAnswer(Struct, frozen=True, kw_only=True):
    """The answer to POST /v1/reload."""

    ok: bool
    changes: tuple[str, ...] = ()
    reason: str = ""  # why it was refused; the old configuration holds
    exit_code: int = 0


class DrainAnswer(Struct, frozen=True, kw_only=True):
    """The answer to GET and POST /v1/drain."""

    draining: bool
    empty: bool  # nothing runs over this node any more
    streams: int = 0  # of an edge
    paths: int = 0  # through a relay
    reason: str = ""  # why it was refused
