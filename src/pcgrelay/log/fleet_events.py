"""Kinds of line about the store of a fleet, and orders that come by it."""

from __future__ import annotations

from typing import ClassVar

from pcgrelay.log.events import Record


class FleetStoreSilent(Record, frozen=True, kw_only=True):
    """Nothing is heard of the store. What is known stays."""

    EVENT: ClassVar[str] = "fleet.store_silent"
    LEVEL: ClassVar[str] = "warning"
    reason: str


class FleetStoreLive(Record, frozen=True, kw_only=True):
    """The store answers."""

    EVENT: ClassVar[str] = "fleet.store_live"
    silent_ms: int


class FleetStoreRefuses(Record, frozen=True, kw_only=True):
    """The store answers, and does not take what is written."""

    EVENT: ClassVar[str] = "fleet.store_refuses"
    LEVEL: ClassVar[str] = "warning"
    reason: str


class FleetLocked(Record, frozen=True, kw_only=True):
    """This node holds the lock of its organisation."""

    EVENT: ClassVar[str] = "fleet.locked"
    act: str  # drain, drill
    by: str  # the user who asked
    token: int


class FleetUnlocked(Record, frozen=True, kw_only=True):
    """This node has given the lock back."""

    EVENT: ClassVar[str] = "fleet.unlocked"
    token: int


class FleetLockLost(Record, frozen=True, kw_only=True):
    """The lock may be somebody else's. A drill ends; a drain goes on, and takes it again when it can."""

    EVENT: ClassVar[str] = "fleet.lock_lost"
    LEVEL: ClassVar[str] = "warning"
    act: str
    token: int


class FleetLockPassedOver(Record, frozen=True, kw_only=True):
    """Somebody changes this node without the lock."""

    EVENT: ClassVar[str] = "fleet.lock_passed_over"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    act: str
    by: str


class FleetOrder(Record, frozen=True, kw_only=True):
    """An order that came by the store is done."""

    EVENT: ClassVar[str] = "fleet.order"
    AUDIT: ClassVar[bool] = True
    act: str
    by: str  # the node that signed it
    token: int


class FleetOrderRefused(Record, frozen=True, kw_only=True):
    """An order that came by the store is not done, or failed."""

    EVENT: ClassVar[str] = "fleet.order_refused"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    act: str
    by: str
    token: int
    reason: str
