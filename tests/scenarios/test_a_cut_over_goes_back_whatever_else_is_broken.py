"""A move while something beside the gateway is broken: the old network, an allow list, the relays, the node's disk."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.scenarios.kit.cut_over import (
    LONG,
    SERVICE,
    WIDE,
    Client,
    Moving,
    gateway_is_ready,
    moving,
    says,
    target,
)
from tests.scenarios.kit.nodes import HOST
from tests.scenarios.kit.reload_setup import command, reload
from tests.support.ports import free_port
from tests.support.waiting import receive, until

pytestmark = [pytest.mark.tier_test, pytest.mark.timeout(300)]

NEW, OLD = b"new ", b"old "
# A file system of the node's own, gone with it.
ON_A_SMALL_DISK = 'mount -t tmpfs -o size=64k,mode=700 none "$0" && exec "$@"'
WATCHED_S = 2.0


def asked(made: Moving, count: int) -> set[bytes]:
    """Who answers so many connections; each has to be answered."""
    seen = set()
    for _ in range(count):
        with socket.create_connection(made.door, timeout=15) as connection:
            seen.add(receive(connection, 4))
    return seen


def decided(made: Moving) -> list[str]:
    return [each["what"] for each in made.told()["decisions"]]


def troubles(made: Moving) -> str:
    return command("status", "-c", made.met.config).stdout


@pytest.mark.tier_all
def test_an_old_network_that_dies_costs_no_connection_and_moves_no_share(tmp_path: Path) -> None:
    port = free_port()
    with ExitStack() as old:
        old.enter_context(target(port, says(OLD)))
        with moving(tmp_path, old_at=(HOST, port)) as made, Client(made.door) as client:
            made.start(LONG)
            until(lambda: made.share == 25, 10)
            dies = time.monotonic()
            old.close()
            died = time.monotonic()
            failing = made.met.await_log("outlet.failing", outlet="cjx")
            assert failing["share_percent"] == 75
            assert "The outlet cjx of" in troubles(made)
            time.sleep(WATCHED_S)
            told = made.told()
            assert (told["phase"], told["share"], told["odds"]) == ("soaking", 25, 1)
            assert set(client.since(died + 0.5)) == {NEW}
            since = made.met.moment()
            # To the end, for when it ends it resets once more what it had not accepted.
            old.enter_context(target(port, says(OLD)))
            made.met.await_log("outlet.well", outlet="cjx", after=since)
            until(lambda: client.last_of(OLD) > died + WATCHED_S, 20, "the old network has its share again")
    # What its kernel had taken and nobody had accepted is reset when it dies, as it is without a gateway.
    assert client.faults_beside(dies, died) == []
    assert told["lost"] == 0


@pytest.mark.tier_all
def test_an_exporter_that_forgets_us_is_named_and_left(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with moving(tmp_path) as made, Client(made.door) as client:
        made.start(LONG)
        until(lambda: made.share == 25, 10)
        until(lambda: NEW in client.answers, 10)
        (echo, named) = made.scene.tables(made.kent)["exports"]
        made.scene.change(made.kent, exports=[echo, {**named, "allow": ["npcc.police.example"]}])
        assert reload(made.kent).ok
        until(lambda: made.share == 0, 10)
        forgot = time.monotonic()
        time.sleep(WATCHED_S)
        assert set(client.since(forgot)) == {OLD}
        why = made.cutover("why", "named").stdout
        by_pairs_or_setups = r"failed on gateway (alone|and \d+ on cjx, of (at least )?\d+ clients?)"
        assert re.search(rf"{by_pairs_or_setups}: (more than )?[\d,]+ to 1", why), why
        assert re.search(r"kent-1\.kent\.police\.example refused .* \(not-allowed, by its rule export\[\d\]\)", why), (
            why
        )
        assert "it does not allow met.police.example" in why
        told = made.told()
        assert (told["phase"], told["lost"]) == ("back", 0)
        figure(f"{told['moved']} connections were led on: {told['decisions'][-1]['sentence']}")
    assert client.failed == 0, client.faults


@pytest.mark.tier_all
def test_once_it_has_arrived_an_exporters_refusal_is_final(tmp_path: Path) -> None:
    with moving(tmp_path) as made:
        with Client(made.door) as client:
            made.start(WIDE)
            until(lambda: made.phase == "arrived", 60)
        assert client.failed == 0, client.faults
        before = made.told()
        (echo, named) = made.scene.tables(made.kent)["exports"]
        made.scene.change(made.kent, exports=[echo, {**named, "allow": ["npcc.police.example"]}])
        assert reload(made.kent).ok
        # The old network is no way around Kent's rule for any connection; to go back is a decision, and on record.
        answers = [answer(made)]
        until(lambda: answers.append(answer(made)) or answers[-1] == OLD, 30, "it falls back")
        assert set(answers[:-1]) <= {NEW, b""}
        assert b"" in answers
        # The way back is taken first, and written then.
        until(lambda: made.phase == "back", 20)
        assert made.told()["moved"] == before["moved"]
        assert re.search(r"not-allowed, by its rule export\[\d\]", made.cutover("why", "named").stdout)


def answer(made: Moving) -> bytes:
    """Who answers a connection; empty if it ends without an answer."""
    try:
        with socket.create_connection(made.door, timeout=15) as connection:
            return receive(connection, 4)
    except ConnectionError:
        return b""


@pytest.mark.tier_all
def test_one_of_two_relays_is_nothing_and_without_any_whoever_goes_back_waits_for_nobody(tmp_path: Path) -> None:
    with moving(tmp_path, relays=2) as made, Client(made.door) as client:
        made.start(LONG)
        until(lambda: made.share == 25, 10)
        first, second = made.scene.relays
        first.kill()
        time.sleep(WATCHED_S)
        # A busy machine may take more than the two seconds that are borne without a word.
        until(lambda: is_as_before(made), 30, "the other relay leads all")
        assert set(decided(made)) <= {"started", "held", "released"}
        second.kill()
        began = time.monotonic()
        done = made.cutover("back", "named", "--reason", "INC-77")
        assert done.returncode == 0, done.stdout + done.stderr
        assert (made.phase, made.share) == ("back", 0)
        assert time.monotonic() - began < 5
        assert asked(made, 20) == {OLD}
        # What was open over it has waited for it.
        second.start()
        until(lambda: gateway_is_ready(made), 15)
    assert client.failed == 0, client.faults


def is_as_before(made: Moving) -> bool:
    told = made.told()
    assert (told["phase"], told["step"]) == ("soaking", 1)
    return (told["share"], told["held"]) == (25, False)


def filled(disk: Path) -> Path:
    """Leave no room on a disk."""
    path = disk / "fill"
    with path.open("wb", buffering=0) as fill, suppress(OSError):
        while fill.write(bytes(512)):
            pass
    return path


@contextmanager
def read_only(made: Moving) -> Iterator[None]:
    """Where the node keeps its cut-overs nothing can be written, as long as the block lasts."""
    inside = ["nsenter", "--target", str(made.met.pid), "--mount"]
    folder = str(made.state / "cutover")
    subprocess.run([*inside, "mount", "-t", "tmpfs", "-o", "ro", "none", folder], check=True, timeout=20)
    try:
        yield
    finally:
        subprocess.run([*inside, "umount", folder], check=True, timeout=20)


def refuses_to_go_on(made: Moving) -> None:
    """The step that is due is not taken, and that is said; whoever goes back, goes back."""
    since = made.met.moment()
    # It is due once there were streams enough.
    with Client(made.door) as client:
        refused = made.met.await_log("cutover.refused", after=since)
        assert "cannot be written" in refused["sentence"]
        made.met.await_log("state.unwritten")
        assert (made.phase, made.share) == ("soaking", 25)
        assert "cannot be written" in troubles(made)
    assert client.failed == 0, client.faults
    done = made.cutover("back", "named", "--reason", "INC-77")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is not written" in done.stdout
    assert asked(made, 20) == {OLD}


def on_disk(made: Moving) -> str:
    """The phase that is written."""
    file = Path(f"/proc/{made.met.pid}/root{made.state}/cutover/{SERVICE}.json")
    return str(json.loads(file.read_bytes())["body"]["progress"]["phase"])


@pytest.mark.tier_all
def test_a_disk_that_is_full_or_read_only_stops_what_goes_on_and_nothing_else(tmp_path: Path) -> None:
    def on_a_small_disk(made: Moving) -> None:
        made.met.prefix = ("unshare", "--mount", "sh", "-c", ON_A_SMALL_DISK, made.state)

    with moving(tmp_path, before=on_a_small_disk) as made:
        inside = Path(f"/proc/{made.met.pid}/root{made.state}")
        made.start(WIDE)
        until(lambda: made.share == 25, 10)
        fill = filled(inside)
        refuses_to_go_on(made)
        fill.unlink()
        until(lambda: on_disk(made) == "back", 10, "it is written as soon as there is room")
        until(lambda: "cannot be written" not in troubles(made), 10)

        made.start(WIDE, "--again")
        with read_only(made):
            refuses_to_go_on(made)
        until(lambda: on_disk(made) == "back", 10)
