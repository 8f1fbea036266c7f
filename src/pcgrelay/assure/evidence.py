"""Gathers what a pack has beside the results: the node's status, the ways that it knows, the system."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from urllib.parse import urlencode

from pcgrelay.admin.answers import EXPLAIN_PATH, ExplainAnswer
from pcgrelay.admin.client import ask
from pcgrelay.admin.status import Status
from pcgrelay.assure.catalogue import Profile
from pcgrelay.assure.dpia import SHOWN_BY, dpia
from pcgrelay.assure.judgement import PASSED
from pcgrelay.assure.pack import Evidence
from pcgrelay.assure.places import OpenFile, open_files
from pcgrelay.assure.readers.software import os_release
from pcgrelay.assure.runner import Run
from pcgrelay.assure.scene import Scene
from pcgrelay.errors import PcgrelayError


def gather(scene: Scene, profile: Profile, done: Run, started: datetime, marking: str) -> Evidence:
    """Return the evidence of a run. A node that does not answer any more is left out of the inventory."""
    status: Status | None = None
    with suppress(PcgrelayError):
        status = scene.status()
    is_shown = any(each.id == SHOWN_BY and each.outcome == PASSED for each in done.results)
    return Evidence(
        config=scene.config,
        profile=profile,
        run=done,
        started=started,
        marking=marking,
        status=status,
        ways=_ways(scene) if status else (),
        os_release=os_release(),
        dpia=dpia(scene.config, status, opened_by(scene), started, marking, is_shown=is_shown),
    )


def opened_by(scene: Scene) -> tuple[OpenFile, ...] | None:
    """Return the files that the node has open for writing; None: they cannot be seen."""
    try:
        return open_files(scene.pid())
    except PcgrelayError:
        return None


def _ways(scene: Scene) -> tuple[tuple[str, ...], ...]:
    """Return the ways to the edges of this node's imports, as it explains them."""
    found: dict[tuple[str, ...], None] = {}
    for imported in scene.config.imports:
        query = urlencode({"subject": str(imported.service)})
        with suppress(PcgrelayError):
            answer = ask(scene.config.node.admin, "GET", f"{EXPLAIN_PATH}?{query}", ExplainAnswer)
            found |= {way.hops: None for way in answer.ways if way.hops}
    return tuple(found)
