"""Services of datagrams: taken, or refused with their line."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from pcgrelay import config
from pcgrelay.config import Address
from pcgrelay.config.datagrams import PREFIXES_MOST, idle_times, limits_in_force
from pcgrelay.config.differences import differences
from pcgrelay.config.settings import ExportSettings, ImportSettings, Limits
from pcgrelay.errors import ConfigError
from pcgrelay.model import Transport

PATH = Path("/etc/pcgrelay/kent-1.toml")
BASE = """\
[node]
name = "kent-1"
organisation = "kent.police.example"
realm = "police.example"
role = "edge"
[identity]
certificate = "kent-1.pem"
key = "kent-1.key"
trust = "realm-ca.pem"
[[listen]]
address = "127.0.0.1:7400"
"""
EXPORT = '[[export]]\nservice = "dns"\nprotocol = "udp"\n'
IMPORT = '[[import]]\nservice = "dns@met.police.example"\nprotocol = "udp"\n'
TARGET = 'target = "127.0.0.1:53"\n'
LISTEN = 'listen = "127.0.0.1:10053"\n'
DIRECT = '[[direct]]\nservice = "dns@met.police.example"\nname = "cjx"\naddress = "10.2.3.4:53"\n'


def read(*tables: str) -> config.Config:
    return config.parse(BASE + "".join(tables), PATH)


def exported(*lines: str) -> ExportSettings:
    (export,) = read(EXPORT, TARGET, *(f"{line}\n" for line in lines)).exports
    return export


def imported(*lines: str, listen: str = LISTEN) -> ImportSettings:
    (entry,) = read(IMPORT, listen, *(f"{line}\n" for line in lines)).imports
    return entry


def refused(*tables: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(*tables)
    return str(caught.value)


def test_they_are_taken() -> None:
    entry = imported('sources = ["10.1.0.0/16", "2001:db8::/32"]', 'also = ["127.0.0.1:10054"]', "wait_ms = 50")
    assert entry.transport is Transport.DATAGRAM
    assert {each.transport for each in entry.listeners} == {Transport.DATAGRAM}
    assert entry.prefixes == (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("2001:db8::/32"))
    assert (entry.wait_ms, imported().wait_ms, exported().wait_ms) == (50, 200, 200)
    assert exported().transport is Transport.DATAGRAM
    assert (exported().probe, exported('probe = "expect"', 'probe_expect = "x"').probe) == (False, True)


def test_what_says_no_protocol_is_a_stream_as_before() -> None:
    found = read('[[export]]\nservice = "db"\n', TARGET, '[[import]]\nservice = "x@met.police.example"\n', LISTEN)
    (export,), (entry,) = found.exports, found.imports
    assert {export.transport, entry.transport} == {Transport.STREAM}
    assert export.probe
    assert (export.wait_ms, entry.wait_ms, entry.prefixes) == (0, 0, ())


def test_direct_outlets_carry_what_their_import_does() -> None:
    stream = '[[import]]\nservice = "dns-tcp@met.police.example"\n'
    found = read(IMPORT, LISTEN, DIRECT, stream, LISTEN, DIRECT.replace('"dns', '"dns-tcp'))
    assert [each.target.transport for each in found.directs] == [Transport.DATAGRAM, Transport.STREAM]
    assert [each.probe for each in found.directs] == [False, True]
    (probed,) = read(IMPORT, LISTEN, DIRECT, 'probe = "expect"\nprobe_send = "x"\nprobe_expect = "y"\n').directs
    assert (probed.probe, probed.probe_send, probed.probe_expect) == (True, b"x", b"y")
    (entry,) = read(IMPORT, LISTEN, 'outlet = "cjx"\nexercise = 1\n', DIRECT).imports
    assert (entry.outlet, entry.exercise) == ("cjx", 1)


def test_ports_of_tcp_and_udp_are_different_ones() -> None:
    stream = '[[import]]\nservice = "dns-tcp@met.police.example"\n'
    found = read(IMPORT, LISTEN, stream, LISTEN)
    one, other = (entry.listen for entry in found.imports)
    assert str(one) == str(other) == "127.0.0.1:10053"
    assert one != other
    assert not one.overlaps(other)
    twice = refused(IMPORT, LISTEN, IMPORT.replace("dns", "names"), 'listen = "0.0.0.0:10053"\n')
    assert "127.0.0.1:10053) is taken by" not in twice
    assert "0.0.0.0:10053 is taken by import[1].listen (127.0.0.1:10053)" in twice


@pytest.mark.parametrize(
    ("tables", "key", "words"),
    [
        ((EXPORT, TARGET, 'proxy = "v2"\n'), "export[1].proxy", "no header"),
        ((EXPORT, TARGET, 'also = ["127.0.0.1:54"]\n'), "export[1].also", "streams alone"),
        ((EXPORT, TARGET, 'probe = "connect"\n'), "export[1].probe", 'write probe = "expect"'),
        ((EXPORT, 'target = "unix:/run/dns.sock"\n'), "export[1].target", "not to a unix socket"),
        ((IMPORT, 'listen = "unix:/run/dns.sock"\n'), "import[1].listen", "not to a unix socket"),
        ((IMPORT, LISTEN, 'also = ["unix:/run/dns.sock"]\n'), "import[1].also[1]", "not to a unix socket"),
        ((IMPORT, LISTEN, "careful = false\n"), "import[1].careful", "at once"),
        ((IMPORT, LISTEN, "exercise = 1\n"), "import[1].exercise", "no outlet beside the gateway"),
        ((IMPORT, LISTEN, DIRECT.replace("10.2.3.4:53", "unix:/run/dns.sock")), "direct[1].address", "not to a unix"),
        ((IMPORT, LISTEN, DIRECT, 'probe = "connect"\n'), "direct[1].probe", 'write probe = "expect"'),
        ((IMPORT, LISTEN, DIRECT.replace("10.2.3.4:53", "127.0.0.1:10053")), "direct[1].address", "of this very node"),
        ((IMPORT, LISTEN, "sources = []\n"), "import[1].sources", "nobody is served"),
        ((IMPORT, LISTEN, 'sources = ["10.1.2.3/16"]\n'), "import[1].sources[1]", "the network is 10.1.0.0/16"),
        ((IMPORT, LISTEN, 'sources = ["10.1.0.0/16", "10.1.0.0/16"]\n'), "import[1].sources[2]", "twice"),
        ((IMPORT, LISTEN, f"sources = {[f'10.1.{n}.0/24' for n in range(65)]}\n"), "import[1].sources", "64 is"),
        ((IMPORT, LISTEN, "wait_ms = 0\n"), "import[1].wait_ms", "at least 1"),
        ((IMPORT, LISTEN, "max_streams_per_source = 0\n"), "import[1].max_streams_per_source", "at least 1"),
        ((IMPORT.replace("udp", "sctp"), LISTEN), "import[1].protocol", "sctp"),
        ((EXPORT, 'target = "127.0.0.1:10053"\n', IMPORT, LISTEN), "export[1].target", "a listener of this very node"),
        ((IMPORT.replace("udp", "tcp"), LISTEN, "wait_ms = 200\n"), "import[1].wait_ms", "streams have no such key"),
        ((IMPORT.replace("udp", "tcp"), LISTEN, 'rate = "2MiB"\n'), "import[1].rate", "streams have no such key"),
        ((EXPORT.replace("udp", "tcp"), TARGET, 'rate = "2MiB"\n'), "export[1].rate", "streams have no such key"),
        ((IMPORT, LISTEN, 'rate = "1023B"\n'), "import[1].rate", "write 1KiB to 1GiB, or remove this line"),
        ((EXPORT, TARGET, 'rate = "2GiB"\n'), "export[1].rate", "2GiB in a second is out of bounds"),
        ((EXPORT, TARGET, 'rate = "2 MB"\n'), "export[1].rate", 'write for example: rate = "2MiB"'),
        ((EXPORT, TARGET, "rate = 2000000\n"), "export[1].rate", 'write for example: rate = "2MiB"'),
        ((EXPORT.replace("udp", "tcp"), TARGET, "wait_ms = 200\n"), "export[1].wait_ms", "streams have no such key"),
        ((IMPORT.replace("udp", "tcp"), LISTEN, 'sources = ["10.1.0.0/16"]\n'), "import[1].sources", "no such key"),
        ((IMPORT.replace("udp", "tcp"), LISTEN, "max_streams_per_source = 5\n"), "import[1].max", "no such key"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_with_its_line(tables: tuple[str, ...], key: str, words: str) -> None:
    sentence = refused(*tables)
    assert key in sentence
    assert words in sentence
    assert sentence.endswith(".")


def test_as_many_networks_as_there_may_be() -> None:
    found = imported(f"sources = {[f'10.1.{n}.0/24' for n in range(PREFIXES_MOST)]}")
    assert len(found.prefixes) == PREFIXES_MOST


@pytest.mark.parametrize(
    ("entry", "times"),
    [
        (exported, (10, 10)),
        (imported, (120, 300)),
        (lambda: imported(listen='listen = "127.0.0.1:53"\n'), (10, 10)),
        (lambda: imported("idle_timeout_s = 30"), (30, 30)),
        (lambda: exported("idle_timeout_s = 30"), (30, 30)),
    ],
)
def test_how_long_an_association_lasts(entry: object, times: tuple[int, int]) -> None:
    assert idle_times(entry()) == times  # type: ignore[operator]


def test_limits_that_are_not_written() -> None:
    assert limits_in_force(imported()) == Limits(streams=4_096, per_source=256, new_per_second=400, idle_s=120)
    written = imported("max_streams = 7", "max_streams_per_source = 3", "new_streams_per_second = 2")
    assert limits_in_force(written) == Limits(streams=7, per_source=3, new_per_second=2, idle_s=120)
    assert limits_in_force(exported()) == Limits(idle_s=10)
    (stream,) = read('[[import]]\nservice = "x@met.police.example"\n', LISTEN).imports
    assert limits_in_force(stream) == Limits()


@pytest.mark.parametrize(
    ("text", "count"), [("1KiB", 1 << 10), ("2 MiB", 2 << 20), ("1500000B", 1_500_000), ("1GiB", 1 << 30)]
)
def test_a_rate_is_written_as_sizes_are(text: str, count: int) -> None:
    assert imported(f'rate = "{text}"').limits.rate_bytes == exported(f'rate = "{text}"').limits.rate_bytes == count
    assert imported().limits.rate_bytes == exported().limits.rate_bytes == 0


def test_a_reload_says_what_has_changed() -> None:
    (sentence,) = differences(read(EXPORT, TARGET, 'rate = "1MiB"\n'), read(EXPORT, TARGET, 'rate = "2MiB"\n'))
    assert sentence == "export dns@kent.police.example changed (rate)"
    old = read(IMPORT, LISTEN)
    new = read(IMPORT, LISTEN, 'sources = ["10.1.0.0/16"]\nmax_streams_per_source = 9\nwait_ms = 100\n')
    (sentence,) = differences(old, new)
    assert sentence == "import dns@met.police.example changed (max_streams_per_source, sources, wait_ms)"
    (sentence,) = differences(read(IMPORT.replace("udp", "tcp"), LISTEN), old)
    assert sentence.startswith("import dns@met.police.example changed (protocol")


def test_an_address_is_written_without_its_transport() -> None:
    address = Address.parse("[::1]:53").over(Transport.DATAGRAM)
    assert str(address) == "[::1]:53"
    assert address.over(Transport.STREAM) == Address("::1", 53)
