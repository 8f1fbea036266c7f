"""Check of the file against its schema: unknown keys, missing keys, wrong types and values out of range.

msgspec does the checking. This module turns its first complaint into a sentence that names line, key and remedy.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

import msgspec

from pcgrelay.config import schema
from pcgrelay.config.source import KeyPath, Source
from pcgrelay.errors import ConfigError

_TABLES: dict[str, type[msgspec.Struct]] = {
    "node": schema.NodeTable,
    "identity": schema.IdentityTable,
    "policy": schema.PolicyTable,
    "bearer": schema.BearerTable,
    "listen": schema.ListenTable,
    "link": schema.LinkTable,
    "export": schema.ExportTable,
    "import": schema.ImportTable,
    "direct": schema.DirectTable,
    "drill": schema.DrillTable,
    "caller": schema.CallerTable,
    "log": schema.LogTable,
    "metrics": schema.ReaderTable,
    "page": schema.ReaderTable,
}
# Once, not for each table of a file: msgspec takes a tenth of a millisecond for it.
_KEYS = {name: [field.encode_name for field in msgspec.structs.fields(table)] for name, table in _TABLES.items()}
_ARRAYS = {"bearer", "listen", "link", "export", "import", "direct", "drill", "caller"}
_COMPLAINT = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?", re.DOTALL)
_KINDS = {"str": "text in quotes", "int": "a whole number", "float": "a number", "bool": "true or false"}
_KINDS |= {"array": "a list of texts", "date": "a date without quotes"}


def file_table(source: Source) -> schema.FileTable:
    """Return the file as Structs. ConfigError: it does not match the schema."""
    _refuse_unknown(source)
    try:
        # Without the types that are named here msgspec would take a date in quotes too.
        return msgspec.convert(source.values, schema.FileTable, builtin_types=(date,))
    except msgspec.ValidationError as error:
        raise shape_refusal(source, str(error)) from None


def example_for(where: KeyPath) -> str:
    """Return a correct line for that key."""
    names = [part for part in where if isinstance(part, str)]
    return schema.EXAMPLES.get(".".join(names[:2]), "")


def _refuse_unknown(source: Source) -> None:
    for name, value in source.values.items():
        known = _KEYS.get(name)
        if known is None:
            raise unknown_refusal(source, (name,), _TABLES, "table" if isinstance(value, dict | list) else "key")
        if name in _ARRAYS:
            if not isinstance(value, list):
                raise source.refusal((name,), f"this table may occur several times; write [[{name}]]")
            for index, entry in enumerate(value):
                _refuse_unknown_keys(source, (name, index), entry, known)
        elif not isinstance(value, dict):
            raise source.refusal((name,), f"this table occurs once; write [{name}] with its keys below")
        else:
            _refuse_unknown_keys(source, (name,), value, known)


def _refuse_unknown_keys(source: Source, where: KeyPath, entry: Any, known: Iterable[str]) -> None:
    if not isinstance(entry, dict):
        raise source.refusal(where, f"this must be a table; write [[{where[0]}]] with its keys below")
    for key in entry:
        if key not in known:
            raise unknown_refusal(source, (*where, key), known, "key")


def unknown_refusal(source: Source, where: KeyPath, known: Iterable[str], noun: str) -> ConfigError:
    """The refusal of a name that there is not, with the nearest that there is."""
    names = list(known)
    near = difflib.get_close_matches(str(where[-1]), names, n=1)
    remedy = f"the nearest that there is: {near[0]}" if near else f"there are: {', '.join(names)}"
    return source.refusal(where, f"this {noun} is unknown; {remedy}")


def shape_refusal(source: Source, complaint: str, example: Callable[[KeyPath], str] = example_for) -> ConfigError:
    """The refusal for msgspec's complaint; example says how a right line for a key looks."""
    match = _COMPLAINT.fullmatch(complaint)
    message, where = (match[1], _key_path(match[2] or "")) if match else (complaint, ())
    if missing := re.search(r"missing required field `(.*)`", message):
        where = (*where, missing[1])
        return source.refusal(where, f"this is missing; write for example: {example(where)}")
    return source.refusal(where, f"{_wish(message)}; write for example: {example(where)}")


def _key_path(text: str) -> KeyPath:
    """Convert msgspec's path, "listen[1].address", to a KeyPath."""
    where: list[str | int] = []
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", text):
        where.append(int(index) if index else name)
    return tuple(where)


def _wish(message: str) -> str:
    """Return what msgspec expected, in plain words."""
    if kind := re.match(r"Expected `(\w+)(?: \| null)?`, got `(\w+)`", message):
        return f"this must be {_KINDS.get(kind[1], kind[1])}"
    if bound := re.match(r"Expected `(?:int|float)` ([<>]=) (-?\d+)", message):
        return f"this must be {'at least' if bound[1] == '>=' else 'at most'} {bound[2]}"
    if choice := re.match(r"Invalid enum value '?(.*?)'?$", message):
        return f'"{choice[1]}" is none of the possible values'
    return message[:1].lower() + message[1:]
