"""Requests about drills at the admin socket."""

from __future__ import annotations

import asyncio

import msgspec

from pcgrelay.admin.drill_answers import DrillAnswer
from pcgrelay.admin.http import Answer, json_answer
from pcgrelay.admin.server import UID, Query
from pcgrelay.config.drills import LASTS_MOST_S, SHARE_UNIT_PERCENT
from pcgrelay.drills.record import BACKUP, FAILED, PASSED, RELAY_LOSS, DrillFile
from pcgrelay.errors import PcgrelayError, RunError, UsageProblem
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.drill_parts import Outcome, Request
from pcgrelay.gateway.drills import Drills
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.outlet_shares import find_import
from pcgrelay.printable import printable
from pcgrelay.views.drills import drill_list

SUBJECT_LIMIT = 512
TEXT_LIMIT = 200


class DrillApi:
    """The handlers of /v1/drill."""

    def __init__(self, node: Node, lock: asyncio.Lock) -> None:
        """lock: held while a reload or a hand-over runs."""
        self._node = node
        self._lock = lock

    def view(self, query: Query) -> Answer:
        """All drills, one of them, or what one would touch."""
        try:
            drills = self._drills()
            if name := query.get("id", ""):
                return json_answer(DrillAnswer(record=drills.find(name[:SUBJECT_LIMIT])))
            if query.get("act") == "plan":
                _, plan = drills.plan(self._request(query))
                return json_answer(DrillAnswer(sentence=plan.sentence, losses=plan.losses))
            return json_answer(drill_list(drills, self._node.clock.wall()))
        except PcgrelayError as error:
            return _refused(error)

    async def act(self, query: Query, body: bytes) -> Answer:
        """Begin a drill, stop the one that runs, or keep the record of one that a command has held."""
        async with self._lock:
            return await self._acted(query, body)

    async def _acted(self, query: Query, body: bytes) -> Answer:
        actor = Actor(int(query[UID]), query.get("by", "")[:TEXT_LIMIT], query.get("reason", "")[:TEXT_LIMIT])
        try:
            drills = self._drills()
            if query.get("act") == "begin":
                record, plan = await drills.begin(self._request(query), actor, self._node.approvals.acting)
                return json_answer(DrillAnswer(sentence=plan.sentence, losses=plan.losses, record=record))
            if query.get("act") == "stop":
                running = drills.running
                if running is None:
                    raise RunError("No drill runs, so there is nothing to stop.")
                drills.stop(f"stopped by {printable(actor.by)}" if actor.by else "stopped by a person")
                return json_answer(DrillAnswer(record=running))
            if query.get("act") == "restored":
                return json_answer(DrillAnswer(record=await drills.restored(_restored(query, body), actor)))
            raise UsageProblem("A request about drills has act=begin, act=stop or act=restored.")
        except PcgrelayError as error:
            return _refused(error)

    def _drills(self) -> Drills:
        if not isinstance(self._node.role, EdgeRole):
            raise RunError("A relay has no streams of its own that could be watched; hold the drill at an edge.")
        return self._node.role.drills

    def _request(self, query: Query) -> Request:
        kind = query.get("kind", "")
        return Request(
            kind=kind,
            subject=self._subject(kind, query.get("subject", "")[:SUBJECT_LIMIT]),
            lasts_s=_number(query, "for_s", 60.0, 1.0, LASTS_MOST_S),
            share=_share(query) if kind == BACKUP else 0.0,
            even_so=query.get("even_so") == "1",
            without_lock=query.get("without_lock") == "1",
        )

    def _subject(self, kind: str, text: str) -> str:
        """The whole name of what is meant."""
        role = self._node.role
        if kind == BACKUP and isinstance(role, EdgeRole):
            return str(find_import(role, text).settings.service)
        if kind == RELAY_LOSS:
            peers = {link.peer for link in self._node.link_table.links.values() if link.peer.name == text}
            return peers.pop().dotted if len(peers) == 1 else text
        return text


def _restored(query: Query, body: bytes) -> Outcome:
    """What a command found when it restored a back-up."""
    result = query.get("result", "")
    if result not in (PASSED, FAILED):
        raise UsageProblem(f"A restore drill has passed or failed, and not {printable(result)[:40]}.")
    try:
        files = msgspec.json.decode(body, type=tuple[DrillFile, ...]) if body else ()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UsageProblem("The files of a restore drill are no list that can be read.") from None
    if any(not file.name.isprintable() or len(file.name) > SUBJECT_LIMIT for file in files):
        raise UsageProblem("A file of a restore drill has a name that cannot be kept.")
    took_s = _number(query, "took_s", 0.0, 0.0, LASTS_MOST_S)
    return Outcome(result, printable(query.get("sentence", ""))[:1_000], took_s, files)


def _share(query: Query) -> float:
    share = _number(query, "share", 100.0, SHARE_UNIT_PERCENT, 100.0)
    if not (share / SHARE_UNIT_PERCENT).is_integer():
        raise UsageProblem(f"{share:g} percent cannot be dealt; write a multiple of {SHARE_UNIT_PERCENT:g}.")
    return share


def _number(query: Query, key: str, otherwise: float, least: float, most: float) -> float:
    text = query.get(key, "")
    if not text:
        return otherwise
    plain = text.replace(".", "", 1)
    if not (plain.isascii() and plain.isdigit() and len(text) < 12 and least <= float(text) <= most):
        raise UsageProblem(f"{key}={printable(text)[:40]} is out of bounds; write {least:g} to {most:g}.")
    return float(text)


def _refused(error: PcgrelayError) -> Answer:
    return json_answer(DrillAnswer(reason=str(error), exit_code=error.exit_code), 409)
