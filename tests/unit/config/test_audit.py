"""[audit]: whether there is an audit log, and what it keeps."""

from __future__ import annotations

import pytest

from pcgrelay import config
from pcgrelay.config import AuditSettings, differences
from pcgrelay.errors import ConfigError
from tests.support.documented_config import PATH, documented, written


def read(**tables: dict[str, object]) -> config.Config:
    values = documented()
    values.pop("audit", None)
    return config.parse(written({**values, **tables}), PATH)


def test_without_the_table_there_is_none() -> None:
    assert read().audit is None


def test_an_empty_table_keeps_every_stream_for_four_hundred_days() -> None:
    assert read(audit={}).audit == AuditSettings(keep_days=400, kept_streams="all")


def test_it_needs_a_folder_of_state() -> None:
    values = documented()
    del values["node"]["state"]
    with pytest.raises(ConfigError) as refused:
        config.parse(written({**values, "audit": {}}), PATH)
    assert 'add there: state = "/var/lib/pcgrelay/kent-1"' in str(refused.value)


@pytest.mark.parametrize("table", [{"keep_days": 0}, {"keep_days": 36_501}, {"streams": "none"}, {"days": 3}])
def test_what_is_refused(table: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="audit"):
        read(audit=table)


def test_it_can_be_reloaded() -> None:
    without, kept, totals = read(), read(audit={}), read(audit={"streams": "totals", "keep_days": 30})
    assert differences(without, kept) == ("audit added",)
    assert differences(kept, totals) == ("audit.keep_days changed", "audit.streams changed")
    assert differences(totals, without) == ("audit removed",)
    assert config.restart_reason(without, kept) is None
