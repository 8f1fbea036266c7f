"""Renewal of links: both ends prove their identities again while the lanes go on (docs/protocol.md, 9.9).

The dialler begins, with a handshake on a new connection; `changeover` has how a link changes over to that. Either side
ends a link that could not be renewed for too long.
"""

from __future__ import annotations

import asyncio

from pcgrelay.clock import Clock
from pcgrelay.dataplane.api import DataPlaneRefused, LinkPlane
from pcgrelay.identity.exporter import wipe_secret
from pcgrelay.identity.handshake import HandshakeResult
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.identity.renewal import Renewal, is_verdict
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.link.api import LinkRegistry
from pcgrelay.link.control import ControlConnection, handshake_over
from pcgrelay.link.link import Link
from pcgrelay.log.events import Emit, RenewalFailed
from pcgrelay.messages import Code
from pcgrelay.policy.rules import link_refusal


class LinkRenewer:
    """Renews the links of a node."""

    def __init__(
        self, registry: LinkRegistry, plane: LinkPlane, local: LocalIdentity, emit: Emit, clock: Clock
    ) -> None:
        self._registry = registry
        self._plane = plane
        self._local = local
        self._emit = emit
        self._clock = clock
        self._renewing: set[Link] = set()

    def renew(self) -> None:
        """Renew the links that are due, and end those past their hard age; called once a second."""
        now, policy = self._clock.monotonic_ms(), self._local.config.policy
        for link in list(self._registry.links.values()):
            if link.schedule.is_overdue(now, policy.renewal_age_s):
                self._registry.refuse_count("renewal_overdue")
                link.cut("renewal_overdue", Code.EXPIRED)
            elif link.dialled and link not in self._renewing and link.schedule.is_due(now, policy.renewal_interval_s):
                renewal = link.renewable
                if renewal is not None and self._plane.link_has_stepped(link.number, link.generation):
                    self._renewing.add(link)
                    self._registry.spawn(self._renewed(link, link.schedule.begun(renewal)), "renewal")

    async def _renewed(self, link: Link, renewal: Renewal) -> None:
        """Make one attempt to renew a link that this node dialled."""
        try:
            await self._changed_over(link, renewal)
        except HandshakeRefused as refused:
            self._failed(link, refused)
        except Exception as error:
            self._failed(link, HandshakeRefused("failure", f"The renewal broke ({type(error).__name__})."))
        finally:
            self._renewing.discard(link)

    def _failed(self, link: Link, refused: HandshakeRefused) -> None:
        self._registry.refuse_count(refused.reason)
        if is_verdict(refused):
            link.cut(refused.reason, Code.REFUSED)
        link.schedule.failed(self._clock.monotonic_ms())
        self._emit(
            RenewalFailed(
                purpose="link",
                peer=link.peer.dotted,
                reason=refused.reason,
                cause=str(refused),
                attempts=link.schedule.attempts,
            )
        )

    async def _changed_over(self, link: Link, renewal: Renewal) -> None:
        local = self._local
        policy = local.config.policy
        try:
            sock = await link.connect()
        except (OSError, TimeoutError):
            raise HandshakeRefused("unreachable", f"{link.peer} cannot be reached at its address.") from None
        try:
            established, connection = await handshake_over(
                sock,
                local.context,
                local.link_parameters(),
                lambda peer: link_refusal(policy, peer, link.peer),
                client=True,
                deadline_ms=policy.handshake_deadline_ms,
                renewal=renewal,
            )
        except BaseException:
            sock.close()
            raise
        done = self.change_over(link, established, connection)
        if done is None:
            raise HandshakeRefused("closed", "The link ended while it was renewed.")
        await done

    def renewable(self, link_id: bytes) -> Renewal | None:
        """What a renewal by the neighbour must match, or None. Only the side that dialled a link may renew it."""
        link = self._registry.by_id(link_id)
        return link.renewable if link is not None and not link.dialled else None

    def renewed_by_peer(self, established: HandshakeResult, connection: ControlConnection) -> None:
        """Begin the changeover after the handshake of a renewal that the neighbour began."""
        link = self._registry.by_id(established.link_id)
        if link is None:
            # The link ended during the handshake.
            wipe_secret(established.secret)
            connection.abandon()
            self._registry.refuse_count("renewal_unknown_link")
        elif self.change_over(link, established, connection) is None and link.renewable is not None:
            # The neighbour has begun another attempt since, or the core refuses it.
            self._registry.refuse_count("renewal_not_taken")

    def change_over(
        self, link: Link, established: HandshakeResult, connection: ControlConnection
    ) -> asyncio.Future[None] | None:
        """Begin the changeover to the connection of a renewal; None if the link cannot be renewed any more."""
        # Trust and policy may have changed since the handshake began.
        word = self._registry.refusal(established.peer, link.dialled, established.chain, link.suite, established.group)
        if word:
            self._registry.refuse_count(word)
            link.cut(word, Code.REFUSED)
        try:
            if link.renewable is None:
                raise DataPlaneRefused("the link ends")
            return link.change_over(established, connection)
        except DataPlaneRefused:
            wipe_secret(established.secret)
            connection.abandon()
            return None
