"""A name service of the test's own: it answers, errs, says nothing, or is not there. Its place is port 53 of the
loopback of a network of the test's own, and processes that run `with_it` ask it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

HOST = "127.0.0.1"
TYPE_A = 1
INSTEAD_OF_THE_SYSTEMS = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'


OK, NXDOMAIN, NODATA, SERVFAIL, REFUSED, FORMERR, NOTIMP, SILENT = (
    "ok", "nxdomain", "nodata", "servfail", "refused", "formerr", "notimp", "silent",
)  # fmt: skip
CODES = {FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5}  # RFC 1035, 4.1.1
TYPE_AAAA, TYPE_SRV = 28, 33
Srv = tuple[int, int, int, str]  # priority, weight, port and host


class Names:
    """Every name leads to loopback while it answers, but those of which it says something else."""

    def __init__(self, folder: Path) -> None:
        self.answers = False
        self.asked = 0
        self.says: dict[str, tuple[str, str]] = {}  # by the first label: of IPv4 and of IPv6
        self.leads: dict[str, list[str]] = {}  # by the first label
        self.services: dict[str, list[Srv] | str] = {}  # by the first label: SRV records, or another word
        self._config = folder / "resolv.conf"
        self._config.write_text(f"nameserver {HOST}\noptions timeout:1 attempts:1\n")
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((HOST, 53))
        self._sock.settimeout(0.1)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(5)
        self._sock.close()

    @property
    def with_it(self) -> tuple[str | Path, ...]:
        """What a command begins with to ask this one."""
        return ("unshare", "--mount", "sh", "-c", INSTEAD_OF_THE_SYSTEMS, self._config)

    def _serve(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                query, who = self._sock.recvfrom(512)
                self.asked += 1
                if self.answers and (answer := self._answer(query)):
                    self._sock.sendto(answer, who)

    def _answer(self, query: bytes) -> bytes:
        """RFC 1035, 4: the question again, and for an A record addresses that live a second. Nothing: no answer."""
        end = 12
        while query[end]:
            end += 1 + query[end]
        question = query[12 : end + 5]
        label = question[1 : 1 + question[0]].decode()
        wanted = int.from_bytes(question[-4:-2], "big")
        word = self.says.get(label, (OK, NODATA))[wanted == TYPE_AAAA]
        services = self.services.get(label, []) if wanted == TYPE_SRV else []
        if isinstance(services, str):
            word, services = services, []
        if word == SILENT:
            return b""
        hosts = self.leads.get(label, [HOST]) if wanted == TYPE_A and word == OK else []
        found = [socket.inet_aton(host) for host in hosts] + [_srv(*each) for each in services]
        head = b"\xc0\x0c" + question[-4:] + (1).to_bytes(4, "big")
        records = b"".join(head + len(data).to_bytes(2, "big") + data for data in found)
        counts = (1).to_bytes(2, "big") + len(found).to_bytes(2, "big") + bytes(4)
        return query[:2] + bytes([0x81, 0x80 | CODES.get(word, 0)]) + counts + question + records


def _srv(priority: int, weight: int, port: int, host: str) -> bytes:
    """RFC 2782, with the host as labels (RFC 1035, 3.1)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in host.split(".") if label)
    return b"".join(number.to_bytes(2, "big") for number in (priority, weight, port)) + labels + b"\0"
