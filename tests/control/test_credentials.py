"""The files of [identity]: what is judged is what is read. What else can be wrong with them stands in `test_check`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from peers import KENT

from pcgrelay.errors import ConfigError, PermissionProblem
from pcgrelay.session.credentials import load_key
from pki import Realm


def test_a_key_that_is_exchanged_before_it_is_opened_is_judged_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Realm(tmp_path).issue(KENT, "kent-1").key
    assert load_key(key) is not None
    other = tmp_path / "other.key"
    other.write_bytes(key.read_bytes())
    other.chmod(0o644)
    true_open = os.open

    def exchanged(path: object, *arguments: int) -> int:
        os.replace(other, key)
        return true_open(path, *arguments)  # type: ignore[call-overload,no-any-return]

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", exchanged)
        with pytest.raises(PermissionProblem, match="mode 0644"):
            load_key(key)


def test_a_key_that_is_not_there_or_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no private key"):
        load_key(tmp_path / "nobody.key")
    with pytest.raises(ConfigError, match="is a folder"):
        load_key(tmp_path)
