"""Why an import is not served: one word of a closed list, a phrase for people, and the name that was probably meant.

The causes are sought in the order in which a stream would meet them: a link, an edge of the owner, that edge's offer,
its state, and a session with it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pcgrelay.catalogue.entries import STATE_DOWN, STATE_DRAIN, Catalogue
from pcgrelay.model import NodeId, ServiceName, Transport
from pcgrelay.services.imports import Exporter, offers_of

NO_LINK = "no-link"
UNKNOWN_ORGANISATION = "unknown-organisation"
UNKNOWN_SERVICE = "unknown-service"
WITHDRAWN = "withdrawn"
DRAINING = "draining"
NO_SESSION = "no-session"
MARKING = "marking"
TRANSPORT = "transport"
NO_DATAGRAMS = "no-datagrams"
CAUSES = (
    NO_LINK, UNKNOWN_ORGANISATION, UNKNOWN_SERVICE, TRANSPORT, WITHDRAWN, DRAINING, NO_SESSION, NO_DATAGRAMS, MARKING,
)  # fmt: skip

# So many names at most are listed.
NAMES_MOST = 5


@dataclass(frozen=True, slots=True)
class ImportFailure:
    """Why an import is not served."""

    cause: str  # of CAUSES
    detail: str  # a phrase without a full stop
    nearest: str = ""  # the offered service that was probably meant


def import_failure(
    service: ServiceName,
    exporters: Sequence[Exporter],
    catalogue: Catalogue,
    *,
    is_linked: bool,
    session_cause: Callable[[Exporter], str],
    uncleared: Callable[[Exporter], Sequence[str] | None],
    transport: Transport = Transport.STREAM,
    lacks_datagrams: Callable[[Exporter], bool] = lambda exporter: False,
) -> ImportFailure:
    """Return why an import is not served.

    session_cause: why the last set-up of a session with an edge failed. uncleared: what is not cleared on each way to
    an edge; nothing: one of them is; None: there is no way. transport: what the import carries. lacks_datagrams:
    whether there is a session with an edge, and it carries none.
    """
    if not is_linked:
        return ImportFailure(NO_LINK, "no neighbour is linked")
    barred = [words for each in exporters if (words := uncleared(each)) is not None]
    if barred and all(barred):
        return ImportFailure(MARKING, "; ".join(dict.fromkeys(words for each in barred for words in each[:NAMES_MOST])))
    if lacking := [each.edge.dotted for each in exporters if lacks_datagrams(each)]:
        detail = f"the session with {_listed(lacking)} was made by a version that carries no datagrams"
        return ImportFailure(NO_DATAGRAMS, f"{detail}; its next renewal mends that, if both are up to date")
    if exporters:
        causes = [(each, session_cause(each)) for each in exporters]
        told = [f"{each.edge.dotted}: {cause.rstrip('.')}" for each, cause in causes if cause]
        detail = f"no session with {_listed([each.edge.dotted for each in exporters])}"
        return ImportFailure(NO_SESSION, f"{detail} ({'; '.join(told[:NAMES_MOST])})" if told else detail)
    offers = offers_of(catalogue, [service])[service]
    if edges := [edge.dotted for edge, offer in offers if offer.transport != transport]:
        if len(edges) == len(offers):
            detail = f"{_listed(edges)} offers it as {_other(transport)}, and protocol is {transport.title} here"
            return ImportFailure(TRANSPORT, detail)
        offers = [each for each in offers if each[1].transport == transport]
    for state, cause, words in (
        (STATE_DOWN, WITHDRAWN, "its target does not answer at {}"),
        (STATE_DRAIN, DRAINING, "{} drains"),
    ):
        if edges := [edge.dotted for edge, offer in offers if offer.state == state]:
            return ImportFailure(cause, words.format(_listed(edges)))
    return _unknown(service, catalogue)


def _other(transport: Transport) -> str:
    """Return the word for what an offer of another transport is: those of later versions have none yet."""
    return "datagrams (udp)" if transport is Transport.STREAM else "a stream (tcp)"


def _unknown(service: ServiceName, catalogue: Catalogue) -> ImportFailure:
    owner = service.organisation
    edges = list(catalogue.edges())
    names = sorted({name for edge in edges if edge.organisation == owner for name in offered_by(catalogue, edge)})
    if any(edge.organisation == owner for edge in edges):
        near = difflib.get_close_matches(service.service, names, n=1)
        nearest = f"{near[0]}@{owner}" if near else ""
        offered = (
            f"it offers: {_listed(near + [name for name in names if name not in near])}"
            if names
            else "it offers nothing"
        )
        return ImportFailure(UNKNOWN_SERVICE, f"no edge of {owner} offers it; {offered}", nearest)
    known = sorted({edge.organisation for edge in edges})
    near = difflib.get_close_matches(owner, known, n=1)
    nearest = f"{service.service}@{near[0]}" if near and service.service in _services(catalogue, near[0]) else ""
    others = f"; the nearest that is known: {near[0]}" if near else ""
    return ImportFailure(UNKNOWN_ORGANISATION, f"no neighbour tells of an edge of {owner}{others}", nearest)


def offered_by(catalogue: Catalogue, edge: NodeId) -> set[str]:
    """Return the names of the services that an edge announces."""
    newest = catalogue.newest(edge)
    return {offer.service for offer in newest.offers} if newest else set()


def _services(catalogue: Catalogue, organisation: str) -> set[str]:
    edges = (edge for edge in catalogue.edges() if edge.organisation == organisation)
    return set().union(*(offered_by(catalogue, edge) for edge in edges))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_MOST])
    return f"{shown} and {len(names) - NAMES_MOST} more" if len(names) > NAMES_MOST else shown
