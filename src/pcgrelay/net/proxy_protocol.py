"""The PROXY protocol, version 2: what targets are told of who calls (proxy-protocol.txt of haproxy, section 2.2).

The core writes the header of a stream; here is what does not change within a session, and what a probe sends.
"""

from __future__ import annotations

import struct

from pcgrelay.model import NodeId

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
# Command LOCAL, no address, nothing behind it: a connection of the proxy itself, as for a check of health.
LOCAL_HEADER = SIGNATURE + bytes((0x20, 0x00, 0, 0))
# The two that the protocol leaves to applications which tell more than it foresees (PP2_TYPE_MIN_CUSTOM and the next).
TLV_CALLER = 0xE0  # the SPIFFE name of the calling node
TLV_ORGANISATION = 0xE1  # its organisation


def caller_tlvs(node: NodeId) -> bytes:
    """Return the TLVs that name the node which opened a stream."""
    return _tlv(TLV_CALLER, node.uri) + _tlv(TLV_ORGANISATION, node.organisation)


def _tlv(kind: int, text: str) -> bytes:
    value = text.encode()
    return struct.pack("!BH", kind, len(value)) + value
