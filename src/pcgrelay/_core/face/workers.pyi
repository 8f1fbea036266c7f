"""The lower half of the Python face: the workers of a node together. `core` gives them their commands."""

from collections.abc import Sequence

from typing_extensions import disjoint_base

class CoreError(Exception):
    """The core refused a call; the message names the reason."""

@disjoint_base
class Workers:
    """The workers of one node.

    workers: number of data-plane threads, 1 to 64. memory_bytes: budget of all buffers together.
    Threads run from `start` to `stop`; `stop` joins them and may be called twice.
    keepalive_s: a connection of an application that is silent for so long is asked by TCP whether it still lives.
    """

    def __init__(
        self,
        *,
        workers: int,
        memory_bytes: int,
        role: int,
        probe_interval_ms: int = 500,
        handshake_deadline_ms: int = 10_000,
        wait_ms: int = 5_000,
        linger_ms: int = 3_600_000,
        keepalive_s: int = 60,
        rekey_frames: int = 0,
        rekey_bytes: int = 0,
        rekey_ms: int = 0,
    ) -> None: ...
    @property
    def workers(self) -> int: ...
    def fileno(self) -> int:
        """A descriptor that is readable while `events` has something."""
    def bounds(
        self, *, imports: Sequence[tuple[int, int]], exports: Sequence[tuple[int, int]], descriptors: int = 0
    ) -> None:
        """How many streams these services may have open, by number; 0: any. Others keep what they were given.

        A stream beyond that is refused: limit. Only numbers below 1,024 are counted. descriptors: those from this
        number on are kept back, and neither accepted into nor connected with; 0: none.
        """
    def start(self) -> None: ...
    def stop(self) -> None: ...

    # -- hand-over to another process (docs/decisions/0009)
    def freeze(self) -> None:
        """Have all workers end with the turn they are in; `start` lets them go on as if nothing had been."""
    def settle(self) -> bool:
        """While frozen: carry out all orders; whether nothing is left of them. Their events are there now."""
    def handover_size(self) -> int:
        """While frozen and settled: the length of the state record."""
    def handover_write(self, record: bytearray | memoryview) -> list[int]:
        """Write the state, keys too, into a record of exactly that length; answer the descriptors that belong to it."""
    def handover_read(self, record: bytearray | memoryview, fds: Sequence[int]) -> list[int]:
        """Be what the record says, in a core that is not started; answer the descriptors that nothing came for.

        The others are its own from here on. CoreError: nothing is left but `abandon`.
        """
    def abandon(self) -> None:
        """Wipe all keys and be of no more use, without a word or an end to any connection: another process has them."""
