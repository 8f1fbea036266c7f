"""curl fetches a large body from nginx through every topology, and it arrives as it was sent."""

import hashlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.scenarios.kit.nodes import Line
from tests.scenarios.kit.real_programs import nginx, program

pytestmark = pytest.mark.tier_test

GIB = 1 << 30
PIECE = 1 << 20
DEADLINE_S = 90


@pytest.fixture(scope="session")
def body(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A gigabyte in which no two blocks are alike, and its digest."""
    path = tmp_path_factory.mktemp("web") / "body"
    stream = Cipher(algorithms.AES(bytes(16)), modes.CTR(bytes(16))).encryptor()
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(GIB // PIECE):
            piece = stream.update(bytes(PIECE))
            digest.update(piece)
            file.write(piece)
    yield path, digest.hexdigest()
    path.unlink()


def test_its_digest_is_that_of_the_file(
    path: Line, body: tuple[Path, str], tmp_path: Path, figure: Callable[[str], None]
) -> None:
    file, wanted = body
    host, port = path.door("web")
    with nginx(tmp_path / "nginx", file.parent, path.target("web")):
        begun = time.monotonic()
        curl = [program("curl"), "--silent", "--show-error", "--fail", "--max-time", str(DEADLINE_S)]
        with subprocess.Popen([*curl, f"http://{host}:{port}/{file.name}"], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            digest, size = hashlib.sha256(), 0
            while piece := process.stdout.read(PIECE):
                digest.update(piece)
                size += len(piece)
        seconds = time.monotonic() - begun
    assert process.returncode == 0
    assert (size, digest.hexdigest()) == (GIB, wanted)
    used = max(node.status().memory.high_water_bytes for node in path.nodes)
    assert all(node.status().memory.high_water_bytes <= node.status().memory.budget_bytes for node in path.nodes)
    figure(f"{GIB / seconds / 1e6:.0f} MB/s, at most {used >> 20} MiB of buffers in one node")
