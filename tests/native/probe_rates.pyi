"""Face of rates of services for tests: workers with clocks of their own that share the limits of one node."""

from typing import Self, final

@final
class Rates:
    """workers: how many; all have the time that `at` has set for each of them."""

    def __new__(cls, *, workers: int = 1) -> Self: ...
    def set(self, *, imports: dict[int, int] | None = None, exports: dict[int, int] | None = None) -> None:
        """Set rates, by the number of the service."""
    @property
    def rated(self) -> int: ...
    def at(self, now_us: int, worker: int = 0) -> None:
        """Set the time of a worker."""
    def spend(
        self,
        number: int,
        n: int,
        *,
        is_import: bool = True,
        from_socket: bool = True,
        worker: int = 0,
        shadow: bool = False,
        times: int = 1,
    ) -> int:
        """How many of so many datagrams of n bytes each are within the rate of a service, without the GIL."""
    def has_room(self, number: int, n: int) -> bool: ...
