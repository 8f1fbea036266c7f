"""The identity of this node: what it presents to peers and requires of them. New credentials replace it as a whole."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property

from cryptography import x509
from msgspec import structs

from pcgrelay.clock import SYSTEM_CLOCK, Clock
from pcgrelay.config import Config
from pcgrelay.config.settings import RealmTerms
from pcgrelay.figures import Durations
from pcgrelay.identity.certificates import IdentityRefused, Refusal, identity_of, read_identity
from pcgrelay.identity.credentials import Credentials, load_credentials
from pcgrelay.identity.dates import Dated, dated_of
from pcgrelay.identity.handshake import LINK_FEATURES, UDP_LANES, HandshakeParameters, session_cap
from pcgrelay.identity.lists import RevocationList, is_revoked, lists_in_force, received_of, with_received
from pcgrelay.identity.reader_tls import reader_context
from pcgrelay.identity.skew import Skews
from pcgrelay.identity.store_tls import StoreCredentials, load_store_credentials
from pcgrelay.identity.tls import HYBRID_GROUPS, chain_refusal, leaf_der, make_context, make_store, set_verify_time
from pcgrelay.model import NodeId, Suite
from pcgrelay.policy.clearances import LOWEST, OPEN, clearances_of
from pcgrelay.policy.in_force import in_force


class LocalIdentity:
    """The credentials, TLS context and handshake parameters of one node."""

    def __init__(
        self,
        config: Config,
        credentials: Credentials | None = None,
        clock: Clock = SYSTEM_CLOCK,
        received: Sequence[RevocationList] = (),
        terms: RealmTerms | None = None,
    ) -> None:
        """Build the TLS context; reads the files of [identity] unless credentials are given.

        received: the revocation lists that neighbours brought, which are in force where they are newer.
        terms: of the realm's bundle, by which the configuration is narrowed.

        Raises ConfigError, IdentityRefused, or ValueError if the leaf names another node.
        """
        self.written = config  # all of it; what of it is in force depends on the time and on the realm's bundle
        self.terms = terms or RealmTerms()
        self.hold(in_force(config, clock.wall()))
        self.from_files = credentials or load_credentials(config.identity)
        self.credentials = with_received(self.from_files, received) if received else self.from_files
        identity = identity_of(self.credentials.leaf, config.node.id.realm)
        if identity != config.node.id:
            raise ValueError(f"the certificate names {identity} and the configuration {config.node.id}")
        self.context = make_context(self.credentials, post_quantum_required=config.policy.post_quantum_required)
        self._store = make_store(self.credentials)
        self._leaf = leaf_der(self.credentials.leaf)
        self.skews = Skews(clock)  # of all peers that completed a handshake; not replaced by `take`
        self.link_handshakes = Durations()  # of those that were completed; not replaced by `take`
        self.session_handshakes = Durations()
        self.own_fault = ""  # what is wrong with the dates of this node's own files; logged when a peer refuses it

    def hold(self, config: Config) -> None:
        """Note what of the configuration is in force, by the clock; the realm's bundle narrows it."""
        self.config = self.narrowed(config)
        self.clearances = clearances_of(self.config)

    def narrowed(self, config: Config) -> Config:
        """Return a configuration with what the realm's bundle says beside it."""
        if config.policy.realm == self.terms:
            return config
        return structs.replace(config, policy=structs.replace(config.policy, realm=self.terms))

    @cached_property
    def dated(self) -> tuple[Dated, ...]:
        """All dates among the files. It verifies signatures of lists, which is slow: a reload does it in its thread."""
        return dated_of(self.credentials)

    @cached_property
    def lists(self) -> Mapping[bytes, RevocationList]:
        """The newest list of each trusted CA, of those that may travel. As slow as `dated`."""
        return lists_in_force(self.credentials)

    def received(self) -> list[RevocationList]:
        """The lists that neighbours brought and that are in force."""
        return received_of(self.credentials, self.lists)

    def with_list(self, brought: RevocationList) -> LocalIdentity:
        """Return this identity with another list in force, finished but for `take`. Slow: not for the event loop."""
        others = [each for each in self.received() if each.issuer != brought.issuer]
        fresh = LocalIdentity(self.written, self.from_files, received=[*others, brought], terms=self.terms)
        fresh.hold(self.config)
        # The files of [fleet] are read by a reload alone.
        fresh.store_credentials = self.store_credentials
        fresh.prepare()
        return fresh

    def prepare(self) -> None:
        """Do what is slow or may fail before `take`. Raises ConfigError."""
        self.dated  # noqa: B018 - evaluated here
        self.lists  # noqa: B018 - evaluated here
        self.store_credentials  # noqa: B018 - evaluated here
        self.prepare_readers()

    @cached_property
    def store_credentials(self) -> StoreCredentials | None:
        """The files of [fleet]; None: there is no store. Raises ConfigError, PermissionProblem."""
        settings = self.written.fleet
        return None if settings is None else load_store_credentials(settings, self.from_files)

    @cached_property
    def reader_context(self) -> ssl.SSLContext:
        """TLS for readers over TCP, made if one listens off loopback. ConfigError: `ssl` refuses the files."""
        return reader_context(self.credentials)

    def prepare_readers(self) -> None:
        """Make what readers of the configuration need, so that nothing of it can fail later. Raises ConfigError."""
        if any(not reader.is_open for reader in self.config.readers.values()):
            self.reader_context  # noqa: B018 - evaluated here

    def restore_handshakes(self, links: Durations, sessions: Durations) -> None:
        """Count on from what the previous process has counted."""
        self.link_handshakes.add_all(links.counts, links.sum_us)
        self.session_handshakes.add_all(sessions.counts, sessions.sum_us)

    def judge_at(self, moment: datetime | None) -> None:
        """Judge certificates by this moment, or without regard to dates if it is None (for `rehearsal`)."""
        context_store = self.context.get_cert_store()
        assert context_store is not None
        for store in (context_store, self._store):
            set_verify_time(store, moment)

    def take(self, fresh: LocalIdentity) -> None:
        """Apply another identity from the next handshake on; holders of this object need not change."""
        self.written = fresh.written
        self.terms = fresh.terms
        self.hold(fresh.config)
        self.credentials = fresh.credentials
        self.from_files = fresh.from_files
        self.dated = fresh.dated
        self.lists = fresh.lists
        self.store_credentials = fresh.store_credentials
        self.__dict__.pop("reader_context", None)
        if "reader_context" in fresh.__dict__:
            self.reader_context = fresh.reader_context
        self.context = fresh.context
        self._store = fresh._store
        self._leaf = fresh._leaf

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The own certificates in DER, leaf first, as a catalogue entry has them."""
        return tuple(leaf_der(certificate) for certificate in self.credentials.chain)

    def chain_refusal(self, chain: Sequence[x509.Certificate]) -> str | None:
        """Return the reason for which a chain (leaf first) from outside a handshake is not trusted, or None."""
        return chain_refusal(self._store, chain) or (Refusal.REVOKED if self.is_revoked(chain) else None)

    def is_revoked(self, chain: Sequence[x509.Certificate]) -> bool:
        """Whether a list of a neighbour names a certificate of a chain. Lists of the file are OpenSSL's matter."""
        return is_revoked(self.credentials.received, chain)

    def standing_refusal(self, chain: Sequence[x509.Certificate], suite: Suite | None, group: str) -> str | None:
        """Return the reason for which a peer that was accepted before would be refused now, or None."""
        policy = self.config.policy
        if policy.post_quantum_required and group not in HYBRID_GROUPS:
            return "group"
        if suite not in policy.suites:
            return "suite"
        if policy.realm.members is not None and not self._is_of_realm(chain[0]):
            return "not_a_member"
        return self.chain_refusal(chain)

    def _is_of_realm(self, leaf: x509.Certificate) -> bool:
        try:
            peer = read_identity(leaf_der(leaf), self.config.node.id.realm)
        except IdentityRefused:
            return False
        return self.config.policy.realm.has(peer.organisation)

    def expiry_refusal(self, chain: Sequence[x509.Certificate], now: datetime) -> str | None:
        """Return the reason `expired` if a chain has expired, else None. Cheap, because it is called every second."""
        over = any(certificate.not_valid_after_utc < now for certificate in chain)
        # OpenSSL decides: another chain to a trust anchor may still be valid.
        return Refusal.EXPIRED if over and self.chain_refusal(chain) else None

    def identity_of(self, leaf: x509.Certificate) -> NodeId:
        """Return the node that a leaf names. Raises IdentityRefused."""
        return identity_of(leaf, self.config.node.id.realm)

    def link_parameters(self) -> HandshakeParameters:
        """Return what this node offers for a link."""
        node = self.config.node
        parameters = self._parameters(lanes=node.lanes, cap=session_cap(node.memory_bytes, node.lanes))
        return replace(parameters, link_features=(*LINK_FEATURES, UDP_LANES)) if node.udp_lanes else parameters

    def session_parameters(
        self, session: bytes, marking: int, priority: int, flows: int, cap: int
    ) -> HandshakeParameters:
        """Return what this edge offers for a session over a path with that class, number of flows and cap in bytes."""
        return replace(
            self._parameters(flows=flows, cap=cap),
            session=session,
            marking=marking,
            priority=priority,
            # An older peer would not notice that a relay made the marking lower, to lead it where it is not cleared.
            class_required=marking > LOWEST and self.clearances != OPEN,
            took=self.session_handshakes,
        )

    def _parameters(self, *, lanes: int = 0, flows: int = 0, cap: int) -> HandshakeParameters:
        config = self.config
        return HandshakeParameters(
            me=config.node.id,
            role=config.node.role,
            leaf=self._leaf,
            suites=config.policy.suites,
            post_quantum_required=config.policy.post_quantum_required,
            lanes=lanes,
            flows=flows,
            cap=cap,
            may_relay=config.policy.may_relay,
            skews=self.skews,
            took=self.link_handshakes,
        )
