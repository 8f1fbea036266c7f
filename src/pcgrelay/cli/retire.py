"""pcgrelay retire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode

import click
from msgspec import structs

from pcgrelay import config
from pcgrelay.admin.quiet_answers import QUIET_PATH, RETIRE_PATH, QuietAnswer, RetireAnswer
from pcgrelay.cli.cutover.nodes import (
    ACT_TIMEOUT_S,
    AskedNode,
    Got,
    answered,
    ask_each,
    code_of_all,
    nodes_of,
    nodes_option,
    print_answers,
    refusal_code,
    refused,
    worst,
)
from pcgrelay.cli.cutover.report import check_title
from pcgrelay.cli.last_report import LastReport, prepared, unwritten
from pcgrelay.cli.root import json_option
from pcgrelay.cli.switch_off import judge, lines_of
from pcgrelay.config.inventory import Inventory, load_inventory
from pcgrelay.config.source import Source, node_guessed
from pcgrelay.errors import ConfigError, PcgrelayError, RuleProblem, UsageProblem
from pcgrelay.output import count, print_json, say

# It needs attention, and what was asked for is done.
ATTENTION = 4

EPILOG = """\b
Examples:
  pcgrelay retire cjx/custody --check -c met-1.toml      may it be retired?
  pcgrelay retire cjx/custody --reason CR-1042 -c met-1.toml
  pcgrelay retire cjx/custody --report /srv/custody-report -c met-1.toml
  pcgrelay retire cjx --check -c met-1.toml -c met-2.toml
  pcgrelay retire cjx -c met-1.toml -c met-2.toml > cjx.certificate.txt

\b
Exit codes:
   0  retired, or it can be; the network can be switched off
   1  refused at run time, and nothing has changed
   2  wrong usage, and nothing has changed
   3  a node does not answer
   4  retired, and its report is not written
   6  it is not quiet, or not everything has left it; nothing has changed
  77  no permission
  78  the configuration or the inventory cannot be used, or a text of the plan
      must not be published; nothing has changed
"""


@click.command(epilog=EPILOG)
@click.argument("what", metavar="OUTLET/SERVICE|BEARER")
@nodes_option
@click.option("--check", "is_check", is_flag=True, help="Change nothing; say what is missing.")
@click.option(
    "--inventory",
    "inventory_path",
    metavar="FILE",
    type=click.Path(path_type=Path, readable=False),
    help="What has to leave the network; else as [node] inventory names it.",
)
@click.option(
    "--report",
    "folder",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Where the last report goes; else SERVICE-report, here.",
)
@click.option("--title", metavar="TEXT", default="", help="Title of the report, in the place of the plan's.")
@click.option("--reason", metavar="TEXT", default="", help="Why, for whoever asks later; a change.")
@click.option("--by", metavar="NAME", default="", help="Who you are, beside the user that the system names.")
@json_option
def retire(
    what: str,
    paths: tuple[Path, ...],
    is_check: bool,
    inventory_path: Path | None,
    folder: Path | None,
    title: str,
    reason: str,
    by: str,
    as_json: bool,
) -> int:
    """Close an old outlet that is quiet; certify a network.

    OUTLET/SERVICE closes the outlet of one service for good, if it is proven quiet, writes the last report of its
    cut-over, and prints what to delete from the file. BEARER asks whether everything that had to leave that network
    has: each service of the inventory, at all nodes named by -c.
    """
    outlet, slash, service = what.partition("/")
    if slash and not (outlet and service):
        raise UsageProblem(f"{what} is no outlet of a service; write it as cjx/custody.")
    check_title(title)
    if slash:
        wanted = _Wanted(outlet, service, reason, by, folder, title)
        return _retire_outlet(wanted, paths, is_check=is_check, as_json=as_json)
    if folder is not None or title:
        raise UsageProblem("A network has a certificate, and no report; --report and --title are for OUTLET/SERVICE.")
    return _switch_off(what, paths, inventory_path, is_check=is_check, as_json=as_json)


# -- one outlet --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Wanted:
    """What is asked for."""

    outlet: str
    service: str
    reason: str
    by: str
    folder: Path | None
    title: str


def _retire_outlet(wanted: _Wanted, paths: tuple[Path, ...], *, is_check: bool, as_json: bool) -> int:
    nodes = nodes_of(paths)
    query = {"service": wanted.service, "outlet": wanted.outlet}
    if is_check:
        gots = ask_each(nodes, "GET", f"{RETIRE_PATH}?{urlencode(query)}", RetireAnswer)
        if code_of_all(gots, _code_of) == 0:
            # What a report must not say keeps the outlet open, so it is found out now.
            prepared(nodes, wanted.service, wanted.folder, wanted.title, writes=False)
    else:
        _refuse_forgotten(wanted.outlet, wanted.service, nodes, paths)
        gots = _retired(nodes, wanted, query)
    if as_json:
        print_answers(gots)
        return code_of_all(gots, _code_of)
    files = {config.admin_path(path): path for path in paths}
    for got in gots:
        _print_outlet(got, files[got.node.admin], len(gots) > 1)
    return code_of_all(gots, _code_of)


def _retired(nodes: list[AskedNode], wanted: _Wanted, query: dict[str, str]) -> list[Got[RetireAnswer]]:
    """Have the nodes retire it, and write the report of each that has."""
    asked = ask_each(nodes, "GET", f"{RETIRE_PATH}?{urlencode(query)}", RetireAnswer)
    if any(got.answer is not None and not got.answer.reason for got in asked):
        report = prepared(nodes, wanted.service, wanted.folder, wanted.title, writes=True)
    else:
        report = None
    path = f"{RETIRE_PATH}?{urlencode({**query, 'reason': wanted.reason, 'by': wanted.by})}"
    gots = ask_each(nodes, "POST", path, RetireAnswer, ACT_TIMEOUT_S)
    return gots if report is None else [_with_report(got, report) for got in gots]


def _with_report(got: Got[RetireAnswer], report: LastReport) -> Got[RetireAnswer]:
    """Write the report of a node that has retired the outlet, and add to its answer where that is, or why not."""
    answer = got.answer
    if answer is None or answer.reason:
        return got
    try:
        folder = report.write(got.node)
    except PcgrelayError as error:
        sentence = unwritten(report.folder_of(got.node), answer.service, error)
        # It is retired all the same.
        return replace(got, answer=structs.replace(answer, warnings=(*answer.warnings, sentence), exit_code=ATTENTION))
    return got if folder is None else replace(got, answer=structs.replace(answer, report=str(folder)))


def _refuse_forgotten(outlet: str, service: str, nodes: list[AskedNode], paths: tuple[Path, ...]) -> None:
    """RuleProblem: it is the last outlet over its network, and another service still has to leave that."""
    try:
        inventory = _inventory(paths, None)
    except ConfigError:
        if any(node_guessed(path).get("inventory") for path in paths):
            raise
        return
    found = [each for _, answer in answered(ask_each(nodes, "GET", QUIET_PATH, QuietAnswer)) for each in answer.outlets]
    mine = [
        each for each in found if each.outlet == outlet and service in (each.service, each.service.partition("@")[0])
    ]
    for bearer in sorted({each.bearer for each in mine}):
        open_ones = [each for each in found if each.bearer == bearer and not each.retired and each not in mine]
        done = {each.service for each in found if each.retired and each.bearer == bearer} | {
            each.service for each in mine
        }
        waiting = [str(each.name) for each in inventory.of_bearer(bearer) if str(each.name) not in done]
        if not open_ones and waiting and not all(each.retired for each in mine):
            have = "has" if len(waiting) == 1 else "have"
            raise RuleProblem(
                f"This is the last outlet over {bearer}, and {', '.join(waiting)} {have} to leave it still "
                f"({inventory.path}); begin with that, or correct the inventory."
            )


def _code_of(answer: RetireAnswer) -> int:
    return refusal_code(answer.exit_code) if answer.reason else answer.exit_code


def _print_outlet(got: Got[RetireAnswer], file: Path, has_others: bool) -> None:
    for name, answer in answered([got]):
        if answer.reason:
            refused(answer.reason, name if has_others else "")
            continue
        at = f" at {answer.node}" if has_others else ""
        if not answer.retired:
            say(f"{answer.outlet} of {answer.service} can be retired{at}.")
            continue
        already = "" if answer.changed else " already, since " + answer.retired[:10]
        say(f"{answer.outlet} of {answer.service} is retired{at}{already}: it takes no more streams.")
        say(f"It was quiet for {count(answer.days)} days, since {answer.since}." if answer.since else "")
        if answer.report:
            say(f"{answer.report}: the last report of its cut-over. Two people read part1.html before it is published.")
        for line in _deletions(file, answer.service, answer.outlet):
            say(line)
        for warning in answer.warnings:
            say(f"Note: {warning}")


def _deletions(file: Path, service: str, outlet: str) -> Iterator[str]:
    """Yield which lines of a configuration to delete, so that it can be reloaded."""
    try:
        source = Source.read(file)
    except PcgrelayError:
        return
    found = list(lines_to_delete(source, service, outlet))
    if found:
        yield f"To be removed from {file}; until then a reload is refused:"
    for first, last, text in found:
        where = f"line {first}" if first == last else f"lines {first} to {last}"
        yield f"  {where}: {text}"


def lines_to_delete(source: Source, service: str, outlet: str) -> Iterator[tuple[int, int, str]]:
    """Yield the first and last line of what names an outlet, and what stands there."""
    for index, table in enumerate(_tables(source, "import")):
        if (table.get("service"), table.get("outlet")) == (service, outlet):
            line = source.line_of(("import", index, "outlet"))
            if line is not None:
                yield line, line, source.line(line)
    for index, table in enumerate(_tables(source, "direct")):
        if (table.get("service"), table.get("name")) == (service, outlet):
            first = source.line_of(("direct", index))
            if first is not None:
                yield first, source.last_line(first), f"[[direct]] {outlet} of {service}"


def _tables(source: Source, name: str) -> list[dict[str, object]]:
    found = source.values.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


# -- a whole network ---------------------------------------------------------------------------------------------


def _switch_off(
    bearer: str, paths: tuple[Path, ...], inventory_path: Path | None, *, is_check: bool, as_json: bool
) -> int:
    inventory = _inventory(paths, inventory_path)
    if not inventory.of_bearer(bearer):
        names = sorted({each.bearer for each in inventory.services})
        raise UsageProblem(f"{inventory.path}: nothing moves from {bearer}; there are: {', '.join(names)}.")
    gots = ask_each(nodes_of(paths), "GET", QUIET_PATH, QuietAnswer)
    asked = answered(gots)
    for name, answer in asked:
        if answer.reason:
            refused(answer.reason, name)
    # One that does not answer may have had the last stray.
    problems = [got.problem.exit_code for got in gots if got.problem is not None]
    problems += [refusal_code(answer.exit_code) for _, answer in asked if answer.reason]
    found = judge(bearer, inventory, [(name, answer) for name, answer in asked if not answer.reason])
    if as_json:
        print_json({
            "bearer": bearer,
            "possible": found.is_possible and not problems,
            "inventory": str(inventory.path),
            "inventory_sha256": inventory.sha256,
            "services": found.total,
            "retired": found.retired,
            "last_used": "" if found.last is None else found.last.used,
            "quiet_since": "" if found.since is None else found.since.isoformat(),
            "days": found.days,
            "coverage": found.coverage,
            "statements": found.statements,
            "streams": found.streams,
            "nodes": found.nodes,
            "missing": found.missing,
        })  # fmt: skip
    elif problems:
        say(f"Not all nodes have answered, so nobody knows whether {bearer} can be switched off.", err=True)
    else:
        for line in lines_of(found):
            say(line)
        if found.is_possible and is_check:
            say(f"Print the certificate with: pcgrelay retire {bearer} -c FILE > {bearer}.certificate.txt")
    return worst([*problems, 0 if found.is_possible else RuleProblem.exit_code])


def _inventory(paths: tuple[Path, ...], named: Path | None) -> Inventory:
    """Read the inventory that the command line names, or the configuration. ConfigError: none does."""
    if named is not None:
        return load_inventory(named)
    for path in paths:
        name = node_guessed(path).get("inventory")
        if isinstance(name, str) and name and "\0" not in name:
            return load_inventory(path.parent / name)
    raise ConfigError(
        f"{paths[0]}: node.inventory: this is missing, so nobody knows what has to leave the network; write "
        'inventory = "inventory.toml" in [node], or name the file: --inventory FILE.'
    )
