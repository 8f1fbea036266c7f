"""Values that are written as text in the configuration: addresses and memory sizes."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Self

from pcgrelay.model import Transport

_SIZE = re.compile(r"([1-9][0-9]{0,11}) ?(B|KiB|MiB|GiB)", re.ASCII)
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
# A trailing dot makes a name absolute: no resolver appends a domain to it.
_HOST = re.compile(r"(?=.{1,254}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|.?)", re.ASCII | re.DOTALL)
_ESCAPES = {r"\r": "\r", r"\n": "\n", r"\t": "\t", "\\\\": "\\"}
_TIME = re.compile(r"([1-9][0-9]{0,8})(s|m|h|d)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_WILDCARDS = {"0.0.0.0", "::"}
UNIX = "unix:"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# sockaddr_un.sun_path, less its final zero byte and the ".next" of the socket beside it.
SOCKET_PATH_LIMIT = 102


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A host, by name or number, and a port; or the path of a unix socket, in place of a host, and port 0.

    IPv6 addresses are written in brackets, and a path behind "unix:". Ports of TCP and of UDP are different ones with
    the same numbers; which is meant stands elsewhere in the file, so the text does not have it.
    """

    host: str
    port: int
    transport: Transport = Transport.STREAM

    def __str__(self) -> str:
        if self.is_unix:
            return f"{UNIX}{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_unix(self) -> bool:
        """Whether it is that of a unix socket."""
        return self.host.startswith("/")

    @property
    def is_number(self) -> bool:
        """Whether the host is a numeric address."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    @property
    def is_loopback(self) -> bool:
        """Whether it is reached from this machine alone. A name other than localhost may lead anywhere."""
        if self.is_unix or self.host.rstrip(".") == "localhost":
            return True
        return self.is_number and ipaddress.ip_address(self.host).is_loopback

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every address of this machine."""
        return self.host in _WILDCARDS

    def overlaps(self, other: Address) -> bool:
        """Return whether sockets of these two addresses cannot both use their port.

        By the kernel's default "::" includes IPv4, so the two families are not distinguished.
        """
        return (self.port, self.transport) == (other.port, other.transport) and (
            self.host == other.host or self.is_wildcard or other.is_wildcard
        )

    def over(self, transport: Transport) -> Self:
        """Return the same address with a port of that transport."""
        return replace(self, transport=transport)

    @classmethod
    def parse_any(cls, text: str) -> Self:
        """Parse "host:port" as `parse` does, or "unix:/path". ValueError: it is neither."""
        if not text.startswith(UNIX):
            return cls.parse(text)
        path = text.removeprefix(UNIX)
        if not path.startswith("/") or path.endswith("/") or not path.isprintable():
            raise ValueError(f'"{text}" is no unix socket: behind unix: stands a path from the root on')
        if len(path.encode("utf-8", "surrogateescape")) > SOCKET_PATH_LIMIT:
            raise ValueError(f"the path of a unix socket has at most {SOCKET_PATH_LIMIT} bytes, and {path} has more")
        return cls(path, 0)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse "host:port" or "[::1]:port". ValueError: no port, port 0, or an IPv6 address without brackets."""
        host, colon, port_text = text.rpartition(":")
        if "%" in text:
            # A scope id names an interface of this machine; neither the core nor a neighbour could use it.
            raise ValueError(f'"{text}" has a scope id (what begins with %), which is not taken; write one without')
        if not colon or not host:
            raise ValueError(f'"{text}" is no address, which is written HOST:PORT')
        if host.startswith("[") and host.endswith("]"):
            host = _ipv6(host[1:-1], text)
        elif ":" in host:
            raise ValueError(f'"{text}" is no address: an IPv6 number stands in brackets, as in [::1]:7400')
        else:
            host = _plain_host(host, text)
        # isdigit() alone accepts digits of other scripts too.
        if not (port_text.isascii() and port_text.isdigit() and len(port_text) <= 5 and 1 <= int(port_text) <= 65535):
            raise ValueError(f'"{text}" has no usable port: a port is a number from 1 to 65535')
        return cls(host, int(port_text))


def escaped_bytes(text: str) -> bytes:
    r"""Parse bytes in text: \xNN, \r, \n, \t and \\ are one byte each, the rest is UTF-8. ValueError: another one."""

    def byte(match: re.Match[str]) -> str:
        if match[0] in _ESCAPES:
            return _ESCAPES[match[0]]
        if match[1] is None:
            raise ValueError(f'"{match[0]}" is no escape; there are \\xNN, \\r, \\n, \\t and \\\\')
        return chr(int(match[1], 16))

    # Latin-1 maps each byte to the character with the same number.
    return _ESCAPE.sub(byte, text.encode().decode("latin-1")).encode("latin-1")


def memory_bytes(text: str) -> int:
    """Parse "256MiB". ValueError: another unit, a fraction, or zero."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is no size, which is a whole number and B, KiB, MiB or GiB')
    return int(match[1]) * _UNITS[match[2]]


def time_s(text: str, most_s: int) -> int:
    """Parse "90d", "10m" or "60s" into seconds. ValueError: another unit, a fraction, zero, or too long a time."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is no time, which is a whole number and s, m, h or d')
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > most_s:
        raise ValueError(f"{text} is too long; {time_text(most_s)} is the most")
    return seconds


def time_text(seconds: int) -> str:
    """A time as time_s reads it, in the largest unit that keeps it whole."""
    unit = next(unit for unit in "dhms" if seconds % _SECONDS[unit] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"


def parse_network(text: str) -> Network:
    """Parse a network in CIDR notation. ValueError: it is none, or an address of one with its mask."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f'"{text[:60]}" is no network') from None
    raise ValueError(f"{text[:60]} is an address with a mask; the network is {found}")


def _ipv6(host: str, text: str) -> str:
    try:
        number = ipaddress.IPv6Address(host)
    except ValueError:
        raise ValueError(f'"{text}" is no address: between the brackets stands no IPv6 number') from None
    return str(number)


def _plain_host(host: str, text: str) -> str:
    # What looks like a number must be an address: nobody means 127.0.0.256 as a host name.
    if re.fullmatch(r"[0-9.]+", host):
        if host.endswith("."):
            raise ValueError(f'"{text}" is no address: {host} ends with a dot, and an IPv4 number does not')
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError(f'"{text}" is no address: {host} is no IPv4 number') from None
    if not _HOST.fullmatch(host):
        raise ValueError(f'"{text}" is no address: before the port stands no host name and no IP number')
    return host.lower()
