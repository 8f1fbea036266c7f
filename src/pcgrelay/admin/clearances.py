"""What a node's file clears for which markings, for its status, and how that is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from pcgrelay.model import Marking

NAMES_MOST = 8
_ORDER = [marking.value for marking in Marking]
LEAST = _ORDER[0]


class ClearancesStatus(Struct, frozen=True, kw_only=True):
    """The highest marking of each network and organisation, by name; none: this node does not judge by them."""

    bearers: dict[str, str] | None = None  # all that this node has links, listeners or outlets on
    organisations: dict[str, str] | None = None  # those that the file names; any other one is cleared for OFFICIAL
    refused_total: int = 0  # paths, sessions and streams that were refused for their marking


def clearance_lines(status: ClearancesStatus) -> Iterator[str]:
    """Yield a line about networks and one about organisations, if they are judged, and the refusals."""
    if status.bearers is not None:
        yield f"cleared networks: {_listed(status.bearers) or f'all for {LEAST}'}"
    if status.organisations is not None:
        yield f"cleared organisations: {_listed(status.organisations)}, any other {LEAST}"
    if status.bearers is not None or status.organisations is not None or status.refused_total:
        yield f"refused for their marking: {status.refused_total:,} since the start"


def highest(markings: Iterable[str]) -> str:
    """Return the highest of some markings; empty if there is none. One that is not known here is above all others."""
    return max(
        filter(None, markings), key=lambda word: _ORDER.index(word) if word in _ORDER else len(_ORDER), default=""
    )


def _listed(cleared: Mapping[str, str]) -> str:
    ranked = sorted(cleared.items(), key=lambda item: (-_ORDER.index(item[1]), item[0]))
    shown = ", ".join(f"{name} {marking}" for name, marking in ranked[:NAMES_MOST])
    return f"{shown} and {len(ranked) - NAMES_MOST} more" if len(ranked) > NAMES_MOST else shown
