"""How long the ladder takes: BENCH=full (the default), short, or tiny, which only proves that everything runs.

BENCH_ROUNDS sets the number of rounds alone. BENCH_LIBCRYPTO names a folder with another libcrypto.so.3 and libssl.so.3
of OpenSSL 3: every gateway that uses OpenSSL, ours and others, is then measured with it, and the results go to a folder
of their own.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "bench"
LIBCRYPTO = os.environ.get("BENCH_LIBCRYPTO", "")
WITH_LIBCRYPTO = BUILD / "libcrypto"
# Where this run writes, and what it is compared with in the report.
RESULTS, OTHER_RESULTS = (WITH_LIBCRYPTO, BUILD) if LIBCRYPTO else (BUILD, WITH_LIBCRYPTO)

LOAD_CPU, GATEWAY_CPU = 0, 1
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Settings:
    name: str
    rounds: int  # of every measurement of rungs 4 to 6; the report takes medians
    warm_s: float
    window_s: float
    in_core_rounds: int  # of rungs 1 to 3
    idle: tuple[int, ...]  # how many idle connections are held for the memory of each
    peers_left_out: frozenset[str] = frozenset()
    cases_left_out: frozenset[str] = frozenset()


CHOICES = {
    "full": Settings("full", 5, 0.2, 0.5, 60, (2_000, 20_000)),
    "short": Settings(
        "short",
        1,
        0.15,
        0.4,
        20,
        (2_000,),
        frozenset({"stunnel", "spiped", "haproxy-pass", "nginx"}),
        frozenset({"bulk 64", "request 512 x 512 B", "open 1"}),
    ),
    "tiny": Settings("tiny", 1, 0.05, 0.15, 5, (200,)),
}


def chosen() -> Settings:
    name = os.environ.get("BENCH") or "full"
    if name not in CHOICES:
        raise SystemExit(f"BENCH knows {', '.join(CHOICES)}, not {name}.")
    rounds = int(os.environ.get("BENCH_ROUNDS") or CHOICES[name].rounds)
    return replace(CHOICES[name], rounds=rounds)


def allow_many_descriptors() -> int:
    """Raise the limit of open files, which processes started from here inherit, as far as it goes; answer it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536
    for limit in (wanted, min(hard, wanted)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, hard)))
        except (ValueError, OSError):
            continue
        return limit
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
