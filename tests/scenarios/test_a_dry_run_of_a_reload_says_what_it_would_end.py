"""`pcgrelay reload --dry-run`: the differences, and how many live streams and sessions each would end."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scenarios.kit.nodes import HOST, KENT, PCGRELAY, Node
from tests.scenarios.kit.socket_steps import accepted, bind_listener, connect, read_exactly
from tests.scenarios.kit.two_edges import await_streams, pair, reload
from tests.support.ports import free_port

pytestmark = pytest.mark.tier_test


def dry_run(node: Node) -> subprocess.CompletedProcess[str]:
    command = [PCGRELAY, "reload", "--dry-run", "-c", node.config]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_it_tells_and_changes_nothing_and_the_reload_does_that(tmp_path: Path) -> None:
    target = (HOST, free_port())
    doors = {name: (HOST, free_port()) for name in ("custody", "crime")}
    exports = [{"service": name, "target": f"{HOST}:{target[1]}"} for name in doors]
    imports = [{"service": f"{name}@{KENT}", "listen": f"{HOST}:{door[1]}"} for name, door in doors.items()]
    with bind_listener(target) as server, pair(tmp_path, exports, imports) as edges, ExitStack() as held:
        clients = {}
        for name, count in (("custody", 3), ("crime", 2)):
            for _ in range(count):
                client = held.enter_context(connect(doors[name]))
                client.sendall(b"x")
                read_exactly(held.enter_context(accepted(server)), 1)
                clients.setdefault(name, []).append(client)
        assert dry_run(edges.exporter).stdout == "Nothing would change.\n"

        edges.write_exporter([{**exports[0], "allow": []}, exports[1]])
        said = dry_run(edges.exporter)
        assert said.returncode == 0
        assert said.stdout == (
            "This would change:\n"
            f"  export custody@{KENT} changed (allow): ends 3 streams\n"
            "For what is allowed that means:\n"
            "  NARROWS   export custody: allow met.police.example removed\n"
            "Nothing was changed. A reload now would end 3 streams.\n"
        )
        assert edges.exporter.status().streams.active == 5
        assert not edges.exporter.log("config.reloaded")

        edges.write_importer([imports[0]])
        assert f"import crime@{KENT} removed: ends 2 streams" in dry_run(edges.importer).stdout

        # Now the reload itself.
        assert reload(edges.exporter).ok
        await_streams(edges.exporter, 2)
        for client in clients["custody"]:
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        clients["crime"][0].sendall(b"on")

        # What a reload would refuse, a dry run refuses, with the same sentence and exit code.
        edges.exporter.config.write_text(edges.exporter.config.read_text() + "[nonsense]\n")
        refused = dry_run(edges.exporter)
        answer = reload(edges.exporter)
        assert (refused.returncode, answer.ok) == (78, False)
        assert refused.stderr == f"pcgrelay: {answer.reason}\n"


@pytest.mark.tier_all
def test_sessions_that_policy_would_end_are_counted(tmp_path: Path) -> None:
    door, target = (HOST, free_port()), (HOST, free_port())
    export = {"service": "echo", "target": f"{HOST}:{target[1]}"}
    imports = [{"service": f"echo@{KENT}", "listen": f"{HOST}:{door[1]}"}]
    with ExitStack() as held:
        server = held.enter_context(bind_listener(target))
        edges = held.enter_context(pair(tmp_path, [export], imports))
        client = held.enter_context(connect(door))
        far = held.enter_context(accepted(server))
        client.sendall(b"x")
        read_exactly(far, 1)
        config = edges.exporter.config
        config.write_text(config.read_text().replace("[policy]\n", '[policy]\nsuites = ["CHACHA20-POLY1305"]\n'))
        said = dry_run(edges.exporter).stdout
        assert "policy.suites changed: ends 1 session and 1 stream" in said
        client.sendall(b"y")
        assert read_exactly(far, 1) == b"y"
