"""--marking of commands that print facts: a line above and below, and none where a program reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from pcgrelay.admin.status import NodeStatus, Status
from pcgrelay.cli import status as status_module
from pcgrelay.cli.invocation import invoke
from pcgrelay.cli.root import COMMANDS, LazyGroup, pcgrelay
from tests.support.documented_config import DOCUMENTED

SENSITIVE = "OFFICIAL-SENSITIVE"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "kent-1.toml"
    path.write_text(DOCUMENTED)
    return path


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have a node whose status has this marking."""

    def marked(marking: str) -> None:
        node = NodeStatus(
            identity="spiffe://a/org/b.example/node/c", role="edge", uptime_s=1, version="1", draining=False
        )
        monkeypatch.setattr(status_module, "read_status", lambda path: Status(node=node, marking=marking))

    return marked


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_status_has_the_marking_of_what_it_shows(
    config: Path, answers: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    answers(SENSITIVE)
    invoke(["status", "-c", str(config)])
    said = lines(capsys)
    assert said[0] == said[-1] == SENSITIVE
    assert said.count(SENSITIVE) == 2
    # Another one that is given stands in its place.
    invoke(["status", "-c", str(config), "--marking", "OFFICIAL - POLICE"])
    said = lines(capsys)
    assert said[0] == said[-1] == "OFFICIAL - POLICE"
    assert SENSITIVE not in said
    # A node that does not judge prints what it printed.
    answers("")
    invoke(["status", "-c", str(config)])
    assert lines(capsys)[0] == "spiffe://a/org/b.example/node/c"


def test_a_marking_is_one_line_and_for_people(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("x" * 201, "one\ntwo"):
        assert invoke(["status", "-c", str(config), "--marking", text]) == 2
        assert "--marking is at most 200 characters on one line." in capsys.readouterr().err
    assert invoke(["status", "-c", str(config), "--json", "--marking", "OFFICIAL"]) == 2
    assert capsys.readouterr().out == ""


def commands(group: LazyGroup, path: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, LazyGroup):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def test_each_command_that_prints_facts_takes_a_marking_once() -> None:
    assert isinstance(pcgrelay, LazyGroup)
    assert COMMANDS
    found = {}
    for _ in range(2):  # a command is loaded once and asked for often
        found = {name: [each.name for each in command.params] for name, command in commands(pcgrelay)}
    marked = {name for name, names in found.items() if "as_json" in names}
    assert {"status", "explain", "outlet", "quiet", "check", "doctor", "drill list", "cutover status"} <= marked
    assert all(found[name].count("marking") == 1 for name in {*marked, "plan", "approve", "undo", "hold"})
