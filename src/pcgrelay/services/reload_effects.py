"""How many streams another configuration would end (pure).

It says of each stream what the core will do when it gets the new tables (`records_tables_changed` in edge/records): a
stream ends whose export or import is gone, whose organisation or class its export no longer allows, or whose session's
marking is below that of its export; and one on an outlet whose network is now below the marking of its service. Of
sessions that trust or policy no longer allow others know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pcgrelay.config import Config
from pcgrelay.figures import ExportStreams
from pcgrelay.model import ServiceName
from pcgrelay.policy.rules import MARKING_NUMBERS, Rule, export_rules


@dataclass(frozen=True, slots=True)
class LiveStreams:
    """What is open at an edge."""

    exports: Sequence[ExportStreams] = ()
    organisations: Mapping[int, str] = field(default_factory=dict)  # by number, those that have a session
    export_names: Mapping[int, ServiceName] = field(default_factory=dict)
    imports: Mapping[ServiceName, int] = field(default_factory=dict)
    # By import and outlet: the network, and how many; and of each import the marking of its service, if it is known.
    outlets: Mapping[tuple[ServiceName, str], int] = field(default_factory=dict)
    markings: Mapping[ServiceName, int] = field(default_factory=dict)


def ended_streams(old: Config, new: Config, live: LiveStreams, now: datetime) -> Counter[str]:
    """Return how many streams end, by the table and service whose change ends them, as "export NAME"."""
    return _of_exports(new, live, now) + _of_imports(new, live) + _of_outlets(old, new, live)


def _of_exports(new: Config, live: LiveStreams, now: datetime) -> Counter[str]:
    rules = dict(zip((export.service for export in new.exports), export_rules(new.exports), strict=True))
    markings = {export.service: MARKING_NUMBERS[export.marking] for export in new.exports}
    ended: Counter[str] = Counter()
    for row in live.exports:
        service = live.export_names.get(row.export)
        if service is None:
            continue
        rule = rules.get(service)
        organisation = live.organisations.get(row.organisation, "")
        if rule is None or row.marking < markings[service] or not _grants(rule, organisation, row.priority, now):
            ended[f"export {service}"] += row.streams
    return ended


def _grants(rule: Rule, organisation: str, priority: int, now: datetime) -> bool:
    return rule.allows(organisation, now) and priority <= rule.priority


def _of_imports(new: Config, live: LiveStreams) -> Counter[str]:
    kept = {entry.service for entry in new.imports}
    return Counter(
        {f"import {name}": streams for name, streams in live.imports.items() if name not in kept and streams}
    )


def _of_outlets(old: Config, new: Config, live: LiveStreams) -> Counter[str]:
    kept = {entry.service for entry in new.imports}
    before = {(direct.service, direct.name): direct.bearer for direct in old.directs}
    networks = {(direct.service, direct.name): new.bearer(direct.bearer) for direct in new.directs}
    ended: Counter[str] = Counter()
    for (service, name), streams in live.outlets.items():
        bearer = networks.get((service, name))
        if service not in kept or bearer is None or not streams:
            continue
        if MARKING_NUMBERS[bearer.marking] < live.markings.get(service, 0):
            is_moved = before.get((service, name)) != bearer.name
            ended[f"direct {name} of {service}" if is_moved else f"bearer {bearer.name}"] += streams
    return ended
