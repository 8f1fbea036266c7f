"""Kinds of line about revocation lists that neighbours bring."""

from __future__ import annotations

from typing import ClassVar

from pcgrelay.log.events import Record


class CrlTaken(Record, frozen=True, kw_only=True):
    """A list that a neighbour brought is in force."""

    EVENT: ClassVar[str] = "crl.taken"
    AUDIT: ClassVar[bool] = True
    name: str  # of the CA
    number: int
    source: str
    entries: int
    not_after: str


class CrlStays(Record, frozen=True, kw_only=True):
    """A list in force is larger than what travels: neighbours are not told of it."""

    EVENT: ClassVar[str] = "crl.too_large"
    LEVEL: ClassVar[str] = "warning"
    name: str  # of the CA
    number: int
    size_bytes: int
    most_bytes: int


class CrlRefused(Record, frozen=True, kw_only=True):
    """A list that a neighbour brought is not taken."""

    EVENT: ClassVar[str] = "crl.refused"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    peer: str
    reason: str
