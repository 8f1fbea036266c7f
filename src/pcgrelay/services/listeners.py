"""What comes by each listener of an import that has further ones (`also`): counted apart, listener by listener.

An import without `also` has no such counts and costs the core nothing. Counts belong to an address: they go on through
reloads and hand-overs, whatever place the address has. Names are those of status and metrics: "listen", "also-1", ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pcgrelay.config import Address, ImportSettings
from pcgrelay.dataplane.adapter import Plane
from pcgrelay.figures import ListenerFigures
from pcgrelay.handover.node import ListenerHandover
from pcgrelay.model import ServiceName

# The core has counts below this number; 0 means none.
NUMBERS_MOST = 512
NOTHING = ListenerFigures()
LISTEN = "listen"  # the name of an import's first listener
Key = tuple[ServiceName, str]  # and the address


def record_name(address: Address | str) -> str:
    """Return the name of the day records of a listener; no outlet has a blank in its name."""
    return f"at {address}"


@dataclass(slots=True, eq=False)
class _Counted:
    number: int
    base: ListenerFigures  # what the core counted for others under this number before


class ListenerCounts:
    """The listeners of one edge that are counted apart."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._counted: dict[Key, _Counted] = {}
        self._last = 0  # the number that was given last: one that is given up is taken again last

    def configure(self, imports: Iterable[ImportSettings]) -> None:
        """Count the listeners of these imports from now on. Beyond NUMBERS_MOST the rest are not counted apart."""
        wanted = [(entry.service, str(address)) for entry in imports for address in entry.listeners if entry.also]
        self._counted = {key: self._counted[key] for key in wanted if key in self._counted}
        for key in wanted:
            if key not in self._counted and len(self._counted) < NUMBERS_MOST - 1:
                number = self._free_number()
                self._counted[key] = _Counted(number, self._plane.listener(number))

    def _free_number(self) -> int:
        taken = {counted.number for counted in self._counted.values()}
        while True:
            self._last = self._last % (NUMBERS_MOST - 1) + 1
            if self._last not in taken:
                return self._last

    def number_of(self, service: ServiceName, address: Address) -> int:
        """Return the number of a listener's counts; 0: it has none."""
        counted = self._counted.get((service, str(address)))
        return 0 if counted is None else counted.number

    def figures(self, settings: ImportSettings) -> Mapping[str, ListenerFigures]:
        """Return what came by each listener of an import, by name; nothing if it has one alone."""
        if not settings.also:
            return {}
        found = {}
        for name, address in named(settings):
            counted = self._counted.get((settings.service, str(address)))
            if counted is not None:
                found[name] = self._figures(counted)
        return found

    def further(self, settings: ImportSettings) -> Iterator[tuple[Address, object, ListenerFigures]]:
        """Yield what came by each listener of `also`, and what it is counted in: another one began with nothing."""
        for address in settings.also:
            counted = self._counted.get((settings.service, str(address)))
            if counted is not None:
                yield address, counted, self._figures(counted)

    def _figures(self, counted: _Counted) -> ListenerFigures:
        return self._plane.listener(counted.number).minus(counted.base)

    # -- a hand-over -------------------------------------------------------------------------------------------

    def to_handover(self, settings: ImportSettings) -> tuple[ListenerHandover, ...]:
        """Return the numbers of an import's listeners; the core hands its counts over itself."""
        found = ((str(address), self._counted.get((settings.service, str(address)))) for address in settings.listeners)
        return tuple(
            ListenerHandover(address=address, number=counted.number, base=counted.base, figures=self._figures(counted))
            for address, counted in found
            if counted is not None
        )

    def restore(self, service: ServiceName, handed: Iterable[ListenerHandover]) -> None:
        """Go on with the numbers of the process before; `configure` follows."""
        for each in handed:
            self._counted[service, each.address] = _Counted(each.number, each.base)
            self._last = max(self._last, each.number)


def named(settings: ImportSettings) -> Iterator[tuple[str, Address]]:
    """Return the listeners of an import with their names."""
    yield LISTEN, settings.listen
    for place, address in enumerate(settings.also, 1):
        yield f"also-{place}", address
