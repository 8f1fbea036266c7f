"""[fleet]: where the store is, and as whom it is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcgrelay import config
from pcgrelay.config import FleetSettings, differences
from pcgrelay.errors import ConfigError
from tests.support.documented_config import PATH, documented, written

ONE, TWO = "https://etcd-1.hub.example:2379", "https://[::1]:2379"


def read(**table: object) -> config.Config:
    return config.parse(written({**documented(), "fleet": {"store": "etcd", "endpoints": [ONE], **table}}), PATH)


def without() -> config.Config:
    values = documented()
    del values["fleet"]
    return config.parse(written(values), PATH)


def test_without_the_table_nothing_is_shared() -> None:
    assert without().fleet is None


def test_what_is_not_named_is_that_of_identity() -> None:
    assert read().fleet == FleetSettings(store="etcd", endpoints=(ONE,))


def test_all_of_it() -> None:
    names = {name: f"store.{name}" for name in ("certificate", "key", "trust", "password")}
    found = read(endpoints=[ONE, TWO], user="kent-1", **names).fleet
    folder = PATH.parent
    assert found == FleetSettings(
        store="etcd",
        endpoints=(ONE, TWO),
        certificate=folder / "store.certificate",
        key=folder / "store.key",
        trust=folder / "store.trust",
        user="kent-1",
        password=Path("/etc/pcgrelay/store.password"),
    )


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"store": "redis"}, "etcd"),
        ({"endpoints": []}, "these are 0, and there are 1 to 9"),
        ({"endpoints": [f"https://10.0.0.{n}:2379" for n in range(10)]}, "these are 10"),
        ({"endpoints": ["http://10.0.0.1:2379"]}, "written https://HOST:PORT"),
        ({"endpoints": ["etcd-1:2379"]}, "written https://HOST:PORT"),
        ({"endpoints": ["https://10.0.0.1"]}, "written HOST:PORT"),
        ({"endpoints": ["https://10.0.0.1:2379/v3"]}, "no usable port"),
        ({"endpoints": ["https://user@10.0.0.1:2379"]}, "write for example"),
        ({"endpoints": ["https://0.0.0.0:2379"]}, "stands for all addresses"),
        ({"endpoints": [ONE, ONE]}, "twice"),
        ({"certificate": "a.pem"}, "it needs key beside it"),
        ({"key": "a.key"}, "it needs certificate beside it"),
        ({"user": "kent-1"}, "it needs password beside it"),
        ({"password": "a"}, "it needs user beside it"),
        ({"user": "kent 1", "password": "a"}, "1 to 64 letters"),
        ({"trust": ""}, "no path of a file"),
    ],
)
def test_what_is_wrong_is_refused_with_its_key(table: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=r"fleet\.") as refused:
        read(**table)
    assert words in str(refused.value)


def test_each_key_can_be_reloaded() -> None:
    before, after = without(), read()
    assert differences(before, after) == ("fleet added",)
    assert differences(after, before) == ("fleet removed",)
    assert differences(after, read(endpoints=[ONE, TWO], trust="t.pem")) == (
        "fleet.endpoints changed",
        "fleet.trust changed",
    )
    assert config.restart_reason(before, after) is None
