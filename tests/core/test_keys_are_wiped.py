"""Secrets leave no trace: the bytes that the control plane hands over are zeroed, and none is in memory after."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from applications import echo_server, exchange
from cores import Realm

from pcgrelay._core import core as native


def found(needle: bytes) -> int:
    """How often these bytes are in the readable memory of this process, besides in the needle itself."""
    count = 0
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, rights, *rest = line.split(maxsplit=5)
            if not rights.startswith("rw") or (len(rest) == 4 and rest[3].startswith("[v")):
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            memory.seek(start)
            try:
                block = memory.read(end - start)
            except OSError:
                continue
            at = block.find(needle)
            while at >= 0:
                count += 1
                at = block.find(needle, at + 1)
            del block
    return count


def digest_found(make: bytes) -> int:
    """The same for SHA-256(make), which is only in memory while it is looked for."""
    return found(hashlib.sha256(make).digest())


def test_what_is_handed_over_is_zeroed_and_gone() -> None:
    realm = Realm()
    a, b = realm.edge(), realm.edge()
    link = realm.link(a, b)
    session = realm.session(a, b, [], link)
    with echo_server() as target:
        exchange(realm.service(a, b, session, target), 100_000, 1)
        control = b"a control value of this test"
        kept = bytearray(hashlib.sha256(control).digest())
        present = digest_found(control)
        assert present >= 2, "the search finds what is there"
        for what in (f"link {link}", f"session {session}"):
            # One is the needle itself; the search reads blocks, which may hold it once more.
            assert digest_found(what.encode()) < present, what
        del kept
    realm.close()


def test_the_caller_s_bytes_are_zeroed_even_when_the_call_is_refused() -> None:
    realm = Realm()
    a = realm.edge()
    secret = bytearray(b"s" * 32)
    with pytest.raises(native.CoreError, match="binding"):
        a.core.link_add(1, secret=secret, binding=bytes(31), suite=1, dialler=True, lanes=1, link_id=bytes(16))
    assert secret == bytearray(32)
    secret = bytearray(b"s" * 32)
    a.core.link_add(1, secret=secret, binding=bytes(32), suite=1, dialler=True, lanes=1, link_id=bytes(16))
    assert secret == bytearray(32)
    realm.close()
