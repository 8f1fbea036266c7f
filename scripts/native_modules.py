"""How native modules are built: modes, flags, and Cython's directives. setup.py builds the core with it, and
tests/native/setup.py the test faces.

PCGRELAY_BUILD is a comma list of build modes; each list has a folder of its own under build/, and the modules go
to build/<modes>/lib (run them with PYTHONPATH), so that no mode overwrites the ordinary modules:

  debug     no optimisation, bounds checks of the compiler and of libc
  asan      AddressSanitizer and UndefinedBehaviorSanitizer (gcc; preload libasan and libubsan)
  tsan      ThreadSanitizer (gcc; preload libtsan)
  fuzz      coverage for libFuzzer, and AddressSanitizer (clang; see tests/fuzz/run.py)
  trace     line tracing for coverage.py; the generated C stays beside the .pyx, where the plug-in looks for it
  annotate  the yellow lines, as HTML beside the generated C

PCGRELAY_LIBCRYPTO says whose libcrypto seals and opens:

  system  (unless told) the one that pkg-config finds, linked as any library is
  wheel   a static one of OpenSSL 3.5 in a module of its own, pcgrelay._libcrypto, which scripts/openssl static builds
          first. The modules go to build/wheel/lib; docs/decisions/0013 says why there are two

Paths are relative to the top of the repository, which must be the working directory.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension

CORE = Path("src/_core")
# Packages of native modules, and where their sources lie.
PACKAGES = {"pcgrelay._core": CORE, "tests.native": Path("tests/native")}
# libcrypto.a and its headers, as scripts/openssl leaves them, and the module that it is linked into.
OWN_LIBCRYPTO = Path("build/libcrypto")
OWN_MODULE = Path("src/_libcrypto/module.c")
MODES = {"debug", "asan", "tsan", "fuzz", "trace", "annotate"}
JOBS = 2

DIRECTIVES = {
    "language_level": 3,
    "cdivision": True,
    "auto_pickle": False,
    "embedsignature": True,
    "binding": True,
}

# What generated code trips over: parameters that a protocol of Python asks for, and tables filled in part.
WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    "-Wno-unused-function",
    "-Wno-missing-field-initializers",
    "-Wno-cast-function-type",
]

# -ftrivial-auto-var-init=zero is left out on purpose: it would clear the vectors of buffers and events on the
# stack at each call of the hot path, before the same call fills them.
HARDENING = [
    "-O2",
    "-fstack-protector-strong",
    "-fstack-clash-protection",
    "-U_FORTIFY_SOURCE",
    "-D_FORTIFY_SOURCE=2",
]
HARDENED_LINK = ["-Wl,-z,relro,-z,now,-z,noexecstack"]

SANITISERS = {
    "asan": ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
    "tsan": ["-fsanitize=thread"],
    "fuzz": ["-fsanitize=fuzzer-no-link,address"],
}


def pkg_config(name: str, minimum: str) -> tuple[list[str], list[str]]:
    tool = os.environ.get("PKG_CONFIG", "pkg-config")
    try:
        subprocess.run([tool, "--exists", f"{name} >= {minimum}"], check=True)
        cflags, libs = (subprocess.check_output([tool, what, name], text=True) for what in ("--cflags", "--libs"))
    except (OSError, subprocess.CalledProcessError):
        raise SystemExit(
            f"pcgrelay needs {name} {minimum} or later, found by pkg-config "
            "(Debian: apt-get install libssl-dev pkg-config)."
        ) from None
    return shlex.split(cflags), shlex.split(libs)


def build_modes() -> set[str]:
    modes = set(filter(None, os.environ.get("PCGRELAY_BUILD", "").split(",")))
    if modes - MODES:
        raise SystemExit(f"PCGRELAY_BUILD knows {', '.join(sorted(MODES))}, not {', '.join(sorted(modes - MODES))}.")
    if len(modes & SANITISERS.keys()) > 1:
        raise SystemExit("PCGRELAY_BUILD takes only one of asan, tsan and fuzz at a time.")
    return modes


def has_own_libcrypto() -> bool:
    """Return whether the modules carry a libcrypto of their own; PCGRELAY_LIBCRYPTO says so."""
    which = os.environ.get("PCGRELAY_LIBCRYPTO") or "system"
    if which not in {"system", "wheel"}:
        raise SystemExit(f"PCGRELAY_LIBCRYPTO is system or wheel, not {which}.")
    if which == "wheel" and not (OWN_LIBCRYPTO / "libcrypto.a").exists():
        raise SystemExit("There is no build/libcrypto/libcrypto.a; run: scripts/openssl static")
    return which == "wheel"


def libcrypto_flags() -> tuple[list[str], list[str]]:
    if has_own_libcrypto():
        return [f"-I{OWN_LIBCRYPTO / 'include'}", "-DPCG_CRYPTO_TABLE"], []
    return pkg_config("libcrypto", "3.0")


def flags(modes: set[str]) -> tuple[list[str], list[str]]:
    cflags, ldflags = libcrypto_flags()
    cflags = [*cflags, "-std=gnu11", "-g", "-pthread", "-fvisibility=hidden", *WARNINGS]
    if modes & {"debug", *SANITISERS}:
        optimise = "-O0" if "debug" in modes else "-O1"
        # Fortified calls hide from a sanitiser what it would report with more detail.
        cflags += [optimise, "-fno-omit-frame-pointer", "-U_FORTIFY_SOURCE", "-UNDEBUG"]
    else:
        cflags += HARDENING
        if platform.machine() in {"x86_64", "AMD64"}:
            cflags += ["-fcf-protection=full"]
    for mode in modes & SANITISERS.keys():
        cflags += SANITISERS[mode]
        ldflags = [*ldflags, *SANITISERS[mode]]
    return cflags, [*ldflags, *HARDENED_LINK]


def alias_tree() -> Path:
    """Cython looks a .pxd up by its import name, so the packages must exist under these names on its include path."""
    root = Path("build/cimport")
    for name, sources in PACKAGES.items():
        link = root.joinpath(*name.split("."))
        link.parent.mkdir(parents=True, exist_ok=True)
        (link.parent / "__init__.pxd").touch()
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(sources, link.parent), target_is_directory=True)
    return root


def cythonize_strictly(modules: list[Extension], **options: object) -> list[Extension]:
    """Cythonize, and refuse a performance hint: it means that a nogil function takes the interpreter lock.

    The log is caught at the file descriptor, for the jobs run in processes of their own. The C files of a refused
    run are removed, or the next run would find them up to date and say nothing.
    """
    started = time.time()
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            return_value = cythonize(modules, **options)
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            log.seek(0)
            text = log.read().decode(errors="replace")
            sys.stderr.write(text)
    if "performance hint:" in text:
        for module in return_value:
            for source in map(Path, module.sources):
                if source.suffix == ".c" and source.exists() and source.stat().st_mtime >= started:
                    source.unlink()
        raise SystemExit("A performance hint (see above) is an error: below the face nothing takes the GIL.")
    return return_value


def build_base(modes: set[str]) -> Path:
    """Where a kind of build has its files; PCGRELAY_BUILD_BASE names another place (scripts/packaging.sh)."""
    kinds = [*sorted(modes), *(["wheel"] if has_own_libcrypto() else [])]
    return Path(os.environ.get("PCGRELAY_BUILD_BASE") or Path("build", "-".join(kinds)))


def generated_base(modes: set[str]) -> Path:
    """Where the C is that Cython writes. A mode that only the compiler has to know takes that of the ordinary build."""
    ordinary = modes <= {"debug", *SANITISERS} and "PCGRELAY_BUILD_BASE" not in os.environ
    return (Path("build") if ordinary else build_base(modes)) / "cython"


def build_options(modes: set[str]) -> dict[str, dict[str, object]]:
    """Options of setuptools' commands: where a mode leaves what it builds."""
    options: dict[str, dict[str, object]] = {"build_ext": {"parallel": JOBS}}
    base = build_base(modes)
    if base != Path("build"):
        options["build"] = {
            "build_base": str(base),
            "build_lib": str(base / "lib"),
            "build_temp": str(base / "temp"),
        }
    return options


def own_libcrypto() -> Extension:
    """The module that carries libcrypto.a: none of its symbols leaves it, and none from outside takes its place."""
    cflags, ldflags = flags(set())
    archive = str(OWN_LIBCRYPTO / "libcrypto.a")
    return Extension(
        "pcgrelay._libcrypto",
        [str(OWN_MODULE)],
        include_dirs=[str(CORE)],
        extra_objects=[archive],
        extra_compile_args=cflags,
        extra_link_args=[*ldflags, "-Wl,--exclude-libs,ALL", "-Wl,-Bsymbolic", "-Wl,--gc-sections"],
        depends=[str(CORE / "base" / "crypto_calls.h"), archive],
    )


def extensions(modes: set[str], package: str) -> list[Extension]:
    """The native modules of one of PACKAGES: one for each .pyx, in packages as its folders are."""
    folder = PACKAGES[package]
    sources = sorted(folder.rglob("*.pyx"))
    if not sources:
        return []
    own = [own_libcrypto()] if package == "pcgrelay._core" and has_own_libcrypto() else []
    if "fuzz" in modes:
        clangs = [*(f"clang-{version}" for version in range(19, 13, -1)), "clang"]
        os.environ.setdefault("CC", next(filter(shutil.which, clangs), "clang"))
    cflags, ldflags = flags(modes)
    tracing = [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")] if "trace" in modes else []
    # Changed .pxd files make Cython write the C of all that cimport them again; headers it does not follow.
    headers = [str(path) for path in sorted(CORE.rglob("*.h"))]
    modules = [
        Extension(
            ".".join([package, *path.relative_to(folder).with_suffix("").parts]),
            [str(path)],
            include_dirs=[str(CORE)],
            define_macros=tracing,
            extra_compile_args=cflags,
            extra_link_args=ldflags,
            depends=headers,
        )
        for path in sources
    ]
    return own + cythonize_strictly(
        modules,
        include_path=[str(alias_tree())],
        build_dir=None if "trace" in modes else str(generated_base(modes)),
        compiler_directives={**DIRECTIVES, "linetrace": "trace" in modes},
        annotate="annotate" in modes,
        nthreads=JOBS,
    )
