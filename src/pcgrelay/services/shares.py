"""Shares that somebody set by hand: what may be set, and the file in which they outlast the process.

A service whose shares nobody set has all of its new streams on the outlet that its [[import]] names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from pcgrelay.config import GATEWAY
from pcgrelay.cutover.slots import SharesProblem, check_shares
from pcgrelay.model import ServiceName
from pcgrelay.policy.rules import MARKING_NUMBERS
from pcgrelay.state.file import Found, StateFile

NAME = "outlets.json"
KIND, VERSION = "pcgrelay outlets", 1
CHANGES_MOST = 200
TEXT_MOST = 200
MISSING = "PERCENT"


class SharesSet(Struct, frozen=True, kw_only=True):
    """The shares of one service, in percent by outlet, and who set them."""

    shares: dict[str, float]
    at: str  # wall time, UTC
    uid: int  # as the kernel named it
    by: str = ""  # as whoever asked named themselves
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse shares that cannot be dealt: a file whose digest is right may still be from elsewhere."""
        check_shares(list(self.shares.values()))


class ShareChange(SharesSet, frozen=True, kw_only=True):
    """One change, as it is kept."""

    service: str
    before: dict[str, float]


class OutletsState(Struct, frozen=True, kw_only=True):
    """What is in the file."""

    shares: dict[str, SharesSet] = {}  # by service
    markings: dict[str, int] = {}  # of services, as their owners last told them
    changes: tuple[ShareChange, ...] = ()  # the latest, oldest first

    def __post_init__(self) -> None:
        """Refuse what is no service or no marking."""
        for service in (*self.shares, *self.markings):
            ServiceName.parse(service)
        if not set(self.markings.values()) <= set(MARKING_NUMBERS.values()):
            raise ValueError("a marking is one of 1 to 3")

    def with_change(self, change: ShareChange) -> OutletsState:
        """Return it with the shares of a service as they are now."""
        own = {name: getattr(change, name) for name in SharesSet.__struct_fields__}
        return structs.replace(
            self,
            shares={**self.shares, change.service: SharesSet(**own)},
            changes=(*self.changes, change)[-CHANGES_MOST:],
        )


class Shares:
    """The shares of one node's services."""

    def __init__(self) -> None:
        self.state = OutletsState()  # what holds
        self.found = Found.NOTHING
        self._file: StateFile[OutletsState] | None = None
        self._written = self.state

    def load(self, folder: Path) -> None:
        """Read what an earlier process left."""
        self._file = StateFile(folder / NAME, KIND, VERSION, OutletsState)
        self.found, state = self._file.read()
        self.state = self._written = state or OutletsState()

    @property
    def has_home(self) -> bool:
        """Whether there is a folder for the file."""
        return self._file is not None

    @property
    def is_behind(self) -> bool:
        """Whether the file has not what holds."""
        return self.has_home and self._written != self.state

    def is_set(self, service: ServiceName) -> bool:
        """Return whether somebody has set the shares of a service."""
        return str(service) in self.state.shares

    def set_since(self, service: ServiceName, moment: str) -> dict[str, float] | None:
        """Return the shares of a service, if somebody has set them in the second of a moment or later."""
        known = self.state.shares.get(str(service))
        return known.shares if known is not None and known.at[:19] >= moment[:19] else None

    def write(self, state: OutletsState) -> None:
        """Write the file; PcgrelayError if that fails. It may wait for a disk, so it runs in a thread.

        There is one write at a time.
        """
        assert self._file is not None
        self._file.write(state)
        self._written, self.found = state, Found.NEWEST

    def wanted(self, service: ServiceName, configured: str, *, is_supported: bool, is_lost: bool) -> dict[str, float]:
        """Return the shares of a service, in percent by outlet.

        is_supported: the configured outlet's network still is. is_lost: nobody knows how its streams were dealt; then
        the configured outlet has them, and the gateway if that is past its end.
        """
        known = self.state.shares.get(str(service))
        if known is not None:
            return known.shares
        return {configured if is_supported or not is_lost else GATEWAY: 100.0}

    def without(self, service: ServiceName) -> OutletsState:
        """Return the state in which nobody has set the shares of a service."""
        kept = {name: each for name, each in self.state.shares.items() if name != str(service)}
        return structs.replace(self.state, shares=kept)

    def encode(self) -> bytes:
        """Return the shares for another process, if the file does not have them."""
        return msgspec.json.encode(self.state) if self.is_behind else b""

    def restore(self, data: bytes) -> None:
        """Have what the process before this one could not write."""
        if data:
            self.state = msgspec.json.decode(data, type=OutletsState)


def wanted_shares(words: Sequence[str], names: Iterable[str]) -> dict[str, float]:
    """Return shares that are asked for as "cjx=90" and "gateway=10". SharesProblem: they are none of these outlets.

    Every outlet is named, so that nobody has to guess what became of the others. Of two, one may be left out.
    """
    known = list(names)
    found: dict[str, float] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise SharesProblem(f'"{word[:80]}" is no share, which is written OUTLET=PERCENT, as gateway=10')
        if name not in known:
            raise SharesProblem(f'there is no outlet "{name[:80]}"; there are: {", ".join(known)}')
        if name in found:
            raise SharesProblem(f"{name} is named twice; name it once")
        found[name] = _percent(name, text)
    missing = [name for name in known if name not in found]
    if len(known) == 2 and len(missing) == 1:
        found[missing[0]] = 100 - sum(found.values())
    elif missing:
        rest = "0" if sum(found.values()) == 100 else MISSING
        raise SharesProblem(
            f"what goes to {' and '.join(missing)} is not said; name all outlets: "
            f"{' '.join(f'{name}={_shown(found[name]) if name in found else rest}' for name in known)}"
        )
    check_shares([found[name] for name in known])
    return {name: found[name] for name in known}


def _percent(name: str, text: str) -> float:
    digits = text.removesuffix("%")
    if not (digits.isascii() and digits.replace(".", "", 1).isdigit() and len(digits) < 8):
        raise SharesProblem(f'"{text[:80]}" is no share for {name}: a share is a number of percent, 0 to 100')
    return float(digits)


def _shown(share: float) -> str:
    return f"{share:g}"


def shares_words(shares: Mapping[str, float]) -> str:
    """Return shares for a person, the greatest first."""
    found = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{_shown(share)} % {name}" for name, share in found if share)
