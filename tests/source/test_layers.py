"""Imports point downwards. The lists below are the drawing of the system; a new file gets its place here first."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTROL = ROOT / "src" / "pcgrelay"
CORE = ROOT / "src" / "_core"
TEST_FACES = ROOT / "tests" / "native"

# The control plane from top to bottom. A module may import what stands on a lower line, and its own unit.
CONTROL_LAYERS = [
    ["cli", "__main__"],
    ["demo"],
    ["fleet_table"],
    ["assure"],
    ["doctor"],
    ["output"],
    ["daemon"],
    ["views"],
    ["gateway"],
    ["restoring"],
    ["backup"],
    ["check"],
    [
        "unit_checks",
        "clearance_checks",
        "rule_checks",
        "service_checks",
        "approval_checks",
        "kernel_checks",
        "realm_checks",
        "local_port_checks",
    ],
    ["rehearsal"],
    ["services"],
    ["session"],
    ["path"],
    ["catalogue"],
    ["objects"],
    ["link"],
    ["fleet"],
    ["openssl"],
    ["ca"],
    ["realm"],
    ["audit.trust"],
    ["identity"],
    ["dataplane"],
    ["policy"],
    ["admin"],
    ["audit"],
    ["log"],
    ["net"],
    ["handover"],
    ["messages"],
    ["reasons"],
    ["drills"],
    ["cutover"],
    ["rendering"],
    ["figures"],
    ["health"],
    ["config"],
    ["cutover.windows"],
    ["state"],
    ["files"],
    ["kernel"],
    ["model"],
    ["signing"],
    ["printable"],
    ["core_dumps"],
    ["quantities"],
    ["errors"],
    ["finding"],
    ["clock"],
    ["ranges"],
]
# Packages whose modules stand on different lines; the package itself is only a folder.
FOLDERS: set[str] = set()
CORE_IMPORTERS = {"face": {"dataplane"}}

# The core from bottom to top, by folder, and the test faces on top. A file may cimport what stands before it.
CORE_LAYERS = {
    "base": "libcrypto atomics bucket wire result digits tlv buf map queue timer ports handle stats organisation linux",
    "crypto": "aead epoch renewal replay lane_keys known_answers",
    "frame": "frame packet record credit pace",
    "stream": "meter stream stream_list flow flow_datagrams service_tables",
    "link": "gauge mailbox udp_probes shard link udp_lane lane_send lane relay",
    "session": "session renewing stream_walk former datagrams candidate timers",
    "edge": "lists clients rates associations setups streams targets limits proxy_header nudges direct sessions choice "
    "outlets datagrams accept records",
    "handover": "keys lanes udp_lanes streams flows shard",
    "worker": "worker sockets dial datagram_sockets datagram_batches datagram_io direct_io "
    "direct_datagrams app_io packet_builder frame_builder "
    "lane_io udp_io rounds orders event_loop handover",
    "face": "answers bounds counters ends end_bodies registry tables_fill workers datagrams outlets udp_lanes core",
}
TEST_FACES_ORDER = (
    "probe probe_store probe_flow probe_link probe_edge probe_datagrams probe_rates probe_udp probe_bench".split()
)
CORE_ORDER = [f"{folder}.{name}" for folder, names in CORE_LAYERS.items() for name in names.split()] + TEST_FACES_ORDER
PROBES = set(TEST_FACES_ORDER)
WORKERS = {
    "base.linux",
    "worker.worker",
    "worker.sockets",
    "worker.dial",
    "worker.datagram_sockets",
    "worker.datagram_batches",
    "worker.datagram_io",
    "worker.direct_io",
    "worker.direct_datagrams",
    "worker.app_io",
    "worker.packet_builder",
    "worker.frame_builder",
    "worker.lane_io",
    "worker.udp_io",
    "worker.rounds",
    "worker.orders",
    "worker.event_loop",
    "worker.handover",
    "face.workers",
    "face.datagrams",
    "face.outlets",
    "face.udp_lanes",
    "face.core",
}
CORE_EXCEPT = dict.fromkeys(PROBES, WORKERS)
# What is in a worker's queues of handed-over datagrams is looked at without a socket, and workers that stand still are
# led turn by turn.
CORE_EXCEPT["probe_datagrams"] = WORKERS - {
    "worker.worker",
    "worker.datagram_batches",
    "worker.event_loop",
    "face.workers",
}
# The worker is one thread in many files: its record, sockets, targets, datagrams, applications and direct streams,
# frames for lanes, lanes, rounds, orders, the turn.
SYSTEM_CALLERS = WORKERS | {"face.tables_fill"}
SYSTEM_LIBRARIES = re.compile(r"posix\b|libc\.(time|stdio|errno|signal)\b")
FACES = {f"face.{name}" for name in CORE_LAYERS["face"].split()} | PROBES
PYTHON_LIBRARIES = re.compile(r"cpython\b")


# --- the control plane ---------------------------------------------------------------------------------------------


def control_modules() -> dict[str, Path]:
    """Dotted names below pcgrelay, "" for the package itself; the native core is not among them."""
    found = {}
    for path in CONTROL.rglob("*.py"):
        parts = path.relative_to(CONTROL).with_suffix("").parts
        if parts[0] != "_core":
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def unit_of(module: str) -> str | None:
    units = (unit for layer in CONTROL_LAYERS for unit in layer)
    # A module that has a line of its own is not on that of its package.
    return max((unit for unit in units if module == unit or module.startswith(unit + ".")), key=len, default=None)


def layer_of(unit: str) -> int:
    return next(number for number, layer in enumerate(CONTROL_LAYERS) if unit in layer)


def imports_of(module: str, source: str, is_package: bool, modules: set[str]) -> Iterator[str]:
    """What a module imports of pcgrelay, as dotted names below it."""
    here = ["pcgrelay", *filter(None, module.split("."))]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + is_package] if node.level else []
            prefix = ".".join([*base, *filter(None, [node.module])])
            names = [f"{prefix}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name != "pcgrelay" and not name.startswith("pcgrelay."):
                continue
            short = name.removeprefix("pcgrelay").lstrip(".")
            # `from a import b` names a module or something inside one.
            yield short if short in modules or short.startswith("_core.") else short.rpartition(".")[0]


def refusals_of_control(module: str, source: str, is_package: bool, modules: set[str]) -> Iterator[str]:
    imported = set(imports_of(module, source, is_package, modules)) - {""}
    unit = unit_of(module)
    if unit is None:
        if module not in FOLDERS | {""}:
            yield f"{module} has no place in CONTROL_LAYERS"
            return
        yield from (f"{module or 'pcgrelay'} is only a folder and imports {name}" for name in imported)
        return
    for name in imported:
        if name == "_core" or name.startswith("_core."):
            native = name.split(".")[1] if "." in name else ""
            if unit not in CORE_IMPORTERS.get(native, set()):
                yield f"{module} imports the core"
            continue
        other = unit_of(name)
        if other is None:
            yield f"{module} imports {name}, which has no place in CONTROL_LAYERS"
        elif other != unit and layer_of(other) <= layer_of(unit):
            yield f"{module} imports {name}, which does not stand below it"


def test_control_plane_imports_point_downwards() -> None:
    modules = control_modules()
    refusals = [
        refusal
        for name, path in modules.items()
        for refusal in refusals_of_control(name, path.read_text(), path.name == "__init__.py", set(modules))
    ]
    assert refusals == []


def test_a_role_and_its_node_know_each_other_by_protocols_alone() -> None:
    modules = control_modules()
    imported = {
        name: set(imports_of(name, path.read_text(), path.name == "__init__.py", set(modules)))
        for name, path in modules.items()
        if name.startswith("gateway.")
    }
    assert {name for name, others in imported.items() if "gateway.node" in others} == {"gateway.handover"}
    assert not imported["gateway.node"] & {"gateway.edge", "gateway.relay"}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("dataplane.adapter", "import pcgrelay.cli"),
        ("model", "from pcgrelay.config import Config"),
        ("identity.tls", "from pcgrelay.services import imports"),
        ("identity.tls", "from ..services.imports import Table"),
        ("identity.tls", "def late():\n    from pcgrelay.session import table"),
        ("gateway.node", "from pcgrelay._core.face.core import Core"),
        ("dataplane.adapter", "from pcgrelay._core import worker"),
        ("nowhere", ""),
    ],
)
def test_an_import_that_points_upwards_is_seen(module: str, source: str) -> None:
    modules = {
        "dataplane.adapter", "cli", "config", "model", "identity.tls", "services", "services.imports", "session.table",
        "gateway.node",
    }  # fmt: skip
    assert list(refusals_of_control(module, source, False, modules))


# --- the core ------------------------------------------------------------------------------------------------------

CIMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+cimport\s+(\([^)]*\)|.+)|cimport\s+(.+))$", re.M)
NATIVE = re.compile(r"(?:pcgrelay\._core|tests\.native)\.([\w.]+)")
PACKAGE = re.compile(r"(?:pcgrelay\._core(?:\.(?:" + "|".join(CORE_LAYERS) + r"))?|tests\.native)")
IMPORT = re.compile(r"^\s*(?:from\s+[\w.]+\s+)?import\s", re.M)


def cimports_of(source: str) -> Iterator[str]:
    for base, names, plain in CIMPORT.findall(source):
        listed = re.sub(r"[()\\]", " ", names or plain).split(",")
        words = [name.split()[0] for name in listed if name.split()]
        if plain:
            yield from words
        elif PACKAGE.fullmatch(base):
            yield from (f"{base}.{word}" for word in words)
        else:
            yield base


def refusals_of_core(name: str, source: str) -> Iterator[str]:
    if name not in CORE_ORDER:
        yield f"{name} has no place in CORE_ORDER"
        return
    below = set(CORE_ORDER[: CORE_ORDER.index(name)]) - CORE_EXCEPT.get(name, set())
    if name not in SYSTEM_CALLERS:
        below.discard("base.linux")
    for target in cimports_of(source):
        if native := NATIVE.match(target):
            other = native[1]
            if other not in {*below, name}:
                yield f"{name} cimports {other}, which does not stand below it"
        elif target.startswith("."):
            yield f"{name} cimports {target} by a relative name"
        elif SYSTEM_LIBRARIES.match(target) and name not in SYSTEM_CALLERS:
            yield f"{name} cimports {target}, and is to make no system call"
        elif PYTHON_LIBRARIES.match(target) and name not in FACES:
            yield f"{name} cimports {target}, and is to know no Python"
    if name not in FACES and IMPORT.search(source):
        yield f"{name} imports a Python module"


def core_files() -> list[Path]:
    files = [*sorted(CORE.rglob("*")), *sorted(TEST_FACES.iterdir())]
    return [path for path in files if path.suffix in {".pyx", ".pxd"} and path.stem != "__init__"]


def name_of(path: Path) -> str:
    return path.stem if path.parent == TEST_FACES else f"{path.parent.name}.{path.stem}"


def test_core_cimports_only_what_stands_before() -> None:
    files = core_files()
    assert files, "no source of the core was found"
    assert [refusal for path in files for refusal in refusals_of_core(name_of(path), path.read_text())] == []


def test_the_core_needs_no_test_face() -> None:
    assert {path.stem for path in TEST_FACES.glob("*.pyx")} == PROBES
    assert not any("tests.native" in path.read_text() for path in CORE.rglob("*.p*"))


def test_only_the_faces_define_python_functions() -> None:
    for path in core_files():
        if name_of(path) not in FACES:
            assert not re.search(r"^\s*(?:cp)?def\s", path.read_text(), re.M), path


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("frame.frame", "from pcgrelay._core.link.link cimport Link"),
        ("frame.frame", "from pcgrelay._core.crypto cimport aead, lane_keys\nfrom pcgrelay._core.link cimport link"),
        ("frame.frame", "from pcgrelay._core.link cimport (\n    lane,\n    link,\n)"),
        ("frame.frame", "from pcgrelay._core cimport link"),
        ("frame.frame", "cimport pcgrelay._core.frame.record"),
        ("frame.frame", "from .record cimport Record"),
        ("link.link", "from pcgrelay._core.base.linux cimport writev"),
        ("link.link", "from posix.unistd cimport read"),
        ("link.link", "from libc.time cimport time"),
        ("link.link", "from cpython.bytes cimport PyBytes_AsString"),
        ("link.link", "import os"),
        ("probe", "from pcgrelay._core.worker.worker cimport Worker"),
        ("link.link", "from tests.native.probe_link cimport Node"),
        ("nowhere", ""),
    ],
)
def test_a_cimport_that_points_upwards_is_seen(name: str, source: str) -> None:
    assert list(refusals_of_core(name, source))
