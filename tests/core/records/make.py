"""Make the kept records of a realm that stops in the middle of a step, with the code of any commit:

    .venv/bin/python tests/core/records/make.py COMMIT

It builds the commit beside this one (scripts/earlier) and writes `commit_COMMIT/` beside this file: the records of an
edge, a relay and the edge behind it, and `realm.json`, with all that a record leaves to the kernel: which descriptor is
which socket, and what each had not read yet. tests/core/test_kept_realms.py lets the realm go on from there.

Links and session were renewed once. Of the second renewal all are told that both sides keep it, but:

- the far edge has stopped when the near one makes its step: the step, and 5,000 bytes of the application under the new
  key, lie unread in the far edge's socket. The far edge's own step was taken and acknowledged.
- then the relay has stopped when the near edge makes the step of its lane: that step, and 2,000 bytes of the
  application, lie unread in the relay's socket.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
BEFORE, TO_FAR, TO_RELAY = 1_000, 5_000, 2_000
SESSION_SECRETS, LINK_SECRETS = "session renewal {}", "link renewal {}"


def main() -> None:
    (commit,) = sys.argv[1:]
    clone = Path(
        subprocess.run(
            ["sh", ROOT / "scripts" / "earlier", commit], stdout=subprocess.PIPE, text=True, check=True
        ).stdout.splitlines()[-1]
    )
    # The helpers of the tests call the core as that commit has it, if that commit has this program.
    theirs = clone / "tests" / "core" / "records" / "make.py"
    root = clone if theirs.exists() else ROOT
    folder = Path(__file__).with_name(f"commit_{clone.name[:7]}")
    program = f"import sys; from tests.core.records.make import keep; keep({str(folder)!r}, {clone.name!r})"
    environment = {**os.environ, "PYTHONPATH": f"{clone / 'src'}:{root}"}
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=root, check=True)
    print(f"{folder.relative_to(ROOT)} is made.")


def _receive(connection: socket.socket, size: int) -> bytes:
    """As in tests/support/waiting.py, which an earlier commit does not have."""
    parts = b""
    while len(parts) < size and (data := connection.recv(size - len(parts))):
        parts += data
    return parts


def keep(folder: str, commit: str) -> None:
    from tests.support.applications import Across, client, pattern
    from tests.support.cores import frozen_record

    whole = pattern(BEFORE + TO_FAR + TO_RELAY)
    with socket.create_server(("127.0.0.1", 0)) as target, Across(relays=1) as realm:
        near, (relay,), far = realm.near, realm.relays, realm.far
        address = realm.serve(target.getsockname())
        nodes = {"near": near, "relay": relay, "far": far}
        for node in nodes.values():
            # Nobody takes one that is stopped for one that is dead.
            if hasattr(node.core, "settings"):
                node.core.settings(probe_interval_ms=60_000)
            else:
                node.core.probe_every(60_000)
        application = client(address)
        application.sendall(whole[:BEFORE])
        server, _ = target.accept()
        assert _receive(server, BEFORE) == whole[:BEFORE]
        server.sendall(whole[:BEFORE])
        assert _receive(application, BEFORE) == whole[:BEFORE]

        steps = Steps(realm, list(nodes.values()))
        steps.renew_all(1)
        steps.agree_on_all(1)
        steps.renew_all(2)
        # All but the near edge are told, and step.
        far.core.session_mix(realm.session, 2)
        relay.core.link_mix(realm.links[0], 2)
        steps.wait(lambda: near.core.sessions()[realm.session]["mix"] == 2)
        steps.wait(lambda: near.core.links()[realm.links[0]]["mix"] == 2)
        steps.settle()

        kept: dict[str, tuple[bytearray, list[int]]] = {"far": frozen_record(far)}
        near.core.session_mix(realm.session, 2)
        steps.settle()
        application.sendall(whole[BEFORE : BEFORE + TO_FAR])
        steps.settle()
        kept["relay"] = frozen_record(relay)
        near.core.link_mix(realm.links[0], 2)
        steps.settle()
        application.sendall(whole[BEFORE + TO_FAR :])
        steps.settle()
        kept["near"] = frozen_record(near)

        Path(folder).mkdir(exist_ok=True)
        facts: dict[str, Any] = {
            "commit": commit,
            "clock_us": time.monotonic_ns() // 1_000,
            "links": realm.links,
            "session": realm.session,
            "sockets": {name: [described(fd) for fd in fds] for name, (_, fds) in kept.items()},
        }
        for name, (record, _) in kept.items():
            Path(folder, f"{name}.bin").write_bytes(record)
        Path(folder, "realm.json").write_text(json.dumps(facts, indent=1) + "\n")
        application.close()
        server.close()


class Steps:
    """What is done to all nodes of a realm."""

    def __init__(self, realm: Any, nodes: list[Any]) -> None:
        self._realm, self._nodes = realm, nodes
        self._ends = {link: nodes[at : at + 2] for at, link in enumerate(realm.links)}

    def renew_all(self, number: int) -> None:
        """Both sides of each link and of the session keep the secret of a renewal."""
        from tests.support.renewed import secret

        for node in (self._nodes[0], self._nodes[-1]):
            given = secret(SESSION_SECRETS.format(number))
            node.core.session_renew(self._realm.session, secret=given, mix=number)
        for link, ends in self._ends.items():
            for node in ends:
                node.core.link_renew(link, secret=secret(LINK_SECRETS.format(number)), mix=number)
        self.settle()

    def agree_on_all(self, number: int) -> None:
        """All are told that both sides keep it, and have stepped with it."""
        for node in (self._nodes[0], self._nodes[-1]):
            node.core.session_mix(self._realm.session, number)
        for link, ends in self._ends.items():
            for node in ends:
                node.core.link_mix(link, number)
        for node in (self._nodes[0], self._nodes[-1]):
            self.wait(lambda node=node: node.core.sessions()[self._realm.session]["mix"] == number)
        for link, ends in self._ends.items():
            for node in ends:
                self.wait(lambda node=node, link=link: node.core.links()[link]["mix"] == number)

    def wait(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not true():
            assert time.monotonic() < deadline
            for node in self._nodes:
                node.poll(0.02)

    def settle(self) -> None:
        """Wait until nothing was sent or received for half a second."""
        names = ("bytes_sent_total", "bytes_received_total")
        seen, since = None, time.monotonic()
        while time.monotonic() < since + 0.5:
            now = [[node.core.counters()[name] for name in names] for node in self._nodes]
            if now != seen:
                seen, since = now, time.monotonic()
            time.sleep(0.02)


def described(fd: int) -> dict[str, Any]:
    """What stands in no record: whose socket it is, and what it has not read. It is closed by this."""
    with socket.socket(fileno=fd) as sock:
        sock.setblocking(False)
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return {"kind": "listener"}
        unread = b""
        try:
            while more := sock.recv(1 << 16):
                unread += more
        except BlockingIOError:
            pass
        return {"kind": "stream", "here": sock.getsockname()[1], "there": sock.getpeername()[1], "unread": unread.hex()}


if __name__ == "__main__":
    main()
