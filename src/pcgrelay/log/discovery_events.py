"""Kinds of line about relays that DNS leads to. They name what was asked for, and never an address."""

from __future__ import annotations

from typing import ClassVar

from pcgrelay.log.events import Record


class DiscoveryChanged(Record, frozen=True, kw_only=True):
    """DNS leads to other relays than before."""

    EVENT: ClassVar[str] = "discovery.changed"
    AUDIT: ClassVar[bool] = True
    discover: str
    relays: int  # how many there are now
    added: int
    removed: int


class DiscoveryFailed(Record, frozen=True, kw_only=True):
    """A look-up brought nothing, or something that is not used. Logged once for each reason, then once a minute."""

    EVENT: ClassVar[str] = "discovery.failed"
    LEVEL: ClassVar[str] = "warning"
    discover: str
    reason: str
    relays: int  # how many are known nevertheless
