"""Neighbours that the node dials: their names, the way there, the handshake, and what it shows."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable

from pcgrelay.clock import Clock
from pcgrelay.config import DiscoverSettings, LinkSettings, PolicySettings
from pcgrelay.doctor.findings import broken, doubtful, good
from pcgrelay.finding import Finding
from pcgrelay.identity.dates import Phase, Span
from pcgrelay.identity.exporter import wipe_secret
from pcgrelay.identity.handshake import HandshakeResult
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.identity.skew import SKEW_MOST_S, Skew
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.link.control import handshake_over
from pcgrelay.link.dialled import FoundRelay
from pcgrelay.link.relay_choice import own_order
from pcgrelay.model import NodeId
from pcgrelay.net.resolver import NameAbsentError, Outcome, Use
from pcgrelay.net.sockets import Where, connect, resolve
from pcgrelay.net.srv import ask_srv
from pcgrelay.output import milliseconds
from pcgrelay.policy.rules import link_refusal
from pcgrelay.services.target_causes import failure_of

CONNECT_MS = 5_000
HANDSHAKE_MS = 8_000
# Less than IPv6 guarantees (RFC 8200, 5) is a tunnel that was set up wrongly.
MTU_LEAST = 1_280
RTT_MOST_MS = 500.0
# linux/tcp.h: fields of struct tcp_info, by their places.
_TCP_INFO = struct.Struct("=60xI4xI")  # pmtu, rtt (microseconds)
_CURES = {
    "unexpected_identity": "Correct peer or address of this [[link]].",
    "relay_not_admitted": "Name it in peers of this [[link]], or its organisation in [policy] relays; or mend DNS.",
    "own_identity": "Correct the address: it leads back to this node.",
    "unknown_issuer": "Give both nodes the CA of the realm as trust.",
    "expired": "That node needs a new certificate; or one of the clocks is wrong.",
    "not_yet_valid": "Check both clocks.",
    "revoked": "Ask its operator: its certificate is on the list of revoked ones.",
    "no_crl": "Fetch the realm's list into crl.",
    "crl_not_current": "Fetch the realm's present list into crl (pcgrelay ca crl renews it).",
    "group": "Update that node, or its OpenSSL: it lacks the post-quantum key exchange.",
    "suite": "Agree on [policy] suites with its operator.",
    "peer_refused": "Its log says why: it may not name this organisation in members, or refuse this certificate.",
    "tls_version": "Check that a pcgrelay node listens at that address, and nothing else.",
    "tls_error": "Check that a pcgrelay node listens at that address, and what its log says.",
    "closed": "Check that a pcgrelay node listens at that address, and what its log says.",
    "deadline": "Check that a pcgrelay node listens at that address, and nothing on the way holds TLS up.",
}
_Judge = Callable[[NodeId, PolicySettings], str | None]
_ELSE = "See this reason in docs/operations.md, and the log of that node."


async def examine_link(number: int, settings: LinkSettings, local: LocalIdentity | None, clock: Clock) -> list[Finding]:
    """Examine one [[link]], the first being number 1. local: None if this node's own files cannot be used."""

    def judge(peer: NodeId, policy: PolicySettings) -> str | None:
        return link_refusal(policy, peer, settings.peer)

    return await _examine(f"link[{number}] ({settings.peer.dotted})", settings, judge, local, clock)


async def examine_discovery(
    number: int, settings: DiscoverSettings, local: LocalIdentity | None, clock: Clock
) -> list[Finding]:
    """Examine one [[link]] with discover: what DNS says, and as many of its relays as are to be linked."""
    where = f"link[{number}] ({settings.discover})"
    answer = await ask_srv(settings.discover)
    if answer.outcome is Outcome.ABSENT:
        sentence = f"DNS has no SRV records at {settings.discover}."
        return [broken(where, sentence, "Correct discover, or have the records made.")]
    if answer.outcome is Outcome.UNKNOWN:
        sentence = f"DNS does not answer for {settings.discover} with records that can be used."
        return [broken(where, sentence, "Check /etc/resolv.conf, the way to the name service, and the records.")]
    count = "one relay" if len(answer.records) == 1 else f"{len(answer.records)} relays"
    found = [good(where, f"DNS leads to {count}; {settings.links} links are wanted.")]
    if len(answer.records) < settings.links:
        found = [doubtful(where, f"DNS leads to {count} only; {settings.links} links are wanted.", "Add records.")]

    def judge(peer: NodeId, policy: PolicySettings) -> str | None:
        return None if settings.admits(peer, policy) else "relay_not_admitted"

    node = local.config.node.id.uri if local is not None else ""
    nearest = own_order(answer.records, node)[: settings.links]
    relays = (
        _examine(f"{where} {record.address}", FoundRelay(settings, record.address), judge, local, clock)
        for record in nearest
    )
    return [*found, *(finding for findings in await asyncio.gather(*relays) for finding in findings)]


async def _examine(
    where: str, settings: LinkSettings | FoundRelay, judge: _Judge, local: LocalIdentity | None, clock: Clock
) -> list[Finding]:
    try:
        found = await resolve(settings.address, CONNECT_MS, Use.LINK)
    except NameAbsentError:
        return [broken(where, f"No such name: {settings.address.host}.", "Correct address, or the name service.")]
    except OSError:
        sentence = f"The name service does not answer for {settings.address.host}."
        cure = "Is address spelt right? Else check /etc/resolv.conf and the way to the name service."
        return [broken(where, sentence, cure)]
    try:
        last: list[Where] = list(found)
        sock = await connect(settings.address, CONNECT_MS, last, settings.sources)
    except OSError as error:
        failure = failure_of(error, str(settings.address), CONNECT_MS)
        sentence = f"{failure.detail[:1].upper()}{failure.detail[1:]}."
        return [broken(where, sentence, "Check that the node runs there, the address, and firewalls on the way.")]
    try:
        return [*_way(where, sock, settings), *await _handshake(where, sock, judge, local, clock)]
    finally:
        sock.close()


def _way(where: str, sock: socket.socket, settings: LinkSettings | FoundRelay) -> Iterable[Finding]:
    """Judge the way to a neighbour by what TCP knows of it after the connection is up."""
    mtu, rtt_us = _TCP_INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
    rtt_ms = rtt_us / 1_000
    if mtu < MTU_LEAST:
        sentence = f"Packets of {mtu} bytes are the largest on the way to {settings.address}."
        yield doubtful(where, sentence, f"Raise the MTU of the tunnel on the way to {MTU_LEAST} at least.")
    if rtt_ms > RTT_MOST_MS:
        sentence = f"A round trip to {settings.address} takes {milliseconds(rtt_ms)}."
        yield doubtful(where, sentence, "Check whether the network on the way is full or broken.")
    if mtu >= MTU_LEAST and rtt_ms <= RTT_MOST_MS:
        yield good(where, f"{settings.address} is reached in {milliseconds(rtt_ms)}, with an MTU of {mtu}.")


async def _handshake(
    where: str, sock: socket.socket, judge: _Judge, local: LocalIdentity | None, clock: Clock
) -> list[Finding]:
    if local is None:
        return [doubtful(where, "No handshake was tried: this node's own files cannot be used.", "Mend those first.")]
    policy = local.config.policy
    try:
        established, connection = await handshake_over(
            sock,
            local.context,
            local.link_parameters(),
            lambda peer: judge(peer, policy),
            client=True,
            deadline_ms=HANDSHAKE_MS,
        )
    except HandshakeRefused as refused:
        return [broken(where, f"{refused} ({refused.reason})", _CURES.get(refused.reason, _ELSE))]
    wipe_secret(established.secret)
    connection.abandon()
    return [good(where, _accepted(established)), *_dates(where, established, local, clock)]


def _accepted(established: HandshakeResult) -> str:
    role = established.peer_role.title
    return f"The {role} accepts this node: protocol version 1, {established.group}, {established.suite.title}."


def _dates(where: str, established: HandshakeResult, local: LocalIdentity, clock: Clock) -> Iterable[Finding]:
    """Judge the neighbour's clock and the end of its certificate."""
    leaf = established.chain[0]
    span = Span(leaf.not_valid_before_utc, leaf.not_valid_after_utc)
    if span.phase(clock.wall()) is not Phase.GOOD:
        sentence = f"Its certificate ends at {span.end:%Y-%m-%d %H:%M}Z."
        yield doubtful(where, sentence, "Ask its operator to renew it.")
    skew = next((each for each in local.skews.all() if each.peer == established.peer), None)
    if skew is not None:
        yield _clock(where, skew)


def _clock(where: str, skew: Skew) -> Finding:
    if not skew.is_large:
        return good(where, f"Its clock and this one agree to within {SKEW_MOST_S} s.")
    ahead = "ahead of" if skew.seconds > 0 else "behind"
    sentence = f"Its clock is {abs(skew.seconds):,} s {ahead} this one."
    return doubtful(where, sentence, "Set the clock that is wrong (timedatectl, chronyc tracking).")


async def examine_links(
    links: Iterable[LinkSettings | DiscoverSettings], local: LocalIdentity | None, clock: Clock, deadline_s: float
) -> list[Finding]:
    """Examine all links at once."""
    numbered = list(enumerate(links, 1))

    async def one(number: int, settings: LinkSettings | DiscoverSettings) -> list[Finding]:
        try:
            async with asyncio.timeout(deadline_s):
                if isinstance(settings, DiscoverSettings):
                    return await examine_discovery(number, settings, local, clock)
                return await examine_link(number, settings, local, clock)
        except TimeoutError:
            name = settings.discover if isinstance(settings, DiscoverSettings) else settings.peer.dotted
            where = f"link[{number}] ({name})"
            return [broken(where, f"Not examined within {deadline_s:g} s.", "Give --deadline more seconds.")]

    found = await asyncio.gather(*(one(number, settings) for number, settings in numbered))
    return [finding for findings in found for finding in findings]
