"""R3: what is left of an edge with each of its links taken away, by `explain`; with --disrupt one is taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from urllib.parse import urlencode

from pcgrelay.admin.answers import EXPLAIN_PATH, ExplainAnswer
from pcgrelay.admin.client import ask
from pcgrelay.admin.drill_answers import DRILL_PATH, DrillAnswer
from pcgrelay.admin.status import ServiceStatus, Status
from pcgrelay.assure.judgement import AskedError, NotHereError
from pcgrelay.assure.readers.ways import READY, UP, is_a_way
from pcgrelay.assure.rule_facts import LinkLoss, LinkLosses, LinkTaken
from pcgrelay.assure.scene import Scene
from pcgrelay.config import GATEWAY
from pcgrelay.drills.record import RELAY_LOSS
from pcgrelay.errors import RunError

TAKEN_S = 3  # so long one is taken away
LOOK_S = 0.2
BEGIN_S = 20.0  # a disk may take its time to write that a drill begins
BY = "pcgrelay assure run --disrupt"

Link = tuple[str, str]  # neighbour, bearer


async def read_link_losses(scene: Scene) -> LinkLosses:
    """R3. AskedError: at a relay nobody but its edges knows what stops. NotHereError: no link is up."""
    if not scene.config.links and not scene.config.listens:
        raise NotHereError("this node has no links")
    status = await asyncio.to_thread(scene.status)
    if status.node.role != "edge":
        raise AskedError("only the edges of a relay know what stops without one of its links")
    links = links_up(status)
    answers = await _explained(scene, status)
    losses = tuple(
        LinkLoss(neighbour=link[0], bearer=link[1], stops=what_stops(status, answers, link), links_left=len(links) - 1)
        for link in links
    )
    return LinkLosses(
        losses=losses,
        exports=any(each.direction == "export" for each in status.services),
        taken=await _take_away(scene, status, links) if scene.disrupt else None,
    )


def links_up(status: Status) -> list[Link]:
    """Return the links that are up; two to one place count twice."""
    return sorted((each.peer, each.bearer) for each in status.links if each.state == UP)


async def _explained(scene: Scene, status: Status) -> dict[str, ExplainAnswer]:
    admin = scene.config.node.admin
    return {
        each.name: await asyncio.to_thread(
            ask, admin, "GET", f"{EXPLAIN_PATH}?{urlencode({'subject': each.name})}", ExplainAnswer
        )
        for each in status.services
        if each.direction == "import"
    }


def what_stops(status: Status, answers: dict[str, ExplainAnswer], link: Link) -> tuple[str, ...]:
    """Return the imports for which new streams have a way now, and would have none without that link."""
    others = links_up(status)
    others.remove(link)
    return tuple(
        each.name
        for each in status.services
        if each.name in answers
        and _is_served(each, answers[each.name], (*others, link))
        and not _is_served(each, answers[each.name], others)
    )


def _is_served(service: ServiceStatus, answer: ExplainAnswer, links: Sequence[Link]) -> bool:
    if any(outlet.name != GATEWAY and outlet.state == READY for outlet in service.outlets):
        return True
    return any(is_a_way(each) and each.hops and (each.hops[0], each.bearer) in links for each in answer.ways)


# -- --disrupt -------------------------------------------------------------------------------------------------------


async def _take_away(scene: Scene, status: Status, links: Sequence[Link]) -> LinkTaken | None:
    """Hold a drill of a relay that would lose nothing. None: each would, as the node itself says before it begins."""
    for neighbour in dict.fromkeys(peer for peer, _ in links):
        asked = {"kind": RELAY_LOSS, "subject": neighbour, "for_s": str(TAKEN_S), "by": BY}
        plan = await _drill(scene, "GET", {**asked, "act": "plan"})
        if plan.reason:
            raise RunError(f"The node holds no drill: {plan.reason}")
        if not plan.losses:
            return await _held(scene, status, neighbour, asked)
    return None


async def _held(scene: Scene, status: Status, neighbour: str, asked: dict[str, str]) -> LinkTaken:
    served = {each.name for each in status.services if each.direction == "import" and each.state == READY}
    answer = await _drill(scene, "POST", {**asked, "act": "begin"})
    if answer.record is None or answer.reason:
        raise RunError(f"The node holds no drill: {answer.reason}")
    record, stopped = answer.record, set[str]()
    while not record.is_over:
        await asyncio.sleep(LOOK_S)
        now = await asyncio.to_thread(scene.status)
        # Right after the loss an import may wait for its session to find the other way; what counts is the end.
        stopped = served - {each.name for each in now.services if each.state == READY}
        found = (await _drill(scene, "GET", {"id": record.id})).record
        if found is None:
            raise RunError("The drill that was begun is not known to the node any more.")
        record = found
    return LinkTaken(
        neighbour=neighbour,
        result=record.result,
        sentence=record.sentence,
        stopped=tuple(sorted(stopped)),
        pause_longest_ms=record.pause_longest_ms,
        record=record.id,
    )


async def _drill(scene: Scene, method: str, query: dict[str, str]) -> DrillAnswer:
    return await asyncio.to_thread(
        ask, scene.config.node.admin, method, f"{DRILL_PATH}?{urlencode(query)}", DrillAnswer, BEGIN_S
    )
