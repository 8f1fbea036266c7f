"""The file of shares that were set by hand: what is none of them is passed over, whatever its digest says."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pcgrelay.services.shares import KIND, NAME, VERSION, Shares
from pcgrelay.state.file import Found


def envelope(body: str) -> str:
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f'{{"kind":"{KIND}","version":{VERSION},"sha256":"{digest}","body":{body}}}'


def shares(text: str, service: str = "custody@kent.police.example") -> str:
    return f'{{"shares":{{"{service}":{{"shares":{text},"at":"then","uid":0}}}}}}'


def test_shares_are_read(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(envelope(shares('{"gateway":10,"cjx":90}')))
    found = Shares()
    found.load(tmp_path)
    assert found.found is Found.NEWEST
    assert found.state.shares["custody@kent.police.example"].shares == {"gateway": 10.0, "cjx": 90.0}


@pytest.mark.parametrize(
    "body",
    [
        shares('{"gateway":10,"cjx":80}'),
        shares('{"gateway":-10,"cjx":110}'),
        shares('{"gateway":0.3,"cjx":99.7}'),
        shares('{"gateway":1e308}'),
        shares("{}"),
        shares('{"a":20,"b":20,"c":20,"d":20,"e":20}'),
        shares('{"gateway":100}', "custody"),
        '{"markings":{"custody@kent.police.example":9}}',
        '{"markings":{"nobody":1}}',
        '{"changes":[{"service":"a@b.example","before":{},"shares":{"a":1},"at":"","uid":0}]}',
    ],
)
def test_what_cannot_be_dealt_is_lost_and_never_put_in_force(tmp_path: Path, body: str) -> None:
    (tmp_path / NAME).write_text(envelope(body))
    found = Shares()
    found.load(tmp_path)
    assert found.found is Found.LOST
    assert found.state.shares == {}
