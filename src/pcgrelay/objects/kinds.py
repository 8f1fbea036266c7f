"""The objects of all kinds that a node knows, as the exchange sees them: each kind has a store of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pcgrelay.link.link import Link
from pcgrelay.messages import Object
from pcgrelay.objects.exchange import HeldObject, ObjectStore

UNKNOWN = "object_kind"


class ObjectKinds:
    """The stores of one node, by kind."""

    def __init__(self, stores: Mapping[int, ObjectStore]) -> None:
        self._stores = stores

    def held(self) -> Iterator[HeldObject]:
        """The objects to tell neighbours of."""
        for store in self._stores.values():
            yield from store.held()

    def refusal(self, announced: Object) -> str | None:
        """Return None if a version is wanted; "" if it is not newer; else the reason for which it is refused."""
        store = self._stores.get(announced.kind)
        return UNKNOWN if store is None else store.refusal(announced)

    async def take(self, announced: Object, data: bytes, link: Link) -> str | None:
        """Judge a whole object and take it; return the reason for which it is refused, or None."""
        store = self._stores.get(announced.kind)
        return UNKNOWN if store is None else await store.take(announced, data, link)
