"""Samba's domain controller answers all that its own test of CLDAP asks, across a border: no trust begins without."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.kit.datagram_programs import datagram_line, drops
from tests.scenarios.kit.directory_programs import domain_controller, provision, smbtorture

pytestmark = pytest.mark.tier_all

# So that associations end, and with them their counts come, within the test.
KEYS = {"idle_timeout_s": 3}
# Each level and each bit of a ping; they try some more.
PINGS = 256 + 31


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("domain")
    provision(folder)
    return folder


@pytest.mark.parametrize("topology", ["edge-edge", "edge-relay-relay-edge"])
def test_it_is_found(topology: str, domain: Path, tmp_path: Path) -> None:
    with (
        datagram_line(tmp_path, topology, "cldap", keys=KEYS) as nodes,
        domain_controller(domain, nodes.target("cldap"), tmp_path / "samba.log"),
    ):
        said = smbtorture(domain, nodes.door("cldap"))
        assert "success: cldap" in said
        assert "success: netlogon-udp" in said
        nodes.await_quiet(30)
        importer, exporter = (node.service("cldap") for node in (nodes.importer, nodes.exporter))
        assert importer.received_datagrams == exporter.sent_datagrams > PINGS
        assert importer.sent_datagrams == exporter.received_datagrams == importer.received_datagrams
        assert drops(nodes) == {}
        assert {each["cause"] for each in nodes.importer.log("stream.end")} == {"done"}
