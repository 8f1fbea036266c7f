"""One control message of each kind."""

from __future__ import annotations

from pcgrelay import messages as m

SESSION = bytes(range(16))
HELLO = m.Hello((1,), 1, 1, "spiffe://a", (1, 2), 2, 0, 1 << 20, b"", 0, (), bytes(32))
ALL: list[m.Message] = [
    HELLO,
    m.Beat(7, True),
    m.Advert(b"entry", b"signature", (b"leaf",), ("spiffe://r",)),
    m.Withdraw("spiffe://a", 9),
    m.PathOpen(SESSION, "spiffe://a", "spiffe://b", 1, 0, 2, 1 << 20, 5, False, ()),
    m.PathAccept(SESSION, 2, 1 << 20, 6, 5),
    m.PathRefuse(SESSION, 5, "not_a_member", "spiffe://r", 5),
    m.PathClose(SESSION, 0, 5),
    m.Carry(SESSION, b"data"),
    m.Drain(1000),
    m.Renewed(1, 1),
    m.Goodbye(0, ""),
    m.Object(1, bytes(32), 7, bytes(range(32)), 100),
    m.ObjectGet(bytes(range(32)), 65_536),
    m.ObjectPiece(bytes(range(32)), 65_536, b"data"),
    m.Twin("spiffe://a"),
    m.Witness(1, b"old 0\n\n", (b"vkey",)),
    m.Want(("custody@a.example",), ("spiffe://a",)),
    m.AdvertGet("spiffe://a"),
    m.DatagramLane(1, 5, 0xDEADBEEF, 7_402),
]
