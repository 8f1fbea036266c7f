"""Keys that several tables of the file have: paths, bearers, addresses, the words of a probe."""

from __future__ import annotations

import grp
import ipaddress
import re
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import TypeVar

from pcgrelay.config import schema
from pcgrelay.config.settings import SOCKET_MODE
from pcgrelay.config.shape import example_for
from pcgrelay.config.source import KeyPath, Source
from pcgrelay.config.values import UNIX, Address, escaped_bytes
from pcgrelay.model import Precedence, check_label

T = TypeVar("T")

# A probe is one short request and its answer, not a conversation.
PROBE_SEND_MOST_BYTES = 1_024
PROBE_EXPECT_MOST_BYTES = 256
# As many as the data plane holds for a target.
SOURCES_MOST = 8
TEXT_MOST = 200  # characters of a line for status and log
_MODE = re.compile(r"0?[0-7]{3}", re.ASCII)


def parsed(source: Source, where: KeyPath, text: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise source.refusal(where, f"{error}; write for example: {example_for(where)}") from None


def file_path(source: Source, where: KeyPath, text: str) -> Path:
    if not text or "\0" in text:
        raise source.refusal(where, f"this is no path of a file; write for example: {example_for(where)}")
    return source.path.parent / text


def bearer_name(source: Source, where: KeyPath, text: str) -> str:
    return parsed(source, (*where, "bearer"), text, lambda text: check_label(text, "bearer"))


def precedence(text: str) -> Precedence:
    return Precedence[text.upper().replace("-", "_")]


def dialled(source: Source, where: KeyPath, text: str) -> Address:
    address = parsed(source, where, text, Address.parse)
    if address.is_wildcard:
        problem = f"{address} stands for all addresses of a machine, so nothing can be reached there; name one"
        raise source.refusal(where, problem)
    return address


def target_address(source: Source, where: KeyPath, text: str) -> Address:
    """Return where a service is: a host and a port, or a unix socket."""
    if text.startswith(UNIX):
        return parsed(source, where, text, Address.parse_any)
    return dialled(source, where, text)


def sources(source: Source, where: KeyPath, given: schema.Texts | None, target: Address) -> tuple[str, ...]:
    """Return the numeric addresses from which a target is connected to."""
    texts = () if given is None else (given,) if isinstance(given, str) else given
    if given is not None and target.is_unix:
        raise source.refusal(
            where, f"{target} is a unix socket, which is connected to from no address; remove this line"
        )
    if len(texts) > SOURCES_MOST:
        raise source.refusal(where, f"these are {len(texts)} addresses, and {SOURCES_MOST} is the most; write fewer")
    found = tuple(_source(source, where, text, target) for text in texts)
    for place, text in enumerate(found):
        if text in found[:place]:
            raise source.refusal(where, f"{text} stands here twice; remove one")
    return found


def _source(source: Source, where: KeyPath, text: str, target: Address) -> str:
    try:
        number = ipaddress.ip_address(text)
    except ValueError:
        problem = f'"{text}" is no numeric address; write one of this machine without a port, as source = "10.9.9.9"'
        raise source.refusal(where, problem) from None
    if number.is_unspecified or getattr(number, "scope_id", None):
        problem = f"nothing can connect from {text}; write an address of this machine, or remove this line"
        raise source.refusal(where, problem)
    if _version(target.host) not in (0, number.version):
        problem = f"{text} is IPv{number.version}, and {target} is not; write an address of the same family"
        raise source.refusal(where, problem)
    return str(number)


def _version(host: str) -> int:
    """Return 4 or 6; 0: a name, which may lead to both."""
    try:
        return ipaddress.ip_address(host).version
    except ValueError:
        return 0


def group_number(source: Source, where: KeyPath, name: str) -> int:
    """Return the number of a group of this machine."""
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        raise source.refusal(where, f"there is no group {name!r} on this machine; make it or name another") from None


def socket_rights(
    source: Source, where: KeyPath, table: schema.ImportTable, *, has_socket: bool
) -> tuple[int, int | None]:
    """Return mode and group of an import's unix sockets."""
    for key, value in (("mode", table.mode), ("group", table.group)):
        if value is not None and not has_socket:
            problem = "only a unix socket has this, and there is none here; remove the line, or listen on unix:/PATH"
            raise source.refusal((*where, key), problem)
    mode = SOCKET_MODE
    if table.mode is not None:
        if not _MODE.fullmatch(table.mode):
            problem = (
                f'"{table.mode}" is no mode of a socket, which is three octal digits; write for example: mode = "0660"'
            )
            raise source.refusal((*where, "mode"), problem)
        mode = int(table.mode, 8)
    group = None if table.group is None else group_number(source, (*where, "group"), table.group)
    return mode, group


def probe_words(source: Source, where: KeyPath, table: schema.ExportTable | schema.DirectTable) -> tuple[bytes, bytes]:
    """Return what a probe sends, and what it expects in the answer."""
    words = []
    for key, text, most in (
        ("probe_send", table.probe_send, PROBE_SEND_MOST_BYTES),
        ("probe_expect", table.probe_expect, PROBE_EXPECT_MOST_BYTES),
    ):
        at = (*where, key)
        if text and table.probe != "expect":
            raise source.refusal(at, 'nothing is sent and no answer awaited by this probe; write probe = "expect"')
        word = parsed(source, at, text, escaped_bytes)
        if len(word) > most:
            raise source.refusal(at, f"these are {len(word)} bytes, and {most} is the most; write fewer")
        words.append(word)
    if table.probe == "expect" and not words[1]:
        at = (*where, "probe_expect")
        raise source.refusal(at, f'this is missing for probe = "expect"; write for example: {example_for(at)}')
    return words[0], words[1]


def refuse_twice(source: Source, table: str, key: str, texts: tuple[str, ...], index: int | None = None) -> None:
    above: KeyPath = (table, key) if index is None else (table, index, key)
    for place, text in enumerate(texts):
        if text in texts[:place]:
            raise source.refusal((*above, place), f"{text} stands here twice; remove one")


def refuse_same(source: Source, table: str, key: str, entries: Iterable[Hashable], noun: str) -> None:
    """Refuse entries of a table of which two are the same. key: the one that is shown as wrong."""
    seen: dict[Hashable, int] = {}
    for index, entry in enumerate(entries):
        first = seen.setdefault(entry, index)
        if first != index:
            problem = f"{noun} is already in {table}[{first + 1}]; remove one of the two"
            raise source.refusal((table, index, key), problem)
