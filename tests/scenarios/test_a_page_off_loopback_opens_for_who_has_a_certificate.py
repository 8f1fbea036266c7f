"""The page off loopback in a real browser: it opens with a member's certificate, at the name that the node's has."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.kit.browser import Browser
from tests.scenarios.kit.nodes import KENT, MET
from tests.scenarios.kit.reload_setup import Scene, reload, scene
from tests.support.pki import Files
from tests.support.ports import free_port

pytestmark = pytest.mark.tier_all

NAME, OTHER = "gateway.met.example", "other.met.example"


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The Met's node has a name for browsers, and shows its page on all addresses of this machine."""
    with scene(tmp_path_factory.mktemp("realm")) as made:
        node, stage = made.met, made.stage
        stage.pki.authority.issue(MET, node.name, stage.folder / "named", hosts=[NAME])
        for file in (f"{node.name}.key", f"{node.name}.pem"):
            os.replace(stage.folder / "named" / file, stage.folder / node.dotted / file)
        made.change(node, page={"listen": f"0.0.0.0:{free_port()}"})
        assert reload(node).ok
        yield made


def port_of(realm: Scene) -> int:
    return int(realm.tables(realm.met)["page"]["listen"].rpartition(":")[2])


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def home_with(folder: Path, realm: Scene, reader: Files | None) -> Path:
    """The home of a person whose browser trusts the realm's CA, and has this certificate."""
    store = folder / "home" / ".pki" / "nssdb"
    store.mkdir(parents=True)
    database = f"sql:{store}"
    run("certutil", "-d", database, "-N", "--empty-password")
    run("certutil", "-d", database, "-A", "-n", "realm", "-t", "C,,", "-i", realm.stage.pki.trust)
    if reader is not None:
        bundle = folder / "reader.p12"
        run(
            "openssl", "pkcs12", "-export", "-in", reader.certificate, "-inkey", reader.key, "-name", "reader",
            "-passout", "pass:", "-out", bundle,
        )  # fmt: skip
        run("pk12util", "-d", database, "-i", bundle, "-W", "")
    return folder / "home"


def policies(folder: Path) -> Path:
    """A configuration of Chromium which shows its certificate without asking the person."""
    managed = folder / "chromium" / "policies" / "managed"
    managed.mkdir(parents=True)
    choice = json.dumps({"pattern": "https://[*.]met.example", "filter": {}})
    (managed / "reader.json").write_text(json.dumps({"AutoSelectCertificateForUrls": [choice]}))
    return folder / "chromium"


def shown(folder: Path, realm: Scene, reader: Files | None, name: str = NAME) -> str:
    """What such a person sees at the page's address under that name."""
    home, options = home_with(folder, realm, reader), ["--host-resolver-rules=MAP *.met.example 127.0.0.1"]
    with Browser(folder, options, home, policies(folder)) as browser:
        page = browser.visit(f"https://{name}:{port_of(realm)}/")
        text: str = page.run("document.title + '\\n' + document.body.innerText")
        return text


def refused(realm: Scene) -> Counter[str]:
    return Counter(realm.met.status().refusals)


def test_a_member_of_the_node_s_organisation_sees_the_page(realm: Scene, tmp_path: Path) -> None:
    text = shown(tmp_path, realm, realm.stage.pki.issue(MET, "desk-1"))
    assert f"echo@{KENT}" in text
    assert "Your connection is not private" not in text


def test_without_a_certificate_nothing_is_shown(realm: Scene, tmp_path: Path) -> None:
    before = refused(realm)
    text = shown(tmp_path, realm, None)
    # In TLS 1.3 the browser has its keys before the node refuses it, and then has several words for the end.
    assert "ERR_" in text, text
    assert f"echo@{KENT}" not in text
    assert refused(realm)["no_certificate"] > before["no_certificate"]


def test_another_organisation_is_told_what_would_let_it_in(realm: Scene, tmp_path: Path) -> None:
    text = shown(tmp_path, realm, realm.stage.pki.issue(KENT, "desk-1"))
    assert "allow" in text, text
    assert f"echo@{KENT}" not in text
    assert refused(realm)["reader_not_allowed"] >= 1


def test_at_a_name_that_the_certificate_has_not_the_browser_refuses(realm: Scene, tmp_path: Path) -> None:
    text = shown(tmp_path, realm, realm.stage.pki.issue(MET, "desk-2"), OTHER)
    assert "ERR_CERT_COMMON_NAME_INVALID" in text, text
    assert f"echo@{KENT}" not in text
