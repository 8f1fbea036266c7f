"""What this node shows to others and asks of them, as of now. New credentials mean a new context, swapped in whole."""

from __future__ import annotations

from cryptography import x509

from pcgrelay.config import Config
from pcgrelay.model import NodeId
from pcgrelay.routing.policy import session_cap
from pcgrelay.session.credentials import Credentials, load_credentials
from pcgrelay.session.handshake import Terms
from pcgrelay.session.identity import identity_of
from pcgrelay.session.tls import chain_refusal, context_made, leaf_der, store_made


class Presence:
    """Credentials, TLS context and terms of one node."""

    def __init__(self, config: Config, credentials: Credentials | None = None) -> None:
        self.config = config
        self.take(credentials or load_credentials(config.identity))

    def take(self, credentials: Credentials) -> None:
        """Use these credentials from the next handshake on; refuses a leaf that does not name this node."""
        config = self.config
        identity = identity_of(credentials.leaf, config.node.id.realm)
        if identity != config.node.id:
            raise ValueError(f"the certificate names {identity} and the configuration {config.node.id}")
        self.context = context_made(credentials, post_quantum_required=config.policy.post_quantum_required)
        self.credentials = credentials
        self._store = store_made(credentials)
        self._leaf = leaf_der(credentials.leaf)

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The certificates as they go into a catalogue entry."""
        return tuple(leaf_der(certificate) for certificate in self.credentials.chain)

    def chain_refusal(self, chain: list[x509.Certificate]) -> str | None:
        """Why a chain that came outside a handshake is not trusted, or nothing."""
        return chain_refusal(self._store, chain)

    def identity_of(self, leaf: x509.Certificate) -> NodeId:
        """The node that a leaf names; refuses as in a handshake."""
        return identity_of(leaf, self.config.node.id.realm)

    def link_terms(self) -> Terms:
        """What this node brings to a link."""
        node = self.config.node
        return self._terms(lanes=node.lanes, cap=session_cap(node.memory_bytes, node.lanes))

    def session_terms(self, flows: int, cap: int) -> Terms:
        """What this edge brings to a session on a path that carries so much."""
        return self._terms(flows=flows, cap=cap)

    def _terms(self, *, lanes: int = 0, flows: int = 0, cap: int) -> Terms:
        config = self.config
        return Terms(
            me=config.node.id,
            role=config.node.role,
            leaf=self._leaf,
            suites=config.policy.suites,
            post_quantum_required=config.policy.post_quantum_required,
            lanes=lanes,
            flows=flows,
            cap=cap,
        )
