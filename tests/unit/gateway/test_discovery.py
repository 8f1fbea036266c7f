"""Whole nodes that find their relays by DNS: what they link, show and keep."""

from __future__ import annotations

from typing import Any

import pytest

from pcgrelay.admin.condition import troubles
from pcgrelay.admin.metrics import metrics_text
from pcgrelay.config import Address
from pcgrelay.daemon.reload import Reloader
from pcgrelay.link import discovery
from pcgrelay.net.resolver import Outcome
from pcgrelay.net.srv import SrvAnswer, SrvRecord
from pcgrelay.views.status import node_status
from tests.support.nodes_in_process import HUB, KENT, MET, Nodes, Running, entry, export, is_live, relays
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

NAME = "_pcgrelay._tcp.relays.example"
LINK = {"discover": NAME, "bearer": "psn"}


class Dns:
    """What DNS says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.says = SrvAnswer(Outcome.UNKNOWN)
        monkeypatch.setattr(discovery, "ask_srv", self._ask)
        # The look-ups are not awaited for half a minute.
        monkeypatch.setattr(discovery, "TTL_LEAST_S", 1)

    async def _ask(self, name: str) -> SrvAnswer:
        assert name == NAME
        return self.says

    def leads_to(self, *ports: int) -> None:
        records = tuple(SrvRecord(10, 1, Address("127.0.0.1", port)) for port in ports)
        self.says = SrvAnswer(Outcome.FOUND, records, 1)


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Dns:
    return Dns(monkeypatch)


def linked(running: Running) -> list[str]:
    return sorted(link.peer.name for link in running.node.link_table.usable())


async def edge(nodes: Nodes, organisation: str, name: str, **tables: Any) -> Running:
    return await nodes.start(organisation, name, links=[LINK], policy={"relays": [HUB]}, **tables)


async def test_a_service_is_reached_over_relays_that_dns_leads_to(nodes: Nodes, dns: Dns) -> None:
    made = await relays(nodes, 3)
    dns.leads_to(*(port for _, port in made))
    kent = await edge(nodes, KENT, "kent-1", exports=[export()])
    met = await edge(nodes, MET, "met-1", imports=[entry()])
    await until(lambda: is_live(met))
    await until(lambda: len(linked(kent)) == len(linked(met)) == 2)
    status = node_status(met.node)
    assert [(link.discover, link.bearer, link.state) for link in status.links] == [(NAME, "psn", "up")] * 2
    (found,) = status.discoveries
    assert (found.discover, found.wanted, found.up, found.relays, found.answered) == (NAME, 2, 2, 3, True)
    text = metrics_text(status, {})
    assert f'pcgrelay_discovery_links{{discover="{NAME}"}} 2.0' in text
    # One of them is lost: the third takes its place.
    gone = linked(met)[0]
    await made[int(gone[-1]) - 1][0].kill()
    await until(lambda: len(linked(met)) == 2 and gone not in linked(met))
    await until(lambda: is_live(met))


async def test_who_is_no_relay_or_not_admitted_is_refused_by_name(nodes: Nodes, dns: Dns) -> None:
    ports = [free_port() for _ in range(2)]
    await nodes.start(HUB, "edge-1", listens=[f"127.0.0.1:{ports[0]}"])
    await nodes.start(KENT, "relay-1", role="relay", listens=[f"127.0.0.1:{ports[1]}"])
    dns.leads_to(*ports)
    met = await edge(nodes, MET, "met-1")
    await until(lambda: {line["reason"] for line in met.lines("link.failed")} == {"not_a_relay", "relay_not_admitted"})
    assert linked(met) == []
    assert all(line["discover"] == NAME for line in met.lines("link.failed"))
    assert {line["peer"] for line in met.lines("link.failed")} == {f"edge-1.{HUB}", f"relay-1.{KENT}"}
    assert met.node.refused.total()["relay_not_admitted"] >= 1
    (found,) = node_status(met.node).discoveries
    assert found.up == 0
    assert node_status(met.node).condition != "ready"


async def test_a_reload_takes_a_name_away_and_gives_it_back(nodes: Nodes, dns: Dns) -> None:
    made = await relays(nodes, 2)
    dns.leads_to(*(port for _, port in made))
    met = await edge(nodes, MET, "met-1")
    await until(lambda: linked(met) == ["relay-1", "relay-2"])
    listens = [f"127.0.0.1:{free_port()}"]

    async def apply(**tables: Any) -> None:
        nodes.write(MET, "met-1", **tables)
        answer = await Reloader(met.node, met.node.log, lambda state: None).reload()
        assert answer.ok, answer

    await apply(listens=listens, policy={"relays": [HUB]})
    await until(lambda: not linked(met))
    assert met.node.link_table.dialler.wanted == []
    await apply(listens=listens, links=[{**LINK, "links": 1}], policy={"relays": [HUB]})
    await until(lambda: len(linked(met)) == 1)
    # Its weight is that of the file, also for a link that is up.
    await apply(listens=listens, links=[{**LINK, "links": 1, "weight": 7}], policy={"relays": [HUB]})
    (link,) = met.node.link_table.usable()
    assert link.standing.settings.weight == 7
    # Whom the file does not admit any more is not kept.
    other = next(name for name in ("relay-1", "relay-2") if name != link.peer.name)
    await apply(listens=listens, links=[{**LINK, "links": 1, "peers": [f"{other}.{HUB}"]}], policy={"relays": [HUB]})
    await until(lambda: linked(met) == [other])


async def test_a_drill_of_each_relay_is_one_of_those_that_dns_leads_to_too(nodes: Nodes, dns: Dns) -> None:
    made = await relays(nodes, 2)
    dns.leads_to(*(port for _, port in made))
    drills = [{"kind": "relay-loss", "every": "90d"}]
    met = await edge(nodes, MET, "met-1", drills=drills)
    await until(lambda: linked(met) == ["relay-1", "relay-2"])
    dues = met.edge.drills.dues()
    assert [(due.kind, due.subject) for due in dues] == [("relay-loss", f"relay-{n}.{HUB}") for n in (1, 2)]
    sentences = [each.sentence for each in troubles(node_status(met.node))]
    assert f"The drill relay-loss relay-2.{HUB} was never held." in sentences
    # One that is away for a while is due all the same.
    await made[1][0].kill()
    await until(lambda: linked(met) == ["relay-1"])
    assert len(met.edge.drills.dues()) == 2
