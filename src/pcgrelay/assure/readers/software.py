"""S1 to S5 and D1: components, files, libraries, the release, and the networks in use."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import platform
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

from pcgrelay import __version__
from pcgrelay.assure.facts import Ends, Libraries, Library, Release, Sbom, WheelFiles
from pcgrelay.assure.judgement import NotHereError
from pcgrelay.assure.scene import Scene
from pcgrelay.errors import PcgrelayError, RunError
from pcgrelay.files import read_bounded
from pcgrelay.openssl import data_plane_library, session_library

NAME = "pcgrelay"
SUPPORT = Path(__file__).parents[1] / "support.toml"
SYSTEM_PREFIX = "/usr"  # of the system's own Python
SBOM_LIMIT_BYTES = 16 << 20
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


# -- components ------------------------------------------------------------------------------------------------------


async def read_sbom(scene: Scene) -> Sbom:
    """S1."""
    return await asyncio.to_thread(sbom_fact)


def sbom_fact() -> Sbom:
    """Return what is judged of the list of components."""
    path = sbom_file()
    needed = sorted(required())
    if path is None:
        names = [normal(each.metadata["Name"]) for each in distributions()]
        source, version = "installed metadata", metadata.version(NAME)
    else:
        listed: dict[str, Any] = json.loads(read_bounded(path, "list of components", SBOM_LIMIT_BYTES))
        names = [normal(str(each.get("name", ""))) for each in listed.get("components", [])]
        version = str(listed.get("metadata", {}).get("component", {}).get("version", ""))
        source = path.name
    missing = tuple(each for each in needed if each not in names)
    return Sbom(source=source, version=version, own_version=__version__, components=tuple(names), missing=missing)


def sbom_file() -> Path | None:
    """Return the list of components that came with the release, if it is on this machine."""
    for prefix in (Path(sys.prefix), Path("/usr")):
        found = sorted((prefix / "share" / "doc" / NAME).glob("*.cdx.json"))
        if found:
            return found[-1]
    return None


def distributions() -> list[metadata.Distribution]:
    """Return pcgrelay and all that it requires, as installed. RunError: pcgrelay itself is not."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [NAME]
    while waiting:
        name = normal(waiting.pop())
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if name == NAME:
                raise RunError("pcgrelay runs from a folder and is not installed, so nothing is recorded.") from None
            continue
        waiting += _requirements(found[name])
    return [found[name] for name in sorted(found)]


def required() -> set[str]:
    """Return the names of what pcgrelay itself requires."""
    return {normal(each) for each in _requirements(metadata.distribution(NAME))}


def _requirements(distribution: metadata.Distribution) -> Iterator[str]:
    for text in distribution.requires or ():
        wanted, _, marker = text.partition(";")
        # Extras, and what only other systems need, are not installed.
        if "extra ==" in marker or "win32" in marker or "implementation_name" in marker:
            continue
        if match := _REQUIREMENT.match(wanted.strip()):
            yield match[0]


def normal(name: str) -> str:
    """Return a name as the Python Packaging User Guide normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()


# -- files -----------------------------------------------------------------------------------------------------------


async def read_files(scene: Scene) -> WheelFiles:
    """S2: every file of pcgrelay and of what it requires."""
    return await asyncio.to_thread(files_fact)


def files_fact() -> WheelFiles:
    """Return what is judged of the installed files. RunError: nothing was recorded."""
    recorded, changed, missing = 0, [], []
    for distribution in distributions():
        for file in distribution.files or ():
            if file.hash is None:
                continue  # RECORD itself, and bytecode
            recorded += 1
            try:
                data = Path(str(file.locate())).read_bytes()
            except OSError:
                missing.append(str(file))
                continue
            digest = base64.urlsafe_b64encode(hashlib.new(file.hash.mode, data).digest()).rstrip(b"=").decode()
            if digest != file.hash.value:
                changed.append(str(file))
    if not recorded:
        raise RunError("No digest of any installed file was recorded.")
    return WheelFiles(recorded=recorded, changed=tuple(changed), missing=tuple(missing))


# -- libraries and the release ---------------------------------------------------------------------------------------


async def read_libraries(scene: Scene) -> Libraries:
    """S3."""
    frames, sessions = data_plane_library(), session_library()
    system = system_name(os_release())
    return Libraries(
        today=scene.clock.wall().date(),
        libraries=(
            library_fact("frames", frames, system),
            library_fact("sessions", sessions, system),
            python_fact(platform.python_version(), sys.base_prefix, system),
        ),
    )


def library_fact(use: str, name: str, system: str) -> Library:
    """Return what is known of an OpenSSL: "OpenSSL 3.0.17 1 Jul 2025, shared with this system"."""
    ends = support()
    version = name.partition(",")[0]
    series = re.search(r"OpenSSL (\d+\.\d+)", version)
    number = re.search(r"OpenSSL \S+", version)
    shown = number[0] if number else version[:40]
    if "shared with this system" in name:
        return _kept(use, shown, system, ends["system"], system.lower())
    return _kept(use, shown, "OpenSSL", ends["openssl"], series[1] if series else "")


def python_fact(version: str, base: str, system: str) -> Library:
    """Return what is known of the Python that runs this: "3.11.2", "/usr". base: where it is installed."""
    ends, name = support(), f"Python {version}"
    if base == SYSTEM_PREFIX:
        return _kept("interpreter", name, system, ends["system"], system.lower())
    return _kept("interpreter", name, "Python", ends["python"], ".".join(version.split(".")[:2]))


def _kept(use: str, version: str, by: str, table: Mapping[str, Any], key: str) -> Library:
    """What a table of support.toml says of one version."""
    return Library(
        use=use,
        version=version,
        kept_by=by,
        supported_until=table["until"].get(key),
        source=table["source"],
        reviewed=table["reviewed"],
    )


def support() -> dict[str, Any]:
    """Return the tables of ends of support."""
    return tomllib.loads(SUPPORT.read_text(encoding="utf-8"))


def os_release() -> str:
    """Return the text of os-release(5); "": there is none."""
    for path in (Path("/etc/os-release"), Path("/usr/lib/os-release")):
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace")
    return ""


def system_name(text: str) -> str:
    """Return name and version of a system from os-release(5): Debian 12."""
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    words = (fields.get(key, "").strip("\"'") for key in ("ID", "VERSION_ID"))
    return " ".join(words).strip().capitalize() or "an unknown system"


async def read_release(scene: Scene) -> Release:
    """S4 and S5."""
    status = await asyncio.to_thread(scene.status)
    release = support()["release"]
    made = release["made"] if release["version"] == __version__ else None
    return Release(today=scene.clock.wall().date(), version=__version__, node_version=status.node.version, made=made)


async def read_ends(scene: Scene) -> Ends:
    """D1: each bearer that a link, listener or outlet uses, and each outlet that is not retired."""
    config = scene.config
    used = {each.bearer for each in config.links} | {each.bearer for each in config.listens}
    used |= {each.bearer for each in config.directs}
    if not used:
        raise NotHereError("this node uses no network that has a name")
    ends: list[tuple[str, date]] = []
    without = []
    for name in sorted(used):
        until = config.bearer(name).supported_until
        if until is None:
            without.append(name)
        else:
            ends.append((f"bearer {name}", until))
    try:
        services = (await asyncio.to_thread(scene.status)).services
    except PcgrelayError:
        services = ()
    for service in services:
        for outlet in service.outlets:
            if outlet.supported_until and outlet.state != "retired":
                ends.append((f"outlet {outlet.name} of {service.name}", date.fromisoformat(outlet.supported_until)))
    return Ends(today=scene.clock.wall().date(), ends=tuple(ends), without=tuple(without))
