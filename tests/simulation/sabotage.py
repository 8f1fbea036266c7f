"""Functions of the core that a fault on purpose stands in the place of.

A module of the core takes the functions of another one by pointer when it is first imported. So what is changed before
that is changed for all who call it from outside of its own file.
"""

import ctypes
import importlib

from tests.simulation.virtual import function_of, loaded

PLACES = {
    "dropped_frame": ("stream.flow", "flow_open"),
    "doubled_bundle": ("edge.records", "records_rx"),
    "leaked_buffer": ("base.buf", "buf_drop"),
    "silent_relay": ("link.relay", "relay_lane_down"),
    "blanked_record": ("base.tlv", "tlv_raw"),
    "miscounted": ("stream.meter", "meter_count"),
    "failed_direct": ("edge.direct", "direct_begin"),
    "not_led_on": ("edge.outlets", "outlets_lead_on"),
    "open_window": ("crypto.replay", "replay_check"),
    "blind_tag": ("frame.packet", "packet_open"),
    "unheard_silence": ("link.udp_probes", "probes_tick"),
    "swallowed_packet": ("link.udp_lane", "udp_lane_push"),
    "uncounted_drop": ("edge.associations", "association_drop"),
}
# In every world: they do nothing until an operation has a relay lie, or the world has datagrams. Lower modules first.
ALWAYS = [
    ("link.relay", "relay_frame"),
    ("session.session", "session_bundle"),
    ("edge.records", "records_rx_datagrams"),
]
_kept: list[object] = []  # the names that capsules only point to


def core_sabotaged(fault: str) -> None:
    """Must come before anything imports the core's workers."""
    buf = importlib.import_module("pcgrelay._core.base.buf")
    for function in ("buf_alloc", "buf_drop"):
        ctypes.c_void_p.in_dll(loaded(), f"own_{function}").value = function_of(buf, function)
    # A fault first: what is bound by the modules of the others could not be replaced any more.
    for place in [*([PLACES[fault]] if fault in PLACES else []), *ALWAYS]:
        _stand_in(*place)
    datagrams = importlib.import_module("pcgrelay._core.session.datagrams")
    ctypes.c_void_p.in_dll(loaded(), "own_session_datagrams").value = function_of(datagrams, "session_datagrams")


def _stand_in(module_name: str, function: str) -> None:
    library = loaded()
    module = importlib.import_module(f"pcgrelay._core.{module_name}")
    old = module.__pyx_capi__[function]
    ctypes.c_void_p.in_dll(library, f"real_{function}").value = function_of(module, function)
    api = ctypes.pythonapi
    api.PyCapsule_New.restype = ctypes.py_object
    api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    # The name is the capsule's own memory: taken over as a pointer, and the old capsule kept alive.
    api.PyCapsule_GetName.restype = ctypes.c_void_p
    name = api.PyCapsule_GetName(ctypes.py_object(old))
    api.PyCapsule_GetName.restype = ctypes.c_char_p
    stand_in = ctypes.cast(getattr(library, f"faulty_{function}"), ctypes.c_void_p).value
    module.__pyx_capi__[function] = api.PyCapsule_New(stand_in, name, None)
    _kept.append(old)
