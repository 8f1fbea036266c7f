"""The files of vectors, as the tests of the core read them."""

import json
from pathlib import Path
from typing import Any

from tests.reference.keys import Suite

Json = dict[str, Any]
FOLDER = Path(__file__).resolve().parents[1] / "vectors"


def load(name: str) -> Json:
    loaded: Json = json.loads((FOLDER / f"{name}.json").read_text())
    return loaded


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


def suite_of(name: str) -> Suite:
    return Suite[name.replace("-", "_")]
