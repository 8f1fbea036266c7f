"""What the admin socket shows of the approved policy: from memory, for who looks must not wait for a disk."""

from __future__ import annotations

import asyncio
import builtins
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from pcgrelay.admin.policy_answers import PolicyAnswer
from pcgrelay.daemon.policy_api import PolicyApi
from tests.support.approving_node import MET, ApprovedNode
from tests.support.nodes_in_process import Nodes

ESSEX = "essex.police.example"


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    made = Nodes(tmp_path)
    yield made
    await made.stop()


def shown(kent: ApprovedNode) -> PolicyAnswer:
    """The answer, while no file can be looked at."""
    assert kent.running is not None
    node = kent.running.node

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a view has asked the disk")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("open", "stat", "lstat", "listdir", "scandir"):
            patch.setattr(os, name, refuse)
        patch.setattr(builtins, "open", refuse)
        answer = PolicyApi(node, asyncio.Lock()).shown({})
    return msgspec.json.decode(answer.body, type=PolicyAnswer)


async def test_what_holds_and_what_was_before_follow_each_change(nodes: Nodes) -> None:
    kent = ApprovedNode(nodes)
    await kent.first()
    assert shown(kent).before is None
    texts = [shown(kent).holds.text]
    kent.write(MET, ESSEX)
    kent.plan(*kent.people[1:3])
    assert (await kent.reload()).ok
    for allow in ((MET, ESSEX), (MET,)):
        kent.write(*allow)
        assert (await kent.reload()).ok
        answer = shown(kent)
        assert answer.before is not None
        texts.append(answer.holds.text)
        if allow == (MET,):
            assert answer.before.text == texts[1]
    assert ESSEX in texts[1]
    assert ESSEX not in texts[2]
    # The same after a start, and as the folder has it.
    await kent.stop()
    await kent.start()
    answer, kept = shown(kent), kent.store.before()
    assert answer.before is not None
    assert kept is not None
    assert (answer.before.text, answer.before.digest) == (kept.text, kept.pointer.digest)
