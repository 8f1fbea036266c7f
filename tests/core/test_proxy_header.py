"""The header that tells a target who calls: what another reader of the specification makes of it."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proxyprotocol.v2 import ProxyProtocolV2

from pcgrelay.model import NodeId
from pcgrelay.net.proxy_protocol import LOCAL_HEADER, SIGNATURE, TLV_CALLER, TLV_ORGANISATION, caller_tlvs
from pcgrelay.services.stream_ids import stream_id
from tests.native.probe import proxy_header

LOCAL, TCP4, TCP6 = 0, 0x11, 0x21
UNIQUE_ID = 5
FAMILIES = {TCP4: (socket.AF_INET, 4), TCP6: (socket.AF_INET6, 8)}
NODE = NodeId("police.example", "met.police.example", "met-1")

labels = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=63)
words = st.integers(0, 0xFFFF_FFFF)
hosts = {TCP4: st.ip_addresses(v=4), TCP6: st.ip_addresses(v=6)}


def socket_address(family: int, host: bytes, port: int) -> bytes:
    number, at = FAMILIES[family]
    body = struct.pack("=H", number) + struct.pack("!H", port)
    return (body.ljust(at, b"\0") + host).ljust(28, b"\0")


def tlvs(block: bytes) -> list[tuple[int, bytes]]:
    found = []
    while block:
        kind, length = struct.unpack("!BH", block[:3])
        assert len(block) >= 3 + length
        found.append((kind, block[3 : 3 + length]))
        block = block[3 + length :]
    return found


@settings(deadline=None)
@given(st.data(), st.sampled_from([TCP4, TCP6]), labels, words, st.integers(0, 63), words)
def test_what_is_written_is_read(
    data: st.DataObject, family: int, name: str, id_head: int, flow: int, stream: int
) -> None:
    source, destination = (data.draw(hosts[family]) for _ in range(2))
    ports = data.draw(st.tuples(st.integers(0, 65_535), st.integers(0, 65_535)))
    node = NodeId("police.example", f"{name}.police.example", name)
    ends = [socket_address(family, host.packed, port) for host, port in zip((source, destination), ports, strict=True)]
    header = proxy_header(family, *ends, caller_tlvs(node), id_head, flow, stream)
    result = ProxyProtocolV2().unpack(header)
    assert (result.source, result.dest) == ((source, ports[0]), (destination, ports[1]))
    assert result.tlv.unique_id == stream_id(id_head, flow, stream).encode()
    length = 12 if family == TCP4 else 36
    assert struct.unpack("!H", header[14:16])[0] == len(header) - 16
    assert tlvs(header[16 + length :]) == [
        (TLV_CALLER, node.uri.encode()),
        (TLV_ORGANISATION, node.organisation.encode()),
        (UNIQUE_ID, stream_id(id_head, flow, stream).encode()),
    ]


def test_a_unix_socket_has_the_addresses_of_loopback() -> None:
    header = proxy_header(LOCAL, bytes(28), bytes(28), caller_tlvs(NODE), 1, 0, 1)
    result = ProxyProtocolV2().unpack(header)
    assert [str(host) for host, _ in (result.source, result.dest)] == ["127.0.0.1"] * 2


@pytest.mark.parametrize("length", [0, 1, 1_024, 1_025])
def test_a_caller_of_any_length_fits_or_is_none(length: int) -> None:
    header = proxy_header(TCP6, bytes(28), bytes(28), bytes(length), 0xFFFF_FFFF, 65_535, 0xFFFF_FFFF)
    assert len(header) == (0 if length > 1_024 else 16 + 36 + length + 3 + len("ffffffff-65535-4294967295"))


def test_a_probe_says_that_it_is_one() -> None:
    assert LOCAL_HEADER[:12] == SIGNATURE
    assert not ProxyProtocolV2().unpack(LOCAL_HEADER).proxied
