"""The two OpenSSL libraries of this process: one for the data plane, and that of pyOpenSSL for sessions.

The one for the data plane is the system's, or in a wheel one that came with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from OpenSSL import SSL

from pcgrelay.dataplane.adapter import native_core

CPU_FACTS = Path("/proc/cpuinfo")
# With these a processor does four blocks of AES at once; OpenSSL does so since this version (its CHANGES.md).
WIDE_AES = {"avx512f", "avx512vl", "vaes", "vpclmulqdq"}
WIDE_AES_SINCE = (3, 1)


def data_plane_library() -> str:
    """Return name and version of the libcrypto that seals and opens all frames, and whose it is."""
    name, is_own = native_core().library()
    return f"{name}, {'built into pcgrelay' if is_own else 'shared with this system'}"


def session_library() -> str:
    """Return name and version of the OpenSSL that makes the handshakes of links and sessions."""
    return SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode("ascii", "replace")


def processor_flags() -> set[str]:
    """Return the feature flags of this processor; an empty set if the kernel does not report them."""
    try:
        found = re.search(r"^flags\s*:(.*)$", CPU_FACTS.read_text(), re.MULTILINE)
    except OSError:
        return set()
    return set(found[1].split()) if found else set()


def leaves_speed(library: str, flags: Iterable[str]) -> bool:
    """Return whether a newer libcrypto would seal AES-GCM much faster on this processor."""
    version = re.search(r"OpenSSL (\d+)\.(\d+)", library)
    if version is None or not set(flags) >= WIDE_AES:
        return False
    return (int(version[1]), int(version[2])) < WIDE_AES_SINCE
