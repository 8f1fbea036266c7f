"""Two cores whose link and session are renewed; as a program, one whose memory another process may search."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable

from pcgrelay._core.face import core as native
from tests.support.cores import CoreRealm, Node


def secret(what: str) -> bytearray:
    return bytearray(hashlib.sha256(what.encode()).digest())


def renew_link(link: int, number: int, *nodes: Node) -> None:
    for node in nodes:
        given = secret(f"link {link} renewal {number}")
        node.core.link_renew(link, secret=given, mix=number)
        assert given == bytearray(32)
    for node in nodes:
        node.wait(lambda event: event == (native.EVENT_LINK_RENEWED, link, number))
    for node in nodes:
        node.core.link_mix(link, number)


def renew_session(session: int, number: int, *nodes: Node) -> None:
    for node in nodes:
        node.core.session_renew(session, secret=secret(f"session {session} renewal {number}"), mix=number)
    for node in nodes:
        node.wait(lambda event: event == (native.EVENT_SESSION_RENEWED, session, number))
    for node in nodes:
        node.core.session_mix(session, number)


def until(true: Callable[[], bool], *nodes: Node) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        for node in nodes:
            node.poll(0.02)


def main() -> None:
    """Renew a link and a session twice, say so, and wait."""
    realm = CoreRealm()
    a, b = realm.edge(), realm.edge()
    link = realm.link(a, b)
    session = realm.session(a, b, [], link)
    for number in (1, 2):
        renew_link(link, number, a, b)
        renew_session(session, number, a, b)
        for node in (a, b):
            until(lambda node=node, number=number: node.core.links()[link]["mix"] == number, a, b)
            until(lambda node=node, number=number: node.core.sessions()[session]["mix"] == number, a, b)
    print("renewed", flush=True)
    sys.stdin.readline()
    realm.close()


if __name__ == "__main__":
    main()
