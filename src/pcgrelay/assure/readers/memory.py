"""L2: secrets are given to a data plane in a process of its own, whose memory is then searched for them.

The process that searches has the secrets, and the one that is searched must not have them any more: neither the control
plane's copies nor what the core was given. A marker that is kept on purpose shows that the search finds what is there.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from pcgrelay.assure.facts import SecretSearch
from pcgrelay.assure.scene import Scene
from pcgrelay.dataplane.wiping import READY, SECRET_BYTES
from pcgrelay.errors import PermissionProblem, RunError

SECRETS = 8
CHUNK_BYTES = 4 << 20
END_S = 3.0
_REGION = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r\S{3} \S+ \S+ \S+ *(.*)")
# The kernel's own pages, which cannot be read through /proc.
_KERNEL = ("[vvar", "[vsyscall]")


async def search_secrets(scene: Scene) -> SecretSearch:
    """Give secrets to a data plane, and look for them."""
    secrets = [os.urandom(SECRET_BYTES) for _ in range(SECRETS + 1)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pcgrelay.dataplane.wiping", str(scene.config.path.absolute()), str(SECRETS),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        cwd=scene.folder,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(b"".join(secrets))
        await process.stdin.drain()
        if await process.stdout.readline() != READY:
            raise RunError("The process that was to take the secrets ended too early.")
        found, searched = await asyncio.to_thread(search, process.pid, secrets)
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
    return SecretSearch(
        secrets=SECRETS, found=sum(found[:SECRETS]), control_found=found[SECRETS], searched_bytes=searched
    )


def search(pid: int, wanted: Sequence[bytes]) -> tuple[list[int], int]:
    """Count each of the wanted strings in a process's memory; return that, and how many bytes were searched.

    PermissionProblem: this user may not.
    """
    folder = Path("/proc") / str(pid)
    most, found, searched = max(map(len, wanted)) - 1, [0] * len(wanted), 0
    try:
        regions = _REGION.findall((folder / "maps").read_text())
        with open(folder / "mem", "rb", buffering=0) as memory:
            for first, last, name in regions:
                if name.startswith(_KERNEL):
                    continue
                start, end = int(first, 16), int(last, 16)
                for at in range(start, end, CHUNK_BYTES):
                    try:
                        # The next chunk's beginning too, for what lies across.
                        data = os.pread(memory.fileno(), min(CHUNK_BYTES + most, end - at), at)
                    except OSError:
                        break  # gone meanwhile, or a page behind the end of a file
                    searched += min(len(data), CHUNK_BYTES)
                    for index, each in enumerate(wanted):
                        found[index] += _hits(data, each)
    except PermissionError:
        raise PermissionProblem("This user may not read the memory of its own processes; run this as root.") from None
    return found, searched


def _hits(data: bytes, wanted: bytes) -> int:
    """Count what begins within a chunk; what begins behind it is the next one's."""
    hits, at = 0, data.find(wanted)
    while 0 <= at < CHUNK_BYTES:
        hits += 1
        at = data.find(wanted, at + 1)
    return hits
