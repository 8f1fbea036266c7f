"""The image's own root file system, read-only, as the user that it names, without a capability: a node that serves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.debian_package import package, run
from tests.support.pki import RealmPki, write_config
from tests.support.waiting import until

pytestmark = pytest.mark.tier_all

MOST_MB = 150
USER = 65532
HUB, KENT = "hub.example", "kent.police.example"


@pytest.fixture(scope="module")
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    run("scripts/image", request.config.getoption("--package") or package(folder), folder)
    (made,) = folder.glob("*.oci.tar")
    return made


@pytest.fixture(scope="module")
def bundle(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpacked by umoci, which refuses what the specification does not allow."""
    folder = tmp_path_factory.mktemp("bundle")
    with tarfile.open(image) as archive:
        archive.extractall(folder / "layout", filter="data")
    (manifest,) = json.loads((folder / "layout" / "index.json").read_text())["manifests"]
    name = manifest["annotations"]["org.opencontainers.image.ref.name"]
    run("umoci", "unpack", "--image", f"{folder / 'layout'}:{name}", folder / "bundle")
    return folder


def configuration(folder: Path) -> dict[str, Any]:
    def blob(descriptor: dict[str, Any]) -> dict[str, Any]:
        path = folder / "layout" / "blobs" / "sha256" / descriptor["digest"].partition(":")[2]
        return dict(json.loads(path.read_text()))

    (manifest,) = json.loads((folder / "layout" / "index.json").read_text())["manifests"]
    return dict(blob(blob(manifest)["config"])["config"])


def test_it_is_small_and_says_how_it_is_run(image: Path, bundle: Path) -> None:
    assert image.stat().st_size < MOST_MB * 1_000_000
    config = configuration(bundle)
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] + config["Cmd"] == ["/usr/bin/pcgrelay", "run"]
    assert config["Healthcheck"]["Test"] == ["CMD", "/usr/bin/pcgrelay", "status"]
    root = bundle / "bundle" / "rootfs"
    assert run("find", root, "-xdev", "-perm", "/6000", "-type", "f") == ""
    assert run("find", root, "-xdev", "-name", "*probe*", "-path", "*pcgrelay*") == ""


@pytest.fixture
def container(bundle: Path, tmp_path: Path) -> Iterator[int]:
    """A relay in it, by the image's own words; the pid of the node."""
    config = configuration(bundle)
    realm = RealmPki(tmp_path / "realm")
    written = {
        "node": (HUB, "relay-1", {"role": "relay", "listens": ["127.0.0.1:7400"], "policy": {"members": [KENT]}}),
        "kent": (KENT, "kent-1", {"links": [{"peer": f"relay-1.{HUB}", "address": "127.0.0.1:7400"}]}),
    }
    for what, (organisation, name, more) in written.items():
        path = tmp_path / "realm" / f"{what}.toml"
        admin = {"admin": f"/run/pcgrelay/{'admin' if what == 'node' else what}.sock"}
        write_config(path, realm.issue(organisation, name), organisation, name, node_table=admin, **more)
        path.write_text(path.read_text().replace(str(tmp_path / "realm"), "/etc/pcgrelay"))
    # As a secret of Kubernetes with fsGroup.
    for file in (tmp_path / "realm").rglob("*"):
        os.chown(file, 0, USER)
        file.chmod(0o750 if file.is_dir() else 0o440)
    os.chown(tmp_path / "realm", 0, USER)
    (tmp_path / "realm").chmod(0o750)
    command = [
        *("systemd-nspawn", "--quiet", "-D", bundle / "bundle" / "rootfs", "--register=no", "--keep-unit"),
        *("--private-network", "--read-only", f"--machine=image-{os.getpid()}", "--as-pid2", "--user=pcgrelay"),
        *("--drop-capability=all", "--no-new-privileges=yes", f"--tmpfs=/run/pcgrelay:uid={USER},gid={USER},mode=0750"),
        *(f"--bind-ro={tmp_path / 'realm'}:/etc/pcgrelay", *(f"--setenv={entry}" for entry in config["Env"])),
        *(*config["Entrypoint"], *config["Cmd"], "--drain", "0"),
    ]
    with (tmp_path / "node.log").open("wb") as log:
        started = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
        )
    try:
        yield until(lambda: node_below(started, tmp_path / "node.log"), 30, "the node runs")
    finally:
        if started.poll() is None and (node := node_below(started, tmp_path / "node.log")):
            os.kill(node, signal.SIGTERM)
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait(10)
            raise


def node_below(started: subprocess.Popen[bytes], log: Path) -> int | None:
    """The process that is the node: a child of the container's first one."""
    assert started.poll() is None, log.read_text()

    def children(pid: int) -> list[int]:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    if b"is ready" not in log.read_bytes():
        return None
    return next((node for init in children(started.pid) for node in children(init)), None)


@pytest.mark.timeout(600)
def test_a_node_serves_in_it(container: int, bundle: Path) -> None:
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{container}/status").read_text().splitlines() if ":\t" in line
    )
    assert status["Uid"].split() == [str(USER)] * 4
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    mounts = Path(f"/proc/{container}/mounts").read_text()
    (root,) = [line for line in mounts.splitlines() if line.split()[1] == "/"]
    assert "ro" in root.split()[3].split(",")
    health = configuration(bundle)["Healthcheck"]["Test"][1:]
    inside = ("nsenter", "-t", str(container), "-m", "-u", "-i", "-n", "-p", "-S", str(USER), "-G", str(USER))
    env = ("env", "-i", *configuration(bundle)["Env"])

    def judged() -> subprocess.CompletedProcess[str]:
        return subprocess.run([*inside, "--", *env, *health], capture_output=True, text=True, timeout=30, check=False)

    # A relay without a neighbour serves nobody, and with one it does.
    assert judged().returncode == 3
    neighbour = ("/usr/bin/pcgrelay", "run", "-c", "/etc/pcgrelay/kent.toml", "--drain", "0")
    with subprocess.Popen([*inside, "--", *env, *neighbour], stderr=subprocess.DEVNULL, start_new_session=True) as kent:
        try:
            until(lambda: judged().returncode == 0, 20, "the relay is healthy")
        finally:
            os.killpg(kent.pid, signal.SIGTERM)
    # Bytecode came with the package: it is not compiled anew by each start, which could not keep it.
    assert list((bundle / "bundle" / "rootfs").glob("usr/lib/pcgrelay/lib/*/site-packages/pcgrelay/__pycache__/*.pyc"))
