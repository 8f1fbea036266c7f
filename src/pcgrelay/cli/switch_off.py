"""Whether a network can be switched off: the answers of all nodes and the inventory, joined (pure).

The certificate says what was proven and by whom. What is missing is said line by line, so that nobody has to guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from pcgrelay.admin.quiet_answers import QuietAnswer, QuietOutlet, QuietStatement
from pcgrelay.config.inventory import Inventory
from pcgrelay.output import count

Found = tuple[str, QuietOutlet]  # an outlet, and the node that it is of


@dataclass(frozen=True)
class SwitchOff:
    """What is known of one network."""

    bearer: str
    inventory: Inventory
    nodes: tuple[str, ...]
    today: date | None
    total: int  # services that must move
    retired: int  # of them
    last: QuietOutlet | None  # the outlet that was used last
    since: date | None  # quiet from this day on
    days: int
    coverage: float | None  # of these days, 0 to 1
    statements: tuple[QuietStatement, ...]
    streams: int
    strays: tuple[str, ...]  # who still uses an old address, and is served by an edge
    missing: tuple[str, ...]

    @property
    def is_possible(self) -> bool:
        return not self.missing


def judge(bearer: str, inventory: Inventory, answers: Sequence[tuple[str, QuietAnswer]]) -> SwitchOff:
    """Return whether a network can be switched off, and what is missing. answers: by the name of the node."""
    outlets = [(name, each) for name, answer in answers for each in answer.outlets if each.bearer == bearer]
    services = inventory.of_bearer(bearer)
    used = [each for _, each in outlets if each.used]
    days = [date.fromisoformat(each.since) for _, each in outlets if each.since]
    since = max(days) if days and len(days) == len(outlets) else None
    today = max((date.fromisoformat(answer.today) for _, answer in answers if answer.today), default=None)
    looked = [(each.days, each.coverage) for _, each in outlets if each.coverage is not None]
    weight = sum(number for number, _ in looked)
    statements = tuple(
        dict.fromkeys(said for _, answer in answers for said in answer.statements if said.bearer == bearer)
    )
    words = {str(each.name): list(_missing_of(str(each.name), outlets, answers)) for each in services}
    missing = [line for lines in words.values() for line in lines]
    missing += _of_others(bearer, inventory, outlets)
    missing += [
        f"links of {name} go over {bearer}: move or remove them" for name, each in answers if bearer in each.linked
    ]
    missing += _of_statements(statements, since)
    return SwitchOff(
        bearer=bearer,
        inventory=inventory,
        nodes=tuple(name for name, _ in answers),
        today=today,
        total=len(services),
        retired=sum(not lines for lines in words.values()),
        last=max(used, key=lambda each: each.used, default=None),
        since=since,
        days=(today - since).days if since is not None and today is not None else 0,
        coverage=sum(number * share for number, share in looked) / weight if weight else None,
        statements=statements,
        streams=sum(each.streams for _, each in outlets),
        strays=tuple(_strays({str(each.name) for each in services}, since, answers)),
        missing=tuple(missing),
    )


def _strays(services: set[str], since: date | None, answers: Sequence[tuple[str, QuietAnswer]]) -> Iterator[str]:
    """Yield who came to an old address that an edge has now. That goes on working without the network."""
    for name, answer in answers:
        for each in answer.outlets:
            is_late = bool(each.used) and (since is None or date.fromisoformat(each.used[:10]) >= since)
            if each.listener and each.service in services and (is_late or each.streams):
                yield f"{each.service} at {each.listener} of {name}, last on {each.used[:10]}"


def _missing_of(service: str, outlets: Sequence[Found], answers: Sequence[tuple[str, QuietAnswer]]) -> Iterator[str]:
    """Yield what keeps a service of the inventory from being done with, at each node."""
    own = [(name, each) for name, each in outlets if each.service == service]
    if not own:
        importing = [name for name, answer in answers if service in answer.services]
        if importing:
            yield f"{service}: not begun: {', '.join(importing)} has no outlet of it over this network"
        else:
            yield f"{service}: not begun: none of the nodes asked imports it"
    for name, each in own:
        if words := _why_not(each):
            yield f"{service}: {words} ({name})"


def _why_not(outlet: QuietOutlet) -> str:
    if outlet.retired:
        since = f"{outlet.retired[:10]} {outlet.retired[11:19]} UTC"
        if outlet.used > outlet.retired:
            return f"{outlet.outlet} was used after it was retired on {since}"
        return f"{count(outlet.streams)} streams are open on {outlet.outlet}" if outlet.streams else ""
    if not outlet.phase:
        return f"{outlet.outlet} is in use, and no cut-over moves the service away from it"
    if outlet.phase in ("arrived", "quiet"):
        why = f": {outlet.why}" if outlet.why else ""
        if outlet.days < outlet.quiet_of:
            return f"quiet for {outlet.days} of {outlet.quiet_of} days{why}"
        return f"quiet for {outlet.days} days; retire it: pcgrelay retire {outlet.outlet}/{outlet.service}"
    return f"{outlet.phase}: its streams have not left {outlet.outlet}"


def _of_others(bearer: str, inventory: Inventory, outlets: Sequence[Found]) -> list[str]:
    listed = {str(each.name) for each in inventory.of_bearer(bearer)}
    return [
        f"{each.service}: uses {bearer}, and {inventory.path} does not say that it moves ({name})"
        for name, each in outlets
        if each.service not in listed and not each.retired
    ]


def _of_statements(statements: Sequence[QuietStatement], since: date | None) -> list[str]:
    return [
        f"{each.observer} saw {count(each.transferred_bytes)} bytes from {each.since} to {each.until}"
        for each in statements
        if each.transferred_bytes and (since is None or date.fromisoformat(each.until) >= since)
    ]


def lines_of(found: SwitchOff) -> Iterator[str]:
    """Yield the certificate, or what it still lacks."""
    bearer = found.bearer
    yield f"{bearer} can be switched off." if found.is_possible else f"{bearer} cannot be switched off yet."
    for title, value, note in _rows(found):
        yield f"  {title:<16}{value:<28}{note}".rstrip()
    if found.missing:
        yield ""
        yield "Missing:"
        yield from (f"  {line}" for line in found.missing)


def _rows(found: SwitchOff) -> Iterator[tuple[str, str, str]]:
    if found.today is not None:
        yield "as of", f"{found.today}", ""
    inventory = f"{found.inventory.path}, SHA-256 {found.inventory.sha256}"
    yield "services", f"{found.retired} of {found.total} retired", inventory
    last = found.last
    if last is None:
        yield "last byte", "none is recorded", ""
    else:
        number = last.used_connections
        connections = f"{count(number)} connection{'' if number == 1 else 's'} on that day"
        yield "last byte", f"{last.used[:10]} {last.used[11:19]} UTC", f"{last.service}, {connections}"
    if found.since is None:
        yield "quiet since", "not quiet", ""
    else:
        coverage = "" if found.coverage is None else f", looked at {100 * found.coverage:.2f} % of the time"
        yield "quiet since", f"{found.since}", f"{count(found.days)} days{coverage} by {', '.join(found.nodes)}"
    seen = "; ".join(
        f"{each.observer}: {count(each.transferred_bytes)} bytes, {each.since} to {each.until}"
        for each in found.statements
    )
    yield "statements", f"{len(found.statements)}", seen
    yield "live streams", count(found.streams), ""
    if found.strays:
        yield "old addresses", f"{len(found.strays)} still in use", "; ".join(found.strays)
