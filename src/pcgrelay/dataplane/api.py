"""The interfaces of the native core that links, paths and sessions use. Implemented in `adapter`, and by tests."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from pcgrelay.figures import UdpLaneFigures


class DataPlaneRefused(Exception):
    """The core refused a call; the text names the reason."""


class PathSpec(Struct, frozen=True, kw_only=True):
    """A path through a relay: the links a and b, and for each the labels of incoming and outgoing frames."""

    a_link: int
    a_in: int
    a_out: int
    b_link: int
    b_in: int
    b_out: int
    cap: int  # bytes that may be queued for each flow and direction
    priority: int


class UdpLanePlane(Protocol):
    """UDP lanes of links, and their sockets. The contract of each is in the core's stub (`udp_lanes.pyi`)."""

    @property
    def workers(self) -> int: ...
    def udp_socket(self, worker: int, fd: int) -> int: ...
    def udp_socket_close(self, socket: int) -> None: ...
    def udp_lane_dial(self, link: int, index: int, socket: int) -> tuple[int, int]: ...
    def udp_lane_accept(
        self, link: int, index: int, number: int, *, token: int, host: str, port: int, socket: int
    ) -> int: ...
    def udp_lane_begin(self, link: int, index: int, number: int, *, token: int, host: str, port: int) -> None: ...
    def udp_lane_close(self, link: int, index: int, number: int) -> None: ...
    def udp_lanes(self, link: int) -> list[UdpLaneFigures]: ...


class LinkPlane(UdpLanePlane, Protocol):
    """Links and their lanes, those of UDP among them."""

    def link_add(
        self, link: int, *, secret: bytearray, binding: bytes, suite: int, dialler: bool, lanes: int, link_id: bytes
    ) -> None: ...
    def lane_dial(self, link: int, index: int) -> tuple[int, bytes]: ...
    def lane_check(self, link: int, preamble: bytes) -> tuple[int, int]: ...
    def lane_add(self, link: int, index: int, number: int, fd: int) -> None: ...
    def link_close(self, link: int, code: int) -> None: ...
    def link_drain(self, link: int, milliseconds: int) -> None: ...
    def link_renew(self, link: int, *, secret: bytearray, mix: int) -> None: ...
    def link_mix(self, link: int, mix: int) -> None: ...
    def link_has_stepped(self, link: int, mix: int) -> bool: ...


class PathPlane(Protocol):
    """Paths through a relay."""

    def path_add(self, path: int, spec: PathSpec) -> None: ...
    def path_remove(self, path: int) -> None: ...


class SessionPlane(Protocol):
    """Sessions of an edge."""

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
    ) -> None: ...
    def session_name(self, session: int, *, id_head: int, caller: bytes) -> None: ...
    def session_path(self, session: int, *, link: int, in_label: int, out_label: int, instead: int = 0) -> None: ...
    def session_candidate(self, session: int, *, link: int, in_label: int, out_label: int) -> None: ...
    def session_candidate_drop(self, session: int, in_label: int) -> None: ...
    def session_close(self, session: int, code: int) -> None: ...
    def session_renew(self, session: int, *, secret: bytearray, mix: int) -> None: ...
    def session_mix(self, session: int, mix: int) -> None: ...
    def session_has_stepped(self, session: int, mix: int, flows: int) -> bool: ...
