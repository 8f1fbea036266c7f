"""Who chooses the local ports of connections to targets is said, and what it costs where the system does."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcgrelay import config
from pcgrelay.finding import OK, WARNING
from pcgrelay.local_port_checks import judge_local_ports, local_port_findings
from pcgrelay.net.local_ports import LocalPorts
from tests.support.pki import RealmPki, write_config


def test_as_many_as_there_are_is_good() -> None:
    finding = judge_local_ports(LocalPorts(tuple(range(30_000, 57_791))))
    assert finding.level == OK
    assert "27,791 local ports" in finding.sentence


def test_the_choice_of_the_system_is_a_warning_with_its_reason() -> None:
    finding = judge_local_ports(LocalPorts(reason="TCP time stamps are off (net.ipv4.tcp_timestamps = 0)"))
    assert finding.level == WARNING
    assert finding.sentence == (
        "The system chooses the local ports of connections to targets: TCP time stamps are off "
        "(net.ipv4.tcp_timestamps = 0). With many connections to one target each further one may hold a worker up for "
        "a millisecond."
    )
    assert "operations.md" in finding.mend


@pytest.mark.parametrize("exports", [0, 1])
def test_only_who_connects_to_targets_is_told(tmp_path: Path, exports: int) -> None:
    files = RealmPki(tmp_path).issue("kent.police.example", "kent-1")
    rows = [{"service": "echo", "target": "127.0.0.1:9", "allow": ["met.police.example"]}] * exports
    path = write_config(
        tmp_path / "kent-1.toml", files, "kent.police.example", "kent-1", exports=rows, listens=["127.0.0.1:7440"]
    )
    assert len(list(local_port_findings(config.load(path)))) == exports
