"""From the line of a stream to the rule that allowed it, and to those who had signed that rule."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from pcgrelay.audit.query import Usage, Wanted, query
from pcgrelay.audit.segments import segments_of
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.dataplane.events import StreamEnd
from pcgrelay.gateway.audit import FOLDER
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.policy.rules import Rule
from pcgrelay.services.counts import UNKNOWN_RULE
from tests.support.approving_node import MET, PAPER, UNTIL, ApprovedNode
from tests.support.nodes_in_process import Nodes
from tests.support.written_logs import records_of

ESSEX = "essex.police.example"
AUDIT = {"keep_days": 400}


@pytest.fixture
def kent(nodes: Nodes) -> ApprovedNode:
    return ApprovedNode(nodes)


def end_stream(kent: ApprovedNode, service: str, *, opener: bool = False) -> None:
    """Have a stream of an export end, as the core tells it."""
    assert kent.running is not None
    edge = kent.running.node.role
    assert isinstance(edge, EdgeRole)
    number = next((each.number for each in edge.services.exports if each.settings.service.service == service), -1)
    edge.stream_ends.ended(StreamEnd(opener, number, 1, service.encode(), 7, 8, 9, 0, "done", 0xFFFF, False))


async def usages(kent: ApprovedNode) -> tuple[Usage, ...]:
    assert kent.running is not None
    log = kent.running.node.audit.log
    assert log is not None
    assert await log.flush()
    return query(segments_of(kent.state / FOLDER), Wanted()).usages


async def test_each_stream_leads_to_the_rule_and_to_who_signed_it(kent: ApprovedNode) -> None:
    kent.write(audit=AUDIT)
    running = await kent.first()
    end_stream(kent, "custody")
    (first,) = await usages(kent)
    assert first.rule == f"export[1], until {UNTIL}"
    assert first.allowed is not None
    assert first.allowed.by == tuple(each.address for each in kent.people[1:3])

    # Another rule stands before it, and other people approve that.
    pnd: dict[str, Any] = {"service": "pnd", "target": "127.0.0.1:5433", "allow": [ESSEX], **PAPER}
    custody: dict[str, Any] = {"service": "custody", "target": "127.0.0.1:5432", "allow": [MET], **PAPER}
    kent.write(audit=AUDIT, exports=[pnd, custody])
    kent.plan(*kent.people[2:4])
    assert (await kent.reload()).ok
    end_stream(kent, "custody")
    end_stream(kent, "pnd")
    end_stream(kent, "pnd", opener=True)
    found = {(each.service.partition("@")[0], each.rule): each for each in await usages(kent)}
    assert found["custody", first.rule].policy == first.policy
    after, other = found["custody", f"export[2], until {UNTIL}"], found["pnd", f"export[1], until {UNTIL}"]
    assert after.allowed is not None
    assert other.allowed is not None
    assert after.allowed.by == other.allowed.by == tuple(each.address for each in kent.people[2:4])
    # What the far side allowed is not known here.
    assert found["pnd", ""].streams == 1
    ends = [each for each in records_of(kent.state / FOLDER) if each["event"] == "stream.end"]
    assert [each.get("rule") for each in ends] == [0, 1, 0, None]
    assert ends[0]["policy"] == running.lines("policy.first")[0]["after"][:12]


async def test_a_stream_that_outlasts_its_rule_has_it_still(kent: ApprovedNode) -> None:
    await kent.first()
    assert kent.running is not None
    edge = kent.running.node.role
    assert isinstance(edge, EdgeRole)
    (number,) = edge.services.allowing
    kent.write(exports=[])
    assert (await kent.reload()).ok
    assert edge.services.exports == []
    assert edge.services.allowing[number].text == f"export[1], until {UNTIL}"


async def test_a_log_that_began_later_says_who_had_signed(kent: ApprovedNode) -> None:
    """The approval was before [audit], a narrowing one came since, and then the log begins again each day."""
    await kent.first()
    kent.write(MET, "thames.police.example")
    kent.plan(*kent.people[1:3])
    assert (await kent.reload()).ok
    kent.write(MET, audit=AUDIT)
    assert (await kent.reload()).ok
    signers = tuple(each.address for each in kent.people[1:3])
    end_stream(kent, "custody")
    running = kent.running
    assert running is not None
    running.node.audit.tick()
    (usage,) = await usages(kent)
    assert usage.allowed is not None
    assert (usage.allowed.by, usage.allowed.change) == (signers, "CR-1042")
    # In each process, and at most once a day.
    for _ in range(3):
        running.node.audit.tick()
    said = [each for each in records_of(kent.state / FOLDER) if each["event"] == "policy.in_force"]
    assert len(said) == 1
    assert (said[0]["holds"], said[0]["approved"]) == (running.node.approvals.digest, list(signers))
    assert not running.lines("policy.in_force")  # of no use in the ordinary log


async def test_what_holds_is_said_each_day_and_in_a_log_that_begins_again(
    kent: ApprovedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    kent.write(audit=AUDIT)
    running = await kent.first()
    node = running.node
    said: list[str] = []
    monkeypatch.setattr(node.log, "emit_audit", lambda record: said.append(record.EVENT))
    now = SYSTEM_CLOCK.wall()

    class Clock:
        days = 0

        def wall(self) -> datetime:
            return now + timedelta(days=self.days)

    clock = Clock()
    monkeypatch.setattr(node.audit, "_clock", clock)
    node.audit._said_on = now.date()
    counts = []
    for clock.days in (0, 0, 1, 1, 1, 401):
        node.audit.tick()
        counts.append(len(said))
    assert counts == [0, 0, 1, 1, 1, 2]
    assert set(said) == {"policy.in_force"}


def test_a_rule_without_an_end_is_named_by_its_number() -> None:
    assert Rule(4, "custody@kent.police.example", (MET,)).name == "export[5]"
    assert (UNKNOWN_RULE.number, UNKNOWN_RULE.text) == (None, "")
