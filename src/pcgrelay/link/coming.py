"""Links over which no path can be opened at this moment, and probably one can be in the next (pure).

An upgrade makes each link of a node anew, one after the other, and a relay that comes back tells what it knows only
after that. Whoever judges then by the links that are ready takes a way for one that is not there.
"""

from __future__ import annotations

from pcgrelay.link.link import Link, LinkState

# From the moment at which a link is up until its neighbour has told of all edges, whose links to it may be new too.
TOLD_MS = 5_000


def is_coming(link: Link, now_ms: int, *, is_told: bool) -> bool:
    """Return whether a link may soon take paths to an edge.

    is_told: its neighbour has told of the edge. A link that is up is waited for until then; one that has lost its
    control connection or lanes, until it is made again. One that drains is not waited for: another one follows it.
    """
    if link.draining or link.state is LinkState.CLOSED:
        return False
    if is_told:
        return not link.able
    return link.state is LinkState.OPENING or (link.state is LinkState.UP and now_ms - link.changed_ms < TOLD_MS)
