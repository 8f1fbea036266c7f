"""The command line in this process, for the tests of its commands: arguments in, exit code and output back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pcgrelay import cli
from tests.support.pki import RealmPki, write_config
from tests.support.ports import free_port

KENT = "kent.police.example"


class Answer(SimpleNamespace):
    code: int
    out: str
    err: str


Invoke = Callable[..., Answer]


def invoker(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Calls commands as a user whose environment says nothing. No command may show a traceback."""
    monkeypatch.delenv("PCGRELAY_CONFIG", raising=False)
    monkeypatch.delenv("PCGRELAY_DEBUG", raising=False)

    def call(*arguments: str | Path) -> Answer:
        code = cli.invoke([os.fspath(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Answer(code=code, out=out, err=err)

    return call


def node_written(folder: Path) -> Path:
    """The configuration of a node that is all right."""
    files = RealmPki(folder).issue(KENT, "kent-1")
    return write_config(folder / "node.toml", files, KENT, "kent-1", listens=[f"127.0.0.1:{free_port()}"])
