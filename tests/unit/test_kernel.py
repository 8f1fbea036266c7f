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
            ip_local_reserved_ports="x,5-,7-6,70000,9",
            somaxconn="-1",
            file_max="many",
            tcp_rmem="4096 131072",
            tcp_wmem="",
        )
    )
    assert (odd.ports, odd.accept_queue, odd.files_most, odd.receive_most, odd.send_most) == (None,) * 5
    assert odd.reserved == ((5, 5), (9, 9))


@given(content=strategies.text(max_size=40))
def test_no_content_ends_a_check(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    root = tmp_path_factory.mktemp("sys")
    faked(root, **{name.rpartition("/")[2].replace("-", "_"): content for name in DEFAULTS})
    kernel = read_kernel(root)
    assert kernel.ports is None or kernel.ports[0] <= kernel.ports[1]
    assert all(first <= last for first, last in kernel.reserved)


def test_this_machine_is_read() -> None:
    assert read_kernel().files_of_one is not None
