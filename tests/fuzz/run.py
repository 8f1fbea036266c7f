"""Builds the core for fuzzing and runs every harness: `tests/fuzz/run.py --seconds N [NAME...]`.

A harness is a file `fuzz_<name>.c` beside this one. Its first comment states the invariant that it holds the core to.
It takes functions of the core as plain pointers and gives them libFuzzer's own block:

    /* Whatever the bytes, frame_decode reads none past the end, and what it takes is no longer than what it got. */
    #include "harness.h"

    static int (*frame_decode)(const uint8_t *, size_t, frame *);

    int LLVMFuzzerInitialize(int *argc, char ***argv) {
        frame_decode = harness_function("pcgrelay._core.frame.frame", "frame_decode");
        return 0;
    }

    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        frame f;
        if (frame_decode(data, size, &f) == 0 && f.length > size)
            abort();
        return 0;
    }

Only functions declared in a .pxd can be had. Cython does not write C headers for them, so a harness declares the
small structs it needs itself. What is larger, a worker and all around it, is set up in fuzzface.pyx and the .pxi files
that it includes. It cimports the core, is built here beside it, and is taken through world.h. Headers of src/_core are
on the include path.

`fuzz_<name>.py` is a harness of the control plane; mutation.py is its loop.

What the fuzzer learns stays in build/fuzz/corpus/<name>/. An input that broke something once goes to
tests/fuzz/regressions/<name>/, is committed, and is run again first in every later run. So are the inputs in the folder
that SEEDS names, for a harness that begins with real ones.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
HARNESSES = ROOT / "tests" / "fuzz"
BUILD = ROOT / "build" / "fuzz"
MEMORY_LIMIT_MB = 1024
CLANGS = range(19, 13, -1)  # Debian 13 has 19, Debian 12 has 14
INPUT_SECONDS = 10
INPUT_BYTES = 70_000  # a little more than the largest frame
# Where a harness begins, besides what it learnt and what it found: inputs that it would hardly come upon by itself.
SEEDS = {"handover": ROOT / "tests" / "core" / "records"}


class Outcome(NamedTuple):
    name: str
    runs: int
    coverage: int
    failed: bool
    log: str


def compiler() -> str:
    """The newest clang that is there. Debian names them by version, and the fuzzers' runtime after them."""
    for name in (*(f"clang-{version}" for version in CLANGS), "clang"):
        if shutil.which(name):
            return name
    raise SystemExit("fuzz: clang is missing; run as root: sh scripts/setup test")


def build_core(clang: str) -> None:
    command = [sys.executable, "setup.py", "--quiet", "build"]
    environment = {**os.environ, "PCGRELAY_BUILD": "fuzz", "CC": clang}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout}{done.stderr}fuzz: the core does not build")


def build_face(clang: str) -> None:
    """fuzzface.pyx, as the core is built, into the folder of the core's modules."""
    source, target = HARNESSES / "fuzzface.pyx", BUILD / "lib" / f"fuzzface{sysconfig.get_config_var('EXT_SUFFIX')}"
    generated = BUILD / "fuzzface.c"
    if is_newer(target, [*HARNESSES.glob("*.p??"), *(ROOT / "src/_core").rglob("*.p??")]):
        return
    subprocess.run(
        [sys.executable, "-m", "cython", "-3", "-X", "cdivision=True", f"-I{ROOT / 'build/cimport'}",
         str(source), "-o", str(generated)],
        check=True,
    )  # fmt: skip
    subprocess.run(
        [
            clang, "-g", "-O1", "-fno-omit-frame-pointer", "-fPIC", "-shared", "-pthread", "-Wno-everything",
            "-fsanitize=fuzzer-no-link,address", f"-I{ROOT / 'src/_core'}", f"-I{sysconfig.get_path('include')}",
            str(generated), "-o", str(target), "-lcrypto",
        ],
        check=True,
    )  # fmt: skip


def is_newer(target: Path, sources: Iterable[Path]) -> bool:
    return target.exists() and all(target.stat().st_mtime > source.stat().st_mtime for source in sources)


def build_harness(clang: str, source: Path) -> Path:
    # It is linked with this Python, and only this one finds the modules that were built for it.
    program = BUILD / "bin" / sysconfig.get_config_var("SOABI") / source.stem
    program.parent.mkdir(parents=True, exist_ok=True)
    if is_newer(program, [source, *HARNESSES.glob("*.h")]):
        return program
    library = sysconfig.get_config_var("LIBDIR")
    subprocess.run(
        [
            clang, "-g", "-O1", "-Wall", "-fsanitize=fuzzer,address", "-Wl,--export-dynamic",
            f"-I{ROOT / 'src/_core'}", f"-I{HARNESSES}", f"-I{sysconfig.get_path('include')}",
            str(source), "-o", str(program),
            f"-L{library}", f"-Wl,-rpath,{library}", f"-lpython{sysconfig.get_config_var('LDVERSION')}", "-lcrypto",
        ],
        check=True,
    )  # fmt: skip
    return program


def run_harness(program: Path, seconds: int) -> Outcome:
    name = program.stem.removeprefix("fuzz_")
    corpus, findings = BUILD / "corpus" / name, BUILD / "findings"
    regressions = HARNESSES / "regressions" / name
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    replayed = [str(folder) for folder in (regressions, SEEDS.get(name)) if folder and folder.is_dir()]
    command = [
        str(program),
        f"-max_total_time={seconds}",
        f"-timeout={INPUT_SECONDS}",
        f"-rss_limit_mb={MEMORY_LIMIT_MB}",
        f"-max_len={INPUT_BYTES}",
        f"-artifact_prefix={findings}/{name}-",
        "-print_final_stats=1",
        str(corpus),
        *replayed,
    ]
    if program.suffix == ".py":
        found = f"--findings={findings}/{name}-"
        command = [sys.executable, "-m", f"tests.fuzz.{program.stem}", f"--seconds={seconds}", found, *replayed]
        return outcome_of(name, command, None)
    environment = {
        **os.environ,
        # Python's own allocator would hide reads past the end of small objects.
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",
        "PYTHONPATH": str(BUILD / "lib"),
        "PYTHONHOME": sys.base_prefix,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return outcome_of(name, command, environment)


def outcome_of(name: str, command: list[str], environment: dict[str, str] | None) -> Outcome:
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    coverage = re.findall(r"\bcov: (\d+)", done.stderr)
    count = int(runs[1]) if runs else 0
    return Outcome(name, count, int(coverage[-1]) if coverage else 0, bool(done.returncode) or not count, done.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the core for fuzzing and run the harnesses.")
    parser.add_argument("--seconds", type=int, default=60, help="time for each harness (60)")
    parser.add_argument("--jobs", type=int, default=2, help="harnesses at a time (2)")
    parser.add_argument("names", nargs="*", help="only these harnesses, without the fuzz_")
    arguments = parser.parse_args()

    sources = sorted([*HARNESSES.glob("fuzz_*.c"), *HARNESSES.glob("fuzz_*.py")])
    if arguments.names:
        sources = [source for source in sources if source.stem.removeprefix("fuzz_") in arguments.names]
    if not sources:
        raise SystemExit("fuzz: no harness found, so nothing was proved")
    if any(source.suffix == ".c" for source in sources):
        clang = compiler()
        build_core(clang)
        build_face(clang)
    programs = [build_harness(clang, source) if source.suffix == ".c" else source for source in sources]
    with ThreadPoolExecutor(max_workers=arguments.jobs) as pool:
        outcomes = list(pool.map(lambda program: run_harness(program, arguments.seconds), programs))
    for outcome in outcomes:
        if outcome.failed:
            print(outcome.log[-8000:])
        word = "FAILED" if outcome.failed else "clean"
        print(f"fuzz: {outcome.name}: {word}, {outcome.runs:,} runs, {outcome.coverage:,} branches or answers")
    failed = [outcome.name for outcome in outcomes if outcome.failed]
    if failed:
        print(f"fuzz: inputs are in {BUILD / 'findings'}; keep them in tests/fuzz/regressions/<name>/")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
