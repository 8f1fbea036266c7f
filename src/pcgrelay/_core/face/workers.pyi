"""The lower half of the Python interface: the workers of a node. `core` adds their commands."""

from collections.abc import Sequence

from typing_extensions import disjoint_base

class CoreError(Exception):
    """The core refused a call; the message is the name of the reason."""

@disjoint_base
class Workers:
    """The workers of one node.

    workers: number of data-plane threads, 1 to 64. memory_bytes: budget of all buffers together. role: ROLE_EDGE or
    ROLE_RELAY. wait_ms: how long an application connection waits for a route. keepalive_s: after how long a silence
    TCP checks an application connection (keep-alive). The others are those of `Core.settings`.
    Threads run from `start` to `stop`; `stop` joins them and may be called twice.
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
        """Return a descriptor that is readable while `events` has something."""
    def bounds(
        self,
        *,
        imports: Sequence[tuple[int, ...]],
        exports: Sequence[tuple[int, ...]],
        descriptors: int = 0,
        organisation: tuple[int, int] = (0, 0),
    ) -> None:
        """Limit the streams of services. Services not named keep their limits.

        A row is the service's number, and up to six figures, of which 0 is no limit: streams that may be open (cause
        of a refusal: limit); of these, of one organisation's (organisation-limit; exports alone); new ones in a second,
        of an export those of one organisation (rate-limit); seconds without a byte after which one ends (idle); seconds
        after which it ends in any case (max-duration); bytes of datagrams in a second, in each direction, less than
        2 ** 32, beyond which they are dropped (rate). Only numbers below 1,024 are counted. descriptors: file
        descriptors from this number on are reserved and not used for application connections; 0: none.
        organisation: streams that one organisation may have open of all exports together (organisation-limit), and new
        ones in a second (rate-limit); 0: no limit.
        """
    def local_ports(self, allowed: bytes | bytearray | memoryview, first_half: int = 1) -> None:
        """Connect to targets from these local ports, in turn; those of connections that are open stay.

        allowed: a bit for each port from 0 on, the lowest of a byte first (8,192 bytes); b"": the system chooses.
        first_half: 1: odd ports come first; 0: even ones. CoreError: another length.
        """
    def export_streams(self) -> list[tuple[int, int, int, int, int]]:
        """Return which streams of exports are open: (organisation, export, marking, priority, streams).

        The organisation by its number; marking and priority are those of its session.
        """
    def start(self) -> None:
        """Start the threads, or let frozen ones go on; those that run are left as they are. Raises CoreError."""
    def stop(self) -> None:
        """Stop and join the threads."""

    # -- hand-over to another process (docs/decisions/0009)
    def freeze(self) -> None:
        """Stop all workers at the end of their turn; `start` lets them go on without any effect on connections."""
    def settle(self) -> bool:
        """While frozen: carry out all orders; whether none is left. Their events are pending then.

        This and what follows raise CoreError while a worker runs.
        """
    def handover_size(self) -> int:
        """While frozen and settled: return the length of the hand-over record in bytes."""
    def handover_write(self, record: bytearray | memoryview) -> list[int]:
        """Write the state, with all keys, into a record of exactly that length; return the descriptors to pass on."""
    def handover_read(self, record: bytearray | memoryview, fds: Sequence[int]) -> list[int]:
        """Restore the state from a record, in a core that is not started; return the descriptors that are not needed.

        The core owns the others from here on. After a CoreError only `abandon` may be called.
        """
    def session_name(self, session: int, id_head: int, caller: bytes) -> None:
        """While frozen: name a session that was restored, as by `Core.session_add`."""
    def abandon(self) -> None:
        """Wipe all keys, and neither send on nor shut down any connection: another process has them now.

        The object must not be used any more.
        """
