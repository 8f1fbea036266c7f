"""Rung 1: AEAD alone, through the core and through EVP in the same process, one core. `openssl speed` runs beside it.

A ring of frames is small enough for the second cache, so that memory is not what is measured.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from benches.settings import GATEWAY_CPU, chosen
from tests.native.probe_bench import Frames

SUITES = {"AES-256-GCM": 1, "AES-128-GCM": 2, "ChaCha20-Poly1305": 3}
SIZES = [64, 256, 1024, 4096, 16384, 65536]
RING_BYTES = 256 << 10
# Each round is long beside the clock's own price.
FRAMES_LEAST, FRAMES_MOST = 8, 512


def ring(suite: int, size: int) -> tuple[Frames, int]:
    count = max(FRAMES_LEAST, min(FRAMES_MOST, RING_BYTES // size))
    return Frames(suite, size, count), count


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("what", ["seal_bare", "open_bare", "seal_body", "open_body"])
def test_aead(rounds: Callable[..., None], what: str, suite: str, size: int) -> None:
    frames, count = ring(SUITES[suite], size)
    seal = getattr(frames, what.replace("open", "seal"))
    run = getattr(frames, what)
    prepare = seal if what.startswith("open") else (lambda: None)
    rounds(run, prepare=prepare, rung=1, what=what, suite=suite, size=size, count=count)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("suite", SUITES)
def test_openssl_speed(benchmark: Any, suite: str, size: int) -> None:
    """What the tool of OpenSSL says of the same cipher: bytes a second, from its machine-readable line."""
    seconds = "1" if chosen().name == "full" else "0"
    if seconds == "0":
        pytest.skip("openssl speed takes whole seconds; only the full run has them")
    command = ["taskset", "-c", str(GATEWAY_CPU), "openssl", "speed", "-mr", "-aead", "-seconds", seconds]
    done = benchmark.pedantic(
        lambda: subprocess.run(
            [*command, "-bytes", str(size), "-evp", suite.lower()], capture_output=True, text=True, check=True
        ),
        rounds=1,
    )
    found = re.search(r"^\+F:\d+:[^:]+:([\d.]+)", done.stdout, re.MULTILINE)
    assert found, done.stdout
    benchmark.extra_info.update(rung=1, what="openssl speed", suite=suite, size=size, bytes_s=float(found[1]))
