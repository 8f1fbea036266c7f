"""Writes an image of one layer: `oci_layout.py ROOT FILE DATE VERSION USER`, by the OCI image specification 1.0.

An image is three JSON files and a tar archive, each named by its SHA-256, and an index. The same root gives the same
bytes: entries are sorted, owners are numbers, and nothing is younger than DATE (seconds since 1970).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MEDIA = "application/vnd.oci.image"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def main() -> None:
    root, file, date, version, user = sys.argv[1:]
    with tempfile.TemporaryDirectory(dir=Path(file).parent) as folder:
        image = Image(Path(folder), int(date))
        layer, diff_id = image.layer(Path(root))
        config = image.json(f"{MEDIA}.config.v1+json", configuration(version, int(user), image.created, diff_id))
        manifest = image.json(
            f"{MEDIA}.manifest.v1+json",
            {"schemaVersion": 2, "mediaType": f"{MEDIA}.manifest.v1+json", "config": config, "layers": [layer]},
        )
        manifest["annotations"] = {"org.opencontainers.image.ref.name": version}
        image.write("oci-layout", {"imageLayoutVersion": "1.0.0"})
        image.write("index.json", {"schemaVersion": 2, "manifests": [manifest]})
        image.pack(Path(file))


def configuration(version: str, user: int, created: str, diff_id: str) -> dict[str, Any]:
    """What a container runs, unless its file says otherwise. Healthcheck is Docker's, which OCI leaves room for."""
    machine = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "created": created,
        "architecture": ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {
            "User": f"{user}:{user}",
            "Env": ["PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "PCGRELAY_CONFIG=/etc/pcgrelay/node.toml"],
            "Entrypoint": ["/usr/bin/pcgrelay"],
            "Cmd": ["run"],
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
            "Volumes": {"/run/pcgrelay": {}},
            "Labels": {"org.opencontainers.image.title": "pcgrelay", "org.opencontainers.image.version": version},
            "Healthcheck": {
                "Test": ["CMD", "/usr/bin/pcgrelay", "status"],
                "Interval": 30_000_000_000,
                "Timeout": 10_000_000_000,
                "StartPeriod": 10_000_000_000,
                "Retries": 3,
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "created_by": "scripts/image"}],
    }


class Image:
    """An image layout that is being put together in a folder."""

    def __init__(self, folder: Path, date: int) -> None:
        self._folder, self._date = folder, date
        self._blobs = folder / "blobs" / "sha256"
        self._blobs.mkdir(parents=True)
        self.created = datetime.fromtimestamp(date, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def layer(self, root: Path) -> tuple[dict[str, Any], str]:
        """Pack a root file system. Return its descriptor, and the digest of the archive before it was compressed."""
        command = ["tar", "--create", "--sort=name", "--numeric-owner", "--one-file-system", "--format=pax"]
        command += ["--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"]
        command += [f"--mtime=@{self._date}", "--clamp-mtime", "-C", str(root), "."]
        plain = hashlib.sha256()
        path = self._folder / "layer"
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process, path.open("wb") as file:
            assert process.stdout is not None
            with gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
                while block := process.stdout.read(1 << 20):
                    plain.update(block)
                    packed.write(block)
        if process.returncode:
            raise SystemExit(f"oci_layout: tar ended with {process.returncode}")
        return self._kept(path, f"{MEDIA}.layer.v1.tar+gzip"), f"sha256:{plain.hexdigest()}"

    def json(self, media: str, content: dict[str, Any]) -> dict[str, Any]:
        """Write a JSON file under its digest, and return its descriptor."""
        self.write("blob", content)
        return self._kept(self._folder / "blob", media)

    def write(self, name: str, content: dict[str, Any]) -> None:
        (self._folder / name).write_text(json.dumps(content, sort_keys=True, separators=(",", ":")))

    def _kept(self, path: Path, media: str) -> dict[str, Any]:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = path.stat().st_size
        path.rename(self._blobs / digest)
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": size}

    def pack(self, file: Path) -> None:
        """Write the layout as one archive, which `podman load` and `docker load` read."""
        with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as archive:
            for path in sorted(self._folder.rglob("*")):
                entry = tarfile.TarInfo(str(path.relative_to(self._folder)))
                entry.mtime = self._date
                if path.is_dir():
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(entry, io.BytesIO())
                else:
                    entry.size = path.stat().st_size
                    with path.open("rb") as content:
                        archive.addfile(entry, content)


if __name__ == "__main__":
    main()
