"""Handshakes with this node's own listeners: old TLS, other groups and suites, and none of a certificate."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from functools import partial

from OpenSSL import SSL

from pcgrelay.assure.facts import Attempt, Attempts, Channel, Channels
from pcgrelay.assure.judgement import NotHereError
from pcgrelay.assure.readers.offers import (
    OLD_VERSIONS,
    Answer,
    Listening,
    attempt_of,
    client_context,
    offer,
    offer_old,
    offer_signatures,
    tls_listeners,
)
from pcgrelay.assure.scene import Scene

CLASSICAL = "X25519"
# Offered one at a time; those of the profile must be taken, all others refused.
GROUPS = ("X25519MLKEM768", "SecP256r1MLKEM768", "X25519", "P-256", "P-384", "ffdhe2048")
SUITES = {
    "TLS_AES_256_GCM_SHA384": True,
    "TLS_CHACHA20_POLY1305_SHA256": True,
    "TLS_AES_128_GCM_SHA256": True,
    "TLS_AES_128_CCM_SHA256": False,
    "TLS_AES_128_CCM_8_SHA256": False,
}
# Schemes by which a server proves that it has the key of its certificate, by their names and numbers at IANA. Those
# that a profile does not name are offered one at a time.
SIGNATURES = {
    "ecdsa_secp256r1_sha256": 0x0403,
    "ecdsa_secp384r1_sha384": 0x0503,
    "ecdsa_secp521r1_sha512": 0x0603,
    "ed25519": 0x0807,
    "ed448": 0x0808,
    "rsa_pss_rsae_sha256": 0x0804,
    "rsa_pss_rsae_sha384": 0x0805,
    "rsa_pss_rsae_sha512": 0x0806,
    "rsa_pkcs1_sha256": 0x0401,
    "rsa_pkcs1_sha1": 0x0201,
    "ecdsa_sha1": 0x0203,
    "ecdsa_sha224": 0x0303,
    "dsa_sha1": 0x0202,
}
UP = ("up", "draining")


async def offer_old_tls(scene: Scene) -> Attempts:
    """K1."""
    found = []
    for listening in _listeners(scene):
        for name, version in OLD_VERSIONS.items():
            found.append(await _attempt(scene, listening, name, False, partial(offer_old, version=version)))
    return Attempts(attempts=tuple(found))


async def offer_other_cryptography(scene: Scene) -> Attempts:
    """K2, at the first listener for links: all of a node have the same context."""
    listening = next((each for each in _listeners(scene) if each.is_link), None)
    if listening is None:
        raise NotHereError("this node has no listener for links")
    groups = scene.parameters.tls.groups
    found = []
    for group in dict.fromkeys((*groups, *GROUPS)):
        found += await _offered(scene, listening, f"group {group}", group in groups, groups=group)
    for suite, wanted in SUITES.items():
        found += await _offered(scene, listening, f"suite {suite}", wanted, groups=":".join(groups), suites=suite)
    found += await _offered_signatures(scene, listening)
    return Attempts(attempts=tuple(found))


async def _offered_signatures(scene: Scene, listening: Listening) -> list[Attempt]:
    """Those of the profile together, because a node has one key and so one scheme; all others one at a time."""
    named = scene.parameters.tls.signatures
    offers: list[tuple[str, bool, Sequence[str]]] = [("signatures of the profile", True, named)]
    offers += [(f"signature {name}", False, (name,)) for name in SIGNATURES if name not in named]
    try:
        context = client_context(scene.parameters.tls.groups[0])
    except (ValueError, IndexError, SSL.Error):
        return []  # this OpenSSL has no group of the profile, which the offers of groups show
    found = []
    for what, wanted, names in offers:
        schemes = tuple(SIGNATURES[name] for name in names)
        offering = partial(offer_signatures, context=context, schemes=schemes)
        found.append(await _attempt(scene, listening, what, wanted, offering))
    return found


async def read_channels(scene: Scene) -> Channels:
    """K7 and K10: links and sessions that are up."""
    status = await asyncio.to_thread(scene.status)
    links = [
        Channel(kind="link", peer=each.peer, suite=each.suite, group=each.group, proved_s=each.authenticated_s)
        for each in status.links
        if each.state in UP
    ]
    sessions = [
        Channel(kind="session", peer=each.peer, suite=each.suite, group=each.group, proved_s=each.authenticated_s)
        for each in status.sessions
        if each.state == "up"
    ]
    return Channels(channels=(*links, *sessions))


async def read_groups(scene: Scene) -> Channels:
    """K3: the same, and what a peer with a classical group alone is answered."""
    channels = (await read_channels(scene)).channels
    wanted = CLASSICAL in scene.parameters.tls.groups
    found: list[Attempt] = []
    for listening in tls_listeners(scene.config):
        if listening.is_link:
            found += await _offered(scene, listening, f"group {CLASSICAL}", wanted, groups=CLASSICAL)
    if not channels and not found:
        raise NotHereError("no link is up, and this node has no listener for links")
    return Channels(channels=channels, attempts=tuple(found))


async def offer_nothing(scene: Scene) -> tuple[Attempt, ...]:
    """Handshakes without a certificate, at each listener that does TLS."""
    found: list[Attempt] = []
    for listening in tls_listeners(scene.config):
        found += await _offered(scene, listening, "no certificate", False)
    return tuple(found)


def _listeners(scene: Scene) -> list[Listening]:
    found = tls_listeners(scene.config)
    if not found:
        raise NotHereError("this node has no listener that does TLS")
    return found


async def _offered(
    scene: Scene, listening: Listening, what: str, wanted: bool, groups: str = "", suites: str = ""
) -> list[Attempt]:
    """One attempt; none, if the OpenSSL of this process cannot make that offer."""
    try:
        context = client_context(groups, suites)
    except (ValueError, SSL.Error):
        return []
    return [await _attempt(scene, listening, what, wanted, partial(_offer, context=context))]


def _offer(sock: socket.socket, context: SSL.Context) -> Answer:
    return offer(sock, context)


async def _attempt(scene: Scene, listening: Listening, what: str, wanted: bool, offering: partial[Answer]) -> Attempt:
    await scene.pace.turn()
    return await asyncio.to_thread(attempt_of, listening, what, wanted, offering)
