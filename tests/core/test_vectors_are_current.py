"""The files in tests/vectors are what the reference makes today."""

import json

import pytest

from tests.reference.make_vectors import FILES, FOLDER, render


@pytest.mark.parametrize("name", FILES)
def test_file_is_what_the_reference_makes(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text() == render(name), "run: python -m tests.reference.make_vectors"


@pytest.mark.parametrize("name", FILES)
def test_file_says_what_it_holds(name: str) -> None:
    assert json.loads((FOLDER / f"{name}.json").read_text())["description"]


def test_no_other_file_stands_beside_them() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.json" for name in FILES}
