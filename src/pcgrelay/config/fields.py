"""Keys that several tables of the file have: paths, bearers, addresses, the words of a probe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pcgrelay.config import schema
from pcgrelay.config.shape import example_for
from pcgrelay.config.source import KeyPath, Source
from pcgrelay.config.values import Address, escaped_bytes
from pcgrelay.model import check_label

T = TypeVar("T")

# A probe is one short request and its answer, not a conversation.
PROBE_SEND_MOST_BYTES = 1_024
PROBE_EXPECT_MOST_BYTES = 256


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


def dialled(source: Source, where: KeyPath, text: str) -> Address:
    address = parsed(source, where, text, Address.parse)
    if address.is_wildcard:
        problem = f"{address} stands for all addresses of a machine, so nothing can be reached there; name one"
        raise source.refusal(where, problem)
    return address


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
