"""What is said of the kernel's settings: nothing of the defaults, and one thing of each that is too little."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pcgrelay import config
from pcgrelay.finding import OK, WARNING
from pcgrelay.kernel import Kernel, read_kernel
from pcgrelay.kernel_checks import kernel_findings
from tests.support.kernel_settings import faked
from tests.support.pki import RealmPki, write_config

KENT, MET = "kent.police.example", "met.police.example"
DESCRIPTORS = 1 << 20
Settings = Callable[..., config.Config]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    realm = RealmPki(tmp_path)

    def make(**entries: Any) -> config.Config:
        given = {"listens": ["127.0.0.1:7400"], **entries}
        return config.load(write_config(tmp_path / "node.toml", realm.issue(KENT, "kent-1"), KENT, "kent-1", **given))

    return make


def exporting(target: str = "127.0.0.1:5432", **more: Any) -> dict[str, Any]:
    return {"exports": [{"service": "records", "target": target, "allow": [MET], **more}]}


IMPORT = {"service": f"custody@{MET}", "listen": "127.0.0.1:7500"}


def test_the_defaults_are_enough_for_a_node_without_limits(settings: Settings, tmp_path: Path) -> None:
    made = settings(**exporting(), imports=[IMPORT])
    (only,) = kernel_findings(made, read_kernel(faked(tmp_path / "sys")), DESCRIPTORS)
    assert (only.level, only.where) == (OK, "kernel")
    assert "28,212 local ports, 4,096 connections wait at a listener, 262,144 are tracked" in only.sentence


def test_a_sandbox_that_says_nothing_is_no_fault(settings: Settings) -> None:
    (only,) = kernel_findings(settings(**exporting()), Kernel(), DESCRIPTORS)
    assert only.level == OK


@pytest.mark.parametrize(
    ("entries", "changed", "where", "words", "mend"),
    [
        # What the file plans for is more than there is.
        (exporting(max_streams=30_000), {}, "export[1].max_streams", "28,212 local ports", "ip_local_port_range"),
        (
            exporting(max_streams=200_000, source=[f"127.0.0.{n}" for n in range(2, 10)]),
            {"nf_conntrack_max": "131072"},
            "kernel",
            "tracks 131,072 connections at most, and the services may have 200,000",
            "nf_conntrack_max=400000",
        ),
        (
            {"imports": [{**IMPORT, "max_streams": 250_000}]},
            {"nf_conntrack_max": "200000"},
            "kernel",
            "tracks 200,000",
            "nf_conntrack_max=500000",
        ),
        # What is too little for any node.
        (exporting(), {"ip_local_port_range": "50000 55999"}, "kernel", "6,000 local ports", "1024 65535"),
        ({}, {"somaxconn": "128"}, "kernel", "At most 128 connections wait", "somaxconn=4096"),
        ({}, {"tcp_syncookies": "0", "tcp_max_syn_backlog": "256"}, "kernel", "beyond 256", "tcp_syncookies=1"),
        ({}, {"nf_conntrack_count": "250000"}, "kernel", "tracks 250,000 of at most 262,144", "524288"),
        ({}, {"file_nr": "90000 0 100000", "file_max": "100000"}, "kernel", "90,000 files open", "fs.file-max=200000"),
        ({}, {"tcp_rmem": "4096 131072 1048576"}, "kernel", "about 13 MB/s over 40 ms: tcp_rmem", "tcp_rmem="),
        ({}, {"tcp_wmem": "4096 16384 2097152"}, "kernel", "about 26 MB/s over 40 ms: tcp_wmem", "tcp_wmem="),
        # Its own ports are among those of outgoing connections.
        ({"listens": ["127.0.0.1:40020"]}, {}, "kernel", "Port 40020 is one", "ip_local_reserved_ports=40020 "),
        (
            {"listens": ["127.0.0.1:40020"], "imports": [{**IMPORT, "listen": "127.0.0.1:50000"}]},
            {},
            "kernel",
            "Ports 40020,50000 are some",
            "ip_local_reserved_ports=40020,50000 ",
        ),
    ],
)
def test_what_is_too_little_is_said_with_its_number(
    settings: Settings,
    tmp_path: Path,
    entries: dict[str, Any],
    changed: dict[str, str],
    where: str,
    words: str,
    mend: str,
) -> None:
    kernel = read_kernel(faked(tmp_path / "sys", **changed))
    (only,) = kernel_findings(settings(**entries), kernel, DESCRIPTORS)
    assert (only.level, only.where) == (WARNING, where)
    assert words in only.sentence
    assert mend in only.mend
    # A terminal has 80 columns, and a sentence at most three lines of it.
    assert len(only.sentence) < 180


@pytest.mark.parametrize(
    ("entries", "changed"),
    [
        # Eight sources have eight times the ports.
        (exporting(max_streams=200_000, source=[f"127.0.0.{n}" for n in range(2, 10)]), {}),
        # A unix socket has no ports, whatever the range.
        (exporting("unix:/run/records.sock", max_streams=200_000), {"ip_local_port_range": "50000 50999"}),
        # A port that is reserved is nobody else's.
        ({"listens": ["127.0.0.1:40005"]}, {}),
        # Cookies do what the queue cannot.
        ({}, {"tcp_max_syn_backlog": "128"}),
        ({}, {"nf_conntrack_max": ""}),
    ],
)
def test_what_is_enough_is_not_said(
    settings: Settings, tmp_path: Path, entries: dict[str, Any], changed: dict[str, str]
) -> None:
    kernel = read_kernel(faked(tmp_path / "sys", **changed))
    assert [each.level for each in kernel_findings(settings(**entries), kernel, DESCRIPTORS)] == [OK]


@pytest.mark.parametrize(
    ("descriptors", "nr_open", "mend"),
    [
        (20_000, "1048576", "Raise LimitNOFILE= of the unit, or ulimit -Hn."),
        (20_000, "20000", "Raise LimitNOFILE= of the unit, or ulimit -Hn, and first: sysctl -w fs.nr_open=100000."),
    ],
)
def test_more_streams_than_descriptors(
    settings: Settings, tmp_path: Path, descriptors: int, nr_open: str, mend: str
) -> None:
    kernel = read_kernel(faked(tmp_path / "sys", nr_open=nr_open))
    direct = {"service": IMPORT["service"], "name": "old", "address": "127.0.0.1:9", "bearer": "wan"}
    made = settings(imports=[{**IMPORT, "max_streams": 25_000}], directs=[direct], bearers=[{"name": "wan"}])
    (only,) = kernel_findings(made, kernel, descriptors)
    # With a direct outlet each has two.
    assert only.sentence == "The services may need 50,000 descriptors, and streams have 19,375."
    assert (only.where, only.mend) == ("descriptors", mend)
    assert [each.level for each in kernel_findings(made, kernel, 60_000)] == [OK]


def test_a_relay_has_no_targets(settings: Settings, tmp_path: Path) -> None:
    kernel = read_kernel(faked(tmp_path / "sys", ip_local_port_range="50000 50999"))
    assert [each.level for each in kernel_findings(settings(role="relay"), kernel, DESCRIPTORS)] == [OK]
