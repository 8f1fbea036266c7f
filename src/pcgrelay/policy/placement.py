"""Each key of the configuration, on purpose: whether it is part of the policy, and how its changes are judged.

The digest and the classifier both read this list, so a key cannot be in one and not in the other. A test walks the
schema and fails for a key that has no place here. Values are as the file has them, so that a rename of a setting
changes no digest.
"""

from __future__ import annotations

import grp
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from pcgrelay.config import Config, DiscoverSettings, LinkSettings, Paper
from pcgrelay.config.datagrams import WAIT_MS, limits_in_force
from pcgrelay.policy import judging
from pcgrelay.policy.judging import Judge, Kind, Value


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table. value: of its settings."""

    name: str
    value: Callable[[Any], Value]
    judge: Judge
    default: Value = None
    is_local: bool = False  # of this machine alone, and so no part of the digest
    digested: Callable[[Any], Value] | None = None  # what of it is, if that is less than the value


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the file."""

    name: str
    entries: Callable[[Config], Sequence[Any]]  # one for a table that occurs once; none if it is not there
    keys: tuple[Key, ...]
    title: Callable[[Any], str] = field(default=lambda entry: "")  # which entry it is, for people
    named_by: tuple[str, ...] = ()  # keys that make the title; another value is another entry
    without: str = ""  # of a table that only refuses: what it means that it is not there
    removal: Kind = Kind.NARROWS  # what it does that an entry is not there any more
    is_ordered: bool = False  # whether the order of the entries means anything


def _named(*names: str) -> tuple[Key, ...]:
    """Keys whose setting has the same name and that make an entry what it is."""
    return tuple(Key(name, _text_of(name), judging.widens) for name in names)


def _text_of(name: str) -> Callable[[Any], str]:
    return lambda entry: str(getattr(entry, name))


def _of(name: str) -> Callable[[Any], Value]:
    return lambda entry: getattr(entry, name)


def _paper(part: str) -> Callable[[Any], Value]:
    nothing = Paper()

    def value(entry: Any) -> Value:
        return getattr(entry.paper or nothing, part) or None

    return value


def _papers(prefix: str = "") -> tuple[Key, ...]:
    """Who allowed it. What others have signed is not rewritten without them, so each but an earlier end widens."""
    return (
        *(Key(prefix + part, _paper(part), judging.widens) for part in ("owner", "reason", "change")),
        Key(f"{prefix}until", _paper("until"), judging.until),
    )


def _texts(name: str) -> Callable[[Any], Value]:
    """A list whose order means something."""
    return lambda entry: [str(each) for each in getattr(entry, name)]


def _sorted(name: str) -> Callable[[Any], Value]:
    return lambda entry: sorted(map(str, getattr(entry, name)))


def _path(name: str) -> Callable[[Any], Value]:
    return lambda entry: None if getattr(entry, name) is None else str(getattr(entry, name))


def _exists(name: str) -> Callable[[Any], Value]:
    return lambda entry: getattr(entry, name) is not None or None


def _group(name: str) -> Key:
    """A group of this machine: people know it by its name, and the digest has its number."""
    return Key(name, lambda entry: _group_name(getattr(entry, name)), judging.opened, digested=_of(name))


def _group_name(number: int | None) -> str | None:
    if number is None:
        return None
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return f"{number}"


def _limit(name: str, part: str) -> Key:
    """A limit: of datagrams the program has one too, which is judged, and is no part of the digest."""
    return Key(
        name,
        lambda entry: getattr(limits_in_force(entry), part),
        judging.limit,
        0,
        digested=lambda entry: getattr(entry.limits, part),
    )


def _protocol() -> Key:
    return Key("protocol", lambda entry: entry.transport.title, judging.widens, "tcp")


def _wait() -> Key:
    # What is not written is no part of the digest, as elsewhere: 200 of datagrams, and 0 of streams.
    return Key("wait_ms", lambda entry: entry.wait_ms or WAIT_MS, judging.neutral, WAIT_MS)


def _rate() -> Key:
    return Key("rate", lambda entry: entry.limits.rate_bytes, judging.limit, 0)


def _probes() -> tuple[Key, ...]:
    return (
        Key("probe", lambda entry: ("expect" if entry.probe_expect else "connect") if entry.probe else "none",
            judging.neutral, "connect"),
        Key("probe_send", lambda entry: entry.probe_send.hex(), judging.neutral, ""),
        Key("probe_expect", lambda entry: entry.probe_expect.hex(), judging.neutral, ""),
        Key("probe_interval_ms", _of("probe_interval_ms"), judging.neutral, 5_000),
    )  # fmt: skip


def _order() -> tuple[Key, ...]:
    return (
        Key("precedence", lambda entry: entry.precedence.title, judging.neutral, "default"),
        Key("weight", _of("weight"), judging.neutral, 100),
    )


def _allow(entry: Any) -> Value:
    found: dict[str, dict[str, str]] = {name: {} for name in entry.allow}
    for terms in entry.terms:
        said = {"reason": terms.reason, "reference": terms.reference}
        until = {} if terms.until is None else {"until": terms.until.isoformat()}
        found[terms.organisation] = until | {key: text for key, text in said.items() if text}
    return found


def _local(name: str, judge: Judge = judging.neutral) -> Key:
    return Key(name, _path(name), judge, is_local=True)


NODE = Table(
    "node",
    lambda config: [config.node],
    (
        Key("name", lambda node: node.id.name, judging.widens),
        Key("organisation", lambda node: node.id.organisation, judging.widens),
        Key("realm", lambda node: node.id.realm, judging.widens),
        Key("role", lambda node: node.role.title, judging.widens),
        _local("workers"),
        _local("lanes"),
        # Over them goes nothing that does not go over the others, sealed as well; to another machine they are nothing.
        _local("udp_lanes"),
        Key("memory", _of("memory_bytes"), judging.neutral, is_local=True),
        _local("admin"),
        _group("admin_group"),
        # Another folder has another policy that was approved last, or none.
        _local("state", judging.widens),
        _local("inventory"),
    ),
)
IDENTITY = Table(
    "identity",
    lambda config: [config.identity],
    (
        _local("certificate"),
        _local("key"),
        _local("trust"),  # its contents are judged
        Key("crl", _path("crl"), judging.present, digested=_exists("crl")),
    ),
)
POLICY = Table(
    "policy",
    lambda config: [config.policy],
    (
        Key("post_quantum", lambda policy: "required" if policy.post_quantum_required else "preferred",
            lambda key, old, new: judging.falls_to(key, old, new, "preferred"), "required"),
        Key("suites", lambda policy: [suite.title for suite in policy.suites], judging.suites,
            ["AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305"]),
        Key("members", _sorted("members"), judging.patterns, []),
        Key("relays", lambda policy: None if policy.relays is None else sorted(policy.relays), judging.patterns),
        Key("clearances", lambda policy: None if policy.clearances is None
            else {name: marking.value for name, marking in policy.clearances}, judging.clearances),
        Key("transit", lambda policy: None if policy.transit is None
            else sorted(f"{one} and {other}" for one, other in policy.transit), judging.transit),
        Key("handshake_deadline_ms", _of("handshake_deadline_ms"), judging.rises, 10_000),
        Key("half_open_total", _of("half_open_total"), judging.rises, 256),
        Key("half_open_per_source", _of("half_open_per_source"), judging.rises, 32),
        Key("rekey_bytes", _of("rekey_bytes"), judging.rises, 64 << 30),
        Key("rekey_frames", _of("rekey_frames"), judging.rises, 4_194_304),
        Key("rekey_s", _of("rekey_s"), judging.rises, 120),
        Key("renewal_interval_s", _of("renewal_interval_s"), judging.rises, 3_600),
        Key("renewal_age_s", _of("renewal_age_s"), judging.rises, 86_400),
        Key("path_wait_ms", _of("path_wait_ms"), judging.neutral, 30_000),
        Key("half_closed_s", _of("half_closed_s"), judging.neutral, 3_600),
        Key("max_streams_per_organisation", _of("organisation_streams"), judging.limit, 0),
        Key("new_streams_per_second", _of("organisation_new_per_second"), judging.limit, 0),
        Key("probe_interval_ms", _of("probe_interval_ms"), judging.neutral, 500),
        *_papers("paper."),
    ),
)  # fmt: skip
BEARER = Table(
    "bearer",
    lambda config: config.bearers,
    (
        *_named("name"),
        # What a network without a table may carry depends on all tables, so `widening` judges this one.
        Key("marking", lambda bearer: bearer.marking.value, judging.marking, "OFFICIAL"),
        Key("supported_until", _of("supported_until"), judging.until),
    ),
    title=_of("name"),
    named_by=("name",),
)
LISTEN = Table(
    "listen",
    lambda config: config.listens,
    (
        Key("address", _text_of("address"), judging.neutral, is_local=True),
        *_named("bearer"),
        *_order(),
        Key("udp_port", lambda listen: listen.udp_port or None, judging.neutral, is_local=True),
        *_papers(),
    ),
    title=lambda listen: f"{listen.address} on {listen.bearer}",
    named_by=("bearer",),
)


def _of_named_link(value: Callable[[LinkSettings], Value]) -> Callable[[Any], Value]:
    return lambda link: value(link) if isinstance(link, LinkSettings) else None


def _of_discovery(value: Callable[[DiscoverSettings], Value], otherwise: Value = None) -> Callable[[Any], Value]:
    return lambda link: value(link) if isinstance(link, DiscoverSettings) else otherwise


LINK = Table(
    "link",
    lambda config: config.links,
    (
        Key("peer", _of_named_link(lambda link: link.peer.dotted), judging.widens),
        Key("address", _of_named_link(lambda link: str(link.address)), judging.widens),
        Key("discover", lambda link: link.discover or None, judging.widens),
        # To more relays nothing is allowed that is not to fewer.
        Key("links", _of_discovery(lambda link: link.links, 2), judging.neutral, 2),
        Key("peers", _of_discovery(lambda link: sorted(peer.dotted for peer in link.peers) or None), judging.patterns),
        Key("bearer", _of("bearer"), judging.widens, "internet"),
        *_order(),
        Key("source", _texts("sources"), judging.widens, []),
        *_papers(),
    ),
    title=lambda link: link.title,
    named_by=("peer", "address", "discover"),
)
EXPORT = Table(
    "export",
    lambda config: config.exports,
    (
        Key("service", lambda export: export.service.service, judging.widens),
        _protocol(),
        Key("target", _text_of("target"), judging.widens),
        Key("allow", _allow, judging.allowed, {}),
        Key("source", _texts("sources"), judging.widens, []),
        # A target that was told who calls may let in whoever it is not told of.
        Key("proxy", lambda export: "v2" if export.proxy else None, judging.widens),
        # A lower one lets it go over more networks, a higher one lets it carry more.
        Key("marking", lambda export: export.marking.value, judging.widens, "OFFICIAL"),
        *_order(),
        Key("priority", lambda export: export.priority.title, judging.priority, "normal"),
        Key("connect_timeout_ms", _of("connect_timeout_ms"), judging.neutral, 10_000),
        _limit("max_streams", "streams"),
        _limit("max_streams_per_organisation", "per_organisation"),
        _limit("new_streams_per_second", "new_per_second"),
        _limit("idle_timeout_s", "idle_s"),
        _limit("max_duration_s", "duration_s"),
        _wait(),
        _rate(),
        *_probes(),
        Key("also", _sorted("also"), judging.members, []),
        *_papers(),
    ),
    title=lambda export: export.service.service,
    named_by=("service",),
)
IMPORT = Table(
    "import",
    lambda config: config.imports,
    (
        *_named("service"),
        _protocol(),
        Key("listen", _text_of("listen"), judging.widens),
        Key("sources", lambda entry: sorted(map(str, entry.prefixes)) or None, judging.networks),
        Key("priority", lambda entry: None if entry.priority is None else entry.priority.title, judging.priority),
        _limit("max_streams", "streams"),
        _limit("max_streams_per_source", "per_source"),
        _limit("new_streams_per_second", "new_per_second"),
        _limit("idle_timeout_s", "idle_s"),
        _limit("max_duration_s", "duration_s"),
        _wait(),
        _rate(),
        Key("mode", lambda entry: f"{entry.mode:04o}", judging.mode, "0600"),
        _group("group"),
        Key("outlet", _of("outlet"), judging.widens, "gateway"),
        Key("also", _sorted("also"), judging.members, []),
        # Without it bytes may go to an outlet that then fails.
        Key("careful", _of("careful"), lambda key, old, new: judging.falls_to(key, old, new, False), True),
        Key("exercise", lambda entry: float(entry.exercise), judging.rises, 0.0),
        Key("srv", _of("srv"), judging.neutral, ""),
        *_papers(),
    ),
    title=_text_of("service"),
    named_by=("service",),
)
DIRECT = Table(
    "direct",
    lambda config: config.directs,
    (
        *_named("service", "name"),
        Key("address", _text_of("target"), judging.widens),
        Key("bearer", _of("bearer"), judging.widens, "internet"),
        Key("source", _texts("sources"), judging.widens, []),
        Key("connect_timeout_ms", _of("connect_timeout_ms"), judging.neutral, 3_000),
        *_probes(),
        *_papers(),
    ),
    title=lambda direct: f"{direct.name} of {direct.service}",
    named_by=("service", "name"),
    is_ordered=True,
)


def _drill_subject(kind: str) -> Callable[[Any], Value]:
    return lambda drill: drill.subject if drill.kind == kind else None


DRILL = Table(
    "drill",
    lambda config: config.drills,
    (
        *_named("kind"),
        Key("service", _drill_subject("backup"), judging.widens),
        Key("relay", _drill_subject("relay-loss"), judging.widens),
        Key("bearer", _drill_subject("bearer-loss"), judging.widens),
        # A drill takes away what works: when, how long and of how much is as much a decision as that it is held.
        Key("every", _of("every_s"), judging.widens),
        Key("window", lambda drill: [[*map(str, each.days), str(each.start), str(each.end)]
                                     for each in drill.calendar.windows], judging.widens, []),
        Key("zone", lambda drill: drill.calendar.zone, judging.widens, "UTC"),
        Key("auto", _of("auto"), judging.rises, False),
        Key("for", _of("lasts_s"), judging.rises),
        Key("share", lambda drill: float(drill.share), judging.rises, 100.0),
    ),
    title=lambda drill: f"{drill.kind} {drill.subject}".rstrip(),
    named_by=("kind", "service", "relay", "bearer"),
)  # fmt: skip
CALLER = Table(
    "caller",
    lambda config: config.callers,
    # Limits of an organisation count those who come from its networks: with fewer, it may have more.
    (*_named("organisation"), Key("networks", _sorted("networks"), judging.widens)),
    title=_of("organisation"),
    removal=Kind.WIDENS,
    named_by=("organisation",),
)
LOG = Table(
    "log",
    lambda config: [config.log],
    tuple(Key(name, _of(name), judging.neutral, is_local=True) for name in ("level", "access", "format")),
)


def _reader(name: str) -> Table:
    return Table(
        name,
        lambda config: [getattr(config, name)],
        (
            Key("listen", _path("listen"), judging.opened),
            Key("allow", _sorted("allow"), judging.members, []),
        ),
    )


APPROVALS = Table(
    "approvals",
    lambda config: [] if config.approvals is None else [config.approvals],
    (
        _local("signers"),  # its contents are judged
        Key("needs", _of("needs"), judging.falls, 2),
        Key("roles", lambda approvals: {role: list(persons) for role, persons in approvals.roles}, judging.widens, {}),
        Key("revoked", _path("revoked"), judging.present, digested=_exists("revoked")),
        Key("holds", _of("holds"), lambda key, old, new: judging.falls_to(key, old, new, False), False),
        Key("most_days", _of("most_days"), judging.rises, 400),
    ),
    without="nobody has to approve what follows",
)
AUDIT = Table(
    "audit",
    lambda config: [] if config.audit is None else [config.audit],
    (
        Key("keep_days", _of("keep_days"), judging.falls, 400),
        Key("streams", _of("kept_streams"), judging.record, "all"),
    ),
    without="nothing of what follows is kept for an auditor",
)
FLEET = Table(
    "fleet",
    lambda config: [] if config.fleet is None else [config.fleet],
    (
        # Whoever has the store can keep changes from this node, and sees where it is and how busy.
        Key("store", _of("store"), judging.widens),
        Key("endpoints", _sorted("endpoints"), judging.members, []),
        _local("certificate"),
        _local("key"),
        _local("trust"),
        _local("user"),
        _local("password"),
    ),
)
RULE_TABLES = (LISTEN, LINK, EXPORT, IMPORT, DIRECT)  # whose entries have owner, reason, change and until
# What tests may use: the node does not.
ASSURE = Table("assure", lambda config: [config.assure], (_local("probe"), _local("revoked")))
# What the realm has signed narrows what the file allows: without the file less is refused until a neighbour brings it.
REALM = Table(
    "realm",
    lambda config: [config.realm],
    (Key("bundle", _path("bundle"), judging.present, digested=_exists("bundle")),),
)
TABLES = (
    NODE, IDENTITY, POLICY, BEARER, LISTEN, LINK, EXPORT, IMPORT, DIRECT, DRILL, CALLER, LOG, AUDIT, ASSURE, REALM,
    _reader("metrics"), _reader("page"), APPROVALS, FLEET,
)  # fmt: skip


def as_written(value: Value) -> Value:
    """Return a value as JSON has it: dates as text."""
    return value.isoformat() if isinstance(value, date) else value
