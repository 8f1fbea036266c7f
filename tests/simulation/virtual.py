"""The library of virtual descriptors: built when it is older than its source, preloaded, and called from here."""

import ctypes
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parent / "virtual"
ROOT = Path(__file__).resolve().parents[2]
LAYOUT = ROOT / "src" / "_core" / "base" / "buf.pxd"  # the one structure of the core that the library looks into
LIBRARY = ROOT / "build" / "simulation" / "libvirtual.so"
FAULTS = (
    "dropped_frame", "doubled_bundle", "leaked_buffer", "reused_nonce", "swallowed_write", "doubled_write", "lost_wake",
    "early_end", "stray_reset", "phantom", "wrong_target", "forgotten_close", "stuck_wake",
    "silent_relay", "two_places", "blanked_record", "kept_descriptor", "early_mix", "other_secret",
    "unheard_end", "miscounted", "failed_direct", "not_led_on", "unbounded", "doubled_datagrams",
    "crossed_answer", "other_address", "torn_datagram", "shared_port", "unheard_clients",
    "open_window", "blind_tag", "unheard_silence", "swallowed_packet", "uncounted_drop",
    "repeating_relay",
)  # fmt: skip


def library_built() -> Path:
    """The library, compiled if a source is newer."""
    sources = [*sorted(SOURCES.glob("*.[ch]")), LAYOUT]
    if LIBRARY.exists() and all(LIBRARY.stat().st_mtime > source.stat().st_mtime for source in sources):
        return LIBRARY
    LIBRARY.parent.mkdir(parents=True, exist_ok=True)
    fresh = LIBRARY.with_suffix(f".{os.getpid()}")
    command = [
        *shlex.split(os.environ.get("CC", "gcc")), "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter",
        "-fPIC", "-shared", "-fvisibility=hidden", "-o", str(fresh),
        *(f"-D{name}={value}" for name, value in re.findall(r"(BUF_CLASSES|BUF_HEAD) = (\d+)", LAYOUT.read_text())),
        *(str(source) for source in sources if source.suffix == ".c"), "-lcrypto", "-ldl",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stderr}simulation: the library of virtual descriptors does not build")
    # Somebody else may build it at the same time: the name changes hands whole.
    os.replace(fresh, LIBRARY)
    return LIBRARY


def preloaded_environment() -> dict[str, str]:
    """An environment in which a program runs on virtual descriptors."""
    others = os.environ.get("LD_PRELOAD", "").split()
    return {
        **os.environ,
        "LD_PRELOAD": " ".join([*others, str(library_built())]),
        # A seed has one outcome, whatever the order of a set.
        "PYTHONHASHSEED": "0",
    }


def is_preloaded() -> bool:
    return str(LIBRARY) in os.environ.get("LD_PRELOAD", "")


def run_again_preloaded() -> None:
    """Begin this program again with the library below it."""
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], preloaded_environment())


def loaded() -> ctypes.CDLL:
    """The library as it lies below this process."""
    if not is_preloaded():
        raise RuntimeError("the library of virtual descriptors is not preloaded")
    found = ctypes.CDLL(str(LIBRARY))
    u64, u32 = ctypes.c_uint64, ctypes.c_uint32
    found.virtual_begin.argtypes = [u64, ctypes.c_void_p]
    found.virtual_salt.argtypes = [u64]
    found.virtual_run.argtypes = [u64]
    found.virtual_run.restype = found.virtual_now.restype = found.virtual_turns.restype = u64
    found.virtual_accepts.restype = found.virtual_early_ends.restype = u64
    found.virtual_shadow.argtypes = found.virtual_shadow_of_datagrams.argtypes = [ctypes.c_int, ctypes.c_int, u32]
    found.virtual_heard.argtypes = [ctypes.c_int, ctypes.c_bool, ctypes.POINTER(u64), ctypes.POINTER(u64)]
    found.virtual_heard.restype = None
    found.virtual_fault.restype = ctypes.c_char_p
    found.virtual_squeeze.argtypes = found.virtual_freeze.argtypes = [ctypes.c_int, u64]
    found.virtual_cut.argtypes = [ctypes.c_int, ctypes.c_int, u32]
    found.virtual_budget.restype = u64
    found.virtual_wire.argtypes = [ctypes.c_int, u32, u32, u32, u32]
    found.virtual_corrupt.argtypes = [ctypes.c_int, u32]
    found.virtual_repeat.argtypes = [ctypes.c_int, ctypes.c_bool]
    found.virtual_datagrams.argtypes = [ctypes.c_bool, ctypes.c_bool]
    found.virtual_datagrams_heard.argtypes = [ctypes.POINTER(u32), ctypes.POINTER(u32)]
    found.virtual_datagrams_heard.restype = None
    found.virtual_client.argtypes = [ctypes.c_int, ctypes.c_int, u32, u32, ctypes.c_bool]
    found.virtual_client_heard.argtypes = [ctypes.c_int, ctypes.c_bool]
    found.virtual_client_heard.restype = u32
    found.virtual_datagram_sums.argtypes = [ctypes.POINTER(u64), ctypes.POINTER(u64)]
    found.virtual_target_sums.argtypes = [ctypes.c_int, ctypes.POINTER(u64), ctypes.POINTER(u64)]
    found.virtual_datagram_sums.restype = found.virtual_clients_of.restype = found.virtual_target_sums.restype = None
    found.virtual_packets.argtypes = [u32, u32, ctypes.c_bool, ctypes.c_bool, u32, u32]
    found.virtual_packets_block.argtypes = [u32, u32, ctypes.c_bool]
    found.virtual_packets_moved.argtypes = [u32, ctypes.c_bool]
    found.virtual_packet_sums.argtypes = [ctypes.c_int, ctypes.POINTER(u64)]
    found.virtual_packet_sums.restype = found.virtual_datagram_outlets.restype = None
    for name in ("packets_lost", "datagrams_read", "datagrams_arrived"):
        getattr(found, f"virtual_{name}").restype = u64
    for name in ("cut", "hold", "corrupt", "repeat", "strikes"):
        getattr(found, f"virtual_{name}").restype = ctypes.c_bool
    found.virtual_application.argtypes = [ctypes.c_int, ctypes.c_int, u64, u64, u32, u32, u64, u32, u32]
    return found


def function_of(module: object, name: str) -> int:
    """The address of a function that a module of the core offers to the others."""
    capsule = module.__pyx_capi__[name]  # type: ignore[attr-defined]
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype = ctypes.c_char_p
    api.PyCapsule_GetName.argtypes = [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return int(api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule)))
