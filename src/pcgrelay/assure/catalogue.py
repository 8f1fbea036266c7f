"""Controls and profiles: data files, read and checked. What is unknown is refused with its file and line.

Controls come with pcgrelay. A profile lists the controls that count, and parameters. An organisation's own profile is a
file with `extends`, which replaces what it names of the profile below and may leave controls out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, structs

from pcgrelay.assure.parameters import Parameters
from pcgrelay.config.shape import shape_refusal, unknown_refusal
from pcgrelay.config.source import KeyPath, Source
from pcgrelay.errors import ConfigError

FOLDER = Path(__file__).parent
ASKED = "told"  # the test of a control that a person answers
EXTENDS_MOST = 4
Text = Annotated[str, Meta(min_length=1, max_length=300)]
Month = Annotated[str, Meta(pattern=r"^20\d\d-(0[1-9]|1[0-2])$")]

_EXAMPLES = {
    "control": "[[control]]",
    "control.id": 'id = "N3"',
    "control.title": 'title = "Every rule has an owner, an approver, a reason and an end"',
    "control.test": 'test = "told"',
    "control.sources": 'sources = ["CAF 4.0 B4.b.3"]',
    "control.applies": 'applies = "edge"',
    "control.cure": 'cure = "write owner, reason and until"',
    "control.question": 'question = "Who owns each rule?"',
    "control.reviewed": 'reviewed = "2026-11"',
    "title": 'title = "Kent 2026-11"',
    "extends": 'extends = "ncsc-official"',
    "controls": 'controls = ["K1", "K2"]',
    "without": 'without = ["N8"]',
    "reviewed": 'reviewed = "2026-11"',
    "confirmed_by": 'confirmed_by = "A. Assurer, 2026-11-03"',
    "parameters": "[parameters]",
}


class Control(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One control."""

    id: Annotated[str, Meta(pattern=r"^[A-Z][1-9][0-9]?$")]
    title: Text
    test: str  # a name of TESTS, or told
    sources: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=12)]
    applies: Literal["edge", "relay", "any"]
    cure: Text
    reviewed: Month  # when somebody last held it against its sources
    question: Annotated[str, Meta(max_length=400)] = ""  # for a person, if the test is told

    def is_for(self, role: str) -> bool:
        """Whether it is about nodes of that role."""
        return self.applies in ("any", role)


class Profile(Struct, frozen=True, kw_only=True):
    """A profile with what it extends."""

    name: str
    title: str
    reviewed: str
    confirmed_by: str  # empty: no assurer has confirmed it yet
    controls: tuple[Control, ...]
    parameters: Parameters


class _ControlsFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    control: tuple[Control, ...]


class _ProfileFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    title: Text
    reviewed: Month
    controls: tuple[str, ...]
    confirmed_by: Annotated[str, Meta(max_length=200)] = ""
    extends: str = ""
    without: tuple[str, ...] = ()
    parameters: Parameters = Parameters()


_PROFILE_KEYS = [field.encode_name for field in structs.fields(_ProfileFile)]
_CONTROL_KEYS = [field.encode_name for field in structs.fields(Control)]


def load_controls(tests: Collection[str]) -> dict[str, Control]:
    """Return all controls that come with pcgrelay, by id, in the order of files and lines. tests: names of tests.

    ConfigError: one is refused, with file and line.
    """
    found: dict[str, Control] = {}
    for path in sorted((FOLDER / "controls").glob("*.toml")):
        for control in parse_controls(Source.read(path), tests, found):
            found[control.id] = control
    return found


def parse_controls(source: Source, tests: Collection[str], known: Collection[str] = ()) -> Iterator[Control]:
    """Yield the controls of one file. known: ids that there are already. ConfigError: as load_controls."""
    _refuse_unknown_controls(source)
    try:
        file = msgspec.convert(source.values, _ControlsFile, builtin_types=())
    except msgspec.ValidationError as error:
        raise shape_refusal(source, str(error), _example) from None
    seen = set(known)
    for index, control in enumerate(file.control):
        where: KeyPath = ("control", index)
        if control.id in seen:
            raise source.refusal((*where, "id"), f"{control.id} is there already; give it another id")
        if control.test != ASKED and control.test not in tests:
            raise unknown_refusal(source, (*where, "test", control.test), [*tests, ASKED], "test")
        if control.test == ASKED and not control.question:
            raise source.refusal((*where, "question"), "a control that a person answers needs a question; write one")
        seen.add(control.id)
        yield control


def profile_names() -> list[str]:
    """Return the names of the profiles that come with pcgrelay."""
    return sorted(path.stem for path in (FOLDER / "profiles").glob("*.toml"))


def load_profile(name: str, controls: Mapping[str, Control]) -> Profile:
    """Return a profile: the name of one that comes with pcgrelay, or the path of a file.

    ConfigError: there is none, or it is refused, with file and line.
    """
    path = _profile_path(name, Path())
    values, chain = _merged(Source.read(path))
    source = chain[0]
    try:
        file = msgspec.convert(values, _ProfileFile, builtin_types=())
    except msgspec.ValidationError as error:
        # The line is that of the file that says it.
        raise _refusal_in(chain, str(error)) from None
    for each in chain:
        _refuse_unknown_ids(each, controls)
    left = set(file.without)
    chosen = tuple(controls[id] for id in dict.fromkeys(file.controls) if id not in left)
    if not chosen:
        raise source.refusal(("controls",), "no control is left; name at least one")
    return Profile(
        name=path.stem,
        title=file.title,
        reviewed=file.reviewed,
        confirmed_by=file.confirmed_by,
        controls=chosen,
        parameters=file.parameters,
    )


def out_of_review(profile: Profile, today: date) -> tuple[str, ...]:
    """Return what was last held against its sources longer ago than the profile says: ids of controls, and `profile`.

    A figure that was right once says little when the text that it came from is another one.
    """
    most = profile.parameters.review.most_months
    dated = [("profile", profile.reviewed), *((each.id, each.reviewed) for each in profile.controls)]
    return tuple(name for name, month in dated if _months_since(month, today) > most)


def _months_since(month: str, today: date) -> int:
    """month: 2026-11."""
    year, _, number = month.partition("-")
    return (today.year - int(year)) * 12 + today.month - int(number)


def _profile_path(name: str, folder: Path) -> Path:
    """The file of a profile; one that comes with pcgrelay goes before a file without a suffix."""
    own = FOLDER / "profiles" / f"{name}.toml"
    if name in profile_names():
        return own
    path = folder / name
    if path.suffix != ".toml" and not path.is_file():
        there = ", ".join(profile_names())
        raise ConfigError(f"{name}: there is no profile of this name; there are: {there}. Or name a file, my.toml.")
    return path


def _merged(source: Source) -> tuple[dict[str, Any], list[Source]]:
    """Return the values of a profile over those that it extends, and all files, the uppermost first."""
    chain = [source]
    while name := chain[-1].values.get("extends"):
        if not isinstance(name, str):
            raise chain[-1].refusal(
                ("extends",), f"this must be text in quotes; write for example: {_EXAMPLES['extends']}"
            )
        if len(chain) == EXTENDS_MOST:
            raise chain[-1].refusal(("extends",), f"profiles extend each other {EXTENDS_MOST} deep at most; join two")
        try:
            chain.append(Source.read(_profile_path(name, chain[-1].path.parent)))
        except ConfigError as error:
            raise chain[-1].refusal(("extends",), str(error).rstrip(".")) from None
    values: dict[str, Any] = {}
    without: list[Any] = []
    for each in reversed(chain):
        _refuse_unknown_keys(each)
        left_out = each.values.get("without", [])
        without += left_out if isinstance(left_out, list) else [left_out]
        values = _over(values, each.values)
    # What confirms the profile below does not confirm what is different here.
    if len(chain) > 1:
        values["confirmed_by"] = chain[0].values.get("confirmed_by", "")
    return {**values, **({"without": without} if without else {})}, chain


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Tables are merged, all else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _refusal_in(chain: list[Source], complaint: str) -> ConfigError:
    refusals = [shape_refusal(each, complaint, _example) for each in chain]
    return next((each for each in refusals if getattr(each, "line", None)), refusals[0])


def _refuse_unknown_keys(source: Source) -> None:
    for key in source.values:
        if key not in _PROFILE_KEYS:
            raise unknown_refusal(source, (key,), _PROFILE_KEYS, "key")
    parameters = source.values.get("parameters", {})
    tables = msgspec.inspect.type_info(Parameters)
    assert isinstance(tables, msgspec.inspect.StructType)
    known = {field.encode_name: field.type for field in tables.fields}
    for name, table in parameters.items() if isinstance(parameters, dict) else ():
        kind = known.get(name)
        if not isinstance(kind, msgspec.inspect.StructType):
            raise unknown_refusal(source, ("parameters", name), known, "parameter")
        names = [field.encode_name for field in kind.fields]
        for key in table if isinstance(table, dict) else ():
            if key not in names:
                raise unknown_refusal(source, ("parameters", name, key), names, "parameter")


def _refuse_unknown_ids(source: Source, controls: Collection[str]) -> None:
    for key in ("controls", "without"):
        ids = source.values.get(key, [])
        for id in ids if isinstance(ids, list) else ():
            if id not in controls:
                # The list's line is near enough, and the sentence names the id.
                raise source.refusal((key,), f"there is no control {id}; there are: {', '.join(controls)}")


def _refuse_unknown_controls(source: Source) -> None:
    for name, value in source.values.items():
        if name != "control":
            raise unknown_refusal(source, (name, 0) if isinstance(value, list) else (name,), ["control"], "table")
    entries = source.values.get("control", [])
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        for key in entry if isinstance(entry, dict) else ():
            if key not in _CONTROL_KEYS:
                raise unknown_refusal(source, ("control", index, key), _CONTROL_KEYS, "key")


def _example(where: KeyPath) -> str:
    names = [part for part in where if isinstance(part, str)]
    for most in (2, 1):
        if found := _EXAMPLES.get(".".join(names[:most])):
            return found
    return _EXAMPLES["controls"]
