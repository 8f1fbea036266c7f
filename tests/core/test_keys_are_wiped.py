"""Secrets leave no trace: the bytes that the control plane hands over are zeroed, and none is in memory after."""

from __future__ import annotations

import hashlib

import pytest

from pcgrelay._core.face import core as native
from tests.support.cores import CoreRealm
from tests.support.echo_exchange import echo_server, exchange
from tests.support.own_memory import digests_found


def test_what_is_handed_over_is_zeroed_and_gone() -> None:
    realm = CoreRealm()
    a, b = realm.edge(), realm.edge()
    link = realm.link(a, b)
    session = realm.session(a, b, [], link)
    with echo_server() as target:
        exchange(realm.service(a, b, session, target), 100_000, 1)
        control = b"a control value of this test"
        kept = bytearray(hashlib.sha256(control).digest())
        present, *handed_over = digests_found(control, f"link {link}".encode(), f"session {session}".encode())
        assert present == 2, "what is kept, and the needle itself"
        assert handed_over == [1, 1], "the needles alone"
        del kept
    realm.close()


def test_the_caller_s_bytes_are_zeroed_even_when_the_call_is_refused() -> None:
    realm = CoreRealm()
    a = realm.edge()
    secret = bytearray(b"s" * 32)
    with pytest.raises(native.CoreError, match="binding"):
        a.core.link_add(1, secret=secret, binding=bytes(31), suite=1, dialler=True, lanes=1, link_id=bytes(16))
    assert secret == bytearray(32)
    secret = bytearray(b"s" * 32)
    a.core.link_add(1, secret=secret, binding=bytes(32), suite=1, dialler=True, lanes=1, link_id=bytes(16))
    assert secret == bytearray(32)
    realm.close()
