"""The pictures of the documents, taken of real nodes in Chromium: `make pictures` writes them to docs/pictures."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.scenarios.kit.browser import Browser
from tests.scenarios.kit.nodes import HOST, MET
from tests.scenarios.kit.reload_setup import applications, reload, scene
from tests.support.ports import free_port
from tests.support.waiting import until

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
WIDTH, HEIGHT = 1040, 1180


def main() -> None:
    """Take all pictures. The names and figures in them are those of a realm on loopback."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "browser").mkdir()
        with scene(Path(folder), relays=2) as realm, Browser(Path(folder) / "browser") as browser:
            port = free_port()
            realm.change(realm.met, page={"listen": f"{HOST}:{port}"})
            assert reload(realm.met).ok
            with applications(realm.door, 3):
                realm.relays[1].stop()
                until(lambda: realm.met.status().condition == "degraded", 30, f"met-1.{MET} is degraded")
                page = browser.visit(f"http://{HOST}:{port}/", width=WIDTH)
                page.picture_to(FOLDER / "page.png", HEIGHT)


if __name__ == "__main__":
    main()
