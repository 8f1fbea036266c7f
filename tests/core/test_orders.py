"""What the control plane orders is carried out before the frames that follow from it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator

import pytest

from pcgrelay._core.face import core as native
from tests.support.cores import CoreRealm, Node
from tests.support.waiting import until


def keep_to(node: Callable[[], Node], processor: int) -> Node:
    """A node whose worker runs on that processor alone."""
    threads = set(os.listdir("/proc/self/task"))
    made = node()
    for thread in set(os.listdir("/proc/self/task")) - threads:
        os.sched_setaffinity(int(thread), {processor})
    return made


@contextlib.contextmanager
def alone_on(processor: int) -> Iterator[None]:
    """Nothing else runs on that processor before this thread waits for something."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {processor})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("relayed", [False, True])
def test_orders_are_carried_out_before_the_frames_that_follow_from_them(relayed: bool) -> None:
    """A worker that did not run for a while finds frames in a lane, and in its mailbox the label that they bear."""
    realm = CoreRealm()
    here, elsewhere = sorted(os.sched_getaffinity(0))[:2]
    near, slow = keep_to(realm.edge, elsewhere), keep_to(realm.relay if relayed else realm.edge, here)
    far = keep_to(realm.edge, elsewhere) if relayed else slow
    first = realm.link(near, slow)
    last = realm.link(slow, far) if relayed else first
    for _ in range(10):
        session, path, *labels = [realm.number() for _ in range(6)]
        turns = slow.core.counters()["turns_total"]
        for node in (near, far):
            node.core.session_add(
                session, secret=realm.secret(f"session {session}"), binding=bytes(32), suite=1,
                initiator=node is near, flows=1, cap=1 << 20, marking=1, priority=0,
            )  # fmt: skip
        if not relayed:
            until(lambda turns=turns: slow.core.counters()["turns_total"] > turns)
        sent = near.core.counters()["frames_sent_total"]
        with alone_on(here):
            near.core.session_path(session, link=first, in_label=labels[0], out_label=labels[1])
            deadline = time.monotonic() + 0.5
            while near.core.counters()["frames_sent_total"] == sent and time.monotonic() < deadline:
                continue
            if relayed:
                slow.core.path_add(
                    path, a_link=first, a_in=labels[1], a_out=labels[0], b_link=last, b_in=labels[2], b_out=labels[3],
                    cap=1 << 20, priority=0,
                )  # fmt: skip
            theirs, mine = labels[2:] if relayed else labels[:2]
            far.core.session_path(session, link=last, in_label=mine, out_label=theirs)
        for node in (near, far):
            node.wait(lambda event, session=session: event == (native.EVENT_SESSION_UP, session))
    assert slow.core.counters()["unknown_flow_frames_total"] == 0
    realm.close()
