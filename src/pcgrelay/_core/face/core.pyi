"""The Python interface of the data plane. Only `pcgrelay.dataplane.adapter` imports it.

Links, sessions, paths, imports and exports are numbers here; the control plane gives the numbers and keeps their
meaning. All calls are made from one thread. They return at once, and the workers carry them out soon after; what the
workers report comes through `events()`. A call that is refused raises CoreError with the name of a Result.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias, final

from pcgrelay._core.face.outlets import Outlets
from pcgrelay._core.face.workers import CoreError as CoreError

# Kinds of event. Each event is a tuple that begins with its kind. `reason` is a name that `refusal_name` returns,
# `cause` one that `cause_name` returns.
EVENT_LANE_UP: Final[int]  # (kind, link, index, number)
EVENT_LANE_DOWN: Final[int]  # (kind, link, index, number, code, reason)
EVENT_SESSION_UP: Final[int]  # (kind, session)  every flow is confirmed in both directions
EVENT_SESSION_DOWN: Final[int]  # (kind, session, code, reason, remote: bool)  never after session_close
EVENT_SESSION_STALLED: Final[int]  # (kind, session, flow, code, in_label)  the path or its lane is lost: session_path
EVENT_SESSION_RESUMED: Final[int]  # (kind, session, flow)
EVENT_PEER_DRAINS: Final[int]  # (kind, link, milliseconds)
EVENT_IMPORT_WANTED: Final[int]  # (kind, import)  a stream waits for an import that is IMPORT_PENDING
EVENT_STREAM_END: Final[int]
# (kind, opener: bool, number of the import or export (-1: unknown service), session, service: bytes, bytes_sent,
#  bytes_received, duration_us, code, cause, rule, remote: bool, (outlet, setup_us, moved, up: bool, shadow: int,
#  id_head, flow, stream, first_us)), the last of which has four more if it was an association: (..., "udp", datagrams
#  sent, received, and dropped: a count for each cause, in the order of dataplane.events.DROP_CAUSES)
#  sent: towards the far edge; setup_us: from the connection to the answer, or to the end if there was none;
#  moved: how often it was led on to another outlet; shadow: the number of import_connect, 0: an application's. All of
#  these are zero for imports without outlets; first_us: an opener's, to the first byte of the far side, 0: none.
EVENT_STREAM_OPEN: Final[int]  # reserved; not sent
EVENT_EVENTS_LOST: Final[int]  # (kind, count, kept)  events lost as the queue was full; kept: not of single streams
EVENT_LINK_RENEWED: Final[int]  # (kind, link, mix)  every worker has the secret of link_renew
EVENT_SESSION_RENEWED: Final[int]  # (kind, session, mix)
EVENT_SESSION_AGREED: Final[int]  # (kind, session, mix)  the far edge stepped with it before session_mix, on one worker
EVENT_SETUP_ENDED: Final[int]
# (kind, import, outlet, outcome, cause, code, rule, session (0: none), client: bytes, shadow: int, elapsed_us)
#  Failures of applications' set-ups, and each end of a shadow's, for which it comes exactly once.
#  outcome: up (of shadows alone), refused, silent, away, denied, local, left or lost.
#  client: the application's socket address without its port, as the system lays it out (28 bytes, zeros: unknown); it
#  is personal data, and is neither kept nor logged
EVENT_STREAMS_NUDGED: Final[int]
# (kind, import, outlet, round, nudged, open, idle, oldest_us)  a round of streams_nudge is over: how many it closed;
#  how many are open still, how many of them are idle, and the age of the oldest
EVENT_STREAMS_DONE: Final[int]
# (kind, opener: bool, number of the import or export, session, count, answered_us, (sent, received, life_us, first_us,
#  lives, firsts, sent_datagrams, received_datagrams, dropped), outlet, service: bytes, details: bytes, protocol, code,
#  cause, remote, answered)  so many streams of applications ended by code and cause "done"; so long ago the one of them
#  that was answered last was answered; sums of their bytes, lives and times to the first byte, and these two as counts
#  by the number of their bits: 40 each, the last for all longer ones; of associations their datagrams, as in a
#  STREAM_END; their outlet and service; if `detailed` asked for it, what differs between them, for face/end_bodies;
#  "tcp", or of associations "udp". If `crowded` asked for it, or so many associations that made room for others
#  (LIMIT): of these also whether the far edge ended them, and whether something came back to their openers
EVENT_SESSION_MOVED: Final[int]  # (kind, session, in_label)  a candidate has become the path, on one worker

ROLE_EDGE: Final[int]  # 1
ROLE_RELAY: Final[int]  # 2

IMPORT_DOWN: Final[int]  # new application connections are closed at once (UNREACHABLE)
IMPORT_UNCLEARED: Final[int]  # the same, for none of the ways to the exporters is cleared for its marking
IMPORT_PENDING: Final[int]  # new application connections wait at most wait_ms for routes
IMPORT_LIVE: Final[int]  # they are opened over one of the routes

OUTLET_NONE: Final[int]  # was removed: nothing goes there any more, and what is open goes on
OUTLET_GATEWAY: Final[int]
OUTLET_DIRECT: Final[int]  # plain TCP to an address of another network
OUTLET_FORBIDDEN: Final[int]  # below the marking of the service: what is open there ends
OUTLET_ENDED: Final[int]  # its rule has ended, and so does what is open there

EXPORT_READY: Final[int]
EXPORT_DRAIN: Final[int]  # OPEN is answered RESET(DRAINING)
EXPORT_UNRESOLVED: Final[int]  # OPEN is answered RESET(UNREACHABLE), cause target-unresolved

RECORD_VERSION: Final[int]  # version of the hand-over record that is written
RECORD_LEAST: Final[int]  # the oldest version that is read

# Rows of `publish`; the last three fields of an export, and the last two of an import, may be absent.
_ExportRow: TypeAlias = (
    tuple[int, bytes, int, int, int, int, Sequence[tuple[str, int]]]
    | tuple[int, bytes, int, int, int, int, Sequence[tuple[str, int]], Sequence[str], bool]
    | tuple[
        int,
        bytes,
        int,
        int,
        int,
        int,
        Sequence[tuple[str, int]],
        Sequence[str] | None,
        bool,
        tuple[int, int, int] | None,
    ]
)
_OutletsRow: TypeAlias = tuple[
    int,
    bool,
    bool,
    int,
    int,
    bytes,
    bytes,
    Sequence[tuple[int, int, Sequence[tuple[str, int]], Sequence[str] | None]],
]
_ImportRow: TypeAlias = (
    tuple[int, bytes, int, int, int, Sequence[tuple[int, int, int]]]
    | tuple[int, bytes, int, int, int, Sequence[tuple[int, int, int]], _OutletsRow | None]
    | tuple[
        int,
        bytes,
        int,
        int,
        int,
        Sequence[tuple[int, int, int]],
        _OutletsRow | None,
        tuple[int, int, int, int, int, int, Sequence[tuple[str, int]]] | None,
    ]
)

def refusal_name(reason: int) -> str:
    """Return the name of a Result, as counters and logs show it."""

def cause_name(cause: int) -> str:
    """Return the name of the cause of a stream's end, as logs show it."""

def library() -> tuple[str, bool]:
    """Return the version text of the libcrypto that the core uses, and whether it came with this package (a wheel)."""

def wiped(secret: bytearray | memoryview) -> None:
    """Overwrite a buffer that held secrets with zeros."""

@final
class Core(Outlets):
    """The workers of one node, with the commands that they take. How they are made and end stands in workers.pyi."""

    def events(
        self, limit: int = 4096, whole: bool = True, detailed: bool = False, crowded: bool = False
    ) -> list[tuple[object, ...]]:
        """Take about `limit` pending events.

        whole: each end of a stream by itself, none in a STREAMS_DONE. detailed: with what differs between those in one.
        crowded: associations that made room for others are in one too.
        """

    # -- links
    def link_add(
        self, link: int, *, secret: bytearray, binding: bytes, suite: int, dialler: bool, lanes: int, link_id: bytes
    ) -> None:
        """Add a link; its number is not 0 and not in use.

        secret: 32 bytes; overwritten with zeros here. binding: 32 bytes. lanes: 1 to 64. link_id: 16 bytes.
        """
    def lane_dial(self, link: int, index: int) -> tuple[int, bytes]:
        """Allocate the next lane number; return it and the 48 bytes of preamble to send before `lane_add`."""
    def lane_check(self, link: int, preamble: bytes) -> tuple[int, int]:
        """Check a preamble that was received (48 bytes); return (index, number). The number cannot be used again.

        Raises CoreError if the preamble is refused.
        """
    def lane_add(self, link: int, index: int, number: int, fd: int) -> None:
        """Give a connected, non-blocking TCP socket to the worker of this lane.

        The core owns and closes fd from here on, even if CoreError is raised.
        """
    def link_close(self, link: int, code: int) -> None:
        """Close all lanes (CLOSE with this code) and forget the link. Sessions and paths over it stall."""
    def link_drain(self, link: int, milliseconds: int) -> None:
        """Send DRAIN on the lanes: the link ends in so many milliseconds."""
    def link_renew(self, link: int, *, secret: bytearray, mix: int) -> None:
        """Keep the secret of a renewal, so that frames with it can be opened; EVENT_LINK_RENEWED follows.

        secret: 32 bytes; overwritten with zeros here. mix: greater than those before, or equal to the last one for
        another attempt at the same renewal (docs/protocol.md, 9.9).
        """
    def link_mix(self, link: int, mix: int) -> None:
        """Use the secret of a renewal that both sides have in the next key step of all lanes, also of later ones."""
    def link_has_stepped(self, link: int, mix: int) -> bool:
        """Whether each lane that is up has stepped with this renewal both ways, and no step is under way (9.9).

        A link that is not known has not.
        """

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
        """Forward frames between two links.

        a_in: the label that this node gave on a_link; a_out: the one that the neighbour there gave; the same for b.
        cap: bytes queued at most for each flow and direction.
        """
    def path_remove(self, path: int) -> None:
        """Stop forwarding for this path."""

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
        id_head: int = 0,
        caller: bytes = b"",
        ack_bytes: int = 262_144,
    ) -> None:
        """Add a session. It does nothing before `session_path`.

        secret: 32 bytes; overwritten with zeros here. binding: 32 bytes. cap: bytes in flight for each flow and
        direction. organisation: number of the peer's organisation, whose sessions share budgets; 0: none.
        id_head: the first four bytes of the session's id. caller: the peer as TLVs of the PROXY protocol, up to 1,024
        bytes, for targets that are told who calls. ack_bytes: how many bytes the far edge takes at most before it
        acknowledges.
        """

    def session_path(self, session: int, *, link: int, in_label: int, out_label: int, instead: int = 0) -> None:
        """Use this path for the flows of the session from now on.

        The first path starts FLOW_CONFIRM, a later one resumption. instead: move only the flows that use the path with
        this in_label, because the others have followed the far edge already; 0: all.
        """
    def session_candidate(self, session: int, *, link: int, in_label: int, out_label: int) -> None:
        """Add a candidate: a path that the session uses once the far edge resumes over it. At most four at once."""
    def session_candidate_drop(self, session: int, in_label: int) -> None:
        """Remove a candidate. No effect if the session uses it already."""
    def session_close(self, session: int, code: int) -> None:
        """Close all flows (FLOW_CLOSE with this code), end their streams and forget the session."""
    def session_renew(self, session: int, *, secret: bytearray, mix: int) -> None:
        """As `link_renew`, for the flows of a session; EVENT_SESSION_RENEWED follows."""
    def session_mix(self, session: int, mix: int) -> None:
        """As `link_mix`, for the flows of a session."""
    def session_has_stepped(self, session: int, mix: int, flows: int) -> bool:
        """As `link_has_stepped`, for the flows of a session, of which there are so many.

        For its responder it is enough that the far edge has acknowledged this side's own steps.
        """

    # -- tables
    def tables_check(
        self,
        *,
        exports: Sequence[_ExportRow],
        imports: Sequence[_ImportRow],
        grants: Sequence[tuple[int, Sequence[int]]],
    ) -> None:
        """Build these tables and discard them. Raises CoreError if `publish` would refuse them."""
    def publish(
        self,
        *,
        exports: Sequence[_ExportRow],
        imports: Sequence[_ImportRow],
        grants: Sequence[tuple[int, Sequence[int]]],
    ) -> None:
        """Replace all service tables at once; streams that the new tables no longer allow are reset.

        exports: (number, service, marking, rule, state, connect_timeout_ms, targets [(numeric ip, port), ...]), and
        behind these the numeric addresses to connect from, and whether targets are told who calls. The path of a unix
        socket stands in place of an ip.
        imports: (number, service without owner, marking, priority, state, routes [(session, precedence, weight), ...])
        and perhaps outlets: None, or (meter, careful, leads_denied, deadline_ms, wait_ms, slots, order, ways).
        slots: 200 bytes, the outlet of each slot; one is taken for each connection, in turn over all workers.
        order: the outlets that are tried after the chosen one. ways: for each outlet (kind, patience_ms, targets,
        source), the gateway first. careful: nothing is sent before the far side accepts, so that a set-up can be led
        on. wait_ms: how long a gateway without a session is waited for. leads_denied: a set-up that the exporter's
        rules deny is led on.
        A service of datagrams has one field more, else None: an export (idle_ms, silent_ms, wait_ms), an import these,
        and then (associations, of_source, each_second, prefixes). An association ends after idle_ms without a datagram,
        silent_ms where nothing was ever answered; a datagram waits for its flow no longer than wait_ms. associations:
        at most, of_source: of one address, each_second: new ones; 0: no limit. prefixes: [(numeric ip, bits), ...] of
        clients that are served, up to 64; none: all. Such an import has no outlets.
        grants: (session, [export numbers its peer may open]). A session that is not named may open nothing.
        Numbers of imports and exports are 0 to 65,535. Raises CoreError; then the old tables stay in force.
        """
    def import_listen(self, number: int, fds: Sequence[int], listener: int = 0) -> None:
        """Give the listening sockets of an import to the workers: one for each worker, bound with SO_REUSEPORT.

        The core owns and closes them. listener: the number, below LISTENERS, of the counts that they have apart from
        others; 0: they have none.
        """
    def import_unlisten(self, number: int) -> None:
        """Close the listening sockets of an import."""
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
        """Apply these settings; those left out stay. If one is refused (CoreError), all stay.

        probe_interval_ms: how often lanes are probed; a change restarts the count of silence. handshake_deadline_ms:
        within what time a new lane must be confirmed. linger_ms: after how long without a byte a half-closed stream
        ends, also one that is half-closed now. rekey_*: soft limits of a key; 0, or more than the protocol's limit,
        means the protocol's limit (docs/protocol.md, 8).
        """
    def drain(self) -> None:
        """Accept no new streams: listeners are closed, OPEN is answered RESET(DRAINING). Open streams go on."""

    # -- counters
    def streams(self) -> int:
        """How many streams are open now."""
    def counters(self) -> dict[str, int]:
        """All counters, summed over the workers. Refusals: `refused_<reason>_total`."""
    def services(self) -> dict[str, dict[int, int]]:
        """Open streams: {"imports": {number: streams}, "exports": ...}, for numbers below 1,024 that have any."""
    def listener(self, listener: int) -> tuple[int, int, int, int]:
        """What came by the listeners with this number: connections, open streams, and sent and received bytes.

        Bytes are those of streams that have ended. The counts begin with the first process.
        """
    def per_worker(self) -> list[dict[str, int]]:
        """For each worker: lanes, streams, sent_bytes, received_bytes."""
    def links(self) -> dict[int, dict[str, int]]:
        """For each link: lanes_up, rtt_us, sent_bytes, received_bytes, sent_frames, received_frames, mix, pings,
        pings_late, stepped.

        A ping whose answer took longer than two probe intervals is late. stepped: the sum of the newest renewals with
        which each lane has stepped both ways.
        """
    def sessions(self) -> dict[int, dict[str, int]]:
        """For each session: flows_up, streams, retained_bytes, sent_bytes, received_bytes, epoch, mix, stepped."""
    def memory(self) -> dict[str, int]:
        """used_bytes, budget_bytes, high_water_bytes."""
