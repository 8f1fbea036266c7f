"""The first configuration file of a node, with a comment at whatever a newcomer may have to change (pure)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FirstNode:
    """What a person has said of a node; nothing is checked yet."""

    role: str
    name: str
    organisation: str
    realm: str
    tls: str  # folder of the identity's files, as the configuration is to name it
    is_of_system: bool  # the file is below /etc/pcgrelay, so a unit runs it
    links: tuple[tuple[str, str], ...] = ()  # neighbour, address
    listens: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    exports: tuple[tuple[str, str], ...] = ()  # service, target
    allow: tuple[str, ...] = ()  # of each export
    imports: tuple[tuple[str, str], ...] = ()  # service, address


def first_file(node: FirstNode) -> str:
    """Return the text of the file. It is valid if what was said is, which `config.parse` decides."""
    return "\n".join(_lines(node)) + "\n"


def _lines(node: FirstNode) -> Iterator[str]:
    yield f"# The {node.role} {node.name} of {node.organisation}. All keys: man pcgrelay.toml, docs/configuration.md."
    then = f"systemctl reload pcgrelay@{node.name}" if node.is_of_system else "pcgrelay reload -c FILE"
    yield f"# After a change: pcgrelay check -c FILE, then {then}."
    yield ""
    yield "[node]"
    yield _key("name", node.name, "with the organisation its name in the realm; the certificate has it")
    yield _key("organisation", node.organisation)
    yield _key("realm", node.realm)
    yield _key("role", node.role)
    if node.is_of_system:
        yield _key("admin", f"/run/pcgrelay/{node.name}/admin.sock", "where status, reload and the others ask")
        yield _key("state", f"/var/lib/pcgrelay/{node.name}", "what outlasts a restart")
    else:
        yield _key("admin", f"{node.name}.sock", "where status, reload and the others ask; relative to this file")
        yield f"# state = {_text(f'{node.name}.state')}  # a folder for what is to outlast a restart"
    yield ""
    yield "[identity]  # relative to this file; `pcgrelay ca request` makes the key, the CA sends the others"
    for key, name in (("certificate", f"{node.name}.pem"), ("key", f"{node.name}.key")):
        yield _key(key, f"{node.tls}/{name}")
    yield _key("trust", f"{node.tls}/realm-ca.pem")
    yield _key("crl", f"{node.tls}/realm.crl")
    yield ""
    yield "[policy]"
    yield f"members = {json.dumps(list(node.members))}  # organisations whose nodes may link to this one"
    yield from _neighbours(node)
    yield from _services(node)
    yield ""
    yield "[log]"
    yield _key("format", "json", 'or "text", for people')
    yield ""
    yield '# [metrics]\n# listen = "127.0.0.1:9740"  # for Prometheus and load balancers'


def _neighbours(node: FirstNode) -> Iterator[str]:
    for address in node.listens:
        yield ""
        yield "[[listen]]"
        yield _key("address", address, "links of neighbours arrive here; open it in the firewall")
    for peer, address in node.links:
        yield ""
        yield "[[link]]"
        yield _key("peer", peer, "name.organisation; its certificate must say the same")
        yield _key("address", address)
        yield '# bearer = "psn"  # the network that it goes over, if there are several'


def _services(node: FirstNode) -> Iterator[str]:
    for service, target in node.exports:
        yield ""
        yield "[[export]]"
        yield _key("service", service, f"others call it {service}@{node.organisation}")
        yield _key("target", target, "the server; the connection to it is in the clear")
        yield f"allow = {json.dumps(list(node.allow))}  # organisations, by their exact names; nobody else"
    for service, address in node.imports:
        yield ""
        yield "[[import]]"
        yield _key("service", service)
        yield _key("listen", address, "applications connect here, in the clear")


def _key(name: str, value: str, comment: str = "") -> str:
    line = f"{name} = {_text(value)}"
    return f"{line}  # {comment}" if comment else line


def _text(value: str) -> str:
    """Return a TOML string; JSON's are such, if no character beyond 16 bits is escaped."""
    return json.dumps(value, ensure_ascii=False)
