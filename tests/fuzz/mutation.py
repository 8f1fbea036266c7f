"""The loop of the harnesses in Python: inputs that are put together from good ones and spoilt, until the time is up.

There is no instrumentation here. What is new is judged by the answer: an input whose answer nobody gave before is kept
and spoilt further. libFuzzer's words for the outcome are used, so that run.py reads them all alike.
"""

import argparse
import hashlib
import random
import re
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

KEPT_AT_MOST = 2_000
NUMBER = re.compile(rb"-?\d+(\.\d+)?")
ODD_NUMBERS = b"0 1 2 -1 0.5 1.0 1.1 10 40 100 320 1e-300 1e12 4294967296 9007199254740992 1e308".split()
ODD_BYTES = [bytes([odd]) for odd in b"\0\xff\x7f\x80\"'\n[]{}=.\\-\xc3"]


class Mutator:
    """Spoils inputs."""

    def __init__(self, seed: int, words: list[bytes]) -> None:
        self._random = random.Random(seed)
        self._words = words

    def spoilt(self, kept: list[bytes]) -> bytes:
        choice = self._random
        data = bytearray(choice.choice(kept))
        for _ in range(choice.choice([1, 1, 2, 3, 8])):
            at = choice.randrange(len(data) + 1)
            to = min(len(data), at + choice.choice([1, 1, 2, 4, 16, 64]))
            match choice.randrange(9):
                case 0:
                    data[at:to] = b""
                case 1 if at < len(data):
                    data[at] ^= 1 << choice.randrange(8)
                case 2:
                    data[at:at] = choice.choice(ODD_BYTES)
                case 3:
                    data[at:at] = choice.choice(self._words)
                case 4:
                    data[at:to] = choice.choice(self._words)
                case 5:
                    other = choice.choice(kept)
                    start = choice.randrange(len(other) + 1)
                    data[at:at] = other[start : start + choice.choice([8, 64, 512])]
                case 6:
                    data[at:at] = data[at:to] * choice.choice([1, 2, 50, 5_000])
                case 7 if number := choice.choice([None, *NUMBER.finditer(data)]):
                    data[number.start() : number.end()] = choice.choice(ODD_NUMBERS)
                case _:
                    data[at:to] = choice.randbytes(to - at)
        return bytes(data[:70_000])


def main(seeds: list[bytes], words: list[bytes], run: Callable[[bytes], object]) -> int:
    """run takes an input, answers something that can be hashed, and raises if the invariant is broken."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--findings", default="", help="begin the name of what is found with this")
    parser.add_argument("regressions", nargs="*", type=Path, help="files and folders that are run first")
    arguments = parser.parse_args()

    print(f"mutation: --seed {arguments.seed}", file=sys.stderr)
    files = [file for path in arguments.regressions for file in ([path] if path.is_file() else sorted(path.iterdir()))]
    first = [*(file.read_bytes() for file in files), *seeds]
    mutator = Mutator(arguments.seed, words)
    kept, answers, runs = list(seeds), set[object](), 0
    until = time.monotonic() + arguments.seconds
    while first or time.monotonic() < until:
        data = first.pop() if first else mutator.spoilt(kept)
        runs += 1
        try:
            answer = run(data)
        except BaseException:
            traceback.print_exc()
            name = f"{arguments.findings}crash-{hashlib.sha256(data).hexdigest()[:16]}"
            if arguments.findings:
                Path(name).write_bytes(data)
            print(f"mutation: input of {len(data)} bytes: {name}", file=sys.stderr)
            return 1
        if answer not in answers and len(kept) < KEPT_AT_MOST:
            answers.add(answer)
            kept.append(data)
    print(f"cov: {len(answers)} answers\nstat::number_of_executed_units: {runs}", file=sys.stderr)
    return 0
