"""Faces of the core for tests and benches alone: its pure parts and its machines, called one step at a time.

Each module is written in Cython here, and built here by setup.py. The faces call C functions of the core, so both must
be of one build: where the core comes from build/<modes>/lib, as in `make asan`, the faces come from there too.
"""

from pathlib import Path

import pcgrelay._core

_built = Path(pcgrelay._core.__file__).parents[2] / "tests" / "native"
if _built.is_dir():
    __path__.insert(0, str(_built))
