"""What an edge's services carried, by organisation, for its status."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pcgrelay.admin.status import OrganisationStatus
from pcgrelay.services.traffic import OTHER, Key, Row

ORGANISATIONS_MOST = 500


@dataclass(slots=True)
class _Sums:
    streams: int = 0
    refused: int = 0
    sent: int = 0
    received: int = 0

    def add(self, streams: int, refused: int, sent: int, received: int) -> None:
        self.streams += streams
        self.refused += refused
        self.sent += sent
        self.received += received


def organisations_status(
    rows: Iterable[tuple[Key, Row]], most: int = ORGANISATIONS_MOST
) -> tuple[OrganisationStatus, ...]:
    """Return the sums of all services by organisation and direction, those with most bytes first.

    most: so many of them; what further ones carried is in one row of each direction, as OTHER.
    """
    found: dict[tuple[str, str], _Sums] = {}
    for (direction, _service, organisation), row in rows:
        sums = found.setdefault((organisation, direction), _Sums())
        sums.add(row.streams, row.refused.total(), row.sent_bytes, row.received_bytes)
    others = {key: found.pop(key) for key in list(found) if key[0] == OTHER}
    ordered = sorted(found.items(), key=lambda item: (-item[1].sent - item[1].received, item[0]))
    for (_organisation, direction), each in ordered[most:]:
        others.setdefault((OTHER, direction), _Sums()).add(each.streams, each.refused, each.sent, each.received)
    return tuple(
        OrganisationStatus(
            organisation=organisation,
            direction=direction,
            streams_total=each.streams,
            refused_total=each.refused,
            sent_bytes=each.sent,
            received_bytes=each.received,
        )
        for (organisation, direction), each in (*ordered[:most], *sorted(others.items()))
    )
