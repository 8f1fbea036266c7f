"""The native core of pcgrelay. All metadata is in pyproject.toml; this file only describes the extension modules.

scripts/native_modules.py says how they are built, and which modes PCGRELAY_BUILD knows. The test faces are not built
here: tests/native/setup.py builds them, and no wheel has them.

PCGRELAY_BUILD=none builds no module: scripts/setup has built them in place before it installs the package, and an
editable installation would compile all of them once more, only to leave those in place.
"""

import os
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).with_name("scripts")))
from native_modules import build_modes, build_options, extensions
from release_date import write_release_date

builds_modules = os.environ.get("PCGRELAY_BUILD") != "none"
modes = build_modes() if builds_modules else set()


class DatedBuild(build_py):
    """What is built says when its release was made; a working copy, which is only pointed at, stays as it is."""

    def run(self) -> None:
        super().run()
        if (seconds := os.environ.get("SOURCE_DATE_EPOCH")) and not self.editable_mode:
            write_release_date(Path(self.build_lib), seconds)


setup(
    cmdclass={"build_py": DatedBuild},
    packages=find_packages("src", include=["pcgrelay", "pcgrelay.*"]),
    package_dir={"": "src"},
    package_data={
        "pcgrelay": ["py.typed", "templates/*", "assure/*.toml", "assure/*/*.toml"],
        "pcgrelay._core": ["*.pyi", "*/*.pyi"],
    },
    ext_modules=extensions(modes, "pcgrelay._core") if builds_modules else [],
    options=build_options(modes),
)
