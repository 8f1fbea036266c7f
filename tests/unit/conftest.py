"""What all unit tests share: none of them waits for the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def _disk() -> Iterator[None]:
    """Have fsync return at once: what was written is there for whoever reads it, as long as the kernel lives.

    What a power failure leaves is asked of disks that tests make up. A test that watches fsync puts its own in place.
    """

    def sync(descriptor: Any) -> None:
        os.fstat(descriptor if isinstance(descriptor, int) else descriptor.fileno())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        patch.setattr(os, "fdatasync", sync)
        yield
