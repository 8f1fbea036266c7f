"""A real Prometheus scrapes two real nodes: each of five faults fires its alerts, and no others."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from pcgrelay.ca import Authority
from tests.scenarios.kit.echo_witness import received
from tests.scenarios.kit.nodes import HOST, KENT
from tests.scenarios.kit.reload_setup import Scene, reload, scene
from tests.support.alert_rules import ROOT, RULES
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_all

SOON_S = 60
BOARD = ROOT / "contrib" / "grafana" / "pcgrelay.json"
# The rules as they are shipped, but for their patience: what is a minute there is a second here.
FASTER = ((r"for: \d+[mhd]", "for: 2s"), (r"\[10m\]", "[20s]"), (r"\[5m\]", "[20s]"), (r"offset 10m", "offset 20s"))


class Watch:
    """A Prometheus that scrapes nodes each second."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        rules = RULES.read_text()
        for pattern, text in FASTER:
            rules = re.sub(pattern, text, rules)
        (folder / "rules.yml").write_text(rules)
        targets = [{"targets": [f"{HOST}:{port}"], "labels": {"instance": name}} for name, port in ports.items()]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "pcgrelay", "static_configs": targets}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))
        self.port = free_port()
        self.log = (folder / "prometheus.log").open("wb")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address={HOST}:{self.port}"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )  # fmt: skip

    def asked(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{HOST}:{self.port}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]

    def is_up(self) -> bool:
        try:
            found = self.asked("targets")["activeTargets"]
        except OSError:
            return False
        return bool(found) and all(target["health"] == "up" for target in found)

    def firing(self) -> set[tuple[str, str]]:
        """Alerts that fire, with the node that they are of."""
        alerts = [each for each in self.asked("alerts")["alerts"] if each["state"] == "firing"]
        return {(each["labels"]["alertname"], each["labels"].get("instance", "")) for each in alerts}

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("realm"), relays=2) as made:
        for node in (made.kent, made.met):
            made.change(node, metrics={"listen": f"{HOST}:{free_port()}"})
            assert reload(node).ok
        yield made


@pytest.fixture(scope="module")
def watch(realm: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    ports = {
        node.name: int(realm.tables(node)["metrics"]["listen"].rpartition(":")[2]) for node in (realm.kent, realm.met)
    }
    started = Watch(tmp_path_factory.mktemp("prometheus"), ports)
    try:
        until(started.is_up, 60, "prometheus sees both nodes")
        yield started
    finally:
        started.stop()


def await_firing(watch: Watch, expected: set[tuple[str, str]], meanwhile: Callable[[], object] = bool) -> None:
    """Wait until these alerts fire, and no others. meanwhile: what is done again and again until then."""

    def are_firing() -> bool:
        meanwhile()
        return watch.firing() == expected

    try:
        until(are_firing, SOON_S)
    except AssertionError:
        raise AssertionError(f"expected {expected}, found {watch.firing()}") from None


def fires(watch: Watch, expected: set[tuple[str, str]], mend: Callable[[], None]) -> None:
    """Wait until these alerts fire and no others; and until none does, after it was mended."""
    await_firing(watch, expected)
    mend()
    await_firing(watch, set())


def test_nothing_fires_while_all_is_well(watch: Watch) -> None:
    await_firing(watch, set())
    metric = watch.asked("query?query=pcgrelay_build_info")["result"]
    assert {each["metric"]["instance"] for each in metric} == {"kent-1", "met-1"}


def test_a_neighbour_that_is_gone(realm: Scene, watch: Watch) -> None:
    relay = realm.relays[1]
    relay.stop()
    both = {(name, node) for name in ("PcgrelayNeighbourAway", "PcgrelayDegraded") for node in ("kent-1", "met-1")}

    def mend() -> None:
        relay.start()
        realm.stage.await_well()

    fires(watch, both, mend)


def test_a_reload_that_is_refused(realm: Scene, watch: Watch) -> None:
    text = realm.kent.config.read_text()
    realm.kent.config.write_text(text.replace("[policy]", "[policy]\nnonsense = 1"))
    assert not reload(realm.kent).ok

    def mend() -> None:
        realm.kent.config.write_text(text)
        assert reload(realm.kent).ok

    fires(watch, {("PcgrelayReloadRefused", "kent-1"), ("PcgrelayDegraded", "kent-1")}, mend)


def talk(realm: Scene) -> bool:
    """Whether an application gets through."""
    try:
        with socket.create_connection(realm.door, 10) as sock:
            sock.settimeout(10)
            sock.sendall(b"hello")
            return received(sock, 5) == b"hello"
    except (OSError, AssertionError):
        return False


def test_a_rule_that_refuses(realm: Scene, watch: Watch) -> None:
    """At the exporter it is its rule; at the importer nothing is left that could be reached."""
    realm.change(realm.kent, exports=[realm.export("echo", allow=[KENT])])
    assert reload(realm.kent).ok

    wanted = {
        ("PcgrelayRefusedByRule", "kent-1"), ("PcgrelayRefusedByRule", "met-1"), ("PcgrelayFailing", "met-1"),
        ("PcgrelayNoOutlet", "met-1"),
    }  # fmt: skip

    await_firing(watch, wanted, meanwhile=lambda: talk(realm))
    realm.change(realm.kent, exports=[realm.export("echo")])
    assert reload(realm.kent).ok

    await_firing(watch, set(), meanwhile=lambda: talk(realm))


def test_a_target_that_is_gone(realm: Scene, watch: Watch) -> None:
    """The exporter says so; the importer has nobody to go to."""
    closed = {"service": "echo", "target": f"{HOST}:{free_port()}", "probe": "connect", "probe_interval_ms": 200}
    realm.change(realm.kent, exports=[{**realm.export("echo"), **closed}])
    assert reload(realm.kent).ok

    def mend() -> None:
        realm.change(realm.kent, exports=[realm.export("echo")])
        assert reload(realm.kent).ok

    wanted = {("PcgrelayFailing", "kent-1"), ("PcgrelayFailing", "met-1"), ("PcgrelayNoOutlet", "met-1")}
    fires(watch, wanted, mend)


def board_questions() -> list[str]:
    """The expressions of the board, as Grafana asks them for all nodes and services."""
    panels = json.loads(BOARD.read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    for variable, text in (("$instance", ".*"), ("$service", ".*"), ("$__rate_interval", "1m")):
        found = [question.replace(variable, text) for question in found]
    assert not [question for question in found if "$" in question]
    return found


def test_each_panel_of_the_board_has_something_to_show(realm: Scene, watch: Watch) -> None:
    left = set(board_questions())

    def ask() -> bool:
        talk(realm)
        for question in list(left):
            answer = watch.asked(f"query?{urlencode({'query': question})}")["result"]
            if any(each["value"][1] != "NaN" for each in answer):
                left.discard(question)
        return not any("refused" in question for question in left)

    for node in (*realm.relays, realm.kent, realm.met):
        realm.change(node, node_table={**realm.tables(node)["node_table"], "udp_lanes": True})
        assert reload(node).ok
    realm.relays[1].stop()  # for handshakes
    realm.relays[1].start()
    realm.stage.await_well()
    realm.change(realm.kent, exports=[realm.export("echo", allow=[KENT])])
    assert reload(realm.kent).ok
    until(ask, SOON_S, "answers about what is refused")
    realm.change(realm.kent, exports=[realm.export("echo")])
    assert reload(realm.kent).ok
    try:
        until(lambda: ask() and not left, SOON_S)
    except AssertionError:
        raise AssertionError(f"no answer to: {left}") from None


def write_list(path: Path, authority: Authority, start: datetime, end: datetime) -> None:
    """A list of nobody, as the CA would have made it at that time."""
    key = load_pem_private_key(authority.key_path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    made = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(start)
        .next_update(end)
        .add_extension(x509.CRLNumber(1_000), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(Encoding.PEM))


def test_a_list_that_is_nearly_over(realm: Scene, watch: Watch) -> None:
    """Last, for no list with a smaller number takes its place."""
    now = datetime.now(UTC).replace(microsecond=0)
    write_list(realm.stage.pki.crl, realm.stage.pki.authority, now - timedelta(days=30), now + timedelta(days=1))
    for node in realm.nodes:
        assert reload(node).ok
    wanted = {(name, node) for name in ("PcgrelayListEnds", "PcgrelayDegraded") for node in ("kent-1", "met-1")}
    await_firing(watch, wanted)
