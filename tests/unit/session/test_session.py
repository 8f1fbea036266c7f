"""What a process is told of a session of the one before."""

from __future__ import annotations

from msgspec.structs import replace

from pcgrelay.model import Suite
from pcgrelay.session.session import Key, Session, State
from tests.support.path_links import MIB, SESSION, A


def test_the_features_of_a_session_are_handed_over() -> None:
    session = Session(SESSION, Key(A, 1), False, 0, state=State.UP, number=7, flows=2, cap=MIB)
    session.suite, session.features = Suite.AES_256_GCM, frozenset({"session-class", "datagrams"})
    record = session.to_handover()
    assert Session.restored(record).features == session.features
    # One that a version before wrote says nothing of them: until the next renewal it has none.
    assert Session.restored(replace(record, features=())).features == frozenset()


def test_how_much_a_far_edge_takes_before_it_acknowledges_goes_by_its_feature() -> None:
    session = Session(SESSION, Key(A, 1), False, 0, state=State.UP, number=7, flows=2, cap=MIB)
    assert session.ack_bytes == 262_144
    session.features = frozenset({"ack-64k"})
    assert session.ack_bytes == 65_536
