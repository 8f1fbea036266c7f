"""Random worlds of datagrams: clients and far sides of every kind; each attempt has exactly one outcome."""

from __future__ import annotations

import contextlib
import gc
import socket
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pcgrelay._core.face import core as native
from tests.support.applications import Across
from tests.support.datagram_outlets import DIRECT, GATEWAY, DatagramOutlets
from tests.support.datagrams import Address, Terms, client, server
from tests.support.machines import examples
from tests.support.ports import free_port
from tests.support.waiting import until

OUTCOMES = ("up", "refused", "silent", "away", "denied", "local", "left", "lost")
SIDES = ("answers", "silent", "refuses", "absent")
MANNERS = ("asks", "asks twice", "asks after the answer", "shouts", "is long", "is empty", "shadow", "shadow leaves")
TERMS = Terms(idle_ms=250, silent_ms=250, wait_ms=200)
PATIENCE_MS = 60


@contextlib.contextmanager
def side(kind: str) -> Iterator[Address | None]:
    if kind == "absent":
        yield None
    elif kind == "refuses":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            address = taken.getsockname()[:2]
        yield address
    else:
        with server((lambda data, _: data) if kind == "answers" else (lambda _data, _source: None)) as running:
            yield running.address


def behave(stack: contextlib.ExitStack, outlets: DatagramOutlets, manner: str, number: int) -> None:
    if manner.startswith("shadow"):
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        ours.send(b"who")
        theirs.setblocking(False)
        outlets.near.core.import_connect(0, theirs.detach(), number % 2, number + 1)
        if manner == "shadow leaves":
            ours.close()
        else:
            stack.enter_context(ours)
        return
    asker = stack.enter_context(client(outlets.address))
    asker.settimeout(0.3)
    with contextlib.suppress(TimeoutError, ConnectionRefusedError):
        if manner == "is long":
            asker.send(bytes(60_000))
        elif manner == "is empty":
            asker.send(b"")
        elif manner == "shouts":
            for _ in range(100):
                asker.send(bytes(500))
        else:
            asker.send(b"once")
            if manner == "asks twice":
                asker.send(b"twice")
            elif manner == "asks after the answer":
                asker.recv(100)
                asker.send(b"twice")


def run_world(far: str, old: str, state: int, share: int, wait_ms: int, loses: bool, manners: list[str]) -> None:
    with Across(relays=0) as across, side(far) as new_target, side(old) as old_target, contextlib.ExitStack() as stack:
        core = across.near.core
        outlets = DatagramOutlets(across, new_target or ("127.0.0.1", 9), old_target, TERMS)
        if new_target is None:
            across.far.core.publish(exports=[], imports=[], grants=[])
        outlets.publish(shares=share, state=state, patience_ms=PATIENCE_MS, wait_ms=wait_ms)
        for place, manner in enumerate(manners):
            if loses and place == len(manners) // 2 and across.session in core.sessions():
                core.session_close(across.session, 1)
            behave(stack, outlets, manner, place)

        def is_over() -> bool:
            """Each association has one end; what was led on is an attempt more, and no association more."""
            across.near.poll()
            figures = [each for outlet in (GATEWAY, DIRECT) for each in core.meter_read(outlets.meter)[outlet]]
            ended = [event for event in across.near.seen if event[0] == native.EVENT_STREAM_END]
            return (
                core.streams() == 0
                and all(each["tried"] == sum(each[outcome] for outcome in OUTCOMES) for each in figures)
                and all(each["active"] == 0 and sum(each["setup_us"].values()) <= each["up"] for each in figures)
                and sum(each["tried"] for each in figures) == len(ended) + sum(each["moved"] for each in figures)
            )

        until(is_over, 15)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    far=st.sampled_from(SIDES),
    old=st.sampled_from(SIDES),
    state=st.sampled_from([native.IMPORT_LIVE, native.IMPORT_PENDING, native.IMPORT_DOWN, native.IMPORT_UNCLEARED]),
    share=st.sampled_from([0, 1, 100, 199, 200]),
    wait_ms=st.sampled_from([0, 100]),
    loses=st.booleans(),
    manners=st.lists(st.sampled_from(MANNERS), min_size=1, max_size=8),
)
def test_each_attempt_has_one_outcome_and_nothing_is_left(
    far: str, old: str, state: int, share: int, wait_ms: int, loses: bool, manners: list[str]
) -> None:
    free_port()  # keeps a descriptor of its own from its first call on
    before = descriptors()
    run_world(far, old, state, share, wait_ms, loses, manners)
    gc.collect()
    until(lambda: descriptors() <= before, 5, f"{descriptors()} descriptors are {before}")
