"""Whether a node serves what it is configured for, and what an operator should look into (pure).

A node is **ready** if nothing needs attention. It is **degraded** if something does, but each import and export has a
healthy route, and **failing** if one has none. A node that is **draining** accepts nothing new because an operator
wants so: no traffic should be directed to it, and that is not a failure, whatever else it lacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from pcgrelay.admin.bundles import MEND, bundle_sentences
from pcgrelay.admin.clocks import clock_sentences
from pcgrelay.admin.discovery import discovery_sentences
from pcgrelay.admin.rules import rule_sentences
from pcgrelay.admin.status import ApprovalsStatus, LinkStatus, ServiceStatus, Status
from pcgrelay.admin.validity import validity_sentences
from pcgrelay.model import NameProblem, NodeId

MEMORY_SHARE_MOST = 0.9
AWAY = "away"  # state of a link: a neighbour that dials this node is missing


class Condition(Enum):
    """The condition of a node, in one word."""

    READY = "ready"
    DEGRADED = "degraded"
    FAILING = "failing"
    DRAINING = "draining"

    @property
    def takes_new_work(self) -> bool:
        """Whether new work should be directed to the node."""
        return self in (Condition.READY, Condition.DEGRADED)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that an operator should look into."""

    sentence: str
    is_grave: bool = False  # something that the node is configured for cannot be served
    command: str = ""  # what mends it, or says more


def condition_of(status: Status, found: Iterable[Trouble]) -> Condition:
    """Return the condition of a node with these troubles."""
    if status.node.draining:
        return Condition.DRAINING
    kinds = {trouble.is_grave for trouble in found}
    return Condition.FAILING if True in kinds else Condition.DEGRADED if kinds else Condition.READY


def troubles(status: Status) -> list[Trouble]:
    """Return everything that needs attention, first what keeps the node from serving."""
    return sorted(_troubles(status), key=lambda trouble: not trouble.is_grave)


def _troubles(status: Status) -> Iterator[Trouble]:
    if not status.configuration.successful:
        yield Trouble(f"The last reload was refused: {status.configuration.reason}", command="pcgrelay check -c FILE")
    yield from _of_approvals(status.approvals)
    if not status.tables.successful:
        yield Trouble(
            f"The data plane does not take all that is configured ({status.tables.reason}); it serves by what it took "
            "last, less what is no longer allowed.",
            is_grave=True,
            command="pcgrelay check -c FILE",
        )
    for sentence, is_grave in validity_sentences(status.credentials):
        yield Trouble(sentence, is_grave, "pcgrelay ca renew, or pcgrelay ca crl, then pcgrelay reload -c FILE")
    for sentence in bundle_sentences(status.bundle):
        yield Trouble(sentence, command=MEND)
    for sentence in rule_sentences(status.rules):
        yield Trouble(sentence, command="pcgrelay check -c FILE")
    for sentence in clock_sentences(status.clocks):
        yield Trouble(sentence, command="timedatectl status")
    if status.log.failing:
        yield Trouble("The log cannot be written; check its disk, or its reader.", command="df -h")
    yield from _of_audit(status)
    known = [link for link in status.links if link.state != AWAY]
    if not known and not (_is_served_without_links(status) and _wants_no_links(status)):
        yield Trouble(
            "No neighbour is linked.", is_grave=not _is_served_without_links(status), command="pcgrelay doctor -c FILE"
        )
    words = [_of_link(link) for link in known]
    for link, sentence in zip(known, words, strict=True):
        if sentence:
            # If another link is healthy, the routes of a service show whether it suffers.
            is_grave = all(words) and not _is_served_without_links(status)
            command = f"pcgrelay explain {link.peer}" if link.peer else "pcgrelay doctor -c FILE"
            yield Trouble(sentence, is_grave, command)
    for sentence in discovery_sentences(status.discoveries):
        yield Trouble(sentence, command="pcgrelay doctor -c FILE")
    for service in status.services:
        if sentence := _of_service(service):
            yield Trouble(sentence, True, f"pcgrelay explain {service.name}")
    yield from _of_others(status)
    yield from _of_outlets(status)
    if status.fleet is not None and status.fleet.sentence:
        yield Trouble(status.fleet.sentence, command="pcgrelay fleet -c FILE")
    for cutover in status.cutovers:
        for sentence in cutover.troubles:
            yield Trouble(sentence, cutover.grave, f"pcgrelay cutover status {cutover.service}")
    for due in status.drills.dues:
        if due.overdue:
            yield Trouble(due.sentence, command=f"pcgrelay drill {due.kind} {due.subject}".rstrip())
    if status.drills.reason:
        yield Trouble(f"The record of a drill is not written ({status.drills.reason})")
    memory = status.memory
    if memory.budget_bytes and memory.used_bytes > MEMORY_SHARE_MOST * memory.budget_bytes:
        yield Trouble("More than nine tenths of the memory budget are in use.", command="pcgrelay top")


def _of_approvals(approvals: ApprovalsStatus) -> Iterator[Trouble]:
    if approvals.unapproved:
        sentence = f"{approvals.unapproved.rstrip('.')}. What was approved last is in force."
        yield Trouble(sentence, is_grave=True, command="pcgrelay plan -c FILE")
    if approvals.older:
        yield Trouble(
            "The policy that was approved last could not be read, and the one before it is in force; reload the file.",
            is_grave=True,
            command="pcgrelay reload -c FILE",
        )
    if approvals.unwritten:
        yield Trouble(f"The policy that is in force is not kept, and a restart would undo it ({approvals.unwritten})")


def _is_served_without_links(status: Status) -> bool:
    """Return whether all services are imports that applications reach over other outlets than the gateway."""
    services = status.services
    return bool(services) and all(service.outlets and service.state == "ready" for service in services)


def _wants_no_links(status: Status) -> bool:
    """Return whether no link is configured, and no new stream is for the gateway: a plain proxy misses no neighbour."""
    return not (status.links or status.discoveries) and not any(service.outlets[0].share for service in status.services)


def _of_others(status: Status) -> Iterator[Trouble]:
    """Yield peers that are away and identities that are used twice; services have sentences of their own."""
    for link in status.links:
        if link.state == AWAY:
            sentence = f"{link.peer} is away since {link.away_since}; it was linked over {link.bearer}."
            yield Trouble(sentence, command=f"pcgrelay explain {link.peer}")
    for service in status.services:
        for route in service.routes:
            if route.away_since:
                sentence = f"{route.exporter} is away since {route.away_since}; it exports {service.name}."
                yield Trouble(sentence, command=f"pcgrelay explain {service.name}")
    for peer in status.twins:
        whose = "this node's identity" if _is_of(peer, status.node.identity) else f"the identity of {peer}"
        yield Trouble(f"Two processes bear {whose}; stop the one that should not run.")


def _of_audit(status: Status) -> Iterator[Trouble]:
    """Yield what is wrong with the audit log. Traffic goes on, whatever it is."""
    audit = status.audit
    if audit is None:
        return
    if audit.refusing:
        sentence = f"Nothing of the audit log is signed any more: {audit.refusing}"
        yield Trouble(sentence, is_grave=True, command="pcgrelay audit restart --reason WHY -c FILE")
    if audit.failing:
        sentence = f"The audit log cannot be written ({audit.failing}); {audit.lost_total:,} records are lost so far."
        yield Trouble(sentence, command="df -h")
    for origin in audit.conflicts:
        sentence = f"{origin}: this audit log was proved to have two histories; look at what changed it."
        yield Trouble(sentence, is_grave=True, command="pcgrelay audit verify FOLDER")
    if audit.stale:
        yield Trouble("No neighbour has witnessed the audit log for a day.", command="pcgrelay doctor -c FILE")


def _is_of(dotted: str, uri: str) -> bool:
    """Whether NAME.ORGANISATION and a SPIFFE identity name one node."""
    with suppress(NameProblem):
        return NodeId.from_uri(uri).dotted == dotted
    return False


def _of_outlets(status: Status) -> Iterator[Trouble]:
    """What is led on to another outlet, and so is no failure of the service; and what is known of shares."""
    if status.state.lost:
        sentence = "The shares of outlets that were set are lost: new streams go by the configuration."
        yield Trouble(f"{sentence} Set them again with pcgrelay outlet.", is_grave=True)
    if status.state.older:
        yield Trouble("The newest file of shares could not be read, and the one before it holds; set them again.")
    if status.state.reason:
        yield Trouble(f"The shares that hold are not written, and a restart would undo them ({status.state.reason})")
    for words in status.state.retired:
        yield Trouble(f"The configuration names an outlet that takes no streams: {words}.")
    if status.state.days_reason:
        yield Trouble(f"Day records are not written, and a restart would lose them ({status.state.days_reason})")
    for service in status.services:
        for outlet in service.outlets:
            if outlet.away_since:
                yield Trouble(
                    f"The outlet {outlet.name} of {service.name} fails since {outlet.away_since}: {outlet.reason}.",
                    command=f"pcgrelay outlet {service.name}",
                )
            elif not outlet.supported and outlet.share:
                until = outlet.supported_until
                yield Trouble(
                    f"New streams of {service.name} go over {outlet.name}, which was supported until {until}.",
                    command=f"pcgrelay outlet {service.name}",
                )


def _of_link(link: LinkStatus) -> str:
    """Return what is wrong with a link, or an empty string."""
    peer = link.peer or f"a relay at {link.address}"
    if link.state not in ("up", "draining"):
        reason = f" ({link.reason})" if link.reason else ""
        return f"The link to {peer} over {link.bearer} is {link.state}{reason}."
    if link.lanes_up < link.lanes:
        return f"The link to {peer} over {link.bearer} has {link.lanes_up} of {link.lanes} lanes."
    if link.health == "failing":
        late = f"{100 * link.loss:.0f} % of its probes are late or lost"
        return f"The link to {peer} over {link.bearer} is failing: {late}."
    return ""


def _of_service(service: ServiceStatus) -> str:
    """Return what is wrong with a service, or an empty string."""
    if service.state not in ("ready", "draining"):
        reason = f" ({service.reason})" if service.reason else ""
        return f"The {service.direction} of {service.name} is {service.state}{reason}."
    if service.health == "failing" and service.state == "ready":
        return f"The {service.direction} of {service.name} is failing."
    taken = [route for route in service.routes if route.state in ("ready", "settling")]
    if service.state == "ready" and taken and not any(route.well for route in taken) and not service.outlets:
        return f"The {service.direction} of {service.name} has no way that is well."
    return ""
