"""Two sides of a handshake in memory, each right unless a test makes it wrong."""

from __future__ import annotations

from dataclasses import dataclass

from OpenSSL import SSL

from pcgrelay.config import IdentitySettings
from pcgrelay.identity.credentials import Credentials, load_credentials
from pcgrelay.identity.exporter import Purpose
from pcgrelay.identity.handshake import Handshake, HandshakeParameters, HandshakeResult, Judge
from pcgrelay.identity.tls import HandshakeRefused, leaf_der, make_context
from pcgrelay.model import NodeId, Role, Suite
from tests.support.pki import REALM, Files

KENT, HUB = "kent.police.example", "hub.example"
EDGE_ID = NodeId(REALM, KENT, "kent-1")
RELAY_ID = NodeId(REALM, HUB, "relay-1")


def credentials_of(files: Files, *, crl: bool = True) -> Credentials:
    return load_credentials(
        IdentitySettings(
            certificate=files.certificate, key=files.key, trust=files.trust, crl=files.crl if crl else None
        )
    )


def terms_of(me: NodeId, credentials: Credentials, role: Role = Role.EDGE, **changes: object) -> HandshakeParameters:
    values: dict[str, object] = {
        "me": me,
        "role": role,
        "leaf": leaf_der(credentials.leaf),
        "suites": tuple(Suite),
        "post_quantum_required": True,
        "lanes": 2,
        "flows": 2,
        "cap": 1 << 20,
        **changes,
    }
    return HandshakeParameters(**values)  # type: ignore[arg-type]


@dataclass
class Outcome:
    """How a handshake ended on one side."""

    established: HandshakeResult | None = None
    refused: HandshakeRefused | None = None

    @property
    def reason(self) -> str:
        return self.refused.reason if self.refused else ""


def everybody(peer: NodeId) -> str | None:
    return None


def side(
    credentials: Credentials,
    parameters: HandshakeParameters,
    *,
    client: bool,
    context: SSL.Context | None = None,
    purpose: Purpose = Purpose.LINK,
    judge: Judge = everybody,
) -> Handshake:
    context = context or make_context(credentials, post_quantum_required=parameters.post_quantum_required)
    return Handshake(context, parameters, client=client, purpose=purpose, judge=judge)


def met(client: Handshake, server: Handshake, step: int = 1 << 20) -> tuple[Outcome, Outcome]:
    """Let both talk until nothing more is said, step bytes at a time."""
    outcomes = {id(client): Outcome(), id(server): Outcome()}
    waiting = [(server, client.start())]
    while waiting:
        taker, data = waiting.pop(0)
        other = client if taker is server else server
        outcome = outcomes[id(taker)]
        for start in range(0, len(data), step):
            if outcome.refused or outcome.established:
                break
            try:
                answer = taker.receive(data[start : start + step])
            except HandshakeRefused as refused:
                outcome.refused = refused
                answer = refused.farewell
            outcome.established = taker.established
            if answer:
                waiting.append((other, answer))
    return outcomes[id(client)], outcomes[id(server)]
