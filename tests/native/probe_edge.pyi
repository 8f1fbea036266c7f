"""An edge as Python sees it, with neither thread nor socket nor clock. For tests and benches only."""

from typing import Final, Self, final

from tests.native.probe_link import Node

FLOW_STATES: Final[tuple[str, ...]]

@final
class Application:
    """What one stream has to do with its application. `state` is the stream's, or None once the core forgot it."""

    @property
    def received(self) -> bytearray: ...
    @property
    def ended(self) -> bool: ...
    @property
    def cause(self) -> tuple[int, bool] | None: ...
    def __new__(cls) -> Self: ...
    @property
    def state(self) -> str | None: ...
    @property
    def id(self) -> int | None: ...
    @property
    def credit(self) -> tuple[int, int, int, int] | None:
        """Sent, the limit on it, received, the limit on that."""

@final
class Edge(Node):
    """An edge, with its sessions and applications."""

    connects: bool
    refuses: bool
    @property
    def answered(self) -> list[Application]: ...
    def session_add(
        self,
        session: int,
        *,
        secret: bytes,
        binding: bytes,
        suite: int,
        initiator: bool,
        flows: int,
        cap: int,
        marking: int = 1,
        priority: int = 0,
        organisation: int = 0,
    ) -> None: ...
    def session_candidate(self, session: int, *, link: int, in_label: int, out_label: int) -> bool:
        """Whether there was a place for it."""
    def candidates(self, session: int) -> list[int]:
        """Labels of its candidates."""
    def led_by(self, session: int) -> int:
        """The label of its path."""
    def session_candidate_drop(self, session: int, in_label: int) -> None: ...
    def session_path(self, session: int, *, link: int, in_label: int, out_label: int, instead: int = 0) -> None: ...
    def session_renew(self, session: int, mix: int, secret: bytes) -> None: ...
    def session_mix(self, session: int, mix: int) -> None: ...
    def session_close(self, session: int, code: int) -> None: ...
    def publish(
        self,
        exports: list[tuple[int, bytes]],
        imports: list[tuple[int, bytes, list[int]]],
        grants: list[tuple[int, int]],
    ) -> None:
        """Exports (number, service); imports (number, service, sessions); grants (session, export), ascending."""
    def flow(self, session: int, index: int = 0) -> dict[str, object]: ...
    def session_stats(self, session: int) -> dict[str, int]:
        """What `Core.sessions` says of it."""
    def has_session(self, session: int) -> bool: ...
    def takes_datagrams(self, session: int, index: int = 0) -> bool: ...
    def datagrams(self, session: int, body: bytes, index: int = 0) -> bool:
        """Send DATAGRAMS with any body; False: they were dropped."""
    def connect(self, number: int = 0) -> Application | None:
        """An application connects to an import; None: it is refused."""
    def write(self, application: Application, data: bytes, *, close: bool = False) -> None:
        """The application writes, and perhaps closes its side."""
    def reads(self, application: Application, taking: bool) -> None:
        """The application reads from now on, or stops."""
    def reset(self, application: Application) -> None: ...
    def turn(self) -> None:
        """Serve applications, acknowledge, look at what is due."""
