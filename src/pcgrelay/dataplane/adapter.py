"""The only module that imports the native core: typed calls down, typed events up.

Links, sessions and services are numbers here. The event loop watches the core's descriptor; each event becomes a Struct
and goes to the handler of its type. A call that the core refuses raises DataPlaneRefused.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, structs

from pcgrelay.config import Config, PolicySettings
from pcgrelay.dataplane import events
from pcgrelay.dataplane.api import DataPlaneRefused, PathSpec
from pcgrelay.dataplane.udp_lanes import UdpLaneCalls
from pcgrelay.figures import ExportStreams, ListenerFigures, OutletFigures
from pcgrelay.net.local_ports import LocalPorts

# What one turn of the loop handles: an event takes half a kilobyte while it is told, and a request for a status waits.
EVENTS_AT_ONCE = 512
SETTLE_ROUNDS = 64

# idle_ms, silent_ms (as long as nothing was ever answered), wait_ms
ExportDatagrams = tuple[int, int, int]
# The same, then associations, of one source, new ones in a second, networks (address, bits); none: everybody's
ImportDatagrams = tuple[int, int, int, int, int, int, Sequence[tuple[str, int]]]
# number, service, marking, rule, state, connect_ms, targets, addresses to connect from, whether they are told who
# calls; None: it is one of streams
Export = tuple[int, bytes, int, int, int, int, Sequence[tuple[str, int]], Sequence[str], bool, ExportDatagrams | None]
# kind, patience_ms, addresses, addresses to connect from
WayRow = tuple[int, int, Sequence[tuple[str, int]], Sequence[str]]
# number, streams, of one organisation, new ones in a second, idle_s, lasts_s, bytes of datagrams in a second
ServiceBounds = tuple[int, int, int, int, int, int, int]
# meter, careful, leads_denied, deadline_ms, wait_ms, slots, order, ways
OutletsRow = tuple[int, bool, bool, int, int, bytes, bytes, Sequence[WayRow]]
Import = tuple[int, bytes, int, int, int, Sequence[tuple[int, int, int]], OutletsRow | None, ImportDatagrams | None]
Grant = tuple[int, Sequence[int]]

T = TypeVar("T")


class Plane(UdpLaneCalls):
    """One core and its events. The methods without a docstring are documented in the core's stub (`core.pyi`)."""

    def __init__(self, native: Any, config: Config) -> None:
        """native: the core's module, from `native_core`. Raises DataPlaneRefused if the core cannot be made."""
        self._native = native
        self._handlers: events.Handlers = {}
        self._failed: Callable[[Exception], None] = _nobody
        self._loop: asyncio.AbstractEventLoop | None = None
        # A worker inherits the priority of the thread that starts it. This thread keeps its priority for `thaw`, when
        # that of the event loop has been lowered and cannot be raised again.
        self._starter = ThreadPoolExecutor(1, "starter")
        self.tells_each_end = True  # of a stream; else those that were done are counted by the core,
        self.tells_details = False  # and what differs between them goes along;
        self.tells_limits = True  # and so are associations that made room for others, unless this is true
        # Under which applications are told apart, in this process alone.
        self._client_key = secrets.token_bytes(16)
        node, policy = config.node, config.policy
        self._core = self._called(
            native.Core,
            workers=node.workers,
            memory_bytes=node.memory_bytes,
            role=int(node.role),
            **_settings(policy),
        )
        self.record_version = int(native.RECORD_VERSION)
        self.record_least = int(native.RECORD_LEAST)
        self.IMPORT_DOWN: int = native.IMPORT_DOWN
        self.IMPORT_UNCLEARED: int = native.IMPORT_UNCLEARED
        self.IMPORT_PENDING: int = native.IMPORT_PENDING
        self.IMPORT_LIVE: int = native.IMPORT_LIVE
        self.EXPORT_READY: int = native.EXPORT_READY
        self.EXPORT_DRAIN: int = native.EXPORT_DRAIN
        self.EXPORT_UNRESOLVED: int = native.EXPORT_UNRESOLVED
        self.OUTLET_NONE: int = native.OUTLET_NONE
        self.OUTLET_GATEWAY: int = native.OUTLET_GATEWAY
        self.OUTLET_DIRECT: int = native.OUTLET_DIRECT
        self.OUTLET_FORBIDDEN: int = native.OUTLET_FORBIDDEN
        self.OUTLET_ENDED: int = native.OUTLET_ENDED
        self._types: dict[int, type[Struct]] = {
            native.EVENT_LANE_UP: events.LaneUp,
            native.EVENT_LANE_DOWN: events.LaneDown,
            native.EVENT_SESSION_UP: events.SessionUp,
            native.EVENT_SESSION_DOWN: events.SessionDown,
            native.EVENT_SESSION_STALLED: events.SessionStalled,
            native.EVENT_SESSION_RESUMED: events.SessionResumed,
            native.EVENT_SESSION_MOVED: events.SessionMoved,
            native.EVENT_PEER_DRAINS: events.PeerDrains,
            native.EVENT_IMPORT_WANTED: events.ImportWanted,
            native.EVENT_STREAM_END: events.StreamEnd,
            native.EVENT_STREAMS_DONE: events.StreamsDone,
            native.EVENT_LINK_RENEWED: events.LinkRenewed,
            native.EVENT_SESSION_RENEWED: events.SessionRenewed,
            native.EVENT_SESSION_AGREED: events.SessionAgreed,
            native.EVENT_EVENTS_LOST: events.EventsLost,
            native.EVENT_SETUP_ENDED: events.SetupEnded,
            native.EVENT_STREAMS_NUDGED: events.StreamsNudged,
            native.EVENT_UDP_LANE_UP: events.UdpLaneUp,
            native.EVENT_UDP_LANE_DOWN: events.UdpLaneDown,
            native.EVENT_UDP_LANE_SPENT: events.UdpLaneSpent,
        }

    # -- life --------------------------------------------------------------------------------------------------

    def start(self, handlers: events.Handlers, failed: Callable[[Exception], None]) -> None:
        """Start the workers; the running loop dispatches their events. failed: called with what a handler raises."""
        self._handlers, self._failed = handlers, failed
        self._loop = asyncio.get_running_loop()
        self._launch()
        self._loop.add_reader(self._core.fileno(), self.deliver)

    def stop(self) -> None:
        """Stop and join the workers. It may be called twice."""
        if self._loop is not None:
            self._loop.remove_reader(self._core.fileno())
            self._loop = None
            self._last_ends()
        self._core.stop()
        self._starter.shutdown()

    def freeze(self) -> None:
        """Stop all workers at the end of their turn, with all orders carried out and all events dispatched.

        Raises DataPlaneRefused if they do not come to rest.
        """
        self._called(self._core.freeze)
        for _ in range(SETTLE_ROUNDS):
            settled = self._core.settle()
            if not self._deliver_all() and settled:
                return
        raise DataPlaneRefused("it does not come to rest")

    def thaw(self) -> None:
        """Let the workers go on after `freeze`."""
        self._launch()

    def handover_size(self) -> int:
        return int(self._called(self._core.handover_size))

    def handover_write(self, record: memoryview) -> list[int]:
        return list(self._called(self._core.handover_write, record))

    def handover_read(self, record: memoryview, descriptors: Sequence[int]) -> list[int]:
        return list(self._called(self._core.handover_read, record, descriptors))

    def abandon(self) -> None:
        """Wipe all keys and close no connection: another process has them now."""
        if self._loop is not None:
            self._loop.remove_reader(self._core.fileno())
            self._loop = None
        self._core.abandon()

    def wiped(self, secret: memoryview) -> None:
        self._native.wiped(secret)

    def deliver(self, only: Collection[type[Struct]] = ()) -> int:
        """Dispatch some pending core events, or those of some types; a handler that raises does not stop the others.

        Returns how many were taken; the loop is called again for the others.
        """
        pending = self._core.events(
            EVENTS_AT_ONCE, self.tells_each_end, self.tells_details, crowded=not self.tells_limits
        )
        for kind, *fields in pending:
            event_type = self._types.get(kind)
            if event_type is None or (only and event_type not in only) or event_type not in self._handlers:
                continue
            try:
                self._handlers[event_type](self._event(event_type, fields))
            except Exception as error:
                self._failed(error)
        return len(pending)

    def _deliver_all(self, only: Collection[type[Struct]] = ()) -> int:
        """As `deliver`, until none is pending: the workers stand still."""
        total = 0
        while delivered := self.deliver(only):
            total += delivered
        return total

    def _event(self, event_type: type[Struct], fields: list[Any]) -> Struct:
        if event_type is events.StreamEnd and len(fields) > events.STREAM_END_FIELDS:
            *fields, setup = fields
            fields += setup
        elif event_type is events.StreamsDone:
            fields[events.STREAMS_DONE_SUMS] = events.DoneSums(*fields[events.STREAMS_DONE_SUMS])
        elif event_type is events.SetupEnded:
            # The address of an application is personal data: it goes no further than this.
            client = blake2b(fields[events.SETUP_ENDED_CLIENT], digest_size=8, key=self._client_key).digest()
            fields[events.SETUP_ENDED_CLIENT] = int.from_bytes(client)
        return event_type(*fields)

    def _last_ends(self) -> None:
        """Dispatch the ends of streams that the last turn brought, so that they are counted and logged."""
        with suppress(DataPlaneRefused):
            self._called(self._core.freeze)
            self._core.settle()
            self._deliver_all((events.StreamEnd, events.StreamsDone))

    def at_first_priority(self, call: Callable[[], T]) -> Future[T]:
        """Call something on the thread that has kept the priority with which this process began."""
        return self._starter.submit(call)

    def _launch(self) -> None:
        self._called(self._starter.submit(self._core.start).result)

    def _called(self, call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        try:
            return call(*args, **named)
        except self._native.CoreError as error:
            raise DataPlaneRefused(str(error)) from None
        except MemoryError:
            raise DataPlaneRefused("there is no memory for it") from None

    # -- links -------------------------------------------------------------------------------------------------

    @property
    def workers(self) -> int:
        return int(self._core.workers)

    def link_add(
        self, link: int, *, secret: bytearray, binding: bytes, suite: int, dialler: bool, lanes: int, link_id: bytes
    ) -> None:
        self._called(
            self._core.link_add,
            link,
            secret=secret,
            binding=binding,
            suite=int(suite),
            dialler=dialler,
            lanes=lanes,
            link_id=link_id,
        )

    def lane_dial(self, link: int, index: int) -> tuple[int, bytes]:
        number, preamble = self._called(self._core.lane_dial, link, index)
        return number, preamble

    def lane_check(self, link: int, preamble: bytes) -> tuple[int, int]:
        index, number = self._called(self._core.lane_check, link, preamble)
        return index, number

    def lane_add(self, link: int, index: int, number: int, fd: int) -> None:
        self._called(self._core.lane_add, link, index, number, fd)

    def link_close(self, link: int, code: int) -> None:
        self._called(self._core.link_close, link, code)

    def link_drain(self, link: int, milliseconds: int) -> None:
        self._called(self._core.link_drain, link, milliseconds)

    def link_renew(self, link: int, *, secret: bytearray, mix: int) -> None:
        self._called(self._core.link_renew, link, secret=secret, mix=mix)

    def link_mix(self, link: int, mix: int) -> None:
        self._called(self._core.link_mix, link, mix)

    def link_has_stepped(self, link: int, mix: int) -> bool:
        return bool(self._called(self._core.link_has_stepped, link, mix))

    # -- paths and sessions ------------------------------------------------------------------------------------

    def path_add(self, path: int, spec: PathSpec) -> None:
        self._called(self._core.path_add, path, **structs.asdict(spec))

    def path_remove(self, path: int) -> None:
        self._called(self._core.path_remove, path)

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
        self._called(
            self._core.session_add,
            session,
            secret=secret,
            binding=binding,
            suite=int(suite),
            initiator=initiator,
            flows=flows,
            cap=cap,
            marking=marking,
            priority=priority,
            organisation=organisation,
            id_head=id_head,
            caller=caller,
            ack_bytes=ack_bytes,
        )

    def session_name(self, session: int, *, id_head: int, caller: bytes) -> None:
        self._called(self._core.session_name, session, id_head, caller)

    def session_path(self, session: int, *, link: int, in_label: int, out_label: int, instead: int = 0) -> None:
        self._called(
            self._core.session_path, session, link=link, in_label=in_label, out_label=out_label, instead=instead
        )

    def session_candidate(self, session: int, *, link: int, in_label: int, out_label: int) -> None:
        self._called(self._core.session_candidate, session, link=link, in_label=in_label, out_label=out_label)

    def session_candidate_drop(self, session: int, in_label: int) -> None:
        self._called(self._core.session_candidate_drop, session, in_label)

    def session_close(self, session: int, code: int) -> None:
        self._called(self._core.session_close, session, code)

    def session_renew(self, session: int, *, secret: bytearray, mix: int) -> None:
        self._called(self._core.session_renew, session, secret=secret, mix=mix)

    def session_mix(self, session: int, mix: int) -> None:
        self._called(self._core.session_mix, session, mix)

    def session_has_stepped(self, session: int, mix: int, flows: int) -> bool:
        return bool(self._called(self._core.session_has_stepped, session, mix, flows))

    # -- tables and counters -----------------------------------------------------------------------------------

    def tables_check(self, *, exports: Sequence[Export], imports: Sequence[Import], grants: Sequence[Grant]) -> None:
        """Check tables without a change. Raises DataPlaneRefused if `publish` would refuse them."""
        self._called(self._core.tables_check, exports=exports, imports=imports, grants=grants)

    def publish(self, *, exports: Sequence[Export], imports: Sequence[Import], grants: Sequence[Grant]) -> None:
        self._called(self._core.publish, exports=exports, imports=imports, grants=grants)

    def import_listen(self, number: int, fds: Sequence[int], listener: int = 0) -> None:
        """Give the core listening sockets of an import. listener: the number of the counts that they have apart."""
        self._called(self._core.import_listen, number, fds, listener)

    def import_listen_datagrams(self, number: int, worker: int, fd: int, listener: int = 0) -> None:
        """Give one worker a UDP socket of an import. fd is the core's from now on, also if that is refused."""
        self._called(self._core.listen_datagrams, worker, number, fd, listener)

    def import_unlisten(self, number: int) -> None:
        self._called(self._core.import_unlisten, number)

    def import_connect(self, number: int, fd: int, outlet: int, shadow: int) -> None:
        """Set a shadow connection up: fd, which is the core's from now on, takes this outlet of an import alone.

        shadow: its number, from 1; one SetupEnded says how its set-up ended.
        """
        self._called(self._core.import_connect, number, fd, outlet, shadow)

    def import_adopt(self, number: int, fd: int) -> None:
        """Take an application's connection that was accepted here: fd, which is the core's from now on."""
        self._called(self._core.import_adopt, number, fd)

    def streams_nudge(self, number: int, outlet: int, idle_us: int, most: int, hard: bool = False) -> int:
        """Close up to so many streams of one outlet, and count the others; StreamsNudged has the returned number."""
        return int(self._called(self._core.streams_nudge, number, outlet, idle_us=idle_us, most=most, hard=hard))

    def meter_open(self, outlets: int) -> int:
        return int(self._called(self._core.meter_open, outlets))

    def meter_close(self, meter: int) -> None:
        self._called(self._core.meter_close, meter)

    def meter_read(self, meter: int) -> list[tuple[OutletFigures, OutletFigures]]:
        """For each outlet what real set-ups came to, and shadow ones."""
        return msgspec.convert(self._called(self._core.meter_read, meter), list[tuple[OutletFigures, OutletFigures]])

    def settings(self, policy: PolicySettings) -> None:
        """Apply the settings of this policy. If the core refuses one, all stay as they were (DataPlaneRefused)."""
        self._called(self._core.settings, **_settings(policy))

    def bounds(
        self,
        imports: Sequence[ServiceBounds],
        exports: Sequence[ServiceBounds],
        descriptors: int,
        organisation: tuple[int, int] = (0, 0),
    ) -> None:
        """Set the limits of services, the first descriptor that is reserved, and the limits of each organisation.

        organisation: streams of all exports together that may be open, and new ones in a second; 0: no limit.
        """
        self._called(
            self._core.bounds, imports=imports, exports=exports, descriptors=descriptors, organisation=organisation
        )

    def local_ports(self, allowed: LocalPorts) -> None:
        """Connect to targets from these local ports."""
        self._called(self._core.local_ports, allowed.as_map, allowed.first_half)

    def export_streams(self) -> list[ExportStreams]:
        """Which streams of exports are open."""
        return [ExportStreams(*row) for row in self._core.export_streams()]

    def drain(self) -> None:
        self._called(self._core.drain)

    def streams(self) -> int:
        return int(self._core.streams())

    def counters(self) -> dict[str, int]:
        return dict(self._core.counters())

    def services(self) -> dict[str, dict[int, int]]:
        return dict(self._core.services())

    def listener(self, listener: int) -> ListenerFigures:
        """What came by the listeners that have these counts."""
        connections, active, sent, received = self._core.listener(listener)
        return ListenerFigures(connections=connections, active=active, sent_bytes=sent, received_bytes=received)

    def per_worker(self) -> list[dict[str, int]]:
        return list(self._core.per_worker())

    def links(self) -> dict[int, dict[str, int]]:
        return dict(self._core.links())

    def sessions(self) -> dict[int, dict[str, int]]:
        return dict(self._core.sessions())

    def memory(self) -> dict[str, int]:
        return dict(self._core.memory())


def _settings(policy: PolicySettings) -> dict[str, int]:
    return {
        "probe_interval_ms": policy.probe_interval_ms,
        "handshake_deadline_ms": policy.handshake_deadline_ms,
        "linger_ms": policy.half_closed_s * 1000,
        "rekey_frames": policy.rekey_frames,
        "rekey_bytes": policy.rekey_bytes,
        "rekey_ms": policy.rekey_s * 1000,
    }


def native_core() -> Any:
    """Import the built core. This is done late, so that commands that need no data plane do not load it."""
    from pcgrelay._core.face import core  # noqa: PLC0415

    return core


def core_answers() -> dict[str, bool]:
    """Return whether the core's ciphers and its derivation of keys give the published answers, by name."""
    from pcgrelay._core.face import answers  # noqa: PLC0415

    return answers.known_answers()


def end_bodies(
    parts: tuple[bytes, ...], details: bytes, wall_us: int, id_head: int, own: bytes, own_first: int
) -> list[bytes]:
    """Return the bodies of the lines of streams that were told together; `end_bodies.pyi` says of what."""
    from pcgrelay._core.face import end_bodies as native  # noqa: PLC0415

    return native.end_bodies(parts, details, wall_us, id_head, own, own_first)


def _nobody(error: Exception) -> None:
    """Ignore: before `start` there is no handler that could raise."""
