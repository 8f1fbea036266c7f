"""Chromium without a window, one process for all pages: told what to do through a pipe, in its debugging protocol."""

from __future__ import annotations

import base64
import json
import os
import selectors
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

COMMAND = (
    "chromium",
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-pipe",
)
ANSWER_S = 100.0


class Browser:
    """One such process."""

    def __init__(
        self, folder: Path, options: Sequence[str] = (), home: Path | None = None, configuration: Path | None = None
    ) -> None:
        """folder: for its profile and for the pages. options: more of its command line. home: where it finds keys.

        configuration: it finds this folder in the place of /etc/chromium, and nobody else does; root is needed.
        """
        self._folder = folder
        self._number = 0
        self._data = b""
        reads, self._send = os.pipe()
        self._receive, writes = os.pipe()
        # It reads commands from descriptor 3, and writes answers to 4.
        script = f'exec "$@" 3<&{reads} 4>&{writes}'
        alone: tuple[str, ...] = ()
        if configuration is not None:
            mount = f'mount --bind "{configuration}" /etc/chromium && exec "$@"'
            alone = ("unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh")
        command = [*alone, *COMMAND, f"--user-data-dir={folder}/profile", *options]
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command],
            env={**os.environ, **({"HOME": str(home)} if home else {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(reads, writes),
        )
        os.close(reads)
        os.close(writes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._send)
        os.close(self._receive)
        self._process.kill()
        self._process.wait(20)

    def page(self, text: str) -> Page:
        """A page of that text, once it is there."""
        self._number += 1
        file = self._folder / f"page{self._number}.html"
        file.write_text(text)
        return self.visit(file.as_uri())

    def visit(self, url: str, *, width: int = 1280, is_dark: bool = False, scripts: bool = True) -> Page:
        """The page at an address, in a window of that width, once it is there."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        page.call("Page.enable")
        page.resize(width)
        page.dress(is_dark=is_dark)
        if not scripts:
            page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.call("Page.navigate", url=url)
        while self._message(time.monotonic() + ANSWER_S).get("method") != "Page.loadEventFired":
            pass
        return page

    def call(self, method: str, /, session: str = "", **params: Any) -> dict[str, Any]:
        """What it answers to one command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + ANSWER_S
        while (answer := self._message(deadline)).get("id") != message["id"]:
            pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _message(self, deadline: float) -> dict[str, Any]:
        with selectors.DefaultSelector() as selector:
            selector.register(self._receive, selectors.EVENT_READ)
            while b"\0" not in self._data:
                left = deadline - time.monotonic()
                data = os.read(self._receive, 1 << 20) if left > 0 and selector.select(left) else b""
                assert data, "the browser does not answer"
                self._data += data
        message, _, self._data = self._data.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


class Page:
    """A page that it shows."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def run(self, script: str) -> Any:
        """What a script comes to, which the page's own policy does not keep out."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def resize(self, width: int, height: int = 900) -> None:
        """Give its window another size."""
        self.call("Emulation.setScrollbarsHidden", hidden=True)
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def dress(self, *, is_dark: bool) -> None:
        """Say which colours the person likes."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def picture_to(self, file: Path, height: int | None = None) -> None:
        """Take a picture of it: of the whole page, or of so much of its top."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        answer = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(answer["data"]))

    def close(self) -> None:
        """Close it, as a person closes a tab."""
        self.call("Page.close")

    def print_to(self, file: Path) -> None:
        """Print it, as a person does."""
        answer = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True, displayHeaderFooter=False)
        file.write_bytes(base64.b64decode(answer["data"]))
