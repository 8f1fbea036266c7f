"""What `pcgrelay top` shows: two statuses of each node become lines, with rates between them (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from pcgrelay.admin.clearances import clearance_lines, highest
from pcgrelay.admin.condition import Condition, condition_of, troubles
from pcgrelay.admin.status import LinkStatus, SessionStatus, Status
from pcgrelay.admin.waiting import waiting_words
from pcgrelay.cli.udp_lanes import udp_lanes_words
from pcgrelay.output import Layout, Row, count, counted, duration, milliseconds, percent, size, table_lines
from pcgrelay.printable import printable

CONDITION_STYLES = {
    Condition.READY: "bold green",
    Condition.DEGRADED: "bold yellow",
    Condition.FAILING: "bold red",
    Condition.DRAINING: "bold yellow",
}


@dataclass(frozen=True, slots=True)
class Look:
    """One node at one moment."""

    name: str
    at_s: float  # monotonic
    status: Status | None = None
    problem: str = ""  # why there is no status


def lines(now: Sequence[Look], before: Sequence[Look], width: int) -> Iterator[Text]:
    """Yield the lines of all nodes. before: the look before this one; rates are missing without it."""
    earlier = {look.name: look for look in before}
    if marking := marking_of(now):
        yield Text(marking, style="bold")
    for number, look in enumerate(now):
        if number:
            yield Text()
        yield from _node(look, earlier.get(look.name), width)


def marking_of(looks: Sequence[Look]) -> str:
    """Return the highest marking of the nodes."""
    return highest(look.status.marking for look in looks if look.status is not None)


def cropped(whole: Sequence[Text], width: int, height: int, marking: str = "") -> list[Text]:
    """Return the lines that fit a screen; the one before the last says how many do not. marking: of all of it."""
    room = max(height - 1, 1)
    shown = (
        list(whole)
        if len(whole) <= room
        else [*whole[: room - 1], Text(f"({len(whole) - room + 1} more lines)", "dim")]
    )
    for line in shown:
        line.truncate(width, overflow="ellipsis")
    shown.append(Text.assemble((f"{marking}  " if marking else "", "bold"), ("q: quit", "dim")))
    return shown


def _node(look: Look, before: Look | None, width: int) -> Iterator[Text]:
    status = look.status
    if status is None:
        yield Text.assemble((look.name, "bold"), "  ", ("no answer", "bold red"))
        yield Text(f"  {printable(look.problem)}")
        return
    found = troubles(status)
    condition = condition_of(status, found)
    share = status.memory.used_bytes / status.memory.budget_bytes if status.memory.budget_bytes else 0.0
    yield Text.assemble(
        (look.name, "bold"),
        f"  {printable(status.node.role)}  ",
        (condition.value, CONDITION_STYLES[condition]),
        f"  up {duration(status.node.uptime_s)}  memory {percent(share)}",
    )
    for trouble in found:
        yield Text("! ", style="bold red" if trouble.is_grave else "bold yellow") + Text(printable(trouble.sentence))
    for each in status.approvals.waiting:
        yield Text(f"  {printable(waiting_words(each))}")
    for line in clearance_lines(status.clearances):
        yield Text(printable(line), style="dim")
    known = before.status if before is not None else None
    seconds = look.at_s - before.at_s if before is not None else 0.0
    yield from _links(status, known, seconds, width)
    yield from _sessions(status, known, seconds, width)
    yield from _services(status, known, seconds, width)


def _links(status: Status, before: Status | None, seconds: float, width: int) -> Iterator[Text]:
    if not status.links:
        return
    old = {_place(link): link for link in before.links} if before else {}
    rows = []
    for link in status.links:
        was = old.get(_place(link))
        # A link that was made again counts from zero.
        rates = [
            _rate(link.sent_bytes, was.sent_bytes if was else None, seconds),
            _rate(link.received_bytes, was.received_bytes if was else None, seconds),
        ]
        lanes = f"{link.lanes_up}/{link.lanes}"
        notes = list(filter(None, (f"cleared for {link.cleared}" if link.cleared else "", udp_lanes_words(link.udp))))
        rows.append(
            Row(
                [
                    link.peer,
                    link.bearer,
                    link.state,
                    link.health,
                    lanes,
                    milliseconds(link.rtt_ms),
                    percent(link.loss),
                    *rates,
                ],
                [", ".join(notes)] if notes else [],
            )
        )
    columns = ["link", "bearer", "state", "health", ">lanes", ">rtt", ">loss", ">sent", ">received"]
    few = [Row([row.cells[at] for at in (0, 2, 5, 7, 8)], row.notes) for row in rows]
    yield from table_lines(width, "", Layout(columns, rows), Layout([columns[at] for at in (0, 2, 5, 7, 8)], few))


def _sessions(status: Status, before: Status | None, seconds: float, width: int) -> Iterator[Text]:
    if not status.sessions:
        return
    old = {_session(each): each for each in before.sessions} if before else {}
    rows = []
    for session in status.sessions:
        was = old.get(_session(session))
        rates = [
            _rate(session.sent_bytes, was.sent_bytes if was else None, seconds),
            _rate(session.received_bytes, was.received_bytes if was else None, seconds),
        ]
        rows.append(Row([session.peer, session.via or "-", session.state, count(session.streams_active), *rates]))
    columns = ["session", "via", "state", ">streams", ">sent", ">received"]
    few = [Row([row.cells[at] for at in (0, 2, 3, 4, 5)]) for row in rows]
    yield from table_lines(width, "", Layout(columns, rows), Layout([columns[at] for at in (0, 2, 3, 4, 5)], few))


def _services(status: Status, before: Status | None, seconds: float, width: int) -> Iterator[Text]:
    if status.services:
        old = {(each.name, each.direction): each for each in before.services} if before else {}
        rows = []
        for service in status.services:
            was = old.get((service.name, service.direction))
            opened = _per_second(service.opened_total, was.opened_total if was else None, seconds)
            refused = _per_second(service.refused_total, was.refused_total if was else None, seconds)
            direction = service.direction if service.protocol == "tcp" else f"{service.direction} {service.protocol}"
            cells = [service.name, direction, service.state, count(service.streams_active), opened, refused]
            rows.append(Row(cells))
        columns = ["service", "dir", "state", ">open", ">opened/s", ">refused/s"]
        yield from table_lines(width, "", Layout(columns, rows))
    if status.node.role == "edge":
        yield Text(f"{counted(status.streams.active, 'stream')} open", style="dim")


def _place(link: LinkStatus) -> tuple[object, ...]:
    return link.peer, link.bearer, link.direction, link.address, link.nth


def _session(session: SessionStatus) -> tuple[object, ...]:
    return session.peer, session.direction, session.marking


def _rate(now: int, before: int | None, seconds: float) -> str:
    if before is None or seconds <= 0:
        return "-"
    return f"{size(round(max(now - before, 0) / seconds))}/s"


def _per_second(now: int, before: int | None, seconds: float) -> str:
    if before is None or seconds <= 0:
        return "-"
    rate = max(now - before, 0) / seconds
    return f"{rate:,.0f}" if rate >= 10 or not rate else f"{rate:.1f}"
