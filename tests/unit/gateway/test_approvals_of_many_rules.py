"""A thousand rules and two signatures: what approvals add to a reload is small beside it."""

from __future__ import annotations

from tests.support.approving_node import MET, PAPER, ApprovedNode
from tests.support.nodes_in_process import Nodes
from tests.support.processor import processor_time

RULES = 1_000
ESSEX = "essex.police.example"


def write(kent: ApprovedNode, *allow: str) -> None:
    exports = [
        {"service": f"s{number}", "target": "127.0.0.1:5432", "allow": [MET, *(allow if number < 5 else ())], **PAPER}
        for number in range(RULES)
    ]
    kent.write(exports=exports)


async def test_a_reload_of_a_thousand_rules_with_two_signatures(nodes: Nodes) -> None:
    kent = ApprovedNode(nodes)
    write(kent)
    running = await kent.first()
    write(kent, ESSEX)
    kent.plan(*kent.people[1:3])
    with processor_time() as used:
        answer = await kent.reload()
    assert answer.ok, answer.reason
    assert answer.approval is not None
    assert answer.approval.widens == 5
    assert ESSEX in running.node.config.exports[0].allow
    # The design says 0.3 s on a machine that is free; here others may share it.
    assert used.seconds < 2.0
