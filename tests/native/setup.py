"""Builds the test faces of the core: `python tests/native/setup.py build_ext --inplace`, after the core itself.

They are modules of their own, in the package tests.native. No wheel has them: they seal arbitrary frames, and step the
machines of the core with neither thread nor socket nor clock. PCGRELAY_BUILD names modes as for the core.
"""

import os
import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    from native_modules import build_modes, build_options, extensions

    os.chdir(ROOT)
    modes = build_modes()
    setup(
        packages=["tests.native"],
        # The version of pyproject.toml is read from pcgrelay, which nobody may have installed yet.
        package_dir={"": ".", "pcgrelay": "src/pcgrelay"},
        include_package_data=False,
        ext_modules=extensions(modes, "tests.native"),
        options=build_options(modes),
    )


if __name__ == "__main__":
    main()
