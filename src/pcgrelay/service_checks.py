"""What `check` says of a node's services: who can reach an import, what is not sealed, and which outlets last."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from datetime import date, datetime

from pcgrelay.config import Address, Config, ExportSettings, ImportSettings
from pcgrelay.finding import Finding, bad, doubtful, good
from pcgrelay.model import ServiceName, Transport
from pcgrelay.net.sockets import is_own_address
from pcgrelay.net.unix_sockets import is_open_to_strangers

# So many days before a network's last one it is said, and how.
SUPPORT_DAYS = {
    7: "What goes over it loses its support within a week.",
    30: "What goes over it has to move within the month.",
    90: "It is time to plan what takes its place.",
}


def import_findings(number: int, entry: ImportSettings) -> Iterator[Finding]:
    """Who can reach an import besides applications of this machine."""
    named = (("listen", entry.listen), *((f"also[{place}]", address) for place, address in enumerate(entry.also, 1)))
    for key, address in named:
        where = f"import[{number}].{key}"
        if address.is_wildcard:
            sentence = f"{entry.service} is open, unencrypted, on every address of this machine."
            yield doubtful(where, sentence, "Listen on one address of a network that you trust.")
        elif not address.is_loopback:
            sentence = f"{entry.service} is open, unencrypted, to whoever reaches {address}."
            place = "127.0.0.1 or a unix socket" if entry.transport is Transport.STREAM else "127.0.0.1"
            yield doubtful(where, sentence, f"Listen on {place}, if the applications are here.")
        if address.is_unix and entry.mode & stat.S_IWOTH:
            sentence = f"Every user of this machine may use {entry.service} at {address}."
            yield doubtful(f"import[{number}].mode", sentence, 'Write mode = "0660" and the group of its applications.')
        if address.is_unix and is_open_to_strangers(address.host):
            sentence = f"Other users may write in the folder of {address}, and so put a socket of their own there."
            yield doubtful(where, sentence, "Choose a folder that only this user may change.")


def datagram_findings(number: int, entry: ImportSettings) -> Iterator[Finding]:
    """Whose datagrams an import takes: the sources of datagrams are forged without effort."""
    if entry.transport is Transport.STREAM or entry.prefixes or all(each.is_loopback for each in entry.listeners):
        return
    sentence = (
        f"{entry.service} takes datagrams of everybody, and a source can be forged: its answers can be led to any "
        "machine that this one reaches."
    )
    yield doubtful(f"import[{number}].sources", sentence, 'Name the networks of its applications: sources = ["..."].')


def rate_findings(config: Config) -> Iterator[Finding]:
    """Services whose datagrams go over UDP lanes as fast as applications send them, which RFC 8085 does not want."""
    if not config.node.udp_lanes:
        return
    tables: dict[str, Sequence[ExportSettings | ImportSettings]] = {"export": config.exports, "import": config.imports}
    for table, entries in tables.items():
        for number, entry in enumerate(entries, 1):
            if entry.transport is Transport.DATAGRAM and not entry.limits.rate_bytes:
                sentence = f"Nothing limits how much {entry.service} sends over UDP lanes, where datagrams give no way."
                mend = 'Write what it needs at most in a second: rate = "2MiB".'
                yield doubtful(f"{table}[{number}].rate", sentence, mend)


def outlet_findings(config: Config, now: datetime) -> Iterator[Finding]:
    """Networks whose support ends, outlets without a folder for their shares, addresses that are not here."""
    used = {each.bearer for each in config.listens} | {each.bearer for each in config.links}
    used |= {each.bearer for each in config.directs}
    for number, bearer in enumerate(config.bearers, 1):
        where = f"bearer[{number}].name"
        if bearer.name not in used:
            sentence = f"No [[listen]], [[link]] or [[direct]] is on a bearer {bearer.name}."
            yield doubtful(where, sentence, "Correct the name, or remove this table.")
        elif bearer.supported_until is not None:
            yield _support(f"bearer[{number}].supported_until", bearer.name, bearer.supported_until, now.date())
    if config.directs and config.node.state is None:
        sentence = "There is no folder in which shares of outlets outlast the process, so none can be set."
        yield doubtful("node.state", sentence, f'Add state = "/var/lib/pcgrelay/{config.node.id.name}" to [node].')
    for number, direct in enumerate(config.directs, 1):
        yield from clear_findings(f"direct[{number}].address", direct.service, direct.target)


def source_findings(config: Config) -> Iterator[Finding]:
    """Addresses to connect from that are not here; at boot one may become available a moment later."""
    of_links = [(f"link[{number}]", link.sources) for number, link in enumerate(config.links, 1)]
    of_exports = [(f"export[{number}]", export.sources) for number, export in enumerate(config.exports, 1)]
    of_directs = [(f"direct[{number}]", direct.sources) for number, direct in enumerate(config.directs, 1)]
    for where, sources in (*of_links, *of_exports, *of_directs):
        for source in sources:
            if not is_own_address(source):
                sentence = f"{source} is no address of this machine."
                yield bad(f"{where}.source", sentence, "Write one of its own, or remove it.", passing=True)


def clear_findings(where: str, service: ServiceName, target: Address) -> Iterator[Finding]:
    """What is not sealed on a network: between this node and a target on another machine."""
    if not target.is_loopback and not (target.is_number and is_own_address(target.host)):
        sentence = f"What is said to {target} of {service} leaves this machine unencrypted."
        yield doubtful(where, sentence, "Run a node where the service is, or see to it that this network is trusted.")


def _support(where: str, name: str, until: date, today: date) -> Finding:
    """What there is to say of the last day of a network."""
    days = (until - today).days
    mend = f"Have another outlet that lasts, or move what goes over {name}."
    if days < 0:
        return doubtful(where, f"The network {name} is not supported any more: its last day was {until}.", mend)
    if days > max(SUPPORT_DAYS):
        return good(where, f"The network {name} is supported until {until}.")
    left = "today is its last day" if days == 0 else f"{_days(days)} left"
    urgency = next(words for most, words in SUPPORT_DAYS.items() if days <= most)
    return doubtful(where, f"The network {name} is supported until {until}: {left}. {urgency}", mend)


def _days(count: int) -> str:
    return f"{count} day{'' if count == 1 else 's'}"
