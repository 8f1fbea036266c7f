"""Looks into a built wheel: `wheel_is_portable.py FILE`. It says what is wrong and ends with 1, or says nothing.

What a wheel must be: auditwheel finds that it runs where its tag says; it has a libcrypto of its own, and needs none;
no module names a folder of the machine that built it; a module shows nothing but its entry; no face that only tests use
is in it.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

# What every Linux of the tag has.
KNOWN_LIBRARIES = {"libc.so.6", "libpthread.so.0", "libm.so.6", "libdl.so.2"}


def main() -> None:
    wheel = Path(sys.argv[1])
    wrong = list(faults(wheel))
    for sentence in wrong:
        print(f"{wheel.name}: {sentence}", file=sys.stderr)
    sys.exit(bool(wrong))


def faults(wheel: Path) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
        modules = sorted(Path(folder).rglob("*.so"))
        names = archive.namelist()
        yield from (f"{name} is a face for tests" for name in names if "probe" in name or name.startswith("tests/"))
        if not any(name.startswith("pcgrelay/_libcrypto.") for name in names):
            yield "it has no libcrypto of its own"
        for path in modules:
            yield from (f"{path.relative_to(folder)} {what}" for what in module_faults(path))
    yield from platform_faults(wheel)


def module_faults(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        elf = ELFFile(file)
        for section in elf.iter_sections():
            if isinstance(section, DynamicSection):
                for tag in section.iter_tags():
                    if tag.entry.d_tag in {"DT_RUNPATH", "DT_RPATH"}:
                        yield "has a RUNPATH"
                    if tag.entry.d_tag == "DT_NEEDED" and tag.needed not in KNOWN_LIBRARIES:
                        yield f"needs {tag.needed}"
    listed = subprocess.run(["nm", "-D", "--defined-only", path], check=True, capture_output=True, text=True).stdout
    shown = [line.split()[-1] for line in listed.splitlines()]
    if shown != [f"PyInit_{path.name.split('.')[0]}"]:
        yield f"shows {', '.join(shown)}"
    if str(Path.cwd()).encode() in path.read_bytes():
        yield "names the folder that it was built in"


def platform_faults(wheel: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "auditwheel", "show", "--json", wheel]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["overall_tag"]
    said = wheel.stem.split("-")[-1]
    if not found.startswith("manylinux_") or glibc(found) > glibc(said):
        yield f"auditwheel takes it for {found}, and its name says {said}"


def glibc(tag: str) -> tuple[int, ...]:
    """The version of the C library in a tag as manylinux_2_36_x86_64."""
    return tuple(map(int, tag.split("_")[1:3]))


if __name__ == "__main__":
    main()
