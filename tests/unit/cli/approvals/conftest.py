"""A node whose policy was approved twice and that does not run, and the commands about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.approved_node import ApprovedNode
from tests.support.command_line import Invoke, invoker

ESSEX = "essex.police.example"


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    return invoker(capsys, monkeypatch)


@pytest.fixture
def kent(tmp_path: Path) -> ApprovedNode:
    return ApprovedNode.make(tmp_path)


@pytest.fixture
def file(kent: ApprovedNode) -> Path:
    return kent.folder / "kent-1.toml"


def allow(kent: ApprovedNode, *organisations: str) -> None:
    """Write the file anew: who may use its export."""
    kent.values["export"][0]["allow"] = list(organisations)
    kent.write()
