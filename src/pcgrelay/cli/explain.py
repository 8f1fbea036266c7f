"""pcgrelay explain."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import click
from rich.console import Console
from rich.text import Text

from pcgrelay import config
from pcgrelay.admin.answers import (
    EXPLAIN_PATH,
    CallerCheck,
    EdgeExplained,
    ExplainAnswer,
    OutletExplained,
    SessionExplained,
    WayExplained,
)
from pcgrelay.admin.client import ask
from pcgrelay.admin.status import ListenerStatus
from pcgrelay.cli.marking import marked
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.errors import RunError, StatusProblem, UsageProblem
from pcgrelay.model import NameProblem, check_dotted
from pcgrelay.output import (
    Layout,
    Row,
    count,
    milliseconds,
    percent,
    percent_exact,
    print_json,
    print_table,
    say,
    styled,
    terminal,
)

EPILOG = """\b
Examples:
  pcgrelay explain custody@kent.police.example -c met-1.toml
  pcgrelay explain custody -c kent-1.toml
  pcgrelay explain custody --from met.police.example -c kent-1.toml
  pcgrelay explain kent-1.kent.police.example -c relay-1.toml --json

\b
Exit codes:
  0  a new stream would go through, as far as this node knows
  1  the node knows nothing of it
  3  a new stream would be refused or would wait, or the node does not answer
"""


@click.command(epilog=EPILOG)
@click.argument("subject", metavar="SERVICE")
@click.option("--from", "caller", metavar="ORGANISATION", help="At an exporting edge: would it be let in now?")
@config_option
@json_option
def explain(subject: str, caller: str | None, path: Path, as_json: bool) -> int:
    """Explain which route a new stream would take, and why not another.

    Shows the rule, the routes hop by hop as far as they are known, the health of each, and the suites. SERVICE is an
    import or export of an edge; at a relay it is a service or an edge, as kent-1.kent.police.example. With --from an
    exporting edge says by which rule or limit a stream of that organisation would be let in or refused now; nothing is
    connected to.
    """
    query = f"subject={quote(subject, safe='')}"
    if caller is not None:
        try:
            check_dotted(caller, "organisation")
        except NameProblem as problem:
            raise UsageProblem(f"--from: {problem}.") from None
        query += f"&from={quote(caller, safe='')}"
    answer = ask(config.admin_path(path), "GET", f"{EXPLAIN_PATH}?{query}", ExplainAnswer)
    if caller is not None and not answer.reason and answer.caller != caller:
        raise RunError("The node that runs is older than this command and does not know --from; upgrade it.")
    if as_json:
        print_json(answer)
    elif answer.reason:
        say(f"pcgrelay: {answer.reason}", err=True)
    else:
        with marked(answer.marking):
            _print(terminal(), answer)
    if answer.reason:
        return RunError.exit_code
    return 0 if answer.open else StatusProblem.exit_code


def _print(console: Console, answer: ExplainAnswer) -> None:
    kind = answer.kind if answer.protocol == "tcp" else f"{answer.kind}, {answer.protocol}"
    console.print(Text.assemble((answer.subject, "bold"), f" ({kind})"))
    console.print(answer.verdict)
    console.print(f"Rule: {answer.rule}")
    if answer.offer:
        console.print(f"Offered as: {answer.offer}")
    if answer.datagrams:
        console.print(f"Datagrams: {answer.datagrams}")
    console.print(Text("Health: ") + styled(answer.health))
    if answer.paths:
        console.print(f"Open paths there: {count(answer.paths)}")
    if answer.checks:
        _print_checks(console, answer.checks)
    if answer.outlets:
        _print_outlets(console, answer.outlets)
    if answer.listeners:
        _print_listeners(console, answer.listeners)
    if answer.edges:
        _print_edges(console, answer.edges)
    if answer.ways:
        _print_ways(console, answer.ways)
    if answer.sessions:
        _print_sessions(console, answer.sessions, with_datagrams=not answer.ways)


def _print_checks(console: Console, checks: tuple[CallerCheck, ...]) -> None:
    rows = [
        Row(
            [check.name, "ok" if check.passed else "refused", check.state],
            [check.detail] if check.detail else [],
        )
        for check in checks
    ]
    console.print()
    print_table(console, f"What decides ({len(rows)})", Layout(["check", "result", "now"], rows))


def _print_outlets(console: Console, outlets: tuple[OutletExplained, ...]) -> None:
    rows = [
        Row(
            [each.name, percent_exact(100 * each.share), str(each.next) if each.next else "-"],
            _outlet_notes(each),
        )
        for each in outlets
    ]
    console.print()
    print_table(console, f"Outlets ({len(rows)})", Layout(["outlet", ">new streams", ">next"], rows))


def _outlet_notes(outlet: OutletExplained) -> list[str]:
    if outlet.why_not:
        return [f"not taken: {outlet.why_not}"]
    return ["exercised: so it is known that this back-up works"] if outlet.exercised else []


def _print_listeners(console: Console, listeners: tuple[ListenerStatus, ...]) -> None:
    """Where applications come in: those at a further address may be strays of an old network."""
    rows = [Row([each.name, count(each.connections_total), count(each.streams_active)], []) for each in listeners]
    console.print()
    print_table(console, f"Listeners ({len(rows)})", Layout(["listener", ">connections", ">open"], rows))


def _print_edges(console: Console, edges: tuple[EdgeExplained, ...]) -> None:
    rows = [
        Row(
            [edge.edge, edge.precedence, str(edge.weight), edge.priority, percent(edge.share)],
            [f"not taken: {edge.why_not}"] if edge.why_not else [],
        )
        for edge in edges
    ]
    console.print()
    columns = ["edge", "precedence", ">weight", "priority", ">new streams"]
    print_table(console, f"Edges that export it ({len(rows)})", Layout(columns, rows))


def _print_ways(console: Console, ways: tuple[WayExplained, ...]) -> None:
    """Print the routes. Health is that of the first hop: this node does not see beyond it."""
    narrow, wide = [], []
    for way in ways:
        path = ["chosen" if way.chosen else "-", " > ".join(way.hops)]
        notes = [*_datagram_notes(way.datagrams), *([f"not taken: {way.why_not}"] if way.why_not else [])]
        health = [way.link, way.health, f"{way.lanes_up}/{way.lanes}", milliseconds(way.rtt_ms), percent(way.loss)]
        choice = [way.precedence, str(way.weight), count(way.paths)]
        wide.append(Row([*path, way.bearer, *health, *choice, way.suite, way.group], notes))
        first = (
            f"first hop over {way.bearer}: {way.link}, {way.health}, {way.lanes_up}/{way.lanes} lanes, "
            f"{milliseconds(way.rtt_ms)}, {percent(way.loss)} lost"
        )
        order = f"{way.precedence}, weight {way.weight}, open paths: {count(way.paths)}; {way.suite}, {way.group}"
        narrow.append(Row(path, [first, order, *notes]))
    console.print()
    columns = ["bearer", "link", "health", ">lanes", ">rtt", ">loss", "precedence", ">weight", ">paths"]
    print_table(
        console,
        f"Routes ({len(ways)}), with the health of the first hop",
        Layout(["route", "hops", *columns, "suite", "group"], wide),
        Layout(["route", "hops"], narrow),
    )


def _datagram_notes(way: str) -> list[str]:
    return [f"datagrams to the next node go {way}"] if way else []


def _print_sessions(console: Console, sessions: tuple[SessionExplained, ...], *, with_datagrams: bool) -> None:
    """Print the sessions. with_datagrams: which way those of UDP take, where no routes say so."""
    narrow, wide = [], []
    for session in sessions:
        hops = " > ".join(session.hops) or "-"
        crypto = [session.suite or "-", session.group or "-"]
        allowed = {None: "-", True: "yes", False: "no"}[session.may_open]
        state = [session.state, session.priority, count(session.streams), allowed]
        notes = _datagram_notes(session.datagrams) if with_datagrams else []
        wide.append(Row([session.peer, *state, *crypto, hops], notes))
        narrow.append(Row([session.peer, *state], [f"over {hops}", ", ".join(crypto), *notes]))
    console.print()
    columns = ["session with", "state", "priority", ">streams", "allowed"]
    print_table(
        console,
        f"Sessions ({len(sessions)})",
        Layout([*columns, "suite", "group", "hops"], wide),
        Layout(columns, narrow),
    )
