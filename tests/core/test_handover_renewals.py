"""A node is handed over in each state of a renewal: what is owed stays owed, and who is honest notices nothing."""

from __future__ import annotations

import os

import pytest

from pcgrelay._core.face import core as native
from tests.support.applications import Across, echo, pattern, server, transfer
from tests.support.cores import Node, frozen_record
from tests.support.handover import hand_over, publish
from tests.support.handover_records import FLOW, HEAD, LANE, LINK, SESSION, WORKER, item, items
from tests.support.renewed import secret, until

Fields = dict[tuple[int, ...], set[int]]  # tags, by the tags of the containers they are in

# What a receiver is owed, in a flow and in a lane.
OWED: Fields = {(WORKER, SESSION, FLOW): {39, 40, 41}, (WORKER, LANE): {35, 36, 37}}
# Until when a plain step waits for a renewal, of a session and of a link.
WAITS: Fields = {(WORKER, SESSION): {17}, (WORKER, LINK): {12}}
SMALL = pattern(1_000)


def keep(node: Node, session: int, number: int) -> None:
    node.core.session_renew(session, secret=secret(f"session renewal {number}"), mix=number)
    node.wait(lambda event: event == (native.EVENT_SESSION_RENEWED, session, number))


def keep_link(node: Node, link: int, number: int) -> None:
    node.core.link_renew(link, secret=secret(f"link renewal {number}"), mix=number)
    node.wait(lambda event: event == (native.EVENT_LINK_RENEWED, link, number))


def refused(node: Node) -> dict[str, int]:
    return {name: count for name, count in node.core.counters().items() if name.startswith("refused_") and count}


def without(fields: Fields, data: bytes, at: tuple[int, ...] = ()) -> bytes:
    """A record as a version wrote it that did not know these fields."""
    made = b""
    for _, tag, value in items(data):
        if tag in fields.get(at, ()):
            continue
        inside = any(place[: len(at) + 1] == (*at, tag) for place in fields)
        made += item(tag, without(fields, value, (*at, tag)) if inside else value)
    return made


def handed_over_by_the_version_before(
    across: Across, node: Node, target: tuple[str, int], unknown: Fields = OWED
) -> None:
    old = node.core
    record, fds = frozen_record(node)
    stripped = bytearray(record[:HEAD] + without(unknown, bytes(record[HEAD:])))
    assert len(stripped) < len(record)
    node.core = native.Core(workers=old.workers, memory_bytes=64 << 20, role=native.ROLE_EDGE)
    assert node.core.handover_read(stripped, fds) == []
    for fd in old.handover_write(record):
        os.close(fd)
    old.abandon()
    publish(across, node, target)
    node.core.start()


@pytest.mark.parametrize("which", ["near", "far"])
@pytest.mark.parametrize("state", ["before", "kept", "kept by both", "told by the far side", "told by both", "named"])
def test_a_hand_over_in_each_state_of_a_renewal(state: str, which: str) -> None:
    """The far side is the server: it knows first that both keep it."""
    with server(echo) as target, Across(relays=0) as across:
        address, session, (link,) = across.serve(target), across.session, across.links
        near, far = across.near, across.far
        assert transfer(address, SMALL) == SMALL
        steps = [
            ("before", lambda: None),
            ("kept", lambda: (keep(near, session, 1), keep_link(near, link, 1))),
            ("kept by both", lambda: (keep(far, session, 1), keep_link(far, link, 1))),
            ("told by the far side", lambda: (far.core.session_mix(session, 1), far.core.link_mix(link, 1))),
            ("told by both", lambda: (near.core.session_mix(session, 1), near.core.link_mix(link, 1))),
            ("named", lambda: until(lambda: is_named(across, 1), near, far)),
        ]
        for name, step in steps:
            step()
            if name == state:
                hand_over(across, getattr(across, which), target)
                assert transfer(address, SMALL) == SMALL
        until(lambda: is_named(across, 1), near, far)
        # Another renewal, whole, and a hand-over of each: all steps of before were enough.
        for node in (near, far):
            keep(node, session, 2)
        for node in (far, near):
            node.core.session_mix(session, 2)
        until(lambda: is_named(across, 2), near, far)
        for node in (near, far):
            hand_over(across, node, target)
        assert transfer(address, SMALL) == SMALL
        # A new process sees by itself that no step is under way.
        until(lambda: all(node.core.session_has_stepped(session, 2, 1) for node in (near, far)), near, far)
        until(lambda: all(node.core.link_has_stepped(link, 1) for node in (near, far)), near, far)
        assert refused(near) == refused(far) == {}


def is_named(across: Across, number: int) -> bool:
    """Each side has seen the other step with it."""
    return all(node.core.sessions()[across.session]["mix"] == number for node in (across.near, across.far))


def step_plainly(across: Across, target: tuple[str, int]) -> None:
    """A process that takes over steps at once, where no step waits for a renewal. The last step must be acknowledged
    before the next can be made."""
    before = across.near.core.sessions()[across.session]["epoch"]
    handed_over_by_the_version_before(across, across.far, target, WAITS)
    until(lambda: across.near.core.sessions()[across.session]["epoch"] > before, across.near, across.far)


def ends(across: Across, target: tuple[str, int]) -> bool:
    """One more step without the mix."""
    handed_over_by_the_version_before(across, across.far, target, WAITS)
    down = across.near.wait(lambda event: event[0] == native.EVENT_SESSION_DOWN)
    return bool(down[2:4] == (10, "mix-overdue"))


@pytest.mark.parametrize("version", ["this", "the one before"])
def test_what_is_owed_is_owed_to_the_process_that_takes_over(version: str) -> None:
    """The far side never hears that both keep it, and each hand-over of it is a plain step, as it was before such a
    step waited. The initiator takes one, in all."""
    with server(echo) as target, Across(relays=0) as across:
        address, session = across.serve(target), across.session
        near, far = across.near, across.far
        assert transfer(address, SMALL) == SMALL
        for node in (near, far):
            keep(node, session, 1)
        near.core.session_mix(session, 1)
        step_plainly(across, target)
        assert transfer(address, SMALL) == SMALL
        if version == "this":
            hand_over(across, near, target)
        else:
            handed_over_by_the_version_before(across, near, target)
        assert transfer(address, SMALL) == SMALL
        if version == "this":
            assert ends(across, target)
            return
        # It asked for no mix, so none is owed; from the next renewal on it is.
        for _ in range(3):
            step_plainly(across, target)
        assert transfer(address, SMALL) == SMALL
        for node in (near, far):
            keep(node, session, 2)
        near.core.session_mix(session, 2)
        step_plainly(across, target)
        assert transfer(address, SMALL) == SMALL
        assert ends(across, target)


@pytest.mark.parametrize("version", ["this", "the one before"])
def test_a_process_that_takes_over_waits_for_the_renewal_as_the_one_before(version: str) -> None:
    """The initiator knows already that both keep it, takes one plain step, and ends the session at the next."""
    with server(echo) as target, Across(relays=0) as across:
        address, session, (link,) = across.serve(target), across.session, across.links
        near, far = across.near, across.far
        assert transfer(address, SMALL) == SMALL
        for node in (near, far):
            keep(node, session, 1)
            keep_link(node, link, 1)
        near.core.session_mix(session, 1)
        near.core.link_mix(link, 1)
        before = near.core.sessions()[session]["epoch"]
        if version == "this":
            for _ in range(4):
                hand_over(across, far, target)
                assert transfer(address, SMALL) == SMALL
            assert near.core.sessions()[session]["epoch"] == before
        else:
            handed_over_by_the_version_before(across, far, target, WAITS)
            until(lambda: near.core.sessions()[session]["epoch"] > before, near, far)
            assert transfer(address, SMALL) == SMALL
        far.core.session_mix(session, 1)
        far.core.link_mix(link, 1)
        until(lambda: is_named(across, 1), near, far)
        until(lambda: all(node.core.link_has_stepped(link, 1) for node in (near, far)), near, far)
        assert transfer(address, SMALL) == SMALL
        assert refused(near) == refused(far) == {}


@pytest.mark.parametrize("which", ["near", "far"])
def test_an_initiator_takes_the_step_for_the_answer_that_is_lost(which: str) -> None:
    """It never hears RENEWED, and steps with the mix all the same, in whatever process. Its control plane is told."""
    with server(echo) as target, Across(relays=0) as across:
        address, session = across.serve(target), across.session
        near, far = across.near, across.far
        assert transfer(address, SMALL) == SMALL
        for node in (near, far):
            keep(node, session, 1)
        far.core.session_mix(session, 1)
        near.wait(lambda event: event == (native.EVENT_SESSION_AGREED, session, 1))
        hand_over(across, getattr(across, which), target)
        until(lambda: is_named(across, 1), near, far)
        # As many plain steps as are due.
        for _ in range(3):
            hand_over(across, near, target)
            assert transfer(address, SMALL) == SMALL
        until(lambda: all(node.core.session_has_stepped(session, 1, 1) for node in (near, far)), near, far)
        assert refused(near) == refused(far) == {}
