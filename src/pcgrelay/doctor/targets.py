"""Targets of exports and of direct outlets: one probe each, as a running edge makes it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from pcgrelay.config import Config
from pcgrelay.doctor.findings import broken, good
from pcgrelay.finding import Finding
from pcgrelay.services.target_causes import (
    ANSWER,
    FORBIDDEN,
    NO_SOURCE,
    REFUSED,
    RESET,
    SILENT,
    UNREACHABLE,
    UNRESOLVED,
)
from pcgrelay.services.targets import Target, TargetSettings

AT_ONCE = 64
_CURES = {
    REFUSED: "Start the server, or correct the address.",
    SILENT: "Check the server, and firewalls on the way.",
    RESET: "Check the server's own access rules and limits.",
    ANSWER: "The server is not ready, or probe_expect is wrong.",
    UNRESOLVED: "Correct the name, or the name service.",
    UNREACHABLE: "Check the routes of this machine.",
    NO_SOURCE: "Write an address of this machine in source.",
    FORBIDDEN: "Check this machine's firewall and the sandbox of the unit.",
}
_ELSE = "Check the limits of this machine."


def _targets(config: Config) -> Iterator[tuple[str, TargetSettings]]:
    """Yield where a target stands in the file, and its settings."""
    for number, export in enumerate(config.exports, 1):
        yield f"export[{number}] ({export.service.service})", export
    for number, direct in enumerate(config.directs, 1):
        yield f"direct[{number}] ({direct.name} of {direct.service.service})", direct


async def examine_targets(config: Config, deadline_s: float) -> list[Finding]:
    """Probe all targets, some at a time."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(where: str, settings: TargetSettings) -> Finding:
        async with places:
            return await _examined(where, Target(settings, lambda: None, lambda record: None))

    found: Iterable[Finding | BaseException]
    tasks = {asyncio.create_task(one(*each)): each[0] for each in _targets(config)}
    if not tasks:
        return []
    _, late = await asyncio.wait(tasks, timeout=deadline_s)
    for task in late:
        task.cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [
        finding
        if isinstance(finding, Finding)
        else broken(where, f"Not examined within {deadline_s:g} s.", "Give --deadline more seconds.")
        for where, finding in zip(tasks.values(), found, strict=True)
    ]


async def _examined(where: str, target: Target) -> Finding:
    failure = await target.probe()
    if failure is not None:
        sentence = f"{failure.detail[:1].upper()}{failure.detail[1:]} ({failure.cause})."
        return broken(where, sentence, _CURES.get(failure.cause, _ELSE))
    settings = target.export
    if not settings.probe:
        return good(where, f'{settings.target} is not probed, as probe = "none" says.')
    how = "answers as expected" if settings.probe_expect else "accepts connections"
    return good(where, f"{settings.target} {how}.")
