"""`sources` of an import of datagrams, and imports of nodes with several workers."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scenarios.kit.asking import Answerer, Asker
from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.nodes import HOST, KENT
from tests.scenarios.kit.two_edges import pair, reload
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

OTHER = "127.0.0.2"
CLIENTS = 40


def made(door: int, target: int, **keys: object) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    exports = [{"service": "echo", "protocol": "udp", "target": host_port(target)}]
    return exports, [{"service": f"echo@{KENT}", "protocol": "udp", "listen": host_port(door), **keys}]


def test_what_comes_from_elsewhere_is_dropped_and_counted(tmp_path: Path) -> None:
    door, target = free_port(), free_port()
    exports, imports = made(door, target, sources=[f"{OTHER}/32"])
    with (
        pair(tmp_path, exports, imports) as nodes,
        Answerer((HOST, target)) as server,
        Asker((HOST, door), OTHER) as named,
        Asker((HOST, door), HOST) as stranger,
    ):
        until(named.asks, 10, "who is named is answered")
        assert not stranger.asks()
        assert nodes.importer.metrics()["core_datagrams_dropped_source_total"] == 1
        assert len(server.clients) == 1
        # A reload lets everybody in, and ends nothing.
        nodes.write_importer(made(door, target)[1])
        assert reload(nodes.importer).ok
        until(stranger.asks, 10, "the other one is answered too")
        assert named.asks()
        assert len(server.clients) == 2


@pytest.mark.parametrize(("importing", "exporting"), [(2, 2), (2, 1), (1, 2)])
def test_each_worker_reads_for_the_flows_that_there_are(tmp_path: Path, importing: int, exporting: int) -> None:
    door, target = free_port(), free_port()
    exports, imports = made(door, target)
    workers = (importing, exporting)
    with pair(tmp_path, exports, imports, workers) as nodes, Answerer((HOST, target)) as server:
        with ExitStack() as stack:
            first = stack.enter_context(Asker((HOST, door)))
            until(first.asks, 10, "the first one is answered")
            clients = [stack.enter_context(Asker((HOST, door))) for _ in range(CLIENTS)]
            for _ in range(3):
                assert all(client.asks() for client in clients)
        assert len(server.clients) >= CLIENTS
        assert nodes.importer.service("echo").streams_active >= CLIENTS
