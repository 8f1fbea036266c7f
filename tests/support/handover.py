"""Another core in the place of a node's, while streams flow."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from pcgrelay._core.face import core as native
from tests.support.applications import Across
from tests.support.cores import Node, frozen_record


def hand_over(
    across: Across,
    node: Node,
    *targets: tuple[str, int],
    imports: Sequence[Any] = (),
    exports: Sequence[Any] = (),
    change: Callable[[bytearray], bytearray] = lambda record: record,
    tables: Callable[[], None] | None = None,
) -> None:
    """Have another core take the place of a node's. imports, exports: its tables, if not those of `publish`.

    change: what is read of the record, while neither core runs. tables: publishes them, where more is to be made first.
    """
    old = node.core
    record, fds = frozen_record(node)
    role = native.ROLE_RELAY if node in across.relays else native.ROLE_EDGE
    node.core = native.Core(workers=old.workers, memory_bytes=64 << 20, role=role)
    assert node.core.handover_read(change(record), fds) == []
    for fd in old.handover_write(record):
        os.close(fd)
    old.abandon()
    native.wiped(record)
    if role == native.ROLE_EDGE:
        # The tables are the control plane's, and come before the first frame.
        if tables is not None:
            tables()
        elif imports or exports:
            node.core.publish(exports=exports, imports=imports, grants=[(across.session, [0])] if exports else [])
        else:
            publish(across, node, *targets)
    node.core.start()


def publish(across: Across, node: Node, *targets: tuple[str, int]) -> None:
    if node is across.far:
        rows = [(0, b"echo", 1, 0, native.EXPORT_READY, 2000, targets)]
        node.core.publish(exports=rows, imports=[], grants=[(across.session, [0])])
    else:
        routes = [(across.session, 2, 100)]
        node.core.publish(exports=[], imports=[(0, b"echo", 1, 0, native.IMPORT_LIVE, routes)], grants=[])
