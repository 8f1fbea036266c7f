"""pcgrelay cutover rehearse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import click
from msgspec import Struct
from rich.text import Text

from pcgrelay import config
from pcgrelay.admin.client import ask
from pcgrelay.admin.cutover_answers import REHEARSE_PATH, CutoverFinding, Rehearsal, RehearsedOutlet
from pcgrelay.cli.cutover.acts import check_text
from pcgrelay.cli.cutover.nodes import refusal_code, refused, shown
from pcgrelay.cli.cutover.screen import flow
from pcgrelay.cli.cutover.times import long_text
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.errors import RuleProblem
from pcgrelay.output import Layout, Row, count, milliseconds, print_json, table_lines, terminal

EPILOG = """\b
Examples:
  pcgrelay cutover rehearse custody -c met-1.toml
  pcgrelay cutover rehearse custody --from cjx --count 50 -c met-1.toml
  pcgrelay cutover rehearse custody -c met-1.toml \\
      --send '\\x00\\x00\\x00\\x08\\x04\\xd2\\x16\\x2f' --expect N

\b
Exit codes:
   0  it can begin
   1  the node knows no such import, or refused at run time
   3  the node does not answer
   6  it cannot begin: the new outlet fails, or is worse than is allowed
  77  no permission
"""
COUNT_MOST = 100
BYTES_MOST = 4_096  # characters, with escapes
# The node gives up long before: this is for one that stands still.
TIMEOUT_S = 150.0


@click.command(epilog=EPILOG)
@click.argument("service", metavar="SERVICE")
@click.option("--from", "old", metavar="OUTLET", default="", help="The outlet that it moves from; unless said, the "
              "one that [[import]] names.")  # fmt: skip
@click.option("--to", "new", metavar="OUTLET", default="", help="The one that it moves to; unless said, gateway.")
@click.option("--count", "number", type=click.IntRange(1, COUNT_MOST), default=COUNT_MOST, show_default=True,
              help="Connections over each outlet; of UDP, questions.")  # fmt: skip
@click.option("--send", metavar="BYTES", default="", help="What is sent, with escapes as in a plan's [shadow].")
@click.option("--expect", metavar="BYTES", default="", help="What must come back, as probe_expect of an export.")
@config_option
@json_option
def rehearse(service: str, old: str, new: str, number: int, send: str, expect: str, path: Path, as_json: bool) -> int:
    """Try both ways with connections of our own.

    The connections take the very code that those of applications take, up to the target and back, over each outlet in
    turn. No application is touched.
    """
    for option, text in (("SERVICE", service), ("--from", old), ("--to", new)):
        check_text(option, text)
    for option, text in (("--send", send), ("--expect", expect)):
        check_text(option, text, BYTES_MOST)
    query = {"service": service, "count": str(number), "old": old, "new": new, "send": send, "expect": expect}
    console = terminal()
    if console.is_terminal and not as_json:
        click.echo(f"Making {number} connections over each way; this takes some seconds.", err=True)
    target = f"{REHEARSE_PATH}?{urlencode({key: text for key, text in query.items() if text})}"
    answer = ask(config.admin_path(path), "POST", target, Rehearsal, TIMEOUT_S)
    if as_json:
        print_json(answer)
    elif answer.reason:
        refused(shown(answer).reason)
    else:
        for line in rehearsal_lines(shown(answer), console.width):
            console.print(line)
    if answer.reason:
        return refusal_code(answer.exit_code)
    return 0 if answer.can_begin else RuleProblem.exit_code


def rehearsal_lines(answer: Rehearsal, width: int) -> Iterator[Text]:
    """All lines of a rehearsal."""
    old, new = answer.old, answer.new
    if old is None or new is None:
        yield Text(answer.sentence)
        return
    tried = f"{count(new.tried)} connections over each way, in turn, {long_text(answer.took_s)}"
    yield from flow([f"Rehearsal of {answer.service}: {tried}.", "No application was touched."], width)
    yield Text("")
    findings = {finding.question: finding for finding in answer.findings}
    rows = [
        _Line("set up", _up(old), _up(new), finding=findings.get("failures")),
        _times("set-up time", old.setup_median_ms, new.setup_median_ms, findings.get("setup")),
        _times("slowest of 20", old.setup_p95_ms, new.setup_p95_ms, findings.get("tail")),
        _times("first answer", old.answer_median_ms, new.answer_median_ms, findings.get("answer")),
        _Line("suite", old.suite or "none", new.suite or "none"),
        _Line("key exchange", old.group or "none", new.group or "none"),
        _Line("marking", old.marking or "-", new.marking or "-"),
        _Line("support", _support(old), _support(new)),
    ]
    wide = [Row([*row.cells, row.allowed, row.outcome, row.sentence]) for row in rows]
    medium = [Row([*row.cells, row.allowed, row.outcome], row.notes) for row in rows]
    narrow = [Row([*row.cells, row.outcome], row.notes) for row in rows]
    columns = ["", old.name, new.name, "difference"]
    layouts = (
        Layout([*columns, "allowed", "judged", ""], wide),
        Layout([*columns, "allowed", "judged"], medium),
        Layout([*columns, "judged"], narrow),
    )
    for line in table_lines(width - 2, "", *layouts):
        yield Text.assemble("  ", line)
    for outlet in (old, new):
        failed = {name: number for name, number in outlet.outcomes.items() if name != "up" and number}
        if failed:
            words = ", ".join(f"{count(number)} {name}" for name, number in failed.items())
            yield Text(f"  failed on {outlet.name}: {words}", style="bold red" if outlet is new else "yellow")
    yield Text(answer.sentence, style="" if answer.can_begin else "bold red")
    if answer.can_begin:
        plan = f"pcgrelay cutover plan {answer.service} --from {old.name} --deadline DATE > FILE"
        yield Text(f"Next: {plan}")


class _Line(Struct, frozen=True):
    """One line of the table."""

    title: str
    old: str
    new: str
    difference: str = ""
    finding: CutoverFinding | None = None

    @property
    def cells(self) -> list[str]:
        return [self.title, self.old, self.new, self.difference]

    @property
    def allowed(self) -> str:
        return "" if self.finding is None else self.finding.allowed

    @property
    def outcome(self) -> str:
        return "" if self.finding is None else self.finding.outcome

    @property
    def sentence(self) -> str:
        return "" if self.finding is None else self.finding.sentence

    @property
    def notes(self) -> list[str]:
        """What is told below, where there is no room beside it: of what fails, and of what is not good."""
        is_told = self.finding is not None and (self.finding.question == "failures" or self.outcome != "good")
        allowed = f", allowed {self.allowed}" if self.allowed else ""
        return [f"{self.sentence}{allowed}"] if is_told and self.sentence else []


def _times(title: str, old: float | None, new: float | None, finding: CutoverFinding | None) -> _Line:
    difference = ""
    if old is not None and new is not None:
        difference = f"{'+' if new >= old else '-'}{milliseconds(abs(new - old))}"
    return _Line(title, milliseconds(old), milliseconds(new), difference, finding)


def _up(outlet: RehearsedOutlet) -> str:
    return f"{count(outlet.up)} of {count(outlet.tried)}"


def _support(outlet: RehearsedOutlet) -> str:
    return f"to {outlet.supported_until}" if outlet.supported_until else "no end is known"
