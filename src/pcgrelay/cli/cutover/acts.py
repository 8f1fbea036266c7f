"""pcgrelay cutover pause, resume, back and advance: what people ask of a cut-over that is under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import click

from pcgrelay import config
from pcgrelay.admin.client import ask
from pcgrelay.admin.cutover_answers import CUTOVER_PATH, CutoverStatus
from pcgrelay.cli.cutover.nodes import (
    ACT_TIMEOUT_S,
    answered,
    ask_each,
    code_of_all,
    nodes_of,
    nodes_option,
    print_answers,
    refusal_code,
    refused,
    shown,
)
from pcgrelay.cli.cutover.times import at_text, clock_text
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.errors import UsageProblem
from pcgrelay.output import count, percent_exact, print_json, say

F = TypeVar("F", bound=Callable[..., Any])

CODES = """\b
Exit codes:
   0  done, or it was so already
   1  refused at run time, and nothing has changed
   2  wrong usage, and nothing has changed
   3  the node does not answer
   6  a rule does not allow it, and nothing has changed
  77  no permission
"""
EPILOG = """\b
Example:
  pcgrelay cutover {example}

"""
TEXT_MOST = 200
NEEDS_REASON = frozenset({"pause", "resume", "back"})
# The questions of the gate, as a plan's [gate] and `watch` have them.
QUESTIONS = {
    "streams": "enough",
    "failures": "failures",
    "broken": "broken",
    "setup": "setup",
    "answer": "answer",
    "rate": "rate",
}
WAIVED_BY_NAME = {**QUESTIONS, "enough": "enough", "tail": "tail", "broken": "broken"}
SERVICE = click.argument("service", metavar="SERVICE")


def who_options(*, needs_reason: bool) -> Callable[[F], F]:
    """Add --reason and --by."""
    help_text = "Why, for whoever asks later; an incident or a change."
    more: dict[str, Any] = {"required": True} if needs_reason else {"default": ""}

    def add(command: F) -> F:
        reason = click.option("--reason", metavar="TEXT", help=help_text, **more)
        by = click.option(
            "--by", metavar="NAME", default="", help="Who you are, beside the user that the system names."
        )
        return reason(by(command))

    return add


def query_of(service: str, act: str, reason: str, by: str, **more: str) -> str:
    """The path of a request. UsageProblem: a text is empty, too long or has what nobody sees."""
    check_text("--reason", reason)
    check_text("--by", by)
    if act in NEEDS_REASON and not reason.strip():
        raise UsageProblem("--reason is empty; say why, for whoever asks later.")
    return f"{CUTOVER_PATH}?{urlencode({'service': service, 'act': act, 'reason': reason, 'by': by, **more})}"


def check_text(option: str, text: str, most: int = TEXT_MOST) -> None:
    """UsageProblem: a text is too long, or has a character that nobody sees."""
    if len(text) > most:
        raise UsageProblem(f"{option} has {len(text)} characters, and {most} is the most; write fewer.")
    if not text.isprintable():
        raise UsageProblem(f"{option} has a character in it that cannot be seen; remove it.")


@click.command(epilog=EPILOG.format(example='pause custody --reason "CR-1042: wait" -c met-1.toml') + CODES)
@SERVICE
@nodes_option
@who_options(needs_reason=True)
@json_option
def pause(service: str, paths: tuple[Path, ...], reason: str, by: str, as_json: bool) -> int:
    """Make no step forward until it is resumed.

    Shares stay as they are. It still falls back if the new outlet turns out to be worse.
    """
    return _asked_each(paths, query_of(service, "pause", reason, by), _paused, as_json)


@click.command(epilog=EPILOG.format(example="resume custody --reason CR-1042 -c met-1.toml") + CODES)
@SERVICE
@config_option
@who_options(needs_reason=True)
@json_option
def resume(service: str, path: Path, reason: str, by: str, as_json: bool) -> int:
    """Go on at the same step.

    Its soak begins again.
    """
    return _asked(path, query_of(service, "resume", reason, by), _resumed, as_json)


@click.command(
    epilog=EPILOG.format(example="back custody --reason INC-77 -c met-1.toml -c met-2.toml")
    + CODES.replace("   3  the node does", "   3  nowhere to go back to, or a node does")
)
@SERVICE
@nodes_option
@who_options(needs_reason=True)
@json_option
def back(service: str, paths: tuple[Path, ...], reason: str, by: str, as_json: bool) -> int:
    """Lead new streams back to the old network, at once.

    They go to the first outlet of the plan's back that is well and in support. Streams that are open stay where they
    are. It needs nobody's approval. With several -c it goes to all of these nodes at the same time.
    """
    return _asked_each(paths, query_of(service, "back", reason, by), _went_back, as_json)


@click.command(
    epilog=EPILOG.format(example="advance custody --waive streams \\\n      --reason CR-1042 -c met-1.toml")
    + CODES.replace("6  a rule does not allow it, and", "6  the gate is shut, or a rule does not allow it;")
)
@SERVICE
@config_option
@click.option(
    "--waive", metavar="QUESTIONS", default="", help=f"Questions of the gate that may be open: {', '.join(QUESTIONS)}."
)
@who_options(needs_reason=False)
@json_option
def advance(service: str, path: Path, waive: str, reason: str, by: str, as_json: bool) -> int:
    """Make the next step, if nothing speaks against it.

    Without --waive it does what the cut-over would do by itself, and says what is in the way. --waive steps over
    questions that are open, as those of a service that is hardly used; never over one whose answer is bad.
    """
    names = [name.strip() for name in waive.split(",")] if waive else []
    if unknown := [name for name in names if name not in WAIVED_BY_NAME]:
        raise UsageProblem(f"--waive: {unknown[0]!r} is no question of the gate; there are {', '.join(QUESTIONS)}.")
    more = {"waive": ",".join(dict.fromkeys(WAIVED_BY_NAME[name] for name in names))} if names else {}
    return _asked(path, query_of(service, "advance", reason, by, **more), _advanced, as_json)


Sentences = Callable[[CutoverStatus, datetime], Iterator[str]]


def _asked(path: Path, target: str, sentences: Sentences, as_json: bool) -> int:
    answer = ask(config.admin_path(path), "POST", target, CutoverStatus, ACT_TIMEOUT_S)
    if as_json:
        print_json(answer)
    else:
        _say(shown(answer), sentences)
    return code_of_act(answer)


def _asked_each(paths: tuple[Path, ...], target: str, sentences: Sentences, as_json: bool) -> int:
    gots = ask_each(nodes_of(paths), "POST", target, CutoverStatus, ACT_TIMEOUT_S)
    if as_json:
        print_answers(gots)
    else:
        for name, answer in answered(gots):
            _say(answer, sentences, name if len(gots) > 1 else "")
    return code_of_all(gots, code_of_act)


def _say(answer: CutoverStatus, sentences: Sentences, name: str = "") -> None:
    if answer.reason:
        refused(answer.reason, name)
        return
    for sentence in sentences(answer, SYSTEM_CLOCK.wall()):
        say(f"{name}: {sentence}" if name else sentence)
    for warning in answer.warnings:
        say(f"Note: {warning}")


def code_of_act(answer: CutoverStatus) -> int:
    """The exit code of a request: whether it was carried out, and not how the cut-over is."""
    if answer.reason:
        return refusal_code(answer.exit_code)
    return answer.exit_code


def _paused(answer: CutoverStatus, now: datetime) -> Iterator[str]:
    if not answer.changed:
        yield f"{answer.service} is {answer.phase} already; nothing has changed."
        return
    yield f"{answer.service} is paused at {percent_exact(answer.share)} on {answer.new}; shares stay as they are."
    yield "It still falls back by itself. Go on with: pcgrelay cutover resume"


def _resumed(answer: CutoverStatus, now: datetime) -> Iterator[str]:
    if not answer.changed:
        yield f"{answer.service} is {answer.phase} already; nothing has changed."
        return
    yield f"{answer.service} goes on at step {answer.step} of {len(answer.steps)}, {percent_exact(answer.share)}."
    yield next_sentence(answer, now)


def _went_back(answer: CutoverStatus, now: datetime) -> Iterator[str]:
    on = next((outlet for outlet in answer.outlets if outlet.name == answer.back_on), None)
    since = clock_text(answer.fell_back or answer.since, now, exact=True)
    already = "" if answer.changed else " already"
    share = f"measured: {percent_exact(on.share)} " if on is not None else ""
    yield f"New streams take {answer.back_on}{already} ({share}since {since})."
    if answer.changed:
        yield f"The data plane had it after {answer.took_ms} ms."
    live = next((outlet.streams_active for outlet in answer.outlets if outlet.role == "new"), 0)
    if live > 1:
        yield f"{count(live)} live streams stay where they are."
    else:
        yield "1 live stream stays where it is." if live else f"No stream is open on {answer.new}."


def _advanced(answer: CutoverStatus, now: datetime) -> Iterator[str]:
    if not answer.changed:
        yield f"{answer.service} stays at {percent_exact(answer.share)} on {answer.new}: {answer.verdict or answer.why}"
        return
    step = f"step {answer.step} of {len(answer.steps)}"
    yield f"{answer.service} is at {step}: {percent_exact(answer.share)} of new streams take {answer.new}."
    yield next_sentence(answer, now)


def next_sentence(answer: CutoverStatus, now: datetime) -> str:
    """When the next step may come, as far as that is known."""
    if answer.phase == "soaking" and answer.step < len(answer.steps) and answer.next_step:
        share = percent_exact(answer.steps[answer.step])
        return f"The next step, {share}, comes {at_text(answer.next_step, now)}, if nothing speaks against it."
    if answer.phase == "soaking" and answer.step >= len(answer.steps) and answer.done:
        return f"It was the last step; it arrives {at_text(answer.done, now)}, if nothing speaks against it."
    return answer.why
