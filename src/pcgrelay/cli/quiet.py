"""pcgrelay quiet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlencode

import click

from pcgrelay.admin.quiet_answers import QUIET_PATH, QuietAnswer, QuietOutlet, QuietStatement
from pcgrelay.cli.cutover.nodes import (
    ACT_TIMEOUT_S,
    answered,
    ask_each,
    code_of_all,
    nodes_of,
    nodes_option,
    nodes_option_of_group,
    print_answers,
    refusal_code,
    refused,
)
from pcgrelay.cli.root import CONTEXT, json_option
from pcgrelay.errors import UsageProblem
from pcgrelay.output import Layout, Row, count, print_table, say, terminal

CODES = """\b
Exit codes:
   0  shown, or noted
   1  refused at run time, and nothing has changed
   2  wrong usage, and nothing has changed
   3  a node does not answer
  77  no permission
  78  the node has no folder for state ([node] state)
"""
EPILOG = """\b
Examples:
  pcgrelay quiet -c met-1.toml
  pcgrelay quiet -c met-1.toml -c met-2.toml --json
  pcgrelay quiet note cjx --observer "CJX router GW-3, tcp/5432" \\
      --from 2020-02-25 --to 2020-03-31 --bytes 0 -c met-1.toml

\b
A day is quiet if nothing used the outlet and the node looked at 1,439 of its
1,440 minutes. Time in which no node ran is no silence.

"""
NOTE_EPILOG = """\b
Example:
  pcgrelay quiet note cjx --observer "CJX router GW-3, tcp/5432" \\
      --from 2020-02-25 --to 2020-03-31 --bytes 0 --reason CR-1042 \\
      -c met-1.toml

"""


@click.group(invoke_without_command=True, epilog=EPILOG + CODES, context_settings=CONTEXT)
@nodes_option_of_group
@json_option
@click.pass_context
def quiet(context: click.Context, paths: tuple[Path, ...], as_json: bool) -> int | None:
    """Show since when nothing used an old network.

    Shows each direct outlet and each further listener of each import: the days in a row on which nothing used it, how
    much of them was looked at, and the second in which it was last used; and what others said.
    """
    if context.invoked_subcommand is not None:
        return None
    if not paths:
        raise UsageProblem("Which node? Write: pcgrelay quiet -c FILE")
    nodes = nodes_of(paths)
    gots = ask_each(nodes, "GET", QUIET_PATH, QuietAnswer)
    if as_json:
        print_answers(gots)
        return code_of_all(gots, code_of)
    for number, (name, answer) in enumerate(answered(gots)):
        if number:
            click.echo()
        if len(nodes) > 1:
            say(f"{name}:")
        _print(answer, name if len(nodes) > 1 else "")
    return code_of_all(gots, code_of)


@quiet.command(epilog=NOTE_EPILOG + CODES)
@click.argument("bearer", metavar="BEARER")
@click.option("--observer", metavar="TEXT", required=True, help="Who or what looked, and at what.")
@click.option("--from", "since", metavar="DATE", required=True, help="The first whole day, as 2020-02-25.")
@click.option("--to", "until", metavar="DATE", required=True, help="The last whole day.")
@click.option("--bytes", "transferred", metavar="N", required=True, help="So many bytes were seen in these days.")
@click.option("--reason", metavar="TEXT", default="", help="Why it was noted; a change or a letter.")
@click.option("--by", metavar="NAME", default="", help="Who you are, beside the user that the system names.")
@nodes_option
@json_option
def note(
    bearer: str,
    observer: str,
    since: str,
    until: str,
    transferred: str,
    reason: str,
    by: str,
    paths: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Keep what somebody else has seen of a network.

    It is kept as what it is, a statement: in `quiet`, in the log, and in the certificate of `pcgrelay retire`.
    """
    query = {"bearer": bearer, "observer": observer, "from": since, "to": until, "bytes": transferred}
    path = f"{QUIET_PATH}?{urlencode({**query, 'reason': reason, 'by': by})}"
    gots = ask_each(nodes_of(paths), "POST", path, QuietAnswer, ACT_TIMEOUT_S)
    if as_json:
        print_answers(gots)
        return code_of_all(gots, code_of)
    for name, answer in answered(gots):
        if answer.reason:
            refused(answer.reason, name if len(gots) > 1 else "")
        else:
            number = sum(each.bearer == bearer for each in answer.statements)
            say(f"Noted at {answer.node}. There {'is' if number == 1 else 'are'} {number} of {bearer} now.")
    return code_of_all(gots, code_of)


def code_of(answer: QuietAnswer) -> int:
    """The exit code of one answer."""
    return refusal_code(answer.exit_code) if answer.reason else 0


def _print(answer: QuietAnswer, name: str) -> None:
    if answer.reason:
        refused(answer.reason, name)
        return
    if not answer.outlets:
        say("No import has an outlet or a listener beside its own; [[direct]] and also add them.")
    else:
        columns = ["service", "outlet", ">quiet", "since", ">looked at", "last used", ">open"]
        print_table(terminal(), "", Layout(columns, list(map(_row, answer.outlets))))
    if not answer.kept:
        say("These records are kept in memory alone, and end with the process; [node] state names a folder for them.")
    if answer.statements:
        columns = ["statements of", "observer", "from", "to", ">bytes", "noted", "by"]
        click.echo()
        print_table(terminal(), "", Layout(columns, list(map(_statement, answer.statements))))


def _row(outlet: QuietOutlet) -> Row:
    coverage = "-" if outlet.coverage is None else f"{outlet.coverage * 100:.2f} %"
    cells = [
        outlet.service,
        f"{outlet.listener} {outlet.outlet}".strip(),
        f"{outlet.days} day{'' if outlet.days == 1 else 's'}",
        outlet.since or "-",
        coverage,
        used_words(outlet) or "never",
        count(outlet.streams),
    ]
    return Row(cells, list(_notes(outlet)))


def _notes(outlet: QuietOutlet) -> Iterator[str]:
    if outlet.why:
        yield f"not longer: {outlet.why}"
    if not outlet.configured:
        yield "the configuration has it no more"


def used_words(outlet: QuietOutlet) -> str:
    """When an outlet was last used, for a person."""
    return f"{outlet.used[:10]} {outlet.used[11:19]} UTC" if outlet.used else ""


def _statement(statement: QuietStatement) -> Row:
    notes: Sequence[str] = [statement.reason] if statement.reason else ()
    since, until = statement.since, statement.until
    bytes_ = count(statement.transferred_bytes)
    return Row([statement.bearer, statement.observer, since, until, bytes_, statement.at[:10], statement.by], notes)
