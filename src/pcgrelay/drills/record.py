"""What is kept of one drill (pure). It names services, outlets, nodes and networks, and no client and no address."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime

from msgspec import Struct

from pcgrelay.ranges import Seconds

BACKUP, RELAY_LOSS, BEARER_LOSS, RESTORE = "backup", "relay-loss", "bearer-loss", "restore"
KINDS = (BACKUP, RELAY_LOSS, BEARER_LOSS, RESTORE)
LOSSES = (RELAY_LOSS, BEARER_LOSS)

RUNNING = "running"
PASSED = "passed"
FAILED = "failed"
STOPPED = "stopped"  # by a person, or by something that came first
BROKEN = "broken"  # the node ended meanwhile
RESULTS = (RUNNING, PASSED, FAILED, STOPPED, BROKEN)

# A name of a file, and of a drill: 2026-11-03-relay-loss-relay-1.hub.example, with -2 for the second of that day.
_IDENTIFIER = re.compile(r"\d{4}-\d\d-\d\d-[a-z0-9@._-]{1,300}", re.ASCII)


def moment(text: str) -> datetime:
    """A wall time as records have it; ValueError if it is none."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


class DrillOutlet(Struct, frozen=True, kw_only=True):
    """One outlet during a backup drill. Times of the other one's set-ups before it stand beside."""

    name: str
    role: str  # back-up, usual
    setups: int = 0  # of applications that were answered
    failed: int = 0
    moved: int = 0  # led on before anybody noticed
    lost: int = 0  # of applications that no outlet was left for
    shadows: int = 0  # connections of our own that were answered
    shadows_failed: int = 0
    setup_median_ms: float | None = None
    setup_p95_ms: float | None = None
    answer_median_ms: float | None = None


class DrillPause(Struct, frozen=True, kw_only=True):
    """One session during a loss drill."""

    peer: str
    streams: int  # that it had when it lost its path
    pause_ms: int | None = None  # the longest; nothing: it did not resume
    via: str = ""  # over which neighbour it went on
    ended: bool = False  # it was lost, and its streams with it


class DrillFile(Struct, frozen=True, kw_only=True):
    """One file of a restore drill."""

    name: str
    outcome: str  # same, differs, missing, not in force
    sha256: str = ""  # as restored


class DrillRecord(Struct, frozen=True, kw_only=True):
    """One drill. Wall times are UTC."""

    id: str
    kind: str
    subject: str
    node: str
    begun: str
    ended: str = ""
    result: str = RUNNING
    sentence: str = ""  # why it ended as it did
    lasts_s: Seconds = 0.0  # as it was asked for
    took_s: Seconds = 0.0
    auto: bool = False  # the node began it by itself
    even_so: bool = False  # although something might be lost
    uid: int | None = None  # who asked, as the kernel names them; nothing: the node itself
    by: str = ""  # as they name themselves
    reason: str = ""
    # backup
    share: float = 0.0  # percent of new streams
    outlets: tuple[DrillOutlet, ...] = ()
    odds: float = 1.0  # of a worse back-up
    usual_median_ms: float | None = None  # set-up time of the usual outlet before
    # relay-loss, bearer-loss
    links: int = 0
    lanes: int = 0
    sessions: tuple[DrillPause, ...] = ()
    streams: int = 0  # that went over these links
    streams_kept: int = 0
    pause_median_ms: float | None = None  # of sessions
    pause_longest_ms: int | None = None
    new_streams: int = 0  # meanwhile, over all imports
    new_refused: int = 0
    back_ms: int | None = None  # until the links were up again, once they were let in; nothing: they were not
    # restore
    files: tuple[DrillFile, ...] = ()

    def __post_init__(self) -> None:
        """Refuse times that are none, so that a file with such a one is no record; ValueError."""
        for text in filter(None, (self.begun, self.ended)):
            moment(text)

    @property
    def is_over(self) -> bool:
        """Whether it does not run any more."""
        return self.result != RUNNING


def identifier(day: str, kind: str, subject: str, taken: Collection[str]) -> str:
    """A name for a drill that no other one has. day: 2026-11-03."""
    plain = f"{day}-{kind}-{subject}" if subject else f"{day}-{kind}"
    names = (plain if number == 1 else f"{plain}-{number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def is_identifier(text: str) -> bool:
    """Whether a text may be the name of a drill, and so of a file."""
    return _IDENTIFIER.fullmatch(text) is not None


def title(kind: str, subject: str) -> str:
    """A drill in a few words."""
    return f"{kind} {subject}".rstrip()
