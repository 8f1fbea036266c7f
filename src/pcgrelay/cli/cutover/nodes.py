"""The nodes that a command asks: those whose configurations -c names, all at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import click
import msgspec

from pcgrelay import config
from pcgrelay.admin.client import TIMEOUT_S, ask
from pcgrelay.config.source import node_guessed
from pcgrelay.errors import ConfigError, PcgrelayError, StatusProblem
from pcgrelay.output import print_json, say
from pcgrelay.printable import printable

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

# A disk may take its time.
ACT_TIMEOUT_S = 20.0
NODES_MOST = 64
# Exit codes of several answers: the gravest is last.
_GRAVITY = (0, 4, 6, 3, 1, 2, 77, ConfigError.exit_code)


@dataclass(frozen=True)
class AskedNode:
    """A node that is asked."""

    name: str
    admin: Path


@dataclass(frozen=True)
class Got(Generic[T]):
    """What came of asking one node: an answer, or why there is none."""

    node: AskedNode
    answer: T | None = None
    problem: PcgrelayError | None = None


def nodes_option(command: F) -> F:
    """Add -c FILE that may be given several times."""
    return _nodes_option(is_required=True)(command)


def nodes_option_of_group(command: F) -> F:
    """The same for a command that has further commands, which have it themselves."""
    return _nodes_option(is_required=False)(command)


def _nodes_option(*, is_required: bool) -> Callable[[F], F]:
    return click.option(
        "-c",
        "--config",
        "paths",
        metavar="FILE",
        required=is_required,
        multiple=True,
        envvar="PCGRELAY_CONFIG",
        show_envvar=True,
        type=click.Path(path_type=Path, readable=False),
        help="A node's configuration; several times for several nodes.",
    )


def nodes_of(paths: Sequence[Path]) -> list[AskedNode]:
    """The nodes of these configurations. ConfigError: one of them names no admin socket."""
    if len(paths) > NODES_MOST:
        raise click.UsageError(f"-c is given {len(paths)} times, and {NODES_MOST} is the most.")
    nodes = {config.admin_path(path): _name(path) for path in paths}
    return [AskedNode(name, admin) for admin, name in nodes.items()]


def _name(path: Path) -> str:
    name = node_guessed(path).get("name")
    return printable(name, 64) if isinstance(name, str) and name else path.stem


def ask_each(
    nodes: Sequence[AskedNode], method: str, path: str, kind: type[T], timeout_s: float = TIMEOUT_S
) -> list[Got[T]]:
    """Ask all nodes at the same time. If there is but one, its failure is this call's."""
    if len(nodes) == 1:
        return [Got(nodes[0], ask(nodes[0].admin, method, path, kind, timeout_s))]

    def asked(node: AskedNode) -> Got[T]:
        try:
            return Got(node, ask(node.admin, method, path, kind, timeout_s))
        except PcgrelayError as error:
            return Got(node, problem=error)

    # Most calls ask one node, and need no threads.
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    with ThreadPoolExecutor(len(nodes)) as pool:
        return list(pool.map(asked, nodes))


def answered(gots: Sequence[Got[T]]) -> list[tuple[str, T]]:
    """Who answered, and what, made safe to show. Who did not is complained about on standard error."""
    for got in gots:
        if got.problem is not None:
            say(f"pcgrelay: {got.node.name}: {got.problem}", err=True)
    return [(got.node.name, shown(got.answer)) for got in gots if got.answer is not None]


def print_answers(gots: Sequence[Got[Any]]) -> None:
    """Print the answer of one node as JSON, or a list of the answers of several."""
    if len(gots) == 1:
        print_json(gots[0].answer)
        return
    print_json(
        [
            {"node": got.node.name, "answer": got.answer, "problem": str(got.problem) if got.problem else ""}
            for got in gots
        ]
    )


def code_of_all(gots: Iterable[Got[T]], code_of: Callable[[T], int]) -> int:
    """The gravest exit code of several nodes."""
    codes = []
    for got in gots:
        if got.problem is not None:
            codes.append(got.problem.exit_code)
        elif got.answer is not None:
            codes.append(code_of(got.answer))
    return worst(codes)


def worst(codes: Iterable[int]) -> int:
    """The gravest of exit codes."""
    return max(codes, key=lambda code: _GRAVITY.index(code) if code in _GRAVITY else len(_GRAVITY), default=0)


def shown(answer: T) -> T:
    """The same answer with nothing in its texts that moves a cursor, so that widths can be computed from it."""
    return msgspec.convert(_printable(msgspec.to_builtins(answer)), type(answer))


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {
            printable(key): _reason(entry) if key == "reason" else _printable(entry) for key, entry in value.items()
        }
    if isinstance(value, list | tuple):
        return [_printable(entry) for entry in value]
    return value


def _reason(text: Any) -> Any:
    """A reason may have several lines, as one that shows what has changed in a plan."""
    return "\n".join(map(printable, text.split("\n"))) if isinstance(text, str) else _printable(text)


def refused(reason: str, name: str = "") -> None:
    """Say why a node refused, each line of it on a line of its own."""
    first, *more = reason.split("\n")
    say(f"pcgrelay: {name}: {first}" if name else f"pcgrelay: {first}", err=True)
    for line in more:
        say(f"  {line}", err=True)


def refusal_code(exit_code: int) -> int:
    """The exit code of a refusal, also if the node named none."""
    return exit_code or StatusProblem.exit_code
