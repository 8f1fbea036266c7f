"""Lists of revoked keys as ssh-keygen makes them: whether one has all of another."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.policy.revoked import MAGIC, Unreadable, entries, fingerprints, holds_all
from pcgrelay.policy.signatures import fingerprint_of_public_key
from pcgrelay.policy.widening import classify
from tests.support.documented_config import PATH, approved, written


def keygen(*words: str | Path) -> None:
    subprocess.run(
        ["/usr/bin/ssh-keygen", *words], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=20
    )


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("keys")
    made = [folder / name for name in "abc"]
    for each in made:
        keygen("-q", "-t", "ed25519", "-N", "", "-C", "", "-f", each)
    return [each.with_suffix(".pub") for each in made]


def krl(folder: Path, *keys: Path, form: str = "") -> bytes:
    file = folder / "krl"
    given = list(keys)
    if form:
        spec = folder / "spec"
        spec.write_text("".join(f"{form}: {key.read_text()}" for key in keys))
        given = [spec]
    keygen("-q", "-k", "-f", file, *given)
    return file.read_bytes()


@pytest.mark.parametrize("form", ["", "key", "sha1", "sha256"])
def test_a_longer_list_has_all_of_a_shorter_one(tmp_path: Path, keys: list[Path], form: str) -> None:
    one, two = krl(tmp_path, keys[0], form=form), krl(tmp_path, keys[1], keys[0], form=form)
    assert (len(entries(one)), len(entries(two))) == (1, 2)
    assert holds_all(two, one)
    assert not holds_all(one, two)
    assert not holds_all(krl(tmp_path, keys[2], keys[1], form=form), one)


@pytest.mark.parametrize(("form", "is_known"), [("", True), ("key", True), ("sha256", True), ("sha1", False)])
def test_the_keys_of_a_list_have_the_fingerprints_that_people_know(
    tmp_path: Path, keys: list[Path], form: str, is_known: bool
) -> None:
    wanted = {fingerprint_of_public_key(each) for each in keys[:2]}
    assert fingerprints(krl(tmp_path, *keys[:2], form=form)) == (wanted if is_known else set())
    assert fingerprints(b"") == fingerprints(MAGIC) == set()


def test_a_list_made_later_is_no_other_one(tmp_path: Path, keys: list[Path]) -> None:
    one = krl(tmp_path, keys[0])
    later = one[:20] + (99).to_bytes(8) + one[28:]
    assert later != one
    assert holds_all(later, one)
    assert holds_all(one, later)


def test_a_text_of_keys_is_a_list_too(keys: list[Path]) -> None:
    first, second = (each.read_bytes() for each in keys[:2])
    assert holds_all(b"# two\n" + second + first, first)
    assert not holds_all(first, second + first)


def test_another_form_is_another_list(tmp_path: Path, keys: list[Path]) -> None:
    assert not holds_all(krl(tmp_path, keys[0]), keys[0].read_bytes())


@given(st.binary(max_size=200))
def test_what_is_no_list_is_refused_or_has_entries(data: bytes) -> None:
    for content in (data, MAGIC + data, MAGIC + (1).to_bytes(4) + bytes(24 + 8) + data):
        try:
            found = entries(content)
        except Unreadable:
            assert not holds_all(content, content)
        else:
            assert all(len(what) <= len(content) for _, what in found)


def test_a_key_that_is_revoked_needs_no_signature_and_one_that_is_not_any_more_does(
    tmp_path: Path, keys: list[Path]
) -> None:
    from pcgrelay import config
    from pcgrelay.policy.digest import PolicyFiles

    policy = config.parse(written(approved()), PATH)
    one, two = (PolicyFiles(revoked=krl(tmp_path, *keys[:count])) for count in (1, 2))
    assert [str(each) for each in classify(policy, policy, one, two)] == [
        "NARROWS   approvals.revoked: all keys of before, and more"
    ]
    (back,) = classify(policy, policy, two, one)
    assert back.kind.value == "WIDENS"
    assert classify(policy, policy, two, PolicyFiles())[0].kind.value == "WIDENS"
