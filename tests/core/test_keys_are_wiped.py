"""Secrets leave no trace: the bytes that the control plane hands over are zeroed, and none is in memory after."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path

import pytest

from pcgrelay._core.face import core as native
from tests.support.cores import Realm
from tests.support.echo_exchange import echo_server, exchange

PIECE = 1 << 20


def found(needle: bytes) -> int:
    """How often these bytes are in the readable memory of this process, the needle itself among them.

    What the search reads lies in a mapping that it does not search. In the heap it would be found by the next search.
    """
    count = 0
    with Path("/proc/self/mem").open("rb", buffering=0) as memory, mmap.mmap(-1, PIECE) as piece:
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, rights, *rest = line.split(maxsplit=5)
            if not rights.startswith("rw-p") or (len(rest) == 4 and rest[3].startswith("[v")):
                continue
            at, end = (int(part, 16) for part in span.split("-"))
            while end - at >= len(needle):
                memory.seek(at)
                try:
                    got = memory.readinto(memoryview(piece)[: end - at])
                except OSError:
                    break
                count += occurrences(piece, needle, got)
                at += max(got - len(needle) + 1, 1)
    return count


def occurrences(piece: mmap.mmap, needle: bytes, end: int) -> int:
    count = 0
    at = piece.find(needle, 0, end)
    while at >= 0:
        count += 1
        at = piece.find(needle, at + 1, end)
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
        assert present == 2, "what is kept, and the needle itself"
        for what in (f"link {link}", f"session {session}"):
            assert digest_found(what.encode()) == 1, what
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
