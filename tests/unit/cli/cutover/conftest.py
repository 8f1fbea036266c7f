"""A node with canned answers, a second one, and a plan, for the tests of the commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pcgrelay import config
from pcgrelay.admin.answers import OUTLET_PATH
from pcgrelay.admin.cutover_answers import CUTOVER_PATH, REHEARSE_PATH
from tests.support.command_line import Invoke, invoker
from tests.support.cutover_examples import OUTLETS, PLAN, REHEARSED, SOAKING
from tests.support.fake_node import FakeNode, fake_node, node_named


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    return invoker(capsys, monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return node_named(tmp_path / "node.toml", "kent-1")


@pytest.fixture
def node(file: Path) -> Iterator[FakeNode]:
    with fake_node(config.admin_path(file)) as node:
        node.answers = {
            CUTOVER_PATH: SOAKING,
            REHEARSE_PATH: REHEARSED,
            OUTLET_PATH: OUTLETS,
        }
        yield node


@pytest.fixture
def second(tmp_path: Path) -> Iterator[tuple[Path, FakeNode]]:
    """Another node, with its configuration."""
    path = node_named(tmp_path / "other.toml", "kent-2")
    with fake_node(config.admin_path(path)) as node:
        yield path, node


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    path = tmp_path / "custody.plan.toml"
    path.write_text(PLAN)
    return path
