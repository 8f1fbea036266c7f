"""What several files of the core's tests begin from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.applications import Across


@pytest.fixture(params=[0, 1], ids=["edge-edge", "edge-relay-edge"])
def across(request: pytest.FixtureRequest) -> Iterator[Across]:
    """Two edges with a session, without a relay and over one. A file that needs others has a fixture of its own."""
    with Across(relays=request.param) as built:
        yield built
