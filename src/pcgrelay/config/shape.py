"""Check of the file against its schema: unknown keys, missing keys, wrong types and values out of range.

msgspec does the checking. This module turns its first complaint into a sentence that names line, key and remedy.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import Any

import msgspec

from pcgrelay.config import schema
from pcgrelay.config.examples import EXAMPLES
from pcgrelay.config.source import KeyPath, Source
from pcgrelay.errors import ConfigError

# Once, not for each table of a file: msgspec takes a tenth of a millisecond for it.
_KEYS = {name: [field.encode_name for field in msgspec.structs.fields(table)] for name, table in schema.TABLES.items()}
REQUIRED_TABLES = {field.encode_name for field in msgspec.structs.fields(schema.FileTable) if field.required}
ARRAYS = {"bearer", "listen", "link", "export", "import", "direct", "drill", "caller"}
_COMPLAINT = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?", re.DOTALL)
_CHOICE = re.compile(r"Invalid enum value '?(.*?)'?", re.DOTALL)
_KINDS = {"str": "text in quotes", "int": "a whole number", "float": "a number", "bool": "true or false"}
_KINDS |= {"array": "a list of texts", "date": "a date without quotes"}


def file_table(source: Source) -> schema.FileTable:
    """Return the file as Structs. ConfigError: it does not match the schema."""
    _refuse_unknown(source)
    try:
        # Without the types that are named here msgspec would take a date in quotes too.
        return msgspec.convert(source.values, schema.FileTable, builtin_types=(date, datetime))
    except msgspec.ValidationError as error:
        raise shape_refusal(source, str(error)) from None


def keys_of(table: str) -> list[str]:
    """Return the keys of a table, in the order of the documentation."""
    return _KEYS[table]


def required_keys_of(table: str) -> set[str]:
    """Return the keys of a table that have no default."""
    return {field.encode_name for field in msgspec.structs.fields(schema.TABLES[table]) if field.required}


def example_for(where: KeyPath) -> str:
    """Return a correct line for that key."""
    names = [part for part in where if isinstance(part, str)]
    return EXAMPLES.get(".".join(names[:2]), "")


def _refuse_unknown(source: Source) -> None:
    for name, value in source.values.items():
        known = _KEYS.get(name)
        if known is None:
            raise unknown_refusal(source, (name,), schema.TABLES, "table" if isinstance(value, dict | list) else "key")
        if name in ARRAYS:
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
    near = nearest(str(where[-1]), names)
    remedy = f"the nearest that there is: {near}" if near else f"there are: {', '.join(names)}"
    return source.refusal(where, f"this {noun} is unknown; {remedy}")


def shape_refusal(source: Source, complaint: str, example: Callable[[KeyPath], str] = example_for) -> ConfigError:
    """The refusal for msgspec's complaint; example says how a right line for a key looks."""
    match = _COMPLAINT.fullmatch(complaint)
    message, where = (match[1], _key_path(match[2] or "")) if match else (complaint, ())
    if missing := re.search(r"missing required field `(.*)`", message):
        where = (*where, missing[1])
        return source.refusal(where, f"this is missing; write for example: {example(where)}")
    if choice := _CHOICE.fullmatch(message):
        return source.refusal(where, _choices_words(choice[1], choices_of(where)) or f"write {example(where)}")
    return source.refusal(where, f"{_wish(message)}; write for example: {example(where)}")


def choices_of(where: KeyPath) -> list[str]:
    """Return the values that a key of words may have; none, if it is another kind of key."""
    names = [part for part in where if isinstance(part, str)][:2]
    table = schema.TABLES.get(names[0]) if len(names) == 2 else None
    if table is None:
        return []
    known = msgspec.inspect.type_info(table)
    assert isinstance(known, msgspec.inspect.StructType)
    kind = next((field.type for field in known.fields if field.encode_name == names[1]), None)
    kinds = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
    literals = (each for each in kinds if isinstance(each, msgspec.inspect.LiteralType))
    return [str(value) for each in literals for value in each.values]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the name that was probably meant, whatever the case of its letters; None: there is none like it."""
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), folded, n=1)
    return folded[near[0]] if near else None


def _choices_words(word: str, choices: Sequence[str]) -> str:
    guess = nearest(word, choices)
    known = ", ".join(f'"{choice}"' for choice in choices)
    remedy = f'the nearest is "{guess}", of: {known}' if guess else f"write one of: {known}"
    return f'"{word}" is none of the possible values; {remedy}'


def _key_path(text: str) -> KeyPath:
    """Convert msgspec's path, "listen[1].address", to a KeyPath."""
    where: list[str | int] = []
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", text):
        where.append(int(index) if index else name)
    return tuple(where)


def _wish(message: str) -> str:
    """Return what msgspec expected, in plain words."""
    if re.match(r"Expected `datetime", message):
        return "this must be a moment with its zone and without quotes, as 2026-12-31T00:00:00Z"
    if unknown := re.match(r"Object contains unknown field `(.*)`", message):
        return f"there is no {unknown[1]} here"
    if re.match(r"Expected `str \| object`", message):
        return "this must be text in quotes, or a table in braces"
    if re.match(r"Expected `str \| array", message):
        return "this must be text in quotes, or a list of texts"
    if kind := re.match(r"Expected `(\w+)(?: \| null)?`, got `(\w+)`", message):
        return f"this must be {_KINDS.get(kind[1], kind[1])}"
    if bound := re.match(r"Expected `(?:int|float)` ([<>]=) (-?\d+)", message):
        return f"this must be {'at least' if bound[1] == '>=' else 'at most'} {bound[2]}"
    return message[:1].lower() + message[1:]
