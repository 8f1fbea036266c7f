"""Two edges with one link, the Met's with imports and Kent's with exports, where single keys matter."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pcgrelay.admin.answers import RELOAD_PATH, ReloadAnswer
from pcgrelay.admin.client import ask
from tests.scenarios.kit.nodes import HOST, KENT, MET, Node, Stage
from tests.support.ports import free_port
from tests.support.waiting import until

WAIT_S = 10.0


class Pair:
    """The two nodes. `change` writes a configuration again with other entries; a reload takes it."""

    def __init__(
        self,
        stage: Stage,
        exports: Sequence[Mapping[str, Any]],
        imports: Sequence[Mapping[str, Any]],
        workers: tuple[int, int] = (1, 1),
    ) -> None:
        self.stage = stage
        self.workers = workers
        self.port = free_port()
        self.exporter = self.write_exporter(exports)
        self.importer = self.write_importer(imports)

    def write_exporter(self, exports: Sequence[Mapping[str, Any]]) -> Node:
        entries = [{"allow": [MET], **entry} for entry in exports]
        table = {"workers": self.workers[1]}
        return self.stage.node(KENT, "kent-1", node_table=table, listens=[f"{HOST}:{self.port}"], exports=entries)

    def write_importer(self, imports: Sequence[Mapping[str, Any]], **link: Any) -> Node:
        links = [{"peer": f"kent-1.{KENT}", "address": f"{HOST}:{self.port}", **link}]
        return self.stage.node(MET, "met-1", node_table={"workers": self.workers[0]}, links=links, imports=imports)

    def start(self) -> None:
        self.stage.start()
        self.stage.await_well()


@contextmanager
def pair(
    folder: Path,
    exports: Sequence[Mapping[str, Any]],
    imports: Sequence[Mapping[str, Any]],
    workers: tuple[int, int] = (1, 1),
) -> Iterator[Pair]:
    """Both nodes, started and well. workers: of the importer and of the exporter."""
    with Stage(folder) as stage:
        made = Pair(stage, exports, imports, workers)
        made.start()
        yield made


def unix_client(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(WAIT_S)
    sock.connect(str(path))
    return sock


@contextmanager
def unix_server(path: Path, backlog: int = 16) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(WAIT_S)
        sock.bind(str(path))
        sock.listen(backlog)
        try:
            yield sock
        finally:
            path.unlink()


def reload(node: Node) -> ReloadAnswer:
    """Have a node take its file."""
    return ask(node.admin, "POST", RELOAD_PATH, ReloadAnswer, WAIT_S)


def await_streams(node: Node, count: int) -> None:
    until(lambda: node.status().streams.active == count, WAIT_S, f"{node} has {count} streams")
