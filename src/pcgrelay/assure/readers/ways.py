"""N7, N8 and R1: what is live and over which networks, the drawing of it, and the ways of critical imports."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from datetime import date
from urllib.parse import urlencode

from pcgrelay.admin.answers import EXPLAIN_PATH, ExplainAnswer, WayExplained
from pcgrelay.admin.assure_answers import TRANSIT_PATH, PathsAcross, TransitAnswer
from pcgrelay.admin.client import ask
from pcgrelay.admin.status import ServiceStatus, Status
from pcgrelay.assure.inventory import diagram
from pcgrelay.assure.judgement import NotHereError
from pcgrelay.assure.readers.rules import bearers_of
from pcgrelay.assure.rule_facts import Diagram, Markings, PathFact, ServiceWays, WayFact, Ways
from pcgrelay.assure.scene import Scene
from pcgrelay.config import GATEWAY, Config
from pcgrelay.model import Priority, Role
from pcgrelay.policy.clearances import HIGHEST, LOWEST, NAMES, Clearances, clearances_of
from pcgrelay.policy.rules import MARKING_NUMBERS

UP, READY = "up", "ready"
CRITICAL = Priority.CRITICAL.title
_DATE = re.compile(rb"\b(20\d\d-\d\d-\d\d)\b")


# -- markings (N7) ---------------------------------------------------------------------------------------------------


async def read_markings(scene: Scene) -> Markings:
    """N7."""
    status = await asyncio.to_thread(scene.status)
    through: tuple[PathsAcross, ...] = ()
    if scene.config.node.role is Role.RELAY:
        through = (await asyncio.to_thread(ask, scene.config.node.admin, "GET", TRANSIT_PATH, TransitAnswer)).paths
    return markings_of(scene.config, status, through)


def markings_of(config: Config, status: Status, through: tuple[PathsAcross, ...] = ()) -> Markings:
    """Return what is live with its clearances, and for what the rules would lead where it is not cleared.

    through: paths through a relay.
    """
    clearances = clearances_of(config)
    paths = (*_sessions(status, clearances), *_through(through, clearances))
    exported = [MARKING_NUMBERS[each.marking] for each in config.exports]
    relays = config.policy.relays
    return Markings(
        judged=clearances.bearers is not None,
        highest=max(
            [LOWEST, *exported, *(each.marking for each in status.sessions), *(each.marking for each in through)]
        ),
        paths=paths,
        leaks=tuple(_leaks(config, status)),
        patterns=tuple(each for each in relays or () if each.startswith("*")),
        any_relay=relays is None,
    )


def _sessions(status: Status, clearances: Clearances) -> Iterator[PathFact]:
    """Yield each session with each network that carries it now, and the least cleared of the relays on it."""
    bearers: dict[str, set[str]] = {}
    for link in status.links:
        if link.state == UP:
            bearers.setdefault(link.peer, set()).add(link.bearer)
    for session in status.sessions:
        if session.state != UP or not session.via:
            continue
        # A node of an older version does not say which of several links it is: then it may be any.
        over = session.bearers or tuple(sorted(bearers.get(session.via, ())))
        names = session.relays if session.bearers else (session.via,)
        relays = [name.partition(".")[2] for name in names]
        yield from _facts(f"session with {session.peer}", session.marking, over, relays, clearances)


def _through(paths: tuple[PathsAcross, ...], clearances: Clearances) -> Iterator[PathFact]:
    """Yield paths through a relay with both networks, and the least cleared of the other relays on them."""
    for each in paths:
        what = f"{each.count} paths from {each.came} to {each.goes}"
        yield from _facts(what, each.marking, dict.fromkeys((each.came, each.goes)), each.relays, clearances)


def _facts(
    what: str, marking: int, bearers: Iterable[str], organisations: Iterable[str], clearances: Clearances
) -> Iterator[PathFact]:
    least = min(organisations, key=clearances.of_organisation, default="")
    for bearer in bearers:
        yield PathFact(
            what=what,
            marking=marking,
            over=bearer,
            bearer_cleared=clearances.of_bearer(bearer),
            neighbour=least,
            neighbour_cleared=clearances.of_organisation(least) if least else HIGHEST,
        )


def _leaks(config: Config, status: Status) -> Iterator[str]:
    """Yield bearers of live links that the running node clears for more than the file says of them."""
    if not config.bearers:
        return
    numbers = {name: number for number, name in NAMES.items()}
    # A node that says nothing of a link does not judge by bearers at all.
    live = {(link.bearer, numbers.get(link.cleared, HIGHEST)) for link in status.links if link.state == UP}
    yield from sorted({name for name, cleared in live if cleared > MARKING_NUMBERS[config.bearer(name).marking]})


# -- the drawing (N8) ------------------------------------------------------------------------------------------------


async def read_diagram(scene: Scene) -> Diagram:
    """N8. The drawing is made now, as the pack of this run has it."""
    status = await asyncio.to_thread(scene.status)
    now = scene.clock.wall()
    picture = diagram(scene.config.node.id.dotted, status, (), now)
    return diagram_of(scene.config, scene.parameters.rules.coded_bearers, picture, now.date())


def diagram_of(config: Config, asking: tuple[str, ...], picture: bytes, today: date) -> Diagram:
    """Return what is judged of a drawing. asking: bearers that ask for a code of each service."""
    used = {*bearers_of(config), *(each.bearer for each in config.directs)}
    found = _DATE.search(picture)
    return Diagram(
        today=today,
        drawn=date.fromisoformat(found[1].decode()) if found else None,
        coded=tuple(sorted(name for name in used if name in asking)),
        without=tuple(f"import[{n}]" for n, each in enumerate(config.imports, 1) if not each.srv),
    )


# -- ways (R1) -------------------------------------------------------------------------------------------------------


async def read_ways(scene: Scene) -> Ways:
    """R1: for each critical import, the ways that `explain` names, and its direct outlets."""
    status = await asyncio.to_thread(scene.status)
    critical = critical_imports(scene.config, status)
    if not critical:
        raise NotHereError("no import of this node is critical (priority)")
    found = []
    for service in critical:
        query = urlencode({"subject": service.name})
        answer = await asyncio.to_thread(ask, scene.config.node.admin, "GET", f"{EXPLAIN_PATH}?{query}", ExplainAnswer)
        found.append(ways_of(service, answer))
    return Ways(services=tuple(found))


def critical_imports(config: Config, status: Status) -> list[ServiceStatus]:
    """Return imports that are critical: by this node's configuration, or as their owner says."""
    mine = {str(each.service) for each in config.imports if each.priority is Priority.CRITICAL}
    return [
        each
        for each in status.services
        if each.direction == "import"
        and (each.name in mine or any(route.priority == CRITICAL for route in each.routes))
    ]


def ways_of(service: ServiceStatus, answer: ExplainAnswer) -> ServiceWays:
    """Return the ways that a stream of that import can take now."""
    ways = {WayFact(bearer=each.bearer, relays=each.hops[:-1]) for each in answer.ways if is_a_way(each)}
    for outlet in service.outlets:
        if outlet.name != GATEWAY and outlet.state == READY:
            ways.add(WayFact(bearer=outlet.bearer, relays=()))
    return ServiceWays(service=service.name, ways=tuple(sorted(ways, key=lambda way: (way.bearer, way.relays))))


def is_a_way(each: WayExplained) -> bool:
    """Return whether a stream can take that way now: its link is up, and cleared for the service's marking."""
    return each.link == UP and "cleared for" not in each.why_not
