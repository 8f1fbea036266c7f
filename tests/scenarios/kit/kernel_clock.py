"""A command that is told by the kernel that its clock is kept, or is not. What it does with that is its own."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
KEPT, FREE = "kept", "free"


def kernel_clock(folder: Path, state: str) -> dict[str, str]:
    """Return the environment for a command. folder: where the library is built, once."""
    library = folder / "kernel_clock.so"
    if not library.exists():
        compiler = shlex.split(os.environ.get("CC", "gcc"))
        command = [*compiler, "-O2", "-Wall", "-Werror", "-fPIC", "-shared", "-o", str(library), str(SOURCE)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    others = os.environ.get("LD_PRELOAD", "").split()
    return {**os.environ, "LD_PRELOAD": " ".join([*others, str(library)]), "KERNEL_CLOCK": state}
