"""Who refuses a path, and why, as far as a peer is believed: reasons are a closed list, identities are identities."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pcgrelay.catalogue.entries import path_refusal
from pcgrelay.clock import SetClock
from pcgrelay.messages import PathRefuse
from pcgrelay.model import NodeId, Role
from pcgrelay.path.edge import EdgePaths, PathRefused
from pcgrelay.path.labels import Labels
from pcgrelay.reasons import OTHER as OTHER_REASON
from pcgrelay.reasons import PATH_REASONS, is_identity
from tests.support.path_links import LABEL, ME, MIB, OTHER, SESSION, A, B, FakeLink, asked
from tests.support.relay_paths import Relay

ROLES = st.sampled_from(list(Role))
NAMES = st.sampled_from([A.uri, B.uri, ME.uri, OTHER.uri]) | st.text(max_size=40)
WORDS = st.sampled_from(sorted(PATH_REASONS)) | st.text(max_size=256)


def refused(message: PathRefuse, role: Role) -> PathRefused:
    """What an edge makes of a refusal."""

    async def heard() -> PathRefused:
        paths = EdgePaths(B, Labels(SetClock(datetime(2027, 1, 1, tzinfo=UTC))), None)  # type: ignore[arg-type]
        link = FakeLink(1, ME, peer_role=role)
        end = paths.open(link, SESSION, A, marking=1, priority=0, flows=2, cap=MIB, resume=False)  # type: ignore[arg-type]
        paths.receive(link, message)  # type: ignore[arg-type]
        with contextlib.suppress(PathRefused):
            await end.answered
        error = end.answered.exception()
        assert isinstance(error, PathRefused)
        return error

    return asyncio.run(heard())


@given(WORDS, NAMES, ROLES)
@example("\x1b[2J", "\x1b]0;x\x07", Role.RELAY)
def test_an_edge_believes_words_of_the_list_and_who_may_be_spoken_for(word: str, by: str, role: Role) -> None:
    error = refused(PathRefuse(SESSION, 5, word, by), role)
    assert error.reason in PATH_REASONS | {OTHER_REASON}
    assert (error.reason == word) == (word in PATH_REASONS | {OTHER_REASON})
    assert error.by == (by if role is Role.RELAY and is_identity(by) else ME.uri)
    assert str(error).isprintable()


@given(WORDS, NAMES, ROLES)
def test_a_relay_passes_on_one_word_and_an_identity(word: str, by: str, role: Role) -> None:
    relay = Relay()
    onward = relay.opened()
    relay.b.peer_role = role
    relay.hear(relay.b, PathRefuse(SESSION, 5, word, by, onward.label))
    (message,) = relay.a.take()
    assert isinstance(message, PathRefuse)
    assert message.opened == LABEL
    assert message.reason in (word, OTHER_REASON)
    assert message.reason.isascii()
    assert message.reason.replace("_", "").isalnum()
    assert message.by == (by if role is Role.RELAY and is_identity(by) else relay.b.peer.uri)


def an_edge_takes(via: tuple[str, ...], sender: NodeId) -> bool:
    """Whether an edge takes a request that came such a way."""
    taken: list[object] = []

    class Answerer:
        def path_asked(self, *request: object) -> None:
            taken.append(request)

    paths = EdgePaths(B, Labels(SetClock(datetime(2027, 1, 1, tzinfo=UTC))), Answerer())
    paths.receive(FakeLink(1, sender), asked(via=via))  # type: ignore[arg-type]
    return bool(taken)


def a_relay_takes(via: tuple[str, ...], sender: NodeId) -> bool:
    """Whether a relay leads a request on that came such a way."""
    relay = Relay()
    relay.a.peer, relay.a.peer_role = sender, Role.RELAY
    relay.hear(relay.a, asked(via=via))
    return bool(relay.b.take())


@given(st.lists(NAMES, max_size=8), NAMES)
def test_whatever_names_a_way_has_are_identities(names: list[str], last: str) -> None:
    """In a catalogue entry and in a request alike: what is shown of a way later is read as one."""
    path = (*names, last)
    sender = NodeId.from_uri(last) if is_identity(last) else ME
    if path_refusal(path, B.uri, last, A.uri) is None:
        assert all(map(is_identity, path))
    for is_taken in (an_edge_takes, a_relay_takes):
        if is_taken(path, sender):
            assert all(map(is_identity, path))


@pytest.mark.parametrize("name", ["\x1b[2J", "spiffe://police.example/org/HUB/node/x", "relay-1.hub.example", ""])
def test_a_way_with_a_name_that_is_none_is_malformed(name: str) -> None:
    assert path_refusal((name, ME.uri), B.uri, ME.uri, A.uri) == "malformed"
    for is_taken in (an_edge_takes, a_relay_takes):
        assert not is_taken((name, OTHER.uri), OTHER)
        assert is_taken((OTHER.uri,), OTHER)
