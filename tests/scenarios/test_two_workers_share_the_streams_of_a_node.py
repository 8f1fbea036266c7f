"""Nodes with two workers each: two lanes on every link, streams on both, and each stream whole."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scenarios.kit.bulk_clients import Crowd
from tests.scenarios.kit.nodes import PATHS, Line, Stage, line
from tests.scenarios.kit.real_programs import iperf, run
from tests.scenarios.kit.reload_setup import reload
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

WORKERS = 2
IDLE, BUSY, TURNS = 100, 100, 20
SHORT = 2_000
# What even a crowded machine must reach, in bits a second.
LEAST = 100e6


@pytest.fixture(scope="module", params=PATHS)
def wide(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with Stage(tmp_path_factory.mktemp("wide")) as stage:
        made = line(stage, request.param, ["echo", "iperf"], node_table={"workers": WORKERS})
        made.start()
        yield made


def test_every_link_has_two_lanes(wide: Line) -> None:
    links = [link for node in wide.nodes for link in node.status().links]
    assert {(link.lanes, link.lanes_up) for link in links} == {(WORKERS, WORKERS)}
    for node in wide.nodes:
        assert len(node.niceness) > WORKERS


def test_workers_have_a_core_before_the_control_plane(wide: Line) -> None:
    for node in wide.nodes:
        assert reload(node).ok
        threads = node.niceness
        assert threads.pop(node.pid) > 0
        # What reads the configuration for a reload stands back too.
        assert any(nicer > 0 for nicer in threads.values())
        assert sum(nicer == 0 for nicer in threads.values()) >= WORKERS


def test_many_streams_each_hear_their_own_words(wide: Line) -> None:
    with (
        Crowd.of("serve", *wide.target("echo")),
        Crowd.of("mixed", *wide.door("echo"), IDLE, BUSY, TURNS) as clients,
    ):
        until(lambda: wide.streams() == 2 * (IDLE + BUSY), what="all streams are open at both edges")
        assert clients.go()["wrong"] == 0
    wide.await_quiet()


def test_short_connections_go_over_both(wide: Line, figure: Callable[[str], None]) -> None:
    with Crowd.of("serve", *wide.target("echo")), Crowd.of("short", *wide.door("echo"), SHORT, 20) as clients:
        found = clients.go()
    assert found["wrong"] == 0
    wide.await_quiet()
    figure(f"{SHORT / found['seconds']:.0f} connections a second")


def test_four_bulk_streams_share_them(wide: Line, tmp_path: Path, figure: Callable[[str], None]) -> None:
    host, port = wide.door("iperf")
    with iperf(tmp_path / "iperf", wide.target("iperf")):
        said = run("iperf3", "-c", host, "-p", str(port), "-t", "1", "-P", "4", "-J")
    end = json.loads(said)["end"]
    assert min(stream["receiver"]["bytes"] for stream in end["streams"]) > 0
    rate = end["sum_received"]["bits_per_second"]
    assert rate > LEAST
    figure(f"{rate / 8e6:.0f} MB/s")
