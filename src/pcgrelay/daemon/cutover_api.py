"""Handlers of the admin socket for cut-overs."""

from __future__ import annotations

import asyncio
from pathlib import Path

from msgspec import structs

from pcgrelay.admin.cutover_answers import CutoverStatus, Rehearsal
from pcgrelay.admin.http import Answer, json_answer
from pcgrelay.admin.server import UID, Query
from pcgrelay.config import GATEWAY
from pcgrelay.config.values import escaped_bytes
from pcgrelay.cutover.gate import TITLES
from pcgrelay.cutover.phases import Event, Phase
from pcgrelay.cutover.requests import Request
from pcgrelay.errors import PcgrelayError, RunError, UsageProblem
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.advice import note_advice
from pcgrelay.gateway.cutover import Cutover
from pcgrelay.gateway.cutover_rehearsal import rehearse
from pcgrelay.gateway.cutover_start import start
from pcgrelay.gateway.cutovers import Requested
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.nudging import Nudge
from pcgrelay.gateway.outlet_shares import find_import
from pcgrelay.gateway.shadows import Talk
from pcgrelay.printable import printable
from pcgrelay.services.shares import TEXT_MOST
from pcgrelay.views.cutover import cutover_list, cutover_status, lost_status
from pcgrelay.views.cutover_rehearsal import rehearsal_answer

SUBJECT_LIMIT = 512
FILE_LIMIT = 512
COUNT_FIRST = 100
EVENTS = {
    "pause": Event.PAUSE,
    "resume": Event.RESUME,
    "back": Event.FALL_BACK,
    "advance": Event.STEP,
}
NEEDS_REASON = frozenset({"pause", "back"})
ACTS = ("start", *EVENTS, "nudge", "advice")


class CutoverApi:
    """What the admin socket answers about cut-overs."""

    def __init__(self, node: Node, lock: asyncio.Lock) -> None:
        """lock: held by reloads and hand-overs, which would take half of a step along."""
        self._node = node
        self._lock = lock
        self._rehearsing = asyncio.Lock()

    def shown(self, query: Query) -> Answer:
        """One cut-over, or all."""
        subject = query.get("service", "")[:SUBJECT_LIMIT]
        try:
            edge = self._edge()
            if not subject:
                return json_answer(cutover_list(self._node, edge))
            if subject in edge.cutovers.lost:
                return json_answer(lost_status(edge, subject))
            return json_answer(cutover_status(self._node, edge, edge.cutovers.find(subject)))
        except PcgrelayError as error:
            return _refused(subject, error)

    async def acted(self, query: Query, body: bytes) -> Answer:
        """Do what somebody asks of a cut-over."""
        subject, act = query.get("service", "")[:SUBJECT_LIMIT], query.get("act", "")
        actor = Actor(
            int(query[UID]),
            printable(query.get("by", ""))[:TEXT_MOST],
            printable(query.get("reason", ""))[:TEXT_MOST],
        )
        try:
            edge = self._edge()
            if act == "back":
                # Whoever goes back waits for no reload, and no hand-over undoes it: it is published at once.
                return await self._event(edge, edge.cutovers.find(subject), Event.FALL_BACK, query, actor)
            async with self._lock:
                if act == "start":
                    return await self._start(edge, query, body, actor)
                if act == "nudge":
                    return await self._nudge(edge, edge.cutovers.find(subject), query, actor)
                if act == "advice":
                    return await self._advice(edge, edge.cutovers.find(subject), query, actor)
                if act not in EVENTS:
                    raise UsageProblem(f'"{printable(act)[:40]}" is nothing to be done; there are: {", ".join(ACTS)}.')
                return await self._event(edge, edge.cutovers.find(subject), EVENTS[act], query, actor)
        except PcgrelayError as error:
            return _refused(subject, error)

    async def rehearsed(self, query: Query, body: bytes) -> Answer:
        """Rehearse a cut-over that may not be planned yet."""
        subject = query.get("service", "")[:SUBJECT_LIMIT]
        try:
            edge = self._edge()
            imported = find_import(edge, subject)
            outlets = imported.outlets
            if outlets is None:
                raise RunError(f"{imported.settings.service} has one outlet, the gateway; add a [[direct]] of it.")
            if self._rehearsing.locked():
                raise RunError("Another rehearsal is under way; wait until it ends.")
            names = query.get("old", "") or _first_direct(outlets.all_names), query.get("new", "") or GATEWAY
            if names[0] == names[1]:
                raise UsageProblem(f"{names[0]} cannot be compared with itself; name two outlets.")
            talk = Talk(_escaped(query.get("send", "")), _escaped(query.get("expect", "")))
            count = _number(query, "count", COUNT_FIRST, 1, 100)
            async with self._rehearsing:
                rehearsed = await rehearse(edge.cutovers.shadows, imported, outlets, names, count, talk)
            return json_answer(rehearsal_answer(edge, imported, outlets, names, rehearsed))
        except PcgrelayError as error:
            return json_answer(Rehearsal(service=subject, reason=str(error), exit_code=error.exit_code), 409)

    async def _start(self, edge: EdgeRole, query: Query, body: bytes, actor: Actor) -> Answer:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise UsageProblem("The plan is no UTF-8 text.") from None
        file = Path(printable(query.get("file", ""))[:FILE_LIMIT] or "plan")
        started = await start(self._node, edge, text, file, actor, again=query.get("again") == "1")
        return self._answer(edge, started.cutover, started.requested)

    async def _event(self, edge: EdgeRole, cutover: Cutover, event: Event, query: Query, actor: Actor) -> Answer:
        if query.get("act") in NEEDS_REASON and not actor.reason:
            raise UsageProblem("Say why, for whoever asks later: --reason TEXT.")
        waived = frozenset(filter(None, query.get("waive", "").split(",")))
        if unknown := sorted(waived - set(TITLES)):
            raise UsageProblem(
                f'"{printable(unknown[0])[:40]}" is no question of the gate; there are: {", ".join(TITLES)}.'
            )
        if waived and event is Event.FALL_BACK:
            raise UsageProblem("Going back asks no question of the gate, so there is none to be waived.")
        request = Request(event, actor.by, actor.reason, is_approved=bool(waived), waived=waived)
        if not waived:
            return self._answer(edge, cutover, await edge.cutovers.request(cutover, request, actor))
        async with self._node.approvals.acting("waive", f"{cutover.service} {','.join(sorted(waived))}", actor):
            requested = await edge.cutovers.request(cutover, request, actor)
        return self._answer(edge, cutover, requested)

    async def _advice(self, edge: EdgeRole, cutover: Cutover, query: Query, actor: Actor) -> Answer:
        said = {key: query.get(key, "")[:SUBJECT_LIMIT] for key in ("role", "on", "withdraw")}
        changed = await note_advice(edge.cutovers, cutover, said, actor, self._node)
        return json_answer(structs.replace(cutover_status(self._node, edge, cutover), changed=changed))

    async def _nudge(self, edge: EdgeRole, cutover: Cutover, query: Query, actor: Actor) -> Answer:
        left = cutover.plan.new if cutover.phase is Phase.BACK else cutover.plan.old
        outlet = query.get("outlet", "") or left
        hard = query.get("hard") == "1"
        nudge = Nudge(
            outlet=outlet,
            idle_s=_number(query, "idle_s", 60, 1, 86_400),
            per_minute=_number(query, "per_minute", 10, 0, 6_000),
            hard=hard,
        )
        if hard:
            async with self._node.approvals.acting("nudge --hard", f"{cutover.service} {outlet}", actor):
                edge.cutovers.nudges.begin(cutover, nudge, actor)
        else:
            edge.cutovers.nudges.begin(cutover, nudge, actor)
        return self._answer(edge, cutover, None)

    def _answer(self, edge: EdgeRole, cutover: Cutover, requested: Requested | None) -> Answer:
        status = cutover_status(self._node, edge, cutover)
        if requested is None:
            return json_answer(status)
        return json_answer(
            structs.replace(
                status, changed=bool(requested.decisions), took_ms=requested.took_ms, warnings=requested.warnings
            )
        )

    def _edge(self) -> EdgeRole:
        if not isinstance(self._node.role, EdgeRole):
            raise RunError("A relay has no imports; ask an edge.")
        return self._node.role


def _refused(subject: str, error: PcgrelayError) -> Answer:
    return json_answer(CutoverStatus(service=subject, reason=str(error), exit_code=error.exit_code), 409)


def _first_direct(names: list[str]) -> str:
    return next((name for name in names if name != GATEWAY), GATEWAY)


def _escaped(text: str) -> bytes:
    try:
        return escaped_bytes(text[:4_096])
    except ValueError as error:
        raise UsageProblem(f"{error}.") from None


def _number(query: Query, name: str, otherwise: int, least: int, most: int) -> int:
    text = query.get(name, "")
    if not text:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) < 8 and least <= int(text) <= most):
        raise UsageProblem(f"{name} is a whole number from {least} to {most:,}.")
    return int(text)
