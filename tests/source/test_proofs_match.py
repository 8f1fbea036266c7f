"""The models of docs/proofs/proverif speak of this protocol: their constants and forms are those of the sources.

A constant of a model has its value in a comment, `(*= KIND NAME value *)`, and the fields of a form have their names.
Both are compared with the core, the control plane, the reference and the page. Whoever changes a number, a label or the
order of fields in one place only finds it here.
"""

import inspect
import re
from pathlib import Path

import pytest

from pcgrelay.audit import keys as audit_keys
from pcgrelay.catalogue import entries
from pcgrelay.identity import exporter, handshake
from pcgrelay.messages import Hello
from pcgrelay.model import Role, Suite
from pcgrelay.objects import exchange
from pcgrelay.realm import bundle
from tests.reference import frames, keys, packets

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text()
CORE = ROOT / "src" / "_core"
FOLDER = ROOT / "docs" / "proofs" / "proverif"
MODELS = {path.name: path.read_text() for path in [*FOLDER.glob("*.pv"), *FOLDER.glob("*.pvl")]}
WIRE = (CORE / "base" / "wire.pxd").read_text()
# Forms of which a model leaves fields out: lengths, flags and reserved fields, magic, and what the page derives.
LEFT_OUT = {"length", "flags", "magic", "reserved", "proof", "0"}


def constants(kind: str) -> set[str]:
    """What the models say of the constants of one kind."""
    found = {
        said
        for text in MODELS.values()
        for said in re.findall(rf"^const \w+: bitstring\. +\(\*= {kind} (.+?) \*\)$", text, re.MULTILINE)
    }
    assert found, f"no model has a constant of the kind {kind}"
    return found


def form(name: str) -> list[str]:
    """The names of the fields of a form, the same wherever it stands."""
    found = {
        tuple(re.findall(r"\(\* (\w+) \*\)", fields))
        for text in MODELS.values()
        for fields in re.findall(rf"^fun {name}\((.*?)\): bitstring \[data\]\.$", text, re.MULTILINE | re.DOTALL)
    }
    assert len(found) == 1, f"{name}: {found}"
    return list(found.pop())


def numbers_of_core(prefix: str) -> dict[str, int]:
    found = re.findall(rf"^    {prefix}_(\w+) = (\w+)(?: +#.*)?$", WIRE, re.MULTILINE)
    return {name: int(value, 0) for name, value in found}


def layout(first: str) -> list[str]:
    """The fields of a layout on the page, whose first one is named."""
    start = re.search(rf"^\| 0 \| \d+ \| {first}.*$", PAGE, re.MULTILINE)
    assert start is not None
    rows = PAGE[start.start() : PAGE.index("\n\n", start.start())].splitlines()
    names = [re.split(r"[:,=(`]| of ", row.split("|")[3])[0].strip().removeprefix("the ") for row in rows]
    return [name.replace(" ", "_") for name in names if name not in LEFT_OUT]


def named_numbers(kind: str) -> dict[str, int]:
    return {name: int(number, 0) for name, number in (said.split() for said in constants(kind))}


def quoted(kind: str) -> set[str]:
    return {said.strip('"') for said in constants(kind)}


def test_the_version_and_the_label_of_the_exporter() -> None:
    assert constants("VERSION") == {str(exporter.VERSION)} == {str(keys.VERSION)}
    assert f"    WIRE_VERSION = {exporter.VERSION}\n" in WIRE
    assert quoted("EXPORTER") == {exporter.EXPORTER_LABEL.decode()} == {keys.EXPORTER_LABEL.decode()}


def test_the_purposes_of_a_handshake() -> None:
    assert named_numbers("USE") == {each.name: each.value for each in exporter.Purpose}
    assert named_numbers("USE") == {each.name: each.value for each in keys.Use}


@pytest.mark.parametrize(
    ("kind", "code", "reference"), [("ROLE", Role, keys.Role), ("SUITE", Suite, keys.Suite)], ids=["role", "suite"]
)
def test_roles_and_suites(
    kind: str, code: type[Role] | type[Suite], reference: type[keys.Role] | type[keys.Suite]
) -> None:
    for name, number in named_numbers(kind).items():
        assert code[name].value == reference[name].value == number


def test_the_labels_of_the_key_schedule() -> None:
    of_core = {
        label
        for path in sorted(CORE.rglob("*.pyx"))
        if path.name != "known_answers.pyx"
        for label in re.findall(r'key_expand(?:_number)?\([\w.]+, b"([\w ]+)"', path.read_text())
    }
    of_reference = set(re.findall(r'expand\(.+?, "([\w ]+)"', inspect.getsource(keys)))
    assert of_core == of_reference == quoted("LABEL") | {"iv"}


def test_the_purposes_of_a_key() -> None:
    assert named_numbers("PURPOSE") == numbers_of_core("PURPOSE")
    assert named_numbers("PURPOSE") == {each.name: each.value for each in keys.Purpose}


def test_the_types_of_frames() -> None:
    of_core = numbers_of_core("FRAME")
    of_reference = {each.name: each.value for each in frames.Type}
    of_reference |= {"PROBE": packets.PROBE, "REPORT": packets.REPORT}
    for name, number in named_numbers("TYPE").items():
        assert of_core[name] == of_reference[name] == number


def test_features() -> None:
    assert quoted("FEATURE") == {handshake.SESSION_CLASS}
    assert all(f"`{name}`" in PAGE for name in quoted("FEATURE"))


def test_what_signatures_begin_with_and_what_is_signed() -> None:
    before = {each.SIGNED_BEFORE for each in (entries, bundle, audit_keys)}
    assert {said.encode() + b"\0" for said in quoted("SIGNED")} == before
    assert quoted("KIND") == {entries.ENTRY_KIND, bundle.KIND}
    assert named_numbers("OBJECT") == {"LIST": exchange.KIND_LIST, "BUNDLE": exchange.KIND_BUNDLE}


def test_hello_has_the_fields_of_the_message_in_its_order() -> None:
    assert form("hello") == list(Hello.__struct_fields__)
    row = re.search(r"^\| `HELLO` \| 1 \| (.*) \|$", PAGE, re.MULTILINE)
    assert row is not None
    assert form("hello") == re.findall(r"(\w+): ", row[1])


def test_signed_contents_have_the_fields_of_the_code_in_their_order() -> None:
    assert form("entry") == list(entries.Entry.__struct_fields__)
    assert form("bundle") == list(bundle.Content.__struct_fields__)
    lines = re.search(r"lines = \((.*?)\)", inspect.getsource(audit_keys.PublicKeys))
    assert lines is not None
    assert form("statement") == re.findall(r"self\.(\w+)", lines[1])


def test_frames_have_the_fields_of_the_page_in_its_order() -> None:
    assert form("preamble_clear") == layout("magic")
    assert form("header_clear") == layout("length of the body")
    assert form("associated") == layout("version")


def test_the_associated_data_are_what_the_core_and_the_reference_write() -> None:
    source = (CORE / "frame" / "frame.pyx").read_text()
    body = source[source.index("void body_aad(") :].split("\n\n\n")[0].split(":\n", 1)[1]
    of_core = re.findall(r"\b(WIRE_VERSION|direction|type|epoch|index|counter)\)?$", body, re.MULTILINE)
    assert ["version" if name == "WIRE_VERSION" else name for name in of_core] == form("associated")
    of_reference = ["type" if name == "kind" else name for name in inspect.signature(frames.body_associated).parameters]
    assert ["version", *of_reference] == form("associated")


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("confirm_body", (frames.Type.CONFIRM, frames.Type.FLOW_CONFIRM)),
        ("rekey_body", (frames.Type.REKEY, frames.Type.FLOW_REKEY)),
        ("ack_body", (frames.Type.ACK,)),
        ("resume_body", (frames.Type.RESUME,)),
        ("close_body", (frames.Type.CLOSE, frames.Type.FLOW_CLOSE)),
    ],
    ids=["confirm", "rekey", "ack", "resume", "close"],
)
def test_bodies_of_a_fixed_form(name: str, kinds: tuple[frames.Type, ...]) -> None:
    for kind in kinds:
        assert form(name) == [field for field in frames.BODIES[kind][1] if field != "zero"]


@pytest.mark.parametrize("variant", ["std", "leaky", "unnamed_leaky", "unsigned_leaky", "unwiped_leaky"])
def test_the_context_of_the_exporter_has_the_fields_of_the_code_in_their_order(variant: str) -> None:
    text = (FOLDER / "variants" / f"{variant}.pvl").read_text()
    found = re.search(r"^letfun context\((.*?)\) =\n  \((.*?)\)\.$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    given = re.findall(r"(\w+): ", found[1])
    assert found[2].split(", ") == ["v1", *given]
    named = [name.replace("identity", "uri") for name in given]
    at = named.index("roles")
    named[at : at + 1] = ["client_role", "server_role"]
    assert named == [*exporter.KeyContext.__dataclass_fields__]
    of_reference = [name.replace("identity", "uri") for name in keys.ExporterContext.__dataclass_fields__]
    assert ["purpose" if name == "use" else name for name in of_reference] == named
