"""Kinds of line about the realm's bundle."""

from __future__ import annotations

from typing import ClassVar

from pcgrelay.log.events import Record


class BundleTaken(Record, frozen=True, kw_only=True):
    """A bundle is in force."""

    EVENT: ClassVar[str] = "bundle.taken"
    AUDIT: ClassVar[bool] = True
    epoch: int
    source: str  # the neighbour that brought it; empty: the file
    not_after: str
    members: int  # how many entries; 0: it says nothing of members
    relays: int
    clearances: int
    lists: int  # revocation lists of it that are newer than those that were in force
    minimum: str  # version; empty: none


class BundleRefused(Record, frozen=True, kw_only=True):
    """A bundle that somebody brought is not taken."""

    EVENT: ClassVar[str] = "bundle.refused"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    peer: str
    reason: str


class BundleEnding(Record, frozen=True, kw_only=True):
    """The bundle in force ends soon."""

    EVENT: ClassVar[str] = "bundle.ending"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    epoch: int
    not_after: str


class BundleExpired(Record, frozen=True, kw_only=True):
    """The time of the bundle in force is over. It stays in force."""

    EVENT: ClassVar[str] = "bundle.expired"
    LEVEL: ClassVar[str] = "error"
    AUDIT: ClassVar[bool] = True
    epoch: int
    not_after: str


class BundleNotYetValid(Record, frozen=True, kw_only=True):
    """The time of the bundle in force has not begun, by this node's clock. It is in force."""

    EVENT: ClassVar[str] = "bundle.not_yet_valid"
    LEVEL: ClassVar[str] = "error"
    AUDIT: ClassVar[bool] = True
    epoch: int
    not_before: str


class BundleUnkept(Record, frozen=True, kw_only=True):
    """The bundle in force could not be written to the folder of state."""

    EVENT: ClassVar[str] = "bundle.unkept"
    LEVEL: ClassVar[str] = "error"
    AUDIT: ClassVar[bool] = True
    epoch: int
    reason: str


class BundleDropped(Record, frozen=True, kw_only=True):
    """The bundle in force is not any more: the CA of its signer was taken out of `trust`."""

    EVENT: ClassVar[str] = "bundle.dropped"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    epoch: int
