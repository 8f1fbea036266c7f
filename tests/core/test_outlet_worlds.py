"""Outlets in worlds that nobody chose: each attempt has one outcome, each stream one end, and nothing is left."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pcgrelay._core.face import core as native
from tests.support.applications import Across, echo, reset, server, silent
from tests.support.cores import carried_out, listen
from tests.support.machines import examples
from tests.support.ports import free_port
from tests.support.waiting import until

OUTCOMES = ("up", "refused", "silent", "away", "denied", "local", "left", "lost")
SIDES = ("echo", "refuses", "silent", "resets", "unresolved")
MANNERS = ("talks", "leaves", "resets", "says nothing", "half closes")


@contextmanager
def side(kind: str) -> Iterator[tuple[str, int] | None]:
    """A target that behaves in this way."""
    if kind == "unresolved":
        yield None
    elif kind == "echo":
        with server(echo) as address:
            yield address
    elif kind == "resets":
        with server(reset) as address:
            yield address
    elif kind == "refuses":
        # What was given back to the kernel may be another test's server next.
        yield "127.0.0.1", free_port()
    else:
        with silent() as address:
            yield address


def behave(address: tuple[str, int], manner: str) -> None:
    """One application. Whatever it meets is an end for it, not a hang."""
    with suppress(ConnectionError), socket.create_connection(address, timeout=20) as connection:
        if manner == "resets":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if manner in ("talks", "half closes"):
            connection.sendall(b"x" * 100)
        if manner == "half closes":
            with suppress(OSError):  # it was reset meanwhile
                connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass
        elif manner == "talks":
            connection.recv(100)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def run_world(
    far: str, old: str, state: int, share: int, granted: bool, careful: bool, loses: bool, manners: list[str]
) -> None:
    """Let all applications come and go, and check the figures."""
    with Across(relays=0) as across, side(far) as new_target, side(old) as old_target:
        core = across.near.core
        meter = core.meter_open(2)
        exported = native.EXPORT_READY if new_target else native.EXPORT_UNRESOLVED
        across.far.core.publish(
            exports=[(0, b"echo", 1, 0, exported, 400, [new_target] if new_target else [])],
            imports=[],
            grants=[(across.session, [0])] if granted else [],
        )
        carried_out(across.far)
        ways = [
            (native.OUTLET_GATEWAY, 60, [], None),
            (native.OUTLET_DIRECT, 60, [old_target] if old_target else [], None),
        ]
        slots = bytes([0] * (200 - share) + [1] * share)
        row = (meter, careful, True, 300, 0, slots, bytes([1, 0]), ways)
        routes = [(across.session, 2, 100)] if state == native.IMPORT_LIVE else []
        core.publish(exports=[], imports=[(0, b"echo", 1, 0, state, routes, row)], grants=[])
        carried_out(across.near)
        address = listen(across.near)
        for place, manner in enumerate(manners):
            if loses and place == len(manners) // 2 and across.session in core.sessions():
                core.session_close(across.session, 1)
            behave(address, manner)

        def is_over() -> bool:
            """Each application that came has one end; what was led on is an attempt more, and no stream more."""
            across.near.poll()
            figures = [real for real, _ in core.meter_read(meter)]
            ended = [event for event in across.near.seen if event[0] == native.EVENT_STREAM_END]
            return (
                core.streams() == 0
                and all(each["tried"] == sum(each[outcome] for outcome in OUTCOMES) for each in figures)
                and all(each["active"] == 0 and sum(each["setup_us"].values()) == each["up"] for each in figures)
                and len(ended) <= len(manners)
                and sum(each["tried"] for each in figures) == len(ended) + sum(each["moved"] for each in figures)
            )

        until(is_over, 10)


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    far=st.sampled_from(SIDES),
    old=st.sampled_from(SIDES),
    state=st.sampled_from([native.IMPORT_LIVE, native.IMPORT_PENDING, native.IMPORT_DOWN, native.IMPORT_UNCLEARED]),
    share=st.sampled_from([0, 1, 100, 199, 200]),
    granted=st.booleans(),
    careful=st.booleans(),
    loses=st.booleans(),
    manners=st.lists(st.sampled_from(MANNERS), min_size=1, max_size=8),
)
def test_each_attempt_has_one_outcome_and_nothing_is_left(
    far: str, old: str, state: int, share: int, granted: bool, careful: bool, loses: bool, manners: list[str]
) -> None:
    free_port()  # keeps a descriptor of its own from its first call on
    before = descriptors()
    run_world(far, old, state, share, granted, careful, loses, manners)
    gc.collect()
    until(lambda: descriptors() <= before, 5, f"{descriptors()} descriptors are {before}")
