"""pcgrelay cutover advice: which roles have given the advice that a plan asks for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import click

from pcgrelay import config
from pcgrelay.admin.client import ask
from pcgrelay.admin.cutover_answers import CUTOVER_PATH, CutoverAdvice, CutoverStatus
from pcgrelay.cli.cutover.acts import CODES, SERVICE, check_text, query_of, who_options
from pcgrelay.cli.cutover.nodes import ACT_TIMEOUT_S, refusal_code, refused, shown
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.errors import UsageProblem
from pcgrelay.output import Layout, Row, print_json, print_table, say, terminal

EPILOG = """\b
Examples:
  pcgrelay cutover advice custody -c met-1.toml
  pcgrelay cutover advice custody finance --on 2020-01-31 \\
      --by a.jones --reason "minute 7" -c met-1.toml
  pcgrelay cutover advice custody finance --withdraw --reason CR-1042 \\
      -c met-1.toml

"""


@click.command(epilog=EPILOG + CODES)
@SERVICE
@click.argument("role", metavar="[ROLE]", required=False, default="")
@config_option
@click.option("--on", metavar="DATE", default="", help="When it was given, as 2020-01-31; today unless told.")
@click.option("--withdraw", is_flag=True, help="It does not hold any more.")
@who_options(needs_reason=False)
@json_option
def advice(service: str, role: str, path: Path, on: str, withdraw: bool, reason: str, by: str, as_json: bool) -> int:
    """Note advice that the plan asks for, or show what there is.

    The roles are those of the plan's [report] advice. Part 1 of the report has the role and the date; who noted it, and
    why, is in Part 2 alone.
    """
    if not role and (on or withdraw or reason or by):
        raise UsageProblem("Whose advice? Write: pcgrelay cutover advice SERVICE ROLE ...")
    if role:
        check_text("ROLE", role)
        more = {"role": role, **({"on": on} if on else {}), **({"withdraw": "1"} if withdraw else {})}
        answer = ask(
            config.admin_path(path),
            "POST",
            query_of(service, "advice", reason, by, **more),
            CutoverStatus,
            ACT_TIMEOUT_S,
        )
    else:
        answer = ask(config.admin_path(path), "GET", f"{CUTOVER_PATH}?{urlencode({'service': service})}", CutoverStatus)
    if as_json:
        print_json(answer)
    elif answer.reason:
        refused(answer.reason)
    else:
        _print(shown(answer), role, is_withdrawn=withdraw)
    return refusal_code(answer.exit_code) if answer.reason else 0


def _print(answer: CutoverStatus, role: str, *, is_withdrawn: bool) -> None:
    if role and not answer.changed:
        say(f"There is no advice of {role} that could be withdrawn.")
    elif role:
        say(f"{'Withdrawn' if is_withdrawn else 'Noted'}: {role}.")
    if not answer.advice:
        say(f"The plan of {answer.service} asks for no advice.")
        return
    print_table(terminal(), "", Layout(["advice", "given", "by", "reason"], list(map(_row, answer.advice))))
    for sentence in _missing(answer):
        say(sentence)


def _row(each: CutoverAdvice) -> Row:
    return Row([each.role, each.on or "-", each.by, each.reason])


def _missing(answer: CutoverStatus) -> Iterator[str]:
    missing = [each.role for each in answer.advice if not each.on]
    if missing:
        yield f'Part 1 of the report says "not on record" of: {", ".join(missing)}.'
