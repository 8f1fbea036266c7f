"""Two ends of a flow of the core, and what tests do with them."""

from collections.abc import Callable

import pytest

from tests.native.probe import Refusal
from tests.native.probe_flow import Flow
from tests.native.probe_store import Pool
from tests.reference.frames import Type

SECRET, BINDING = bytes(range(32)), bytes(range(32, 64))
NOW, SECOND = 1_000_000_000, 1_000_000
PREFIX, LARGEST = 48, 65_536
CAP = 1 << 20


def flow(initiator: bool, *, cap: int = CAP, binding: bytes = BINDING, index: int = 0) -> Flow:
    pool = Pool(1 << 24)
    return Flow(pool, SECRET, index=index, suite=1, initiator=initiator, binding=binding, cap=cap)


def pair(*, cap: int = CAP) -> tuple[Flow, Flow]:
    """Two ends that are up."""
    near, far = flow(True, cap=cap), flow(False, cap=cap)
    far.take_confirm(far.open(near.confirm(NOW), NOW))
    near.take_confirm(near.open(far.confirm(NOW), NOW))
    assert near.state == far.state == "UP"
    return near, far


def refusal_of(act: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(Refusal) as refused:
        act(*arguments)
    return refused.value.reason


def bundle(end: Flow, text: bytes, now: int = NOW) -> bytes:
    return end.seal(Type.BUNDLE, text, now)


def changed(wire: bytes, at: int, octet: int) -> bytes:
    return wire[:at] + bytes([octet]) + wire[at + 1 :]


def step(near: Flow, far: Flow, now: int = NOW) -> None:
    far.take_rekey(far.open(near.rekey(now), now), now)


def acknowledge(near: Flow, far: Flow, now: int = NOW) -> None:
    near.take_ack(int.from_bytes(near.open(far.ack(), now), "big"), now)
