"""An earlier commit, built beside this one, whose nodes run in the same realm."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.scenarios.kit.nodes import Node

ROOT = Path(__file__).resolve().parents[3]


def built(config: pytest.Config) -> Path:
    """Where the commit of `--upgrade-from` stands: `make test-upgrade` has built it; without that it is done here."""
    commit = config.getoption("upgrade_from")
    made = subprocess.run(["sh", ROOT / "scripts" / "earlier", commit], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.fail(made.stderr, pytrace=False)
    return Path(made.stdout.splitlines()[-1])


def runs(node: Node, folder: Path) -> bool:
    """Whether the core that a node has loaded is the one of that checkout."""
    return str(folder / "src" / "pcgrelay" / "_core") in Path(f"/proc/{node.pid}/maps").read_text()
