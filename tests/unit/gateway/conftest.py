"""Nodes in this process, and one of them with a service that is moved."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.cut_over import CutRunning, Time, cut_running
from tests.support.nodes_in_process import Nodes


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    made = Nodes(tmp_path)
    yield made
    await made.stop()


@pytest.fixture
async def met(nodes: Nodes) -> CutRunning:
    return await cut_running(nodes)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)
