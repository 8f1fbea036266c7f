"""R6: a back-up is made, restored into an empty folder, checked and compared. Keys stay where they are."""

from __future__ import annotations

import asyncio

from pcgrelay.assure.rule_facts import Backup
from pcgrelay.assure.scene import Scene
from pcgrelay.backup import make_backup
from pcgrelay.policy.digest import digest_on_disk
from pcgrelay.restoring import restore

NAME = "backup.tgz"


async def read_backup(scene: Scene) -> Backup:
    """R6."""
    return await asyncio.to_thread(_backup, scene)


def _backup(scene: Scene) -> Backup:
    target = scene.folder / NAME
    try:
        made = make_backup(scene.config, target, scene.clock.wall().isoformat())
        found = restore([target], scene.config.path)
    finally:
        target.unlink(missing_ok=True)
    return Backup(files=made.files, problem=found.problem, digest=digest_on_disk(scene.config), restored=found.policy)
