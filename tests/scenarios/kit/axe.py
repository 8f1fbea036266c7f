"""axe, which judges pages: fetched by the ordinary client, run in the browser."""

from __future__ import annotations

import subprocess
from pathlib import Path

AXE = "axe-core@4.14.1"
RUN = """axe.run().then(found => ({
  violations: found.violations.map(each => [each.id, each.nodes.map(node => node.html)]),
  passes: found.passes.length,
}))"""


def fetch_axe(folder: Path) -> str:
    """Return the script, by way of a folder that goes again."""
    command = ("npm", "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, AXE)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"axe-core cannot be had: {done.stderr}"
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()
