"""A wheel seals with an OpenSSL of its own, wherever it is installed, whatever else is in the process or beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scenarios.kit.debian_package import ROOT, debian_root, own_release, run

pytestmark = pytest.mark.tier_all

BUILT = ROOT / "build" / "wheel" / "lib"
# Whoever reads this file has no algorithm left: all that is fetched must be one of a FIPS module, and there is none.
HOSTILE = """
openssl_conf = all
[all]
alg_section = algorithms
[algorithms]
default_properties = fips=yes
"""
LOOK = """
import hashlib, ssl
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pcgrelay._core.face import core
name, is_own = core.library()
assert is_own and name.startswith("OpenSSL 3.5."), (name, is_own)
assert ssl.OPENSSL_VERSION not in name
assert len(AESGCM(bytes(32)).encrypt(bytes(12), b"x", b"")) == 17
assert hashlib.sha256(b"").hexdigest().startswith("e3b0c442")
ssl.create_default_context()
print("together")
"""
CORE_ALONE = """
from pcgrelay._core.face import core
assert not any("libcrypto.so" in line for line in open("/proc/self/maps"))
print(core.library()[0])
"""


def python(code: str, *, lib: Path | None = BUILT, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment, **({"PYTHONPATH": str(lib)} if lib else {})}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as a release is; scripts/wheel has looked into it (auditwheel, RUNPATH, symbols, test faces)."""
    folder = tmp_path_factory.mktemp("wheel")
    run("scripts/wheel", folder)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def modules(wheel: Path) -> None:
    """The core with that libcrypto, built for this very interpreter, and the tests' faces of it."""
    environment = {"PCGRELAY_LIBCRYPTO": "wheel"}
    run(sys.executable, "setup.py", "--quiet", "build", **environment)
    run(sys.executable, "tests/native/setup.py", "--quiet", "build", **environment)


@pytest.mark.timeout(1800)
def test_the_core_does_all_that_it_does_with_the_system_s(modules: None) -> None:
    """With the system's libcrypto preloaded, which any call by name would reach."""
    (library,) = {
        line.split()[-1] for line in run("ldconfig", "-p").splitlines() if "libcrypto.so.3 (libc6,x86-64" in line
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-n",
        "2",
        "--dist",
        "loadfile",
        "tests/core",
    ]
    env = {**os.environ, "PYTHONPATH": str(BUILT), "LD_PRELOAD": library}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


def test_it_shares_a_process_with_others(modules: None) -> None:
    done = python(LOOK)
    assert (done.returncode, done.stdout) == (0, "together\n"), done.stderr
    alone = python(CORE_ALONE)
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.startswith("OpenSSL 3.5.")


def test_no_configuration_of_openssl_reaches_it(modules: None, tmp_path: Path) -> None:
    for name in ("openssl.cnf", "ssl/openssl.cnf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(HOSTILE)
    hostile = {"OPENSSL_CONF": str(tmp_path / "openssl.cnf"), "OPENSSL_MODULES": str(tmp_path)}
    # The file does what it says: with the system's libcrypto the core has no cipher left.
    assert "libcrypto has no AEAD" in python("import tests.native.probe", lib=None, **hostile).stderr
    done = python("import tests.native.probe", lib=None, **{**hostile, "PYTHONPATH": f"{BUILT}:{ROOT}"})
    assert done.returncode == 0, done.stderr


def test_without_its_libcrypto_or_with_another_one_s_it_is_not_imported(modules: None) -> None:
    missing = "import sys; sys.modules['pcgrelay._libcrypto'] = None\nimport pcgrelay._core.face.core"
    done = python(missing)
    assert "ImportError: pcgrelay._libcrypto is missing or broken; install pcgrelay again" in done.stderr
    strange = (
        "import ctypes, sys, types\n"
        "size = ctypes.c_size_t(8)\n"
        "make = ctypes.pythonapi.PyCapsule_New\n"
        "make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]\n"
        "import pcgrelay\n"
        "module = types.ModuleType('pcgrelay._libcrypto')\n"
        "module.table = make(ctypes.addressof(size), b'pcgrelay._libcrypto.table', None)\n"
        "sys.modules['pcgrelay._libcrypto'] = pcgrelay._libcrypto = module\n"
        "import pcgrelay._core.face.core"
    )
    assert "pcgrelay._libcrypto is of another version; install pcgrelay again" in python(strange).stderr


@pytest.mark.timeout(1800)
def test_it_is_installed_where_nothing_can_be_compiled(wheel: Path, tmp_path: Path) -> None:
    """In a fresh Debian without compiler and headers, from files alone; a whole realm runs there."""
    python_of_debian = "/usr/bin/python3"
    files = tmp_path / "files"
    version = subprocess.check_output(
        [python_of_debian, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True
    )
    download = ("-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--python-version", version.strip())
    run(sys.executable, *download, "--require-hashes", "--no-deps", "-d", files, "-r", "requirements/run.txt")
    root = debian_root(own_release())
    assert not (root / "usr/bin/gcc").exists()
    assert not (root / "usr/include/openssl").exists()
    inside = "python3 -m venv /opt/try && /opt/try/bin/pip install -q --no-index /files/*.whl /wheel/*.whl"
    inside += " && /opt/try/bin/pcgrelay --version && /opt/try/bin/pcgrelay demo"
    said = run(
        *("systemd-nspawn", "--quiet", "-D", root, "--volatile=overlay", "--register=no", "--keep-unit"),
        *("--private-network", f"--machine=wheel-{os.getpid()}", f"--bind-ro={files}:/files"),
        *(f"--bind-ro={wheel.parent}:/wheel", "--pipe", "sh", "-ec", inside),
    )
    assert "built into pcgrelay" in said
    assert "frames:   OpenSSL 3.5." in said
