"""The inventory of a pack: cryptography in use, rules, components, versions, and a dated drawing of the network."""

from __future__ import annotations

import csv
import io
import json
import platform
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from pcgrelay import __version__
from pcgrelay.admin.status import Status
from pcgrelay.assure.catalogue import Profile
from pcgrelay.assure.readers.software import SBOM_LIMIT_BYTES, distributions, normal, sbom_file, system_name
from pcgrelay.config import Config, DiscoverSettings, LinkSettings
from pcgrelay.files import read_bounded
from pcgrelay.openssl import data_plane_library, session_library
from pcgrelay.rendering import render
from pcgrelay.views.realm_picture import BOX_HEIGHT, BOX_WIDTH, draw_realm

TITLE_HEIGHT = 34.0


def crypto_inventory(config: Config, status: Status | None) -> bytes:
    """Return what cryptography is allowed and in use, as JSON: the discovery that a migration begins with."""
    policy = config.policy
    links = status.links if status else ()
    sessions = status.sessions if status else ()
    found: dict[str, Any] = {
        "allowed": {
            "tls": "1.3",
            "post_quantum": "required" if policy.post_quantum_required else "preferred",
            "suites": [each.title for each in policy.suites],
            "derivation": "HKDF-SHA256",
            "rekey": {"bytes": policy.rekey_bytes, "frames": policy.rekey_frames, "s": policy.rekey_s},
            "renewal_interval_s": policy.renewal_interval_s,
            "renewal_age_s": policy.renewal_age_s,
        },
        "libraries": {"frames": data_plane_library(), "sessions": session_library()},
        "links": [
            {
                "peer": each.peer,
                "bearer": each.bearer,
                "state": each.state,
                "suite": each.suite,
                "group": each.group,
                "proved_s_ago": each.authenticated_s,
                "renewals": each.generation,
                "peer_certificate_until": each.until,
            }
            for each in links
        ],
        "sessions": [
            {
                "peer": each.peer,
                "bearers": each.bearers,
                "relays": each.relays,
                "state": each.state,
                "suite": each.suite,
                "group": each.group,
                "proved_s_ago": each.authenticated_s,
                "renewals": each.generation,
            }
            for each in sessions
        ],
        "certificates": [
            {"kind": each.kind, "name": each.name, "state": each.state, "until": each.not_after.isoformat()}
            for each in (status.credentials.dates if status else ())
        ],
    }
    return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"


RULE_COLUMNS = ("rule", "direction", "service", "who", "marking", "owner", "reason", "change", "until")


def rules_csv(config: Config) -> bytes:
    """Return each rule of this node with its paper: who may do what, who answers for it, and until when."""
    rows: list[Sequence[object]] = []
    for n, export in enumerate(config.exports, 1):
        who = " ".join(export.allow) or "nobody"
        rows.append((f"export[{n}]", "out", export.service, who, export.marking.value, *_paper(export)))
    for n, imported in enumerate(config.imports, 1):
        rows.append((f"import[{n}]", "in", imported.service, "applications here", "", *_paper(imported)))
    for n, direct in enumerate(config.directs, 1):
        marking = config.bearer(direct.bearer).marking.value
        rows.append((f"direct[{n}]", "in", direct.service, f"outlet {direct.name}", marking, *_paper(direct)))
    for n, link in enumerate(config.links, 1):
        marking = config.bearer(link.bearer).marking.value
        rows.append((f"link[{n}]", "link", "", f"{_neighbour(link)} over {link.bearer}", marking, *_paper(link)))
    for n, listen in enumerate(config.listens, 1):
        marking = config.bearer(listen.bearer).marking.value
        rows.append((f"listen[{n}]", "link", "", f"members over {listen.bearer}", marking, *_paper(listen)))
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(RULE_COLUMNS)
    writer.writerows([_plain(str(cell)) for cell in row] for row in rows)
    return sink.getvalue().encode()


def _neighbour(link: LinkSettings | DiscoverSettings) -> str:
    if isinstance(link, LinkSettings):
        return link.peer.dotted
    return " or ".join(peer.dotted for peer in link.peers) or "relays found by DNS"


def _paper(settings: Any) -> tuple[str, str, str, str]:
    paper = settings.paper
    return ("", "", "", "") if paper is None else (paper.owner, paper.reason, paper.change, str(paper.until or ""))


def _plain(cell: str) -> str:
    """A spreadsheet takes a cell that begins so for a formula."""
    return f"'{cell}" if cell[:1] in tuple("=+-@\t") else cell


def versions_text(profile: Profile, status: Status | None, os_release: str) -> bytes:
    """Return what produced the pack."""
    lines = [
        f"pcgrelay {__version__}",
        f"node {status.node.version if status else 'did not answer'}",
        f"frames: {data_plane_library()}",
        f"sessions: {session_library()}",
        f"python {platform.python_version()}",
        f"system {system_name(os_release)}",
        f"kernel {platform.release()}",
        f"profile {profile.name} ({profile.title}), reviewed {profile.reviewed}",
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def sbom() -> bytes:
    """Return the list of components that came with the release; else one of what is installed, as CycloneDX 1.6."""
    path = sbom_file()
    if path is not None:
        return read_bounded(path, "list of components", SBOM_LIMIT_BYTES)
    components = []
    for each in distributions():
        name, version = normal(each.metadata["Name"]), each.version
        purl = f"pkg:pypi/{name}@{version}"
        components.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    own = next((each for each in components if each["name"] == "pcgrelay"), None)
    components += [
        {"type": "library", "bom-ref": f"openssl-{use}", "name": "openssl", "version": text, "description": f"of {use}"}
        for use, text in (("frames", data_plane_library()), ("sessions", session_library()))
    ]
    components.append(
        {"type": "platform", "bom-ref": "python", "name": sys.implementation.name, "version": platform.python_version()}
    )
    listed = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {**(own or {"name": "pcgrelay", "version": __version__}), "type": "application"}},
        "components": [each for each in components if each is not own],
    }
    return (json.dumps(listed, indent=2, sort_keys=True) + "\n").encode()


def diagram(me: str, status: Status, ways: Sequence[Sequence[str]], now: datetime) -> bytes:
    """Return a dated drawing of the realm as this node sees it. ways: nodes from a neighbour to an edge."""
    picture = draw_realm(me, [(each.peer, each.state == "up") for each in status.links], ways)
    return render(
        "network.svg.html", picture=picture, box=(BOX_WIDTH, BOX_HEIGHT), title=TITLE_HEIGHT, node=me, now=now
    ).encode()
