"""Watching the sessions of an edge while a relay or a network is given up (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from pcgrelay.drills.record import DrillPause

# A session with streams that finds no other path for so long ends the drill, before the core would end the streams.
PAUSE_MOST_MS = 5_000


@dataclass(frozen=True, slots=True)
class SessionFact:
    """A session as it is now."""

    is_up: bool
    stalled_ms: int  # when it last lost its path
    resumed_ms: int | None  # when it last resumed after that; nothing: it never did
    is_elsewhere: bool  # it has a path, and that is not over what was given up
    via: str = ""


@dataclass(slots=True)
class _Watched:
    peer: str
    streams: int
    pause_ms: int | None = None
    via: str = ""
    ended: bool = False
    waiting_ms: int | None = None  # since when it has no path


class LossWatch:
    """The sessions that went over what is given up."""

    def __init__(self, sessions: Mapping[int, tuple[str, int]], began_ms: int) -> None:
        """sessions: peer and open streams, by number; as they were the moment before."""
        self._began_ms = began_ms
        self._watched = {number: _Watched(peer, streams) for number, (peer, streams) in sessions.items()}

    def look(self, facts: Mapping[int, SessionFact], now_ms: int) -> None:
        """Look at the sessions once more. One that is not there has ended."""
        for number, watched in self._watched.items():
            fact = facts.get(number)
            if fact is None:
                watched.ended = True
                watched.waiting_ms = None
                continue
            watched.via = fact.via if fact.is_up and fact.is_elsewhere else watched.via
            watched.waiting_ms = None if fact.is_up else max(fact.stalled_ms, self._began_ms)
            if fact.resumed_ms is not None and fact.resumed_ms >= self._began_ms:
                pause_ms = fact.resumed_ms - max(fact.stalled_ms, self._began_ms) if fact.is_up else 0
                watched.pause_ms = max(watched.pause_ms or 0, pause_ms)
            elif fact.is_up and fact.is_elsewhere:
                # The far edge had moved it before this one noticed that anything was lost.
                watched.pause_ms = watched.pause_ms or 0

    def problem(self, now_ms: int) -> str:
        """Why the drill is to end now; nothing if it may go on."""
        lost = sum(each.streams for each in self._watched.values() if each.ended)
        if lost:
            return f"{_streams(lost)} lost: their session ended"
        waiting = [each for each in self._watched.values() if each.waiting_ms is not None and each.streams]
        late = [each for each in waiting if now_ms - (each.waiting_ms or now_ms) >= PAUSE_MOST_MS]
        if late:
            count = sum(each.streams for each in late)
            return f"{_streams(count)} without a way for {PAUSE_MOST_MS // 1000} s, so the links were let up again"
        return ""

    @property
    def streams(self) -> int:
        """Streams that went over what was given up."""
        return sum(each.streams for each in self._watched.values())

    @property
    def streams_kept(self) -> int:
        """Streams whose session did not end."""
        return sum(each.streams for each in self._watched.values() if not each.ended)

    @property
    def unresumed(self) -> int:
        """Sessions that found no other path."""
        return sum(1 for each in self._watched.values() if each.ended or each.waiting_ms is not None)

    def pauses(self) -> tuple[DrillPause, ...]:
        """What came of each session, the longest pause first."""
        found = [
            DrillPause(peer=each.peer, streams=each.streams, pause_ms=each.pause_ms, via=each.via, ended=each.ended)
            for each in self._watched.values()
        ]
        return tuple(sorted(found, key=lambda each: (-(each.pause_ms or 0), each.peer)))


def pause_figures(pauses: Sequence[DrillPause]) -> tuple[float | None, int | None]:
    """The median and the longest of the pauses that ended."""
    known = [each.pause_ms for each in pauses if each.pause_ms is not None]
    return (float(median(known)), max(known)) if known else (None, None)


def _streams(count: int) -> str:
    return "1 stream was" if count == 1 else f"{count:,} streams were"
