"""R2 and R6: drills that were held, and a back-up that is made, restored and compared."""

from __future__ import annotations

import asyncio
from datetime import datetime

from pcgrelay.assure.judgement import NotHereError
from pcgrelay.assure.readers.records import log_folder, newest_records
from pcgrelay.assure.readers.ways import critical_imports
from pcgrelay.assure.rule_facts import DrillFact, Drills
from pcgrelay.assure.scene import Scene
from pcgrelay.drills.record import DrillRecord
from pcgrelay.gateway.drill_files import RECORDS_MOST, DrillFiles

ENDED = "drill.ended"


async def read_drills(scene: Scene) -> Drills:
    """R2: the reports below [node] state, each held against the log if there is one."""
    status = await asyncio.to_thread(scene.status)
    critical = tuple(each.name for each in critical_imports(scene.config, status))
    if not critical:
        raise NotHereError("no import of this node is critical (priority)")
    return await asyncio.to_thread(_drills, scene, critical)


def _drills(scene: Scene, critical: tuple[str, ...]) -> Drills:
    state, node = scene.config.node.state, scene.config.node.id.dotted
    records, odd = DrillFiles(state).read() if state else ([], [])
    try:
        told = {
            str(each.get("id")): each.get("result")
            for each in newest_records(log_folder(scene), (ENDED,), RECORDS_MOST)
        }
    except NotHereError:
        told = {}
    # A report that says something else than the log was altered, though its own digest was made again.
    odd += [f"drills/{each.id}.json" for each in records if each.id in told and told[each.id] != each.result]
    return Drills(
        now=scene.clock.wall(),
        node=node,
        critical=critical,
        drills=tuple(_fact(each) for each in records if each.is_over),
        odd=tuple(odd),
    )


def _fact(record: DrillRecord) -> DrillFact:
    return DrillFact(
        id=record.id,
        kind=record.kind,
        subject=record.subject,
        result=record.result,
        ended=_moment(record.ended),
        node=record.node,
    )


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
