"""The page of a real node in a real browser: accessible at any width and in any colours, live, and printed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.axe import RUN, fetch_axe
from tests.scenarios.kit.browser import Browser, Page
from tests.scenarios.kit.nodes import HOST, KENT, MET
from tests.scenarios.kit.reload_setup import Scene, reload, scene
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_all

STREAMS_MOST = 8


class Shown:
    """A realm, the page of one of its edges, and a browser."""

    def __init__(self, realm: Scene, browser: Browser, axe: str) -> None:
        self.realm, self.browser, self.axe = realm, browser, axe
        self.port = free_port()
        realm.change(realm.met, page={"listen": f"{HOST}:{self.port}"})
        assert reload(realm.met).ok
        self.url = f"http://{HOST}:{self.port}/"

    def violations(self, page: Page) -> list[Any]:
        page.run(self.axe)
        found = page.run(RUN)
        assert found["passes"] > 15
        violations: list[Any] = found["violations"]
        return violations


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    axe = fetch_axe(tmp_path_factory.mktemp("npm"))
    with scene(tmp_path_factory.mktemp("realm")) as realm, Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield Shown(realm, browser, axe)


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_axe_finds_nothing(shown: Shown, width: int, is_dark: bool) -> None:
    page = shown.browser.visit(shown.url, width=width, is_dark=is_dark)
    assert shown.violations(page) == []
    # Nothing but tables and the drawing, which have their own, scrolls sideways.
    assert page.run("document.documentElement.scrollWidth") <= width
    page.close()


def test_axe_finds_nothing_where_much_needs_attention(shown: Shown) -> None:
    realm = shown.realm
    realm.kent.stop()
    try:
        until(lambda: "Failing" in text_of(shown.url), 20)
        for width, is_dark in ((320, True), (1280, False)):
            page = shown.browser.visit(shown.url, width=width, is_dark=is_dark)
            assert shown.violations(page) == []
            assert f"pcgrelay explain echo@{KENT}" in page.run("document.body.innerText")
            page.close()
    finally:
        realm.kent.start()
        realm.stage.await_well()


def text_of(url: str) -> str:
    return subprocess.run(["curl", "-sS", "-m", "10", url], capture_output=True, text=True, check=True).stdout


def views(shown: Shown) -> int:
    """Live views that are open at the node, as the kernel counts their connections."""
    done = subprocess.run(["ss", "-Htn", f"sport = :{shown.port}"], capture_output=True, text=True, check=True)
    return done.stdout.count("ESTAB")


def test_it_is_live_and_ends_with_who_looks(shown: Shown) -> None:
    until(lambda: views(shown) == 0, 20)
    page = shown.browser.visit(shown.url)
    until(lambda: page.run("document.querySelector('#live').textContent") == "Live", 20)
    before = page.run("document.querySelector('main').innerText")
    until(lambda: page.run("document.querySelector('main').innerText") != before, 20)
    assert page.run("document.querySelector('h1').innerText").startswith(f"met-1.{MET}")
    assert views(shown) == 1
    # It is there again by itself after an upgrade, of which it notices nothing but a moment.
    assert shown.realm.met.upgrade().returncode == 0
    until(lambda: views(shown) == 1, 20)
    page.close()
    until(lambda: views(shown) == 0, 20)


def test_live_views_are_bounded(shown: Shown) -> None:
    until(lambda: views(shown) == 0, 20)
    command = ["curl", "-sSN", "-m", "60", "-o", "/dev/null", f"{shown.url}events"]
    looking = [subprocess.Popen(command) for _ in range(STREAMS_MOST)]
    try:
        until(lambda: views(shown) == STREAMS_MOST, 20)
        answer = subprocess.run(
            ["curl", "-sS", "-m", "10", "-w", "%{http_code}", f"{shown.url}events"], capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        assert answer.stdout.endswith("503")
        assert "refresh by hand" in answer.stdout
        # The page itself is there.
        assert "Ready" in text_of(shown.url)
    finally:
        for each in looking:
            each.terminate()
            each.wait(10)
    until(lambda: views(shown) == 0, 20)


def test_it_says_all_without_a_script(shown: Shown) -> None:
    page = shown.browser.visit(shown.url, scripts=False)
    page.call("Emulation.setScriptExecutionDisabled", value=False)
    text = page.run("document.body.innerText")
    for word in ("Ready", "Links", "Services", "Sessions", "Catalogue", "Certificates", f"echo@{KENT}"):
        assert word in text, word
    assert page.run("document.querySelectorAll('svg .box').length") == 3
    page.close()


def test_it_prints(shown: Shown, tmp_path: Path) -> None:
    pdf = tmp_path / "page.pdf"
    page = shown.browser.visit(shown.url, is_dark=True)
    page.print_to(pdf)
    page.close()
    done = subprocess.run(("pdftotext", "-layout", pdf, "-"), capture_output=True, text=True, timeout=60, check=True)
    for word in (f"met-1.{MET}", "Ready", "Links", f"echo@{KENT}", "own certificate"):
        assert word in done.stdout, word
    assert "Refresh" not in done.stdout
    assert 1 <= len([each for each in done.stdout.split("\f") if each.strip()]) <= 3


def test_nothing_comes_from_elsewhere(shown: Shown) -> None:
    """Nor does the page try to: each address in it is its own."""
    text = text_of(shown.url)
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == [
        "/status.css", "/status.js", "#main", "/", "/cutover", "",
    ]  # fmt: skip
    for path in ("status.css", "status.js", "cutover", "page.css"):
        assert text_of(f"{shown.url}{path}")
