"""The realm of the demonstration: two relays, three organisations, and every node a process of `pcgrelay run`.

    kent-1 -------- relay-1 -------- relay-2 -------- met-1
                       |
                  probation-1

Each organisation exports one service and imports those of the others, so four of the six paths cross both relays.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pcgrelay.ca import Authority
from pcgrelay.demo.node import Node
from pcgrelay.demo.nodes import HUB, REALM, RELAYS, Nodes, free_ports, link_table


@dataclass(frozen=True)
class Member:
    """An organisation with its edge, its export, and the relay that it is linked to."""

    organisation: str
    node: str
    service: str
    relay: int

    @property
    def title(self) -> str:
        return self.organisation.partition(".")[0]

    @property
    def service_name(self) -> str:
        return f"{self.service}@{self.organisation}"


MEMBERS = (
    Member("kent.police.example", "kent-1", "custody", 0),
    Member("met.police.example", "met-1", "intel", 1),
    Member("probation.justice.example", "probation-1", "cases", 0),
)

# With --keep: the user's own PostgreSQL, if there is one. It is not touched otherwise.
DATABASE = "127.0.0.1:5432"


@dataclass(frozen=True)
class Way:
    """One import: who reaches which service, through which relays, and where applications connect."""

    caller: Member
    owner: Member
    address: tuple[str, int]

    @property
    def relays(self) -> tuple[str, ...]:
        first, last = self.caller.relay, self.owner.relay
        return (RELAYS[first],) if first == last else (RELAYS[first], RELAYS[last])

    @property
    def listen(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"


@dataclass
class Realm(Nodes):
    """The organisations, and the ways between them."""

    ways: list[Way] = field(default_factory=list)
    database_port: int | None = None

    def edge_of(self, member: Member) -> Node:
        return next(node for node in self.nodes if node.name == member.node)

    def prepare(self, targets: dict[str, str], *, with_database: bool) -> None:
        """Write certificates and configurations; targets has the address behind each organisation's service.

        with_database: the first organisation also exports DATABASE, and the second imports it.
        """
        pairs = [(caller, owner) for caller in MEMBERS for owner in MEMBERS if caller is not owner]
        ports = free_ports(len(RELAYS) + len(pairs) + 1)
        relay_addresses = [f"127.0.0.1:{ports.pop()}" for _ in RELAYS]
        self.ways = [Way(caller, owner, ("127.0.0.1", ports.pop())) for caller, owner in pairs]
        authority = Authority.create(self.folder / "ca", REALM)
        for number, name in enumerate(RELAYS):
            authority.issue(HUB, name, self.folder)
            self.write(name, HUB, "relay", _relay_tables(number, relay_addresses))
        for member in MEMBERS:
            authority.issue(member.organisation, member.node, self.folder)
            ways = [way for way in self.ways if way.caller is member]
            tables = _edge_tables(member, relay_addresses[member.relay], targets[member.organisation], ways)
            if with_database and member is MEMBERS[0]:
                # A database that the user has not started must not keep the realm from starting.
                tables += _export("database", DATABASE, [MEMBERS[1]]) + 'probe = "none"\n'
            if with_database and member is MEMBERS[1]:
                self.database_port = ports.pop()
                tables += _import(f"database@{MEMBERS[0].organisation}", f"127.0.0.1:{self.database_port}")
            self.write(member.node, member.organisation, "edge", tables)


def _relay_tables(number: int, addresses: list[str]) -> str:
    tables = f"""
[policy]
members = ["*.police.example", "*.justice.example", "{HUB}"]

[[listen]]
address = "{addresses[number]}"
bearer = "loopback"
"""
    return tables if number == 0 else tables + link_table(addresses[0], 0)


def _edge_tables(member: Member, relay_address: str, target: str, ways: list[Way]) -> str:
    callers = [other for other in MEMBERS if other is not member]
    imports = (_import(way.owner.service_name, way.listen) for way in ways)
    return link_table(relay_address, member.relay) + _export(member.service, target, callers) + "".join(imports)


def _export(service: str, target: str, callers: list[Member]) -> str:
    allowed = ", ".join(f'"{caller.organisation}"' for caller in callers)
    return f"""
[[export]]
service = "{service}"
target = "{target}"
allow = [{allowed}]
marking = "OFFICIAL-SENSITIVE"
"""


def _import(service: str, listen: str) -> str:
    return f"""
[[import]]
service = "{service}"
listen = "{listen}"
"""
