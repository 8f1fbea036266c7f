"""pcgrelay cutover start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import urlencode

import click
from msgspec import Struct

from pcgrelay import config
from pcgrelay.admin.client import ask
from pcgrelay.admin.cutover_answers import CUTOVER_PATH, CutoverStatus
from pcgrelay.cli.cutover.acts import check_text, code_of_act, next_sentence
from pcgrelay.cli.cutover.nodes import ACT_TIMEOUT_S, refused, shown, worst
from pcgrelay.cli.cutover.screen import falls_back
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.cutover.plan import PLAN_LIMIT_BYTES, Plan, parse_plan
from pcgrelay.errors import PcgrelayError, UsageProblem
from pcgrelay.files import read_text
from pcgrelay.output import percent_exact, print_json, say

EPILOG = """\b
Examples:
  pcgrelay cutover start custody.plan.toml -c met-1.toml
  pcgrelay cutover start custody.plan.toml pnd.plan.toml -c met-1.toml
  pcgrelay cutover start custody.plan.toml --again -c met-1.toml

\b
Exit codes, the gravest of all plans:
   0  begun, or running by this plan already
   1  refused at run time, and nothing has changed
   2  wrong usage, and nothing has changed
   3  the node does not answer
   6  it is running by another plan, or a rule does not allow it
  77  no permission
  78  it is no plan, or something speaks against it; nothing has changed
"""
PLANS_MOST = 100


class Written(Struct, frozen=True):
    """A plan as it was read."""

    path: Path
    text: str
    plan: Plan


@click.command(epilog=EPILOG)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@click.option("--again", is_flag=True, help="Begin again after it fell back, or after its state was lost.")
@config_option
@click.option("--reason", metavar="TEXT", default="", help="Why, for whoever asks later.")
@click.option("--by", metavar="NAME", default="", help="Who you are, beside the user that the system names.")
@json_option
def start(files: tuple[Path, ...], again: bool, path: Path, reason: str, by: str, as_json: bool) -> int:
    """Begin, as plans say.

    All plans are read first; if one of them is none, nothing begins. Then they begin in the order in which they stand
    here, and of each is said what came of it. One that runs by this very plan goes on; by another plan it is refused,
    with the lines that differ.
    """
    check_text("--reason", reason)
    check_text("--by", by)
    plans = read_plans(files)
    admin = config.admin_path(path)
    answers, codes = [], []
    for written in plans:
        # The node names the file as this command does.
        query = {"service": written.plan.service, "act": "start", "file": str(written.path), "reason": reason, "by": by}
        if again:
            query["again"] = "1"
        target = f"{CUTOVER_PATH}?{urlencode(query)}"
        try:
            answer = ask(admin, "POST", target, CutoverStatus, ACT_TIMEOUT_S, written.text.encode())
        except PcgrelayError as error:
            # Of the ones before something was said, so of this one, too.
            answer = CutoverStatus(service=written.plan.service, reason=str(error), exit_code=error.exit_code)
        answers.append(answer)
        codes.append(code_of_act(answer))
        if not as_json:
            _say(written, shown(answer), SYSTEM_CLOCK.wall(), several=len(plans) > 1)
    if as_json:
        print_json(answers[0] if len(answers) == 1 else answers)
    return worst(codes)


def read_plans(files: Sequence[Path]) -> list[Written]:
    """Read plans, all or none. ConfigError: one of them is none, told with its line."""
    if len(files) > PLANS_MOST:
        raise UsageProblem(f"These are {len(files)} plans, and {PLANS_MOST} is the most at a time.")
    plans: dict[str, Written] = {}
    for file in files:
        text = read_text(file, "plan", PLAN_LIMIT_BYTES)
        plan, source = parse_plan(text, file)
        if plan.service in plans:
            problem = f"{plan.service} is in {plans[plan.service].path} as well; name one plan for each service"
            raise source.refusal(("cutover", "service"), problem)
        plans[plan.service] = Written(file, text, plan)
    return list(plans.values())


def _say(written: Written, answer: CutoverStatus, now: datetime, *, several: bool) -> None:
    name = str(written.path) if several else ""
    if answer.reason:
        refused(answer.reason, name)
        return
    for sentence in sentences(answer, now):
        say(f"{name}: {sentence}" if name else sentence)
    for warning in answer.warnings:
        say(f"Note: {warning}")


def sentences(answer: CutoverStatus, now: datetime) -> Iterator[str]:
    """What came of it."""
    if not answer.changed:
        yield f"{answer.service} is {answer.phase} already, at {percent_exact(answer.share)}; nothing has changed."
        return
    step = f"step {answer.step} of {len(answer.steps)}"
    yield f"{answer.service} is being moved: {percent_exact(answer.share)} of new streams take {answer.new} ({step})."
    yield next_sentence(answer, now)
    yield from falls_back(answer)
