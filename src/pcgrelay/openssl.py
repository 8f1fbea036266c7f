"""Which OpenSSL this process has: one for the data plane, the system's, and one for sessions, that of pyOpenSSL."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from OpenSSL import SSL

from pcgrelay.dataplane.adapter import native_core

CPU_FACTS = Path("/proc/cpuinfo")
# With these a processor takes four blocks of AES at once; OpenSSL does so from this version on (its CHANGES.md).
WIDE_AES = {"avx512f", "avx512vl", "vaes", "vpclmulqdq"}
WIDE_AES_SINCE = (3, 1)


def data_plane_library() -> str:
    """Name and version of the libcrypto that seals and opens all frames."""
    return str(native_core().library())


def session_library() -> str:
    """Name and version of the OpenSSL that makes the handshakes of links and sessions."""
    return SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode("ascii", "replace")


def processor_flags() -> set[str]:
    """What this processor says that it can; nothing where the kernel does not tell."""
    try:
        found = re.search(r"^flags\s*:(.*)$", CPU_FACTS.read_text(), re.MULTILINE)
    except OSError:
        return set()
    return set(found[1].split()) if found else set()


def leaves_speed(library: str, flags: Iterable[str]) -> bool:
    """Whether a newer libcrypto would seal AES-GCM much faster on this processor."""
    version = re.search(r"OpenSSL (\d+)\.(\d+)", library)
    if version is None or not set(flags) >= WIDE_AES:
        return False
    return (int(version[1]), int(version[2])) < WIDE_AES_SINCE
