"""The kernel's settings as they are read: whatever a file holds, it is a number or it is unknown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies

from pcgrelay.kernel import Kernel, read_kernel
from tests.support.kernel_settings import DEFAULTS, faked


def test_the_defaults_are_read(tmp_path: Path) -> None:
    kernel = read_kernel(faked(tmp_path))
    assert kernel == Kernel(
        ports=(32768, 60999),
        reserved=((8080, 8080), (40000, 40009), (60990, 61010)),
        unprivileged=1024,
        timestamps=1,
        accept_queue=4096,
        half_open=2048,
        cookies=1,
        tracked=17,
        tracked_most=262144,
        files_of_one=1048576,
        files=2083,
        files_most=2466193,
        receive_most=6291456,
        send_most=4194304,
    )
    # Of the 28,232 the ten are not given out, and of the last range the ten below its end.
    assert kernel.ports_free == 28_232 - 10 - 10
    assert kernel.is_reserved(40009)
    assert not kernel.is_reserved(40010)


def test_a_sandbox_says_nothing(tmp_path: Path) -> None:
    assert read_kernel(tmp_path / "absent") == Kernel()
    assert Kernel().ports_free is None


def test_what_is_no_number_is_unknown(tmp_path: Path) -> None:
    odd = read_kernel(
        faked(
            tmp_path,
            ip_local_port_range="60999 32768",
            ip_local_reserved_ports="9,http",
            somaxconn="-1",
            file_max="many",
            tcp_rmem="4096 131072",
            tcp_wmem="",
        )
    )
    assert (odd.ports, odd.accept_queue, odd.files_most, odd.receive_most, odd.send_most) == (None,) * 5
    assert odd.reserved is None
    assert not odd.is_reserved(9)


@pytest.mark.parametrize("text", ["5-", "7-6", "70000", "0", "1,-", "9-9-9"])
def test_of_a_list_with_an_odd_range_nothing_is_believed(tmp_path: Path, text: str) -> None:
    assert read_kernel(faked(tmp_path, ip_local_reserved_ports=text)).reserved is None


def test_each_setting_is_read_in_the_first_folder_that_has_it(tmp_path: Path) -> None:
    """As under the unit, whose /proc has processes alone."""
    bare, unit = tmp_path / "bare", faked(tmp_path / "unit", somaxconn="512")
    assert read_kernel(bare, unit) == read_kernel(unit)
    (bare / "net/core").mkdir(parents=True)
    (bare / "net/core/somaxconn").write_text("4096")
    found = read_kernel(bare, unit)
    assert (found.accept_queue, found.ports) == (4_096, (32_768, 60_999))


@given(content=strategies.text(max_size=40))
def test_no_content_ends_a_check(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    root = tmp_path_factory.mktemp("sys")
    faked(root, **{name.rpartition("/")[2].replace("-", "_"): content for name in DEFAULTS})
    kernel = read_kernel(root)
    assert kernel.ports is None or kernel.ports[0] <= kernel.ports[1]
    assert all(first <= last for first, last in kernel.reserved or ())


def test_this_machine_is_read() -> None:
    assert read_kernel().files_of_one is not None
