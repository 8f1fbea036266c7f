"""Rung 2: whole frames, header and body, sealed and opened inside the core; EVP alone over such bodies is rung 1."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benches.bench_aead import SIZES, SUITES, ring


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("what", ["seal", "open"])
def test_frame(rounds: Callable[..., None], what: str, size: int) -> None:
    frames, count = ring(SUITES["AES-256-GCM"], size)
    prepare = frames.seal if what == "open" else (lambda: None)
    facts = {"rung": 2, "what": f"{what} frame", "suite": "AES-256-GCM", "size": size, "count": count}
    rounds(getattr(frames, what), prepare=prepare, **facts)
