"""K8: known answers of the cryptography, in this process and in the running node."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from pcgrelay.admin.assure_answers import SELFTEST_PATH, SelfTestAnswer
from pcgrelay.admin.client import ask
from pcgrelay.assure.facts import KnownAnswer, SelfTests
from pcgrelay.assure.scene import Scene
from pcgrelay.dataplane.adapter import core_answers
from pcgrelay.identity.known_answers import session_answers


async def read_known_answers(scene: Scene) -> SelfTests:
    """Test here, and have the node test itself."""
    node = await asyncio.to_thread(ask, scene.config.node.admin, "GET", SELFTEST_PATH, SelfTestAnswer)
    here = {"frames": core_answers(), "sessions": session_answers()}
    there = {"frames": node.frames, "sessions": node.sessions}
    return SelfTests(answers=(*_answers("here", here), *_answers("node", there)))


def _answers(where: str, found: Mapping[str, Mapping[str, bool]]) -> Iterator[KnownAnswer]:
    for use, answers in found.items():
        for algorithm, right in answers.items():
            yield KnownAnswer(where=where, algorithm=f"{algorithm} of {use}", right=right)
