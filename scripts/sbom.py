"""Writes the list of components: `sbom.py FILE DATE`, in the form of CycloneDX, run by build/packaging's Python.

cyclonedx-bom lists the Python packages of requirements/run.txt with their hashes. What it cannot know is added: the
libcrypto that wheels and the package for Debian 12 carry, and that those for Debian 13 use the system's.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LIBCRYPTO = ROOT / "build" / "libcrypto" / "version"


def main() -> None:
    file, date = Path(sys.argv[1]), int(sys.argv[2])
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--pyproject", "pyproject.toml"]
    command += ["--output-reproducible", "--spec-version", "1.6", "--output-format", "JSON", "requirements/run.txt"]
    listed: dict[str, Any] = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    listed["metadata"]["timestamp"] = datetime.fromtimestamp(date, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    listed["metadata"]["component"]["version"] = project_version()
    own = own_libcrypto()
    listed["components"].append(own)
    parent = listed["metadata"]["component"]["bom-ref"]
    for each in listed["dependencies"]:
        if each["ref"] == parent:
            each["dependsOn"] = sorted({*each.get("dependsOn", []), own["bom-ref"]})
    listed["dependencies"].append({"ref": own["bom-ref"]})
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(listed, indent=2, sort_keys=True) + "\n")


def project_version() -> str:
    found = re.search(r'^__version__ = "(.*)"$', (ROOT / "src/pcgrelay/__init__.py").read_text(), re.M)
    assert found
    return found[1]


def own_libcrypto() -> dict[str, Any]:
    """The static copy, by the version of the Debian source that scripts/openssl built it from."""
    version = LIBCRYPTO.read_text().strip()
    upstream = version.partition("-")[0]
    return {
        "type": "library",
        "bom-ref": "libcrypto",
        "name": "openssl",
        "version": upstream,
        "description": "libcrypto, static and hidden, which seals and opens frames",
        "cpe": f"cpe:2.3:a:openssl:openssl:{upstream}:*:*:*:*:*:*:*",
        "purl": f"pkg:deb/debian/openssl@{version}?arch=source&distro=debian-13",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "properties": [
            {"name": "pcgrelay:carried-by", "value": "wheels (pcgrelay._libcrypto), the package for Debian 12"},
            {"name": "pcgrelay:not-in", "value": "the package for Debian 13 and the sources, which use the system's"},
        ],
    }


if __name__ == "__main__":
    main()
