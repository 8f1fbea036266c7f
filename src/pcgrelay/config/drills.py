"""The rules of [[drill]]: drills that are due again and again."""

from __future__ import annotations

from collections.abc import Sequence

from pcgrelay.config import schema
from pcgrelay.config.fields import parsed
from pcgrelay.config.settings import EVERY, Config, DrillSettings
from pcgrelay.config.source import KeyPath, Source
from pcgrelay.config.values import time_s
from pcgrelay.cutover.windows import Calendar, Window, find_zone, parse_windows
from pcgrelay.model import NodeId, Role, ServiceName, check_label

DRILLS_MOST = 256
EVERY_MOST_S = 3_650 * 86_400
LASTS_MOST_S = 86_400
SHARE_UNIT_PERCENT = 0.5
# What a drill is of, and how long it lasts unless that is said.
SUBJECT_KEYS = {"backup": "service", "relay-loss": "relay", "bearer-loss": "bearer", "restore": ""}
LASTS_S = {"backup": 600, "relay-loss": 60, "bearer-loss": 60, "restore": 0}


def drills(source: Source, tables: Sequence[schema.DrillTable], realm: str) -> tuple[DrillSettings, ...]:
    """Return the drills that are due again and again."""
    if len(tables) > DRILLS_MOST:
        raise source.refusal(("drill", DRILLS_MOST), f"there are {DRILLS_MOST} drills already; write some with a *")
    found: dict[tuple[str, str], int] = {}
    made = []
    for index, table in enumerate(tables):
        drill = _drill(source, ("drill", index), table, realm)
        first = found.setdefault((drill.kind, drill.subject), index)
        if first != index:
            raise source.refusal(("drill", index, "kind"), f"this drill is already in drill[{first + 1}]; remove one")
        made.append(drill)
    return tuple(made)


def _drill(source: Source, where: KeyPath, table: schema.DrillTable, realm: str) -> DrillSettings:
    lasts_s = LASTS_S[table.kind]
    if table.lasts is not None:
        _refuse_foreign(source, (*where, "for"), table.kind, of=lasts_s > 0)
        lasts_s = parsed(source, (*where, "for"), table.lasts, lambda text: time_s(text, LASTS_MOST_S))
    if table.share != 100:
        _refuse_foreign(source, (*where, "share"), table.kind, of=table.kind == "backup")
        if not (table.share / SHARE_UNIT_PERCENT).is_integer():
            problem = f"{table.share:g} percent cannot be dealt; write a multiple of {SHARE_UNIT_PERCENT:g}"
            raise source.refusal((*where, "share"), problem)
    calendar = Calendar(
        parsed(source, (*where, "window"), table.window, _windows),
        parsed(source, (*where, "zone"), table.zone, lambda text: find_zone(text).key),
    )
    if table.auto and table.kind == "restore":
        raise source.refusal((*where, "auto"), "a node does not restore a back-up by itself; remove this line")
    if table.auto and not calendar.windows:
        problem = "a drill that begins by itself needs the hours in which it may"
        raise source.refusal((*where, "auto"), f'{problem}; add window = "sun 03:00-05:00"')
    return DrillSettings(
        kind=table.kind,
        subject=_subject(source, where, table, realm),
        every_s=parsed(source, (*where, "every"), table.every, lambda text: time_s(text, EVERY_MOST_S)),
        calendar=calendar,
        auto=table.auto,
        lasts_s=lasts_s,
        share=table.share,
    )


def _windows(text: str) -> tuple[Window, ...]:
    return parse_windows(text)


def _refuse_foreign(source: Source, where: KeyPath, kind: str, *, of: bool) -> None:
    if not of:
        raise source.refusal(where, f"a {kind} drill has none; remove this line")


def _subject(source: Source, where: KeyPath, table: schema.DrillTable, realm: str) -> str:
    wanted = SUBJECT_KEYS[table.kind]
    for key in ("service", "relay", "bearer"):
        if key != wanted and getattr(table, key) is not None:
            rest = f"a {table.kind} drill is of a {wanted}" if wanted else "a restore drill is of the whole node"
            raise source.refusal((*where, key), f"{rest}; remove this line")
    if not wanted:
        return ""
    text: str = EVERY if getattr(table, wanted) is None else getattr(table, wanted)
    if text == EVERY:
        return text
    at = (*where, wanted)
    if wanted == "service":
        return str(parsed(source, at, text, ServiceName.parse))
    if wanted == "relay":
        return parsed(source, at, text, lambda text: NodeId.from_dotted(text, realm)).dotted
    return parsed(source, at, text, lambda text: check_label(text, "bearer"))


def refuse_drills(source: Source, config: Config) -> None:
    """Apply the rules between [[drill]] and the other tables."""
    imported = {str(entry.service) for entry in config.imports}
    bearers = {*(each.bearer for each in config.listens), *(each.bearer for each in config.links)}
    for index, drill in enumerate(config.drills):
        where: KeyPath = ("drill", index)
        if config.node.role is Role.RELAY:
            problem = "a relay has no streams of its own that could be watched; have this drill at an edge"
            raise source.refusal((*where, "kind"), problem)
        if drill.kind == "backup" and drill.subject not in (EVERY, *imported):
            problem = f"{drill.subject} is not imported here; name an import, or write {EVERY}"
            raise source.refusal((*where, "service"), problem)
        if drill.kind == "bearer-loss" and drill.subject not in (EVERY, *bearers):
            problem = f"no [[listen]] or [[link]] is on a bearer {drill.subject}; name one of theirs, or write {EVERY}"
            raise source.refusal((*where, "bearer"), problem)
