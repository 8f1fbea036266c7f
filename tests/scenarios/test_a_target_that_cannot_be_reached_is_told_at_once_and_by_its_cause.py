"""Targets that refuse, are silent, or have no address; and what an application does before its target is there."""

import time
from collections.abc import Iterator

import pytest

from tests.scenarios.kit.nodes import PATHS, Line, Stage, line
from tests.scenarios.kit.socket_steps import (
    accepted,
    bind_listener,
    connect,
    read_exactly,
    read_to_end,
    refused_after,
    reset,
    sequence,
    silent,
    wire,
)
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

PROMPT_S = 2.0
CONNECT_TIMEOUT_S = 0.5
PATIENCE_S = 8.0


@pytest.fixture(scope="module", params=PATHS)
def odd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A realm whose exports have targets of every kind. Nobody listens at `echo` unless a test does."""
    exports = {
        "silent": {"connect_timeout_ms": int(CONNECT_TIMEOUT_S * 1000)},
        "slow": {"connect_timeout_ms": int(PATIENCE_S * 1000)},
        "nowhere": {"target": "nobody.invalid:80"},
    }
    with Stage(tmp_path_factory.mktemp("odd")) as stage:
        made = line(stage, request.param, ["echo"], odd_exports=exports)
        made.start()
        yield made


def refused(line: Line, service: str, code: str, cause: str) -> float:
    """Connect, be refused, and find why in the logs and counters of both edges; answer how long the refusal took."""
    counted = line.exporter.status().refusals.get(f"stream_{cause}", 0)
    counted_near = line.importer.status().refusals.get(f"stream_{code}", 0)
    since, since_near = line.exporter.moment(), line.importer.moment()
    seconds = refused_after(line.door(service))
    common = {"service": line.services[service].full_name, "code": code}
    line.exporter.await_log("stream.refused", after=since, direction="export", cause=cause, **common)
    told = {"direction": "import", "cause": "far-reset", "remote": True}
    line.importer.await_log("stream.refused", after=since_near, **told, **common)
    until(lambda: line.exporter.status().refusals.get(f"stream_{cause}") == counted + 1)
    until(lambda: line.importer.status().refusals.get(f"stream_{code}") == counted_near + 1)
    assert line.exporter.metrics()[f'refused_total{{reason="stream_{cause}"}}'] == counted + 1
    until(lambda: line.exporter.service(service).refused_total > 0)
    line.await_quiet()
    return seconds


def test_a_target_that_refuses(odd: Line) -> None:
    assert refused(odd, "echo", "unreachable", "target-refused") < PROMPT_S


def test_a_target_that_is_silent(odd: Line) -> None:
    with silent(odd.target("silent")):
        assert CONNECT_TIMEOUT_S <= refused(odd, "silent", "timeout", "target-silent") < CONNECT_TIMEOUT_S + PROMPT_S


def test_a_target_whose_name_does_not_resolve(odd: Line) -> None:
    odd.exporter.await_log("target.unresolved", service=odd.services["nowhere"].full_name)
    assert refused(odd, "nowhere", "unreachable", "target-unresolved") < PROMPT_S
    assert odd.exporter.service("nowhere").health == "failing"


def test_after_all_that_a_target_that_is_there_is_reached(odd: Line) -> None:
    with wire(odd) as (client, server):
        client.sendall(b"still here")
        assert read_exactly(server, 10) == b"still here"
    odd.await_quiet()


def test_the_client_that_resets_before_the_answer_takes_its_stream_along(odd: Line) -> None:
    with silent(odd.target("slow")):
        client = connect(odd.door("slow"))
        until(lambda: odd.streams() == 2, what="the stream is open at both edges")
        begun = time.monotonic()
        reset(client)
        odd.await_quiet(PROMPT_S)
        # It went because the client did, and not because its time was up.
        assert time.monotonic() - begun < PROMPT_S < PATIENCE_S


def test_the_client_that_only_says_goodbye_is_heard_when_the_target_comes(odd: Line) -> None:
    with silent(odd.target("slow")) as target:
        with connect(odd.door("slow")) as client:
            client.sendall(b"last will")
        until(lambda: odd.streams() == 2, what="the stream is open at both edges")
        with target.answer() as server:
            assert read_to_end(server) == b"last will"
    odd.await_quiet()


def test_what_the_client_sends_before_its_target_is_there_arrives_in_order(odd: Line) -> None:
    early = sequence(200_000, "early")
    with silent(odd.target("slow")) as target, connect(odd.door("slow")) as client:
        client.sendall(early[:50_000])
        until(lambda: odd.streams() == 2, what="the stream is open at both edges")
        client.sendall(early[50_000:])
        with target.answer() as far:
            assert read_exactly(far, len(early)) == early
            far.sendall(b"all there")
            assert read_exactly(client, 9) == b"all there"
    odd.await_quiet()


def test_a_server_that_speaks_first_is_heard_by_a_client_that_says_nothing(odd: Line) -> None:
    with bind_listener(odd.target("echo")) as listener, connect(odd.door("echo")) as client:
        with accepted(listener) as server:
            server.sendall(b"220 welcome\r\n")
            assert read_exactly(client, 13) == b"220 welcome\r\n"
        assert client.recv(1) == b""
    odd.await_quiet()
