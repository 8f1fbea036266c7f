"""The Python face of the data plane. Only `pcgrelay.dataplane.adapter` imports it.

Numbers, not names, cross this face: the control plane gives every link, session, path, import and export a number
and keeps the meaning. Every call is made from one thread, returns at once, and is carried out by the workers soon
after. Whatever the workers have to say comes back through `events()`.
"""

from collections.abc import Sequence
from typing import Final, final

from pcgrelay._core.face.workers import CoreError as CoreError
from pcgrelay._core.face.workers import Workers

# Kinds of event. Each event is a tuple that begins with its kind. `reason` is a name as of `refusal_name`, `cause` one
# as of `cause_name`.
EVENT_LANE_UP: Final[int]  # (kind, link, index, number)
EVENT_LANE_DOWN: Final[int]  # (kind, link, index, number, code, reason)
EVENT_SESSION_UP: Final[int]  # (kind, session)  every flow is confirmed in both directions
EVENT_SESSION_DOWN: Final[int]  # (kind, session, code, reason, remote: bool)  never after session_close
EVENT_SESSION_STALLED: Final[int]  # (kind, session, flow, code, in_label)  that path or its lane is lost: session_path
EVENT_SESSION_RESUMED: Final[int]  # (kind, session, flow)
EVENT_PEER_DRAINS: Final[int]  # (kind, link, milliseconds)
EVENT_IMPORT_WANTED: Final[int]  # (kind, import)  a stream waits for an import that is IMPORT_PENDING
EVENT_STREAM_END: Final[int]
# (kind, opener: bool, number of the import or export (-1: unknown service), session, service: bytes, bytes_sent,
#  bytes_received, duration_us, code, cause, rule, remote: bool)   sent: towards the far edge
EVENT_STREAM_OPEN: Final[int]  # reserved; not sent
EVENT_EVENTS_LOST: Final[int]  # (kind, count, kept)  so many found no place in the queue; kept: not of single streams
EVENT_LINK_RENEWED: Final[int]  # (kind, link, mix)  every worker keeps the secret of link_renew
EVENT_SESSION_RENEWED: Final[int]  # (kind, session, mix)
EVENT_SESSION_MOVED: Final[int]  # (kind, session, in_label)  a candidate has become the path, on one worker

ROLE_EDGE: Final[int]  # 1
ROLE_RELAY: Final[int]  # 2

IMPORT_DOWN: Final[int]  # new application connections are closed at once (UNREACHABLE)
IMPORT_PENDING: Final[int]  # they wait, at most wait_ms, for routes
IMPORT_LIVE: Final[int]  # they are opened over one of the routes

EXPORT_READY: Final[int]
EXPORT_DRAIN: Final[int]  # OPEN is answered RESET(DRAINING)
EXPORT_UNRESOLVED: Final[int]  # OPEN is answered RESET(UNREACHABLE), cause target-unresolved

RECORD_VERSION: Final[int]  # of the state record that this writes
RECORD_LEAST: Final[int]  # the oldest that it reads

def refusal_name(reason: int) -> str: ...
def cause_name(cause: int) -> str: ...
def library() -> str:
    """The libcrypto that seals and opens, as it names itself."""

def wiped(secret: bytearray | memoryview) -> None:
    """Overwrite what held secrets."""

@final
class Core(Workers):
    """The workers of one node, with the commands that they take. How they are made and end stands in workers.pyi."""

    def events(self, limit: int = 4096) -> list[tuple[object, ...]]: ...

    # -- links
    def link_add(
        self, link: int, *, secret: bytearray, binding: bytes, suite: int, dialler: bool, lanes: int, link_id: bytes
    ) -> None:
        """Know a link; its number is not 0 and not known now. `secret` (32 bytes) is overwritten with zeros here."""
    def lane_dial(self, link: int, index: int) -> tuple[int, bytes]:
        """Take the next lane number; answer it and the 48 bytes of preamble to send before `lane_add`."""
    def lane_check(self, link: int, preamble: bytes) -> tuple[int, int]:
        """Check a preamble that came in; answer (index, number), which is used up now. CoreError: refused."""
    def lane_add(self, link: int, index: int, number: int, fd: int) -> None:
        """Give a connected, non-blocking TCP socket to the worker of this lane.

        The core owns and closes fd from here on, whatever happens.
        """
    def link_close(self, link: int, code: int) -> None:
        """Close all lanes (CLOSE with this code) and forget the link. Sessions and paths over it stall."""
    def link_drain(self, link: int, milliseconds: int) -> None: ...
    def link_renew(self, link: int, *, secret: bytearray, mix: int) -> None:
        """Keep the secret of a renewal for what the neighbour may send; EVENT_LINK_RENEWED follows.

        `secret` (32 bytes) is overwritten with zeros here. mix is greater than those before, or that of the last
        renewal, if this is another attempt at it.
        """
    def link_mix(self, link: int, mix: int) -> None:
        """Both sides keep it: the lanes step with it, and so do lanes that are opened later."""

    # -- paths of a relay
    def path_add(
        self,
        path: int,
        *,
        a_link: int,
        a_in: int,
        a_out: int,
        b_link: int,
        b_in: int,
        b_out: int,
        cap: int,
        priority: int,
    ) -> None:
        """Forward between two links.

        a_in: the label that we gave on a_link; a_out: the one that the neighbour there gave.
        cap: bytes queued at most for each flow and direction.
        """
    def path_remove(self, path: int) -> None: ...

    # -- sessions of an edge
    def session_add(
        self,
        session: int,
        *,
        secret: bytearray,
        binding: bytes,
        suite: int,
        initiator: bool,
        flows: int,
        cap: int,
        marking: int,
        priority: int,
        organisation: int = 0,
    ) -> None:
        """Know a session. `secret` is overwritten with zeros here. It does nothing before it has a path.

        organisation: a number for that of the peer, which all its sessions share their budgets by; 0: it has none.
        """

    def session_path(self, session: int, *, link: int, in_label: int, out_label: int, instead: int = 0) -> None:
        """Lead the session's flows over this link from now on.

        The first path starts FLOW_CONFIRM, a later one resumption. instead: those flows only that the path of this
        in_label leads now; for others have moved on by themselves.
        """
    def session_candidate(self, session: int, *, link: int, in_label: int, out_label: int) -> None:
        """A path that becomes the session's once the far edge resumes over it; at most four at once."""
    def session_candidate_drop(self, session: int, in_label: int) -> None:
        """It will not any more; nothing, if it has."""
    def session_close(self, session: int, code: int) -> None: ...
    def session_renew(self, session: int, *, secret: bytearray, mix: int) -> None:
        """As link_renew, for the flows of a session; EVENT_SESSION_RENEWED follows."""
    def session_mix(self, session: int, mix: int) -> None:
        """As link_mix: the flows step with it."""

    # -- tables
    def tables_check(
        self,
        *,
        exports: Sequence[tuple[int, bytes, int, int, int, int, Sequence[tuple[str, int]]]],
        imports: Sequence[tuple[int, bytes, int, int, int, Sequence[tuple[int, int, int]]]],
        grants: Sequence[tuple[int, Sequence[int]]],
    ) -> None:
        """Build these tables and let go of them: CoreError says why `publish` would not take them."""
    def publish(
        self,
        *,
        exports: Sequence[tuple[int, bytes, int, int, int, int, Sequence[tuple[str, int]]]],
        imports: Sequence[tuple[int, bytes, int, int, int, Sequence[tuple[int, int, int]]]],
        grants: Sequence[tuple[int, Sequence[int]]],
    ) -> None:
        """Replace all service tables at once; streams that they no longer allow are reset.

        exports: (number, service, marking, rule, state, connect_timeout_ms, targets [(numeric ip, port), ...]).
        imports: (number, service without owner, marking, priority, state, routes [(session, precedence, weight), ...]).
        grants: (session, [export numbers its peer may open]). A session that is not named may open nothing.
        Numbers of imports and exports are 0 to 65,535.
        """
    def import_listen(self, number: int, fds: Sequence[int]) -> None:
        """Give listening sockets of an import to the workers: one for each, bound with SO_REUSEPORT.

        The core owns them.
        """
    def import_unlisten(self, number: int) -> None: ...
    def settings(
        self,
        *,
        probe_interval_ms: int = ...,
        handshake_deadline_ms: int = ...,
        linger_ms: int = ...,
        rekey_frames: int = ...,
        rekey_bytes: int = ...,
        rekey_ms: int = ...,
    ) -> None:
        """Go by these from now on; what is left out stays as it is. One that is refused leaves all as they are.

        probe_interval_ms: how often lanes are probed; silence is counted again if it changes. handshake_deadline_ms:
        how long after it was added a lane must be confirmed. linger_ms: after how long without a byte half-closed
        streams end, those that are so now too. rekey_*: soft limits of a key; 0, or more than that of the protocol:
        that of the protocol.
        """
    def drain(self) -> None:
        """Stop accepting: listeners are closed, OPEN is answered RESET(DRAINING). Streams that run go on."""

    # -- facts
    def streams(self) -> int:
        """Streams that are open now."""
    def counters(self) -> dict[str, int]:
        """All counters, summed over the workers. Refusals: `refused_<reason>_total`."""
    def services(self) -> dict[str, dict[int, int]]:
        """Streams open now: {"imports": {number: streams}, "exports": ...}; numbers below 1,024 that have any."""
    def per_worker(self) -> list[dict[str, int]]:
        """For each worker: lanes, streams, sent_bytes, received_bytes."""
    def links(self) -> dict[int, dict[str, int]]:
        """For each link: lanes_up, rtt_us, sent_bytes, received_bytes, sent_frames, received_frames, pings, pings_late.

        A ping whose answer took longer than two probe intervals is late.
        """
    def sessions(self) -> dict[int, dict[str, int]]:
        """For each session: flows_up, streams, retained_bytes, sent_bytes, received_bytes, epoch."""
    def memory(self) -> dict[str, int]:
        """used_bytes, budget_bytes, high_water_bytes."""
