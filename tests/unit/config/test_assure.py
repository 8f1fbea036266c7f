"""[assure], and codes of services."""

from __future__ import annotations

import pytest

from pcgrelay import config
from pcgrelay.config import AssureSettings, differences
from pcgrelay.errors import ConfigError
from pcgrelay.policy.widening import Kind, classify
from tests.support.documented_config import PATH, documented, written


def read(srv: str | None = None, **tables: dict[str, object]) -> config.Config:
    values = documented()
    values.pop("assure", None)
    if srv is not None:
        values["import"][0]["srv"] = srv
    return config.parse(written({**values, **tables}), PATH)


def test_without_the_table_tests_have_no_probe() -> None:
    assert read().assure == read(assure={}).assure == AssureSettings()


def test_a_probe_stands_beside_the_configuration() -> None:
    assert read(assure={"probe": "probe-1.toml"}).assure.probe == PATH.parent / "probe-1.toml"


@pytest.mark.parametrize("probe", ["", "a\0b", 7])
def test_a_probe_that_is_no_path_is_refused(probe: object) -> None:
    with pytest.raises(ConfigError, match="probe"):
        read(assure={"probe": probe})


def test_a_service_may_have_a_code() -> None:
    assert read().imports[0].srv == ""
    assert read(srv="SRV00123").imports[0].srv == "SRV00123"


@pytest.mark.parametrize("srv", ["", "a b", "-x", "x" * 41, "\N{LATIN SMALL LETTER E WITH ACUTE}"])
def test_a_code_that_is_none_is_refused(srv: str) -> None:
    with pytest.raises(ConfigError, match=r"import.*code is 1 to 40"):
        read(srv=srv)


def test_neither_widens_anything() -> None:
    old, new = read(), read(srv="SRV00123", assure={"probe": "probe-1.toml"})
    assert differences(old, new) == ("import custody@kent.police.example changed (srv)", "assure.probe changed")
    assert {each.kind for each in classify(old, new)} == {Kind.NEUTRAL}
