"""`[metrics] listen`: figures and health over TCP, through reloads and upgrades, to those who may read them."""

from __future__ import annotations

import http.client
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from tests.scenarios.kit.echo_witness import received
from tests.scenarios.kit.nodes import HOST, KENT, MET
from tests.scenarios.kit.reload_setup import Scene, reload, scene
from tests.support.metric_samples import samples
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

UPGRADES = 5


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("realm")) as made:
        yield made


@pytest.fixture
def realm(shared: Scene) -> Iterator[Scene]:
    with shared.restored():
        yield shared


class Scraper(threading.Thread):
    """Somebody who reads one page over and over, and counts what went wrong."""

    def __init__(self, port: int, path: str = "/metrics") -> None:
        super().__init__(daemon=True)
        self.read, self.problems, self.last = 0, list[str](), ""
        self._port, self._path = port, path
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            connection = http.client.HTTPConnection(HOST, self._port, timeout=10)
            try:
                connection.request("GET", self._path)
                answer = connection.getresponse()
                self.last = answer.read().decode()
                assert answer.status == 200, answer.status
                self.read += 1
            except (OSError, AssertionError, http.client.HTTPException) as error:
                self.problems.append(f"{type(error).__name__}: {error}")
            finally:
                connection.close()

    def end(self) -> None:
        self._over.set()
        self.join(15)


def curl(*words: str) -> tuple[str, str]:
    """The code of HTTP and the text, or nothing and what curl says."""
    done = subprocess.run(
        ["curl", "-sSk", "-m", "10", "-w", "\n%{http_code}", *words],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    text, _, code = done.stdout.rpartition("\n")
    return (code, text) if done.returncode == 0 else ("", done.stderr)


@pytest.mark.tier_all
def test_no_scrape_is_lost_in_reloads_and_upgrades(realm: Scene) -> None:
    port, node = free_port(), realm.kent
    realm.change(node, metrics={"listen": f"{HOST}:{port}"})
    assert "metrics.listen changed" in reload(node).changes
    scraper = Scraper(port)
    scraper.start()
    until(lambda: scraper.read > 3, 10)
    for _ in range(UPGRADES):
        before = scraper.read
        assert node.upgrade().returncode == 0
        until(lambda before=before: scraper.read > before + 1, 10)
        realm.change(node, policy={"handshake_deadline_ms": 9_000 + before % 999})
        assert reload(node).ok
    scraper.end()
    assert scraper.problems == []
    found = samples(scraper.last)
    assert found[("pcgrelay_ready", frozenset())] == 1
    assert found[("process_start_time_seconds", frozenset())] > time.time() - 600
    # It may come to another port, and may go.
    other = free_port()
    realm.change(node, metrics={"listen": f"{HOST}:{other}"})
    assert reload(node).ok
    assert curl(f"http://{HOST}:{other}/healthz") == ("200", "ok\n")
    assert curl(f"http://{HOST}:{port}/healthz")[0] == ""


def test_nothing_else_is_to_be_read_there_and_nothing_done(realm: Scene) -> None:
    port, node = free_port(), realm.kent
    realm.change(node, metrics={"listen": f"{HOST}:{port}"})
    assert reload(node).ok
    url = f"http://{HOST}:{port}"
    assert curl(f"{url}/readyz") == ("200", "ok\n")
    for path in ("/", "/v1/status", "/v1/explain?subject=x", "/cutover", "/page.css"):
        assert curl(f"{url}{path}")[0] == "404", path
    for path in ("/v1/reload", "/v1/drain", "/metrics"):
        assert curl("-X", "POST", f"{url}{path}")[0] == "405", path
    assert curl("-H", "Host: rebound.example", f"{url}/metrics")[0] == "403"
    assert node.metrics()['refused_total{reason="reader_host"}'] == 1


def test_off_loopback_who_reads_proves_a_name_that_is_allowed(realm: Scene) -> None:
    port, node = free_port(), realm.kent
    desk, guest = (realm.stage.pki.issue(each, "watch-1") for each in (KENT, MET))
    shown = [["--cert", str(each.certificate), "--key", str(each.key)] for each in (desk, guest)]
    url = f"https://{HOST}:{port}/metrics"
    realm.change(node, metrics={"listen": f"0.0.0.0:{port}"})
    assert reload(node).ok
    assert [curl(*words, url)[0] for words in (shown[0], shown[1], [])] == ["200", "403", ""]
    realm.change(node, metrics={"listen": f"0.0.0.0:{port}", "allow": [MET]})
    assert reload(node).changes == ("metrics.allow changed",)
    assert [curl(*words, url)[0] for words in (shown[0], shown[1], [])] == ["403", "200", ""]
    # What the new process shows is read as before.
    assert node.upgrade().returncode == 0
    assert curl(*shown[1], url)[0] == "200"
    realm.stage.pki.authority.revoke(MET, "watch-1")
    assert reload(node).ok
    assert curl(*shown[1], url)[0] == ""
    assert node.metrics()['refused_total{reason="revoked"}'] == 1


def test_what_a_service_carried_is_told_at_both_edges_and_counted_on(realm: Scene) -> None:
    for node in (realm.kent, realm.met):
        for number in range(2):
            with socket.create_connection(realm.door, 10) as sock:
                sock.settimeout(10)
                sock.sendall(b"hello")
                assert received(sock, 5) == b"hello"
            until(lambda: realm.kent.status().streams.active == realm.met.status().streams.active == 0, 10)
            if number == 0:
                assert node.upgrade().returncode == 0
    for node, direction, organisation in ((realm.kent, "export", MET), (realm.met, "import", KENT)):
        pair = f'direction="{direction}",organisation="{organisation}",service="echo@{KENT}"'
        at = f'direction="{direction}",service="echo@{KENT}"'
        # Counts of ends lag by a turn.
        until(lambda node=node, pair=pair: node.metrics().get(f"service_streams_total{{{pair}}}") == 4, 10, pair)
        found = node.metrics()
        assert found[f"service_sent_bytes_total{{{pair}}}"] == found[f"service_received_bytes_total{{{pair}}}"] == 20
        assert found[f"service_streams_active{{{at}}}"] == 0
        assert found[f"service_life_seconds_count{{{at}}}"] == 4
        if direction == "import":
            assert found[f"service_first_byte_seconds_count{{{at}}}"] == 4
        assert found['handshake_seconds_count{kind="session"}'] > 0
