"""pcgrelay status."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from pcgrelay import config
from pcgrelay.admin.audit_line import audit_line
from pcgrelay.admin.bundles import bundle_lines
from pcgrelay.admin.clearances import clearance_lines
from pcgrelay.admin.client import read_status
from pcgrelay.admin.condition import Condition, Trouble, condition_of, troubles
from pcgrelay.admin.datagrams import datagram_lines
from pcgrelay.admin.discovery import discovery_line
from pcgrelay.admin.status import (
    ApprovalsStatus,
    CutoverLine,
    LinkStatus,
    ListenerStatus,
    OrganisationStatus,
    OutletStatus,
    RouteStatus,
    ServiceStatus,
    SessionStatus,
    Status,
)
from pcgrelay.admin.validity import brought_lines, validity_line
from pcgrelay.admin.waiting import waiting_words
from pcgrelay.cli.marking import marked
from pcgrelay.cli.realm import EDGES_SHOWN, print_realm, read_realm
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.cli.udp_lanes import udp_lanes_words
from pcgrelay.errors import StatusProblem
from pcgrelay.model import NameProblem, check_dotted
from pcgrelay.output import (
    Layout,
    Row,
    count,
    duration,
    milliseconds,
    percent,
    percent_exact,
    print_json,
    print_table,
    size,
    terminal,
)
from pcgrelay.policy.clearances import NAMES
from pcgrelay.reasons import refused_and_ended

EPILOG = """\b
Examples:
  pcgrelay status -c kent-1.toml
  pcgrelay status -c kent-1.toml --streams
  pcgrelay status -c kent-1.toml --organisations
  pcgrelay status -c relay-1.toml --realm
  pcgrelay status -c relay-1.toml --realm --organisation kent.police.example
  pcgrelay status -c kent-1.toml --json | jq '.links[] | {peer, rtt_ms}'

\b
Exit codes:
  0  ready: nothing needs attention
  3  failing: no answer, or an import or export has no healthy route
  4  degraded: all are served, and something needs attention
  5  draining: nothing new is accepted, and open streams continue
"""


EXIT_CODES = {
    Condition.READY: 0,
    Condition.FAILING: StatusProblem.exit_code,
    Condition.DEGRADED: 4,
    Condition.DRAINING: 5,
}


@click.command(epilog=EPILOG)
@config_option
@json_option
@click.option("--streams", is_flag=True, help="Also show why streams ended, what was refused, and each worker.")
@click.option("--organisations", is_flag=True, help="Also show what streams carried, by organisation.")
@click.option("--realm", is_flag=True, help="Show instead what the node knows of the realm: its relays and edges.")
@click.option("--organisation", metavar="NAME", help="With --realm: the edges of this organisation alone.")
def status(path: Path, as_json: bool, streams: bool, organisations: bool, realm: bool, organisation: str | None) -> int:
    """Show the state of a running node.

    Shows links, sessions, services, streams and memory. The command uses the node's admin socket, so the node must run
    on this machine.
    """
    if realm:
        return _show_realm(config.admin_path(path), organisation or "", as_json)
    if organisation is not None:
        raise click.UsageError("--organisation is for --realm.")
    answer = read_status(config.admin_path(path))
    found = troubles(answer)
    if as_json:
        print_json(answer)
    else:
        with marked(answer.marking):
            _print(terminal(), answer, found, streams, organisations)
    return EXIT_CODES[condition_of(answer, found)]


def _show_realm(admin: Path, organisation: str, as_json: bool) -> int:
    if organisation:
        try:
            check_dotted(organisation, "organisation")
        except NameProblem as problem:
            raise click.BadParameter(f"{problem}.", param_hint="--organisation") from None
    answer = read_realm(admin, organisation, most=None if as_json or organisation else EDGES_SHOWN)
    if as_json:
        print_json(answer)
    else:
        with marked(answer.marking):
            print_realm(terminal(), answer)
    return 0


def _print(console: Console, status: Status, found: list[Trouble], streams: bool, organisations: bool) -> None:
    node = status.node
    console.print(Text(node.identity, style="bold"))
    console.print(
        f"{node.role}, pcgrelay {node.version}, {condition_of(status, found).value}, up for {duration(node.uptime_s)}"
    )
    console.print(_memory(status))
    if not node.stands_back:
        console.print("priority: the system forbids setpriority, so busy workers do not go before the control plane")
    if line := validity_line(status.credentials):
        console.print(line)
    brought = (*bundle_lines(status.bundle), *brought_lines(status.credentials))
    for line in (*brought, *clearance_lines(status.clearances)):
        console.print(line)
    _print_approvals(console, status.approvals)
    if status.audit is not None:
        console.print(Text(f"audit log: {audit_line(status.audit, time.time())}"))
    console.print()
    _print_links(console, status.links)
    for each in status.discoveries:
        console.print(Text(discovery_line(each)))
    if status.sessions:
        console.print()
        _print_sessions(console, status.sessions, is_marked=bool(status.marking))
    if status.services:
        console.print()
        _print_services(console, status.services)
    if status.cutovers:
        console.print()
        _print_cutovers(console, status.cutovers)
    if status.drills.running:
        console.print()
        console.print(f"A drill is under way: {status.drills.running}")
    if node.role == "edge":
        console.print()
        console.print(
            f"Streams: {count(status.streams.active)} open, {count(status.streams.opened_total)} since the start"
        )
    if organisations:
        console.print()
        _print_organisations(console, status.organisations)
    if streams:
        _print_counts(console, "Streams that ended, by reason", status.streams.closed_total)
        refused, ended = refused_and_ended(status.refusals)
        _print_counts(console, "Refused, by reason", refused)
        _print_counts(console, "Attempts that failed, and lanes that ended, by reason", ended)
        _print_workers(console, status)
    elif refused := refused_and_ended(status.refusals)[0]:
        console.print(f"Refused: {count(sum(refused.values()))} since the start (why: --streams)")
    if found:
        console.print()
        for trouble in found:
            style = "bold red" if trouble.is_grave else "bold yellow"
            console.print(Text("! ", style=style) + Text(trouble.sentence))


def _print_approvals(console: Console, approvals: ApprovalsStatus) -> None:
    if approvals.active:
        number = f", {approvals.change}" if approvals.change else ""
        taken = f"taken {approvals.taken[:16].replace('T', ' ')} UTC" if approvals.taken else "not kept"
        console.print(f"policy {approvals.policy[:8]}, {taken}{number}")
    for each in approvals.waiting:
        console.print(waiting_words(each))


def _memory(status: Status) -> str:
    memory = status.memory
    share = f" ({100 * memory.used_bytes / memory.budget_bytes:.0f} %)" if memory.budget_bytes else ""
    return (
        f"memory {size(memory.used_bytes)} of {size(memory.budget_bytes)}{share}, most {size(memory.high_water_bytes)}"
    )


def _print_links(console: Console, links: tuple[LinkStatus, ...]) -> None:
    if not links:
        console.print("No links")
        return
    narrow, wide = [], []
    for link in links:
        figures = [
            f"{link.lanes_up}/{link.lanes}",
            milliseconds(link.rtt_ms),
            percent(link.loss),
            size(link.sent_total_bytes or link.sent_bytes),
            size(link.received_total_bytes or link.received_bytes),
            _proved(link.authenticated_s, link.generation),
        ]
        crypto = [link.suite or "-", link.group or "-"]
        at = f"{link.address} ({link.nth})" if link.nth > 1 else link.address
        unusual = [
            link.precedence if link.precedence != "default" else "",
            f"weight {link.weight}" if link.weight != 100 else "",
            f"cleared for {link.cleared}" if link.cleared else "",
            f"away since {link.away_since}" if link.away_since else "",
            f"found by {link.discover}" if link.discover else "",
            udp_lanes_words(link.udp),
        ]
        notes = [", ".join(filter(None, unusual))] if any(unusual) else []
        cells = [link.peer or "-", link.bearer, link.direction, at, link.state, link.health, *crypto, *figures]
        wide.append(Row(cells, notes))
        words = [f"{link.direction} {at}".rstrip(), link.suite, link.group]
        cells = [link.peer or "-", link.bearer, link.state, link.health, *figures]
        narrow.append(Row(cells, [", ".join(filter(None, words)), *notes]))
    numbers = [">lanes", ">rtt", ">loss", ">sent", ">received", ">proved"]
    print_table(
        console,
        f"Links ({len(links)})",
        Layout(["peer", "bearer", "dir", "address", "state", "health", "suite", "group", *numbers], wide),
        Layout(["peer", "bearer", "state", "health", *numbers], narrow),
    )


def _print_sessions(console: Console, sessions: tuple[SessionStatus, ...], *, is_marked: bool) -> None:
    narrow, wide = [], []
    for session in sessions:
        figures = [
            count(session.streams_active),
            size(session.sent_bytes),
            size(session.received_bytes),
            _proved(session.authenticated_s, session.generation),
        ]
        first = [session.peer, session.via or "-", session.state]
        marking = [NAMES.get(session.marking, str(session.marking))] if is_marked else []
        wide.append(Row([*first[:2], session.direction, first[2], session.suite, session.group, *figures], marking))
        narrow.append(Row([*first, *figures], [", ".join([session.direction, session.suite, session.group, *marking])]))
    numbers = [">streams", ">sent", ">received", ">proved"]
    print_table(
        console,
        f"Sessions ({len(sessions)})",
        Layout(["peer", "via", "dir", "state", "suite", "group", *numbers], wide),
        Layout(["peer", "via", "state", *numbers], narrow),
    )


def _proved(seconds: float | None, generation: int) -> str:
    """Return how long ago both ends last proved their identities, and the number of renewals."""
    return "-" if seconds is None else f"{duration(seconds)} ({generation})"


def _print_services(console: Console, services: tuple[ServiceStatus, ...]) -> None:
    rows = []
    for service in services:
        figures = (count(n) for n in (service.streams_active, service.opened_total, service.refused_total))
        decided = [f"shares are decided by: {service.decided_by}"] if service.decided_by else []
        routes = [
            *datagram_lines(service),
            *map(_listener, service.listeners),
            *decided,
            *map(_outlet, service.outlets),
            *map(_route, service.routes),
        ]
        rows.append(Row([service.name, service.direction, service.state, service.health, *figures], routes))
    columns = ["service", "dir", "state", "health", ">open", ">opened", ">refused"]
    print_table(console, f"Services ({len(services)})", Layout(columns, rows))


def _print_organisations(console: Console, organisations: tuple[OrganisationStatus, ...]) -> None:
    if not organisations:
        console.print("No organisation has had a stream yet.")
        return
    rows = [
        Row(
            [
                each.organisation,
                each.direction,
                count(each.streams_total),
                size(each.sent_bytes),
                size(each.received_bytes),
                count(each.refused_total),
            ]
        )
        for each in organisations
    ]
    columns = ["organisation", "dir", ">ended", ">sent", ">received", ">refused"]
    print_table(console, f"Organisations ({len(rows)})", Layout(columns, rows))


def _print_cutovers(console: Console, cutovers: tuple[CutoverLine, ...]) -> None:
    rows = []
    for each in cutovers:
        step = f"{each.step} of {each.steps}" if each.phase in ("soaking", "paused") else "-"
        way = f"{each.old} -> {each.new}" if each.old else "-"
        cells = [each.service, way, each.phase, percent_exact(100 * each.share), step, count(each.moved_total)]
        rows.append(Row(cells, ["held: the new outlet is away"] if each.held else []))
    columns = ["service", "from -> to", "phase", ">share", ">step", ">led on"]
    print_table(console, f"Cut-overs ({len(cutovers)})", Layout(columns, rows))


def _listener(listener: ListenerStatus) -> str:
    """One listener of an import that has several."""
    plural = "" if listener.connections_total == 1 else "s"
    open_now = f"{count(listener.streams_active)} open" if listener.streams_active else "none open"
    days = listener.quiet_days
    quiet = f", nobody for {count(days)} day{'' if days == 1 else 's'}" if days else ""
    return f"listener {listener.name}: {count(listener.connections_total)} connection{plural}, {open_now}{quiet}"


def _outlet(outlet: OutletStatus) -> str:
    """One outlet of an import."""
    words = [
        percent_exact(100 * outlet.share),
        outlet.state,
        "exercised" if outlet.exercised else "",
        outlet.reason,
        f"since {outlet.away_since}" if outlet.away_since else "",
        f"{count(outlet.moved_total)} led on" if outlet.moved_total else "",
    ]
    return f"outlet {outlet.name}: {', '.join(filter(None, words))}"


def _route(route: RouteStatus) -> str:
    """Return one route of an import, with everything that is unusual about it."""
    words = [
        route.precedence,
        f"weight {route.weight}" if route.weight != 100 else "",
        route.priority if route.priority != "normal" else "",
        route.state,
        route.reason,
        f"since {route.away_since}" if route.away_since else "",
    ]
    if not route.via:
        return f"{route.exporter}: {', '.join(filter(None, words))}"
    return f"{route.exporter} via {route.via}: {', '.join(filter(None, words))}"


def _print_counts(console: Console, title: str, counts: dict[str, int]) -> None:
    console.print()
    if not counts:
        console.print(f"{title}: none")
        return
    rows = [Row([reason, count(number)]) for reason, number in sorted(counts.items(), key=lambda item: -item[1])]
    print_table(console, title, Layout(["reason", ">count"], rows))


def _print_workers(console: Console, status: Status) -> None:
    if not status.workers:
        return
    rows = [
        Row(
            [
                str(worker.index),
                str(worker.lanes),
                count(worker.streams),
                size(worker.sent_bytes),
                size(worker.received_bytes),
            ]
        )
        for worker in status.workers
    ]
    console.print()
    print_table(console, "Workers", Layout([">worker", ">lanes", ">streams", ">sent", ">received"], rows))
