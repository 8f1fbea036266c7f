"""What comes by each listener of an import with `also` is counted apart."""

from __future__ import annotations

from pcgrelay.config import Address, ImportSettings
from pcgrelay.figures import ListenerFigures
from pcgrelay.gateway.handover import to_handover
from pcgrelay.handover.node import ListenerHandover, decode_handover, encode_handover
from pcgrelay.model import ServiceName
from pcgrelay.services.listeners import ListenerCounts
from pcgrelay.views.explain import explain
from pcgrelay.views.status import node_status
from tests.support.nodes_in_process import MET, Nodes
from tests.support.outlet_nodes import CUSTODY, link, met
from tests.support.ports import free_port


async def test_what_comes_by_each_listener_is_counted_apart(nodes: Nodes) -> None:
    ports = [free_port() for _ in range(3)]
    listen, *also = (f"127.0.0.1:{port}" for port in ports)
    running, path = await met(nodes, entry={"listen": listen, "also": also})
    (imported,) = running.edge.services.imports
    # One number for each address, on all workers.
    assert running.core.listener_numbers == {0: [1, 2, 3]}
    running.core.listener_counts = {1: (5, 1, 50, 500), 2: (2, 1, 7, 9)}
    figures = running.edge.services.listener_figures(imported)
    assert list(figures) == ["listen", "also-1", "also-2"]
    assert (figures["also-1"].connections, figures["also-1"].active) == (2, 1)
    assert (figures["listen"].sent_bytes, figures["listen"].received_bytes) == (50, 500)
    (service,) = node_status(running.node).services
    assert [(each.name, each.connections_total) for each in service.listeners] == [
        ("listen", 5),
        ("also-1", 2),
        ("also-2", 0),
    ]
    assert [each.name for each in explain(running.node, CUSTODY).listeners] == ["listen", "also-1", "also-2"]
    (handed,) = decode_handover(encode_handover(to_handover(running.node))).imports
    assert [(each.address, each.number) for each in handed.listeners] == [(listen, 1), (also[0], 2), (also[1], 3)]
    # Counts are of the address, whatever its place.
    tables = {"links": [link()], "imports": [{"service": CUSTODY, "listen": listen, "also": [also[1], also[0]]}]}
    path = nodes.write(MET, "met-1", node_table={"state": str(nodes.folder / "state")}, **tables)
    await running.reload(path)
    assert running.core.listener_numbers == {0: [1, 3, 2]}
    assert running.edge.services.listener_figures(imported)["also-2"].connections == 2
    # With one listener alone nothing is counted apart, and a number that is taken again begins with nothing.
    tables["imports"] = [{"service": CUSTODY, "listen": listen}]
    await running.reload(nodes.write(MET, "met-1", node_table={"state": str(nodes.folder / "state")}, **tables))
    assert running.core.listener_numbers == {0: [0]}
    assert running.edge.services.listener_figures(imported) == {}


async def test_numbers_of_listeners_are_taken_over_and_taken_again_last(nodes: Nodes) -> None:
    running, _ = await met(nodes)
    counts = ListenerCounts(running.node.plane)
    service = ServiceName.parse(CUSTODY)

    def entry(*ports: int) -> ImportSettings:
        first, *rest = (Address.parse(f"127.0.0.1:{port}") for port in ports)
        return ImportSettings(service=service, listen=first, also=tuple(rest))

    counts.restore(service, [ListenerHandover(address="127.0.0.1:1", number=7)])
    counts.configure([entry(1, 2)])
    assert [counts.number_of(service, address) for address in entry(1, 2).listeners] == [7, 8]
    running.core.listener_counts[9] = (4, 1, 10, 20)
    counts.configure([entry(1, 3)])
    assert counts.number_of(service, Address.parse("127.0.0.1:3")) == 9
    # What another listener had under this number is not its own.
    assert counts.figures(entry(1, 3))["also-1"] == ListenerFigures()
    counts.configure([entry(*range(1, 600))])
    numbers = [counts.number_of(service, address) for address in entry(*range(1, 600)).listeners]
    assert len(set(numbers)) == 512
    assert numbers.count(0) == 600 - 512
    assert "also-598" not in counts.figures(entry(*range(1, 600)))
