"""K5: each kind of bad certificate, held against the code of this version, and shown to a listener of the node."""

from __future__ import annotations

import asyncio
import socket

from OpenSSL import SSL

from pcgrelay.assure.bad_certificates import Bad, Bank
from pcgrelay.assure.facts import REFUSED, CertificateBank, CertificateTry
from pcgrelay.assure.judges.crypto import NOT_TRIED
from pcgrelay.assure.readers.offers import Listening, attempt_of, client_context, offer, show, tls_listeners
from pcgrelay.assure.scene import Scene
from pcgrelay.errors import RunError
from pcgrelay.identity.certificates import IdentityRefused, read_identity
from pcgrelay.identity.tls import HandshakeRefused, TlsDriver, make_context

ROUNDS_MOST = 8


async def show_bad_certificates(scene: Scene) -> CertificateBank:
    """Judge all kinds here, and show all of them to the first listener for links, if there is one."""
    node = scene.config.node.id
    bank = await asyncio.to_thread(Bank, node.realm, node.organisation)
    context = make_context(bank.credentials(), post_quantum_required=True)
    if reason := judged_here(context, bank.good(), node.realm):
        raise RunError(f"A good certificate was refused here ({reason}), so nothing is known of bad ones.")
    listening = next((each for each in tls_listeners(scene.config) if each.is_link), None)
    tries = []
    for bad in await asyncio.to_thread(bank.bad):
        reason = await asyncio.to_thread(judged_here, context, bad, node.realm)
        live = NOT_TRIED if listening is None else await _shown(scene, listening, bad)
        tries.append(CertificateTry(kind=bad.kind, due=str(bad.due), reason=reason, live=live))
    return CertificateBank(tries=tuple(tries))


def judged_here(context: SSL.Context, bad: Bad, realm: str) -> str:
    """Return the reason for which a server with this context refuses a certificate, in memory; "": it takes it."""
    client, server = (
        SSL.Connection(show(client_context(), list(bad.chain), bad.key), None),
        TlsDriver(context, client=False),
    )
    client.set_connect_state()
    try:
        for _ in range(ROUNDS_MOST):
            _step(client)
            server.feed(_taken(client))
            done = server.handshake()
            if done:
                read_identity(server.peer_chain()[0], realm)
                return ""
            client.bio_write(server.take())
    except (HandshakeRefused, IdentityRefused) as refused:
        return str(refused.reason)
    return "no handshake"


def _step(client: SSL.Connection) -> None:
    try:
        client.do_handshake()
    except SSL.WantReadError:
        pass


def _taken(client: SSL.Connection) -> bytes:
    taken = bytearray()
    try:
        while True:
            taken += client.bio_read(65_536)
    except SSL.WantReadError:
        return bytes(taken)


async def _shown(scene: Scene, listening: Listening, bad: Bad) -> str:
    await scene.pace.turn()
    groups = ":".join(scene.parameters.tls.groups)

    def offering(sock: socket.socket) -> object:
        return offer(sock, show(client_context(groups), list(bad.chain), bad.key), shown=True)

    attempt = await asyncio.to_thread(attempt_of, listening, bad.kind, False, offering)  # type: ignore[arg-type]
    return REFUSED if attempt.answer == REFUSED else f"{attempt.answer} {attempt.detail}".strip()
