"""A service whose target has several addresses."""

from __future__ import annotations

from pcgrelay._core.face import core as native
from tests.support.applications import Across
from tests.support.cores import carried_out

Address = tuple[str, int]


def serve(across: Across, *targets: Address, deadline_ms: int = 10_000) -> Address:
    address = across.serve(targets[0])
    rows = [(0, b"echo", 1, 0, native.EXPORT_READY, deadline_ms, targets)]
    across.far.core.publish(exports=rows, imports=[], grants=[(across.session, [0])])
    carried_out(across.far)
    return address
