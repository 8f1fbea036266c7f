"""--marking of each command that prints facts for people: a protective marking in the first and last line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import click

from pcgrelay.errors import UsageProblem
from pcgrelay.output import say

MARKING_MOST = 200
# Commands without --json that print what is allowed: the texts of changes.
TEXTS = ("plan", "approve", "undo", "hold")
_GIVEN = "pcgrelay.marking"


def with_marking(command: click.Command) -> click.Command:
    """Give a command --marking, if it prints facts, as those do that have --json, and has none yet."""
    names = [parameter.name for parameter in command.params]
    if not ("as_json" in names or command.name in TEXTS) or "marking" in names or command.callback is None:
        return command
    option = click.Option(
        ["--marking"],
        metavar="TEXT",
        expose_value=False,
        callback=_keep,
        help="A protective marking, printed above and below.",
    )
    place = names.index("as_json") + 1 if "as_json" in names else len(names)
    command.params.insert(place, option)
    command.callback = _marked(command.callback)
    return command


@contextmanager
def marked(own: str) -> Iterator[None]:
    """Print a marking above and below what is printed inside, unless the user has given another one.

    own: what the facts themselves say; empty: nothing.
    """
    is_given = bool(click.get_current_context().meta.get(_GIVEN))
    with _lines("" if is_given else own):
        yield


def _keep(ctx: click.Context, parameter: click.Parameter, text: str | None) -> None:
    if text and (len(text) > MARKING_MOST or not text.isprintable()):
        raise UsageProblem(f"--marking is at most {MARKING_MOST} characters on one line.")
    ctx.meta[_GIVEN] = text or ""


def _marked(callback: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(callback)
    def print_between(*arguments: Any, **options: Any) -> Any:
        text = click.get_current_context().meta.get(_GIVEN, "")
        if text and options.get("as_json"):
            raise UsageProblem("--marking is for people, and --json for programs; leave one of them out.")
        with _lines(text):
            return callback(*arguments, **options)

    return print_between


@contextmanager
def _lines(text: str) -> Iterator[None]:
    if text:
        say(text)
    try:
        yield
    finally:
        if text:
            say(text)
