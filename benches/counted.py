"""What `count` counts instructions of: every operation in a short and in a long run, always in the same order.

It runs under callgrind, which writes one dump for each call from Python into the core that is named in `MARKS`.
"""

from __future__ import annotations

from collections.abc import Callable

from benches.bench_aead import SUITES
from benches.bench_link import chain
from tests.native.probe_bench import Frames

# The functions of probe_bench whose calls are told apart.
MARKS = ("seal_body", "open_body", "seal", "open", "carry")
SHORT, LONG = 20, 120


def _frames(call: str, size: int, count: int) -> Callable[[], object]:
    frames = Frames(SUITES["AES-256-GCM"], size, count)

    def run() -> None:
        if call.startswith("open"):
            # A call of its own, with a dump of its own, which nobody looks at.
            getattr(frames, call.replace("open", "seal"))()
        getattr(frames, call)()

    return run


def _link(relays: int, size: int, count: int) -> Callable[[], object]:
    carry = chain(relays)
    return lambda: carry(size, count)


OPERATIONS: dict[str, Callable[[int], Callable[[], object]]] = {
    "aead seal 64 B": lambda count: _frames("seal_body", 64, count),
    "aead open 64 B": lambda count: _frames("open_body", 64, count),
    "aead seal 16 KiB": lambda count: _frames("seal_body", 16384, count),
    "frame seal 64 B": lambda count: _frames("seal", 64, count),
    "frame open 64 B": lambda count: _frames("open", 64, count),
    "frame seal 16 KiB": lambda count: _frames("seal", 16384, count),
    "link 64 B": lambda count: _link(0, 64, count),
    "link 16 KiB": lambda count: _link(0, 16384, count),
    "link with a relay 64 B": lambda count: _link(1, 64, count),
    "link with a relay 16 KiB": lambda count: _link(1, 16384, count),
}


def main() -> None:
    # The first call carries what came before it, so its dump is thrown away.
    next(iter(OPERATIONS.values()))(SHORT)()
    for make in OPERATIONS.values():
        for count in (SHORT, LONG):
            make(count)()


if __name__ == "__main__":
    main()
