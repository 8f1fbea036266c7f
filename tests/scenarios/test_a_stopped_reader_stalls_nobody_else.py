"""Clients that stop reading (SIGSTOP) while others fetch at full speed; when they go on, they get the rest."""

import hashlib
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.scenarios.kit.nodes import Line, frozen
from tests.scenarios.kit.real_programs import nginx, program, run
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

STOPPED = 8
SIZE = 96 << 20
HEAD = 64 << 10
PATTERN = bytes(range(256))
ROUNDS = 3
# Without a bound, the stopped ones would have all of their bytes in the nodes.
MOST_BYTES = 48 << 20
assert MOST_BYTES < STOPPED * SIZE / 10
REST_DIGEST = hashlib.sha256(PATTERN * ((SIZE - HEAD) // len(PATTERN))).digest()


@pytest.fixture(scope="session")
def small_body(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("stopped") / "body"
    path.write_bytes(PATTERN * (SIZE // len(PATTERN)))
    yield path
    path.unlink()


def address_of(line: Line, body: Path) -> str:
    host, port = line.door("web")
    return f"http://{host}:{port}/{body.name}"


def fetched(url: str) -> float:
    """Fetch the body once, and answer the bytes a second."""
    begun = time.monotonic()
    size = run("curl", "-sSf", "-o", "/dev/null", "-w", "%{size_download}", url)
    assert int(size) == SIZE
    return SIZE / (time.monotonic() - begun)


@contextmanager
def reader(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A curl that hands its bytes on, of which a few have come."""
    with subprocess.Popen([program("curl"), "-sSf", url], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.read(HEAD) == PATTERN * (HEAD // len(PATTERN))
            yield process
        finally:
            process.kill()


def best_of(url: str, enough: float) -> float:
    """The best of some rounds, and of some more if another program seems to have had the machine."""
    best = 0.0
    for turn in range(4 * ROUNDS):
        best = max(best, fetched(url))
        if turn + 1 >= ROUNDS and best > enough:
            break
    return best


def test_others_keep_their_speed_and_memory_stays_bounded(
    path: Line, small_body: Path, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    url = address_of(path, small_body)
    before = [node.memory.rss_bytes for node in path.nodes]
    with nginx(tmp_path / "nginx", small_body.parent, path.target("web")):
        alone = max(fetched(url) for _ in range(ROUNDS))
        with ExitStack() as stack:
            readers = [stack.enter_context(reader(url)) for _ in range(STOPPED)]
            thaw = stack.enter_context(ExitStack())
            for one in readers:
                thaw.enter_context(frozen(one.pid))
            beside = best_of(url, alone / 2)
            memory = [node.status().memory for node in path.nodes]
            grown = [node.memory.rss_bytes - past for node, past in zip(path.nodes, before, strict=True)]
            # They are stopped for as long as this lasted, and their streams are open.
            until(lambda: path.importer.status().streams.active == STOPPED, what="only the stopped readers are left")
            thaw.close()
            for one in readers:
                rest, _ = one.communicate(timeout=60)
                assert one.returncode == 0
                assert (len(rest), hashlib.sha256(rest).digest()) == (SIZE - HEAD, REST_DIGEST)
    path.await_quiet()
    assert beside > alone / 2
    assert all(one.used_bytes < MOST_BYTES <= one.budget_bytes for one in memory)
    assert max(grown) < MOST_BYTES
    most = max(one.used_bytes for one in memory)
    figure(
        f"{beside / 1e6:.0f} MB/s beside {STOPPED} stopped readers, {alone / 1e6:.0f} without; "
        f"at most {most / (1 << 20):.1f} MiB of buffers in one node"
    )
