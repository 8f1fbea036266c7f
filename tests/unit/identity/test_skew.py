"""Clocks that differ: what a handshake and an entry tell of them, and how it is said."""

from datetime import UTC, datetime, timedelta

import pytest

from pcgrelay.admin.clocks import ClockStatus, clock_sentences
from pcgrelay.admin.condition import Condition, condition_of, troubles
from pcgrelay.admin.metrics import metrics_text
from pcgrelay.admin.status import LinkStatus, NodeStatus, Status
from pcgrelay.clock import SetClock
from pcgrelay.gateway.clocks import Clocks
from pcgrelay.identity.skew import PEERS_MOST, Skews
from pcgrelay.log.events import ClockSkew, ClockState
from pcgrelay.model import NodeId
from tests.support.metric_samples import value

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
RELAY = NodeId("police.example", "hub.example", "relay-1")
KENT = NodeId("police.example", "kent.police.example", "kent-1")


def seconds_of(skews: Skews) -> dict[str, tuple[int, bool]]:
    return {skew.peer.name: (skew.seconds, skew.at_least) for skew in skews.all()}


@pytest.mark.parametrize("off_s", [0, 29 * 60, -29 * 60, 40 * 60, -86_400, -60 * 365 * 86_400])
def test_both_ends_of_a_handshake_know_the_figure(off_s: int) -> None:
    ours, theirs = SetClock(NOW), SetClock(NOW + timedelta(seconds=off_s))
    here, there = Skews(ours), Skews(theirs)
    here.hear(RELAY, ("another", there.feature()))
    there.hear(KENT, (here.feature(),))
    assert seconds_of(here) == {"relay-1": (off_s, False)}
    assert seconds_of(there) == {"kent-1": (-off_s, False)}
    # Time passes for both, and then this clock is set right.
    ours.advance(3_000_000)
    assert seconds_of(here) == {"relay-1": (off_s, False)}
    ours._wall += timedelta(seconds=off_s)
    assert seconds_of(here) == {"relay-1": (0, False)}
    ours.advance(86_400_000)
    assert seconds_of(here) == {}


@pytest.mark.parametrize("feature", ["clock:", "clock:-1", "clock:1e9", "clock:١٢", "clock", "time:5", "clock:0x10"])
def test_what_is_no_time_is_not_heard(feature: str) -> None:
    skews = Skews(SetClock(NOW))
    skews.hear(RELAY, (feature,))
    assert skews.all() == []


def test_any_number_and_any_count_of_peers_is_borne() -> None:
    skews = Skews(SetClock(NOW))
    skews.hear(RELAY, ("clock:" + "9" * 58,))
    assert skews.all()[0].is_large
    for number in range(PEERS_MOST + 10):
        skews.hear(NodeId("police.example", "hub.example", f"n-{number}"), (skews.feature(),))
    assert len(skews.all()) == PEERS_MOST


@pytest.mark.parametrize(
    ("age_s", "found"),
    [
        (0, None),
        (900, None),
        (985, None),
        (29 * 60, 29 * 60 - 960),
        (-20, None),
        (-29 * 60, -29 * 60),
    ],
)
def test_an_entry_tells_when_it_was_signed(age_s: int, found: int | None) -> None:
    """Of a node of before, and of one behind relays; a handshake with it knows better."""
    skews = Skews(SetClock(NOW))
    sequence = NOW_MS - age_s * 1000
    skews.hear_entry(KENT, sequence, sequence // 1000 + 1_800)
    assert seconds_of(skews) == ({} if found is None else {"kent-1": (-found, True)})
    skews.hear(KENT, (skews.feature(),))
    skews.hear_entry(KENT, sequence, sequence // 1000 + 1_800)
    assert seconds_of(skews) == {"kent-1": (0, False)}


@pytest.mark.parametrize("life_s", [1_795, 600, 3_600])
def test_an_entry_that_is_numbered_otherwise_tells_nothing(life_s: int) -> None:
    skews = Skews(SetClock(NOW))
    skews.hear_entry(KENT, 7, NOW_MS // 1000 + life_s)
    sequence = NOW_MS + 1_000_000
    skews.hear_entry(KENT, sequence, sequence // 1000 + life_s)
    assert skews.all() == []


def test_it_is_said_at_once_then_once_an_hour_and_when_it_changes() -> None:
    clock, said = SetClock(NOW), []
    skews = Skews(clock)
    clocks = Clocks(skews, lambda line: said.append(line) if isinstance(line, ClockSkew) else None, clock)
    skews.hear(RELAY, (f"clock:{NOW_MS + 1_740_000}",))
    skews.hear(KENT, (f"clock:{NOW_MS + 20_000}",))
    clocks.tick()
    clocks.tick()
    assert [(line.EVENT, line.LEVEL, line.peer, line.skew_s) for line in said] == [
        ("clock.skew", "warning", RELAY.dotted, 1740)
    ]
    clock.advance(3_600_000)
    clocks.tick()
    assert len(said) == 2
    clock._wall += timedelta(seconds=100)
    clocks.tick()
    assert [line.skew_s for line in said[2:]] == [1640, -80]
    clock._wall -= timedelta(seconds=100)


def test_the_state_of_the_clock_is_recorded_once_an_hour_whatever_it_is() -> None:
    clock, said = SetClock(NOW), []
    skews = Skews(clock)
    clocks = Clocks(skews, said.append, clock)
    clocks.tick()
    assert said == []
    skews.hear(KENT, (f"clock:{NOW_MS + 20_000}",))
    clock.advance(30_000)
    for _ in range(3):
        clocks.tick()
    assert said == [ClockState(peers=1, most_skew_s=20, skewed=0)]
    clock.advance(3_600_000)
    clocks.tick()
    assert len(said) == 2


def status_of(*skews: tuple[str, int]) -> Status:
    link = LinkStatus(peer="relay-1.hub.example", bearer="psn", direction="out", state="up", health="ok")
    clocks = tuple(ClockStatus(peer=peer, skew_s=skew_s, large=abs(skew_s) > 30) for peer, skew_s in skews)
    node = NodeStatus(identity="spiffe://nobody", role="relay", uptime_s=1.0, version="0")
    return Status(node=node, links=(link,), clocks=clocks)


@pytest.mark.parametrize(
    ("skews", "words"),
    [
        ([("a", 3), ("b", -3)], []),
        ([("a", 1740), ("b", 3)], ["The clock of a is 1740 s ahead of this node's"]),
        ([("a", -1740)], ["The clock of a is 1740 s behind this node's"]),
        ([("a", -1741), ("b", -1740)], ["The clock of this machine is 1740 s or more ahead of those of all 2"]),
        (
            [("a", 1741), ("b", 1740), ("c", 1742)],
            ["The clock of this machine is 1740 s or more behind those of"],
        ),
        ([("a", 1741), ("b", -1740)], ["The clock of a is 1741 s ahead", "The clock of b is 1740 s behind"]),
    ],
)
def test_status_and_metrics_have_the_figure(skews: list[tuple[str, int]], words: list[str]) -> None:
    status = status_of(*skews)
    sentences = list(clock_sentences(status.clocks))
    assert len(sentences) == len(words)
    assert all(sentence.startswith(word) for sentence, word in zip(sentences, words, strict=True))
    assert condition_of(status, troubles(status)) is (Condition.DEGRADED if words else Condition.READY)
    text = metrics_text(status, {})
    for peer, skew_s in skews:
        assert value(text, "pcgrelay_clock_skew_seconds", peer=peer) == skew_s
