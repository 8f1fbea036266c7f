"""Templates: what is rendered, whatever has become of the files since the start."""

from __future__ import annotations

import builtins
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pcgrelay import rendering

FOLDER = Path(rendering.__file__).with_name("templates")


def test_a_package_that_is_replaced_meanwhile_changes_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    style = (FOLDER / "page.css").read_text()
    rendering._environment.cache_clear()
    monkeypatch.setattr(builtins, "open", gone)
    monkeypatch.setattr(io, "open", gone)
    assert rendering.read_asset("page.css") == style
    words = {"style": "/s", "home": "/h", "marking": "OFFICIAL", "node": "met-1", "now": datetime.now(UTC)}
    assert "Gone &lt;away&gt;" in rendering.render("problem.html", sentence="Gone <away>", **words)
