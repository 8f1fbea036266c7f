"""A pack of evidence: the files of a run, and the folder that they are written into, whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from pcgrelay.admin.status import Status
from pcgrelay.assure import inventory
from pcgrelay.assure.catalogue import Profile, out_of_review
from pcgrelay.assure.judgement import OUTCOMES
from pcgrelay.assure.oscal import assessment_results
from pcgrelay.assure.redact import facts_json, redact_config
from pcgrelay.assure.runner import Result, Run
from pcgrelay.assure.sums import SUMS, sums_text
from pcgrelay.config import Config
from pcgrelay.config.source import Source
from pcgrelay.errors import PermissionProblem, RunError
from pcgrelay.files import reason_of
from pcgrelay.model import Marking
from pcgrelay.rendering import read_asset, render

RESULTS = "results.json"
FOLDER_MODE, FILE_MODE = 0o700, 0o600


class Results(Struct, frozen=True, kw_only=True):
    """results.json: what `diff` compares."""

    version: int = 1
    node: str
    profile: str
    title: str
    confirmed_by: str
    started: datetime
    seconds: float
    part: int  # 1: outcomes alone, to be published; 2: all
    results: tuple[Result, ...]
    out_of_review: tuple[str, ...] = ()  # controls that were last held against their sources too long ago


class Evidence(Struct, frozen=True, kw_only=True):
    """What a pack is made from."""

    config: Config
    profile: Profile
    run: Run
    started: datetime
    marking: str
    status: Status | None = None  # None: the node does not answer
    ways: tuple[tuple[str, ...], ...] = ()  # nodes from a neighbour to an edge
    os_release: str = ""
    dpia: str = ""


def pack_files(evidence: Evidence, part: int = 2) -> dict[str, bytes]:
    """Return all files of a pack by name. part 1: outcomes alone, without a name or an address, to be published."""
    files = _summaries(evidence, part)
    if part == 2:
        files |= _details(evidence) | _inventory(evidence)
    files[SUMS] = sums_text(files)
    return files


def results_of(evidence: Evidence, part: int = 2) -> Results:
    """Return results.json as a Struct."""
    results = evidence.run.results
    if part == 1:
        # What was seen, and what would mend it, says too much of a node that is at work.
        results = tuple(
            msgspec.structs.replace(each, observed="", expected="", cure="", test="", question="") for each in results
        )
    return Results(
        node=evidence.config.node.id.dotted if part == 2 else evidence.config.node.id.organisation,
        profile=evidence.profile.name,
        title=evidence.profile.title,
        confirmed_by=evidence.profile.confirmed_by if part == 2 else "",
        started=evidence.started,
        seconds=evidence.run.seconds,
        part=part,
        results=results,
        out_of_review=out_of_review(evidence.profile, evidence.started.date()),
    )


def counts_of(results: tuple[Result, ...]) -> list[tuple[str, int]]:
    """Return how many controls have each outcome, in the order of a summary."""
    return [(outcome, sum(each.outcome == outcome for each in results)) for outcome in OUTCOMES]


def _summaries(evidence: Evidence, part: int) -> dict[str, bytes]:
    found = results_of(evidence, part)
    marking = evidence.marking if part == 2 else "OFFICIAL"
    values = {
        "title": "Evidence about a gateway",
        "marking": marking,
        "node": found.node,
        "profile": evidence.profile,
        "results": found.results,
        "counts": counts_of(found.results),
        "out_of_review": found.out_of_review,
        "started": evidence.started,
        "part1": part == 1,
    }
    files = {
        "summary.md": render("evidence.md", **values).encode(),
        "summary.html": render("evidence.html", css=read_asset("paper.css"), **values).encode(),
        RESULTS: msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n",
    }
    if part == 2:
        questions = [each for each in found.results if each.question]
        files["questions.md"] = render("questions.md", questions=questions, **values).encode()
    return files


def _details(evidence: Evidence) -> dict[str, bytes]:
    found = results_of(evidence)
    files = {f"controls/{id}/facts.json": facts_json(facts) for id, facts in evidence.run.facts.items()}
    for each in found.results:
        files[f"controls/{each.id}/result.json"] = msgspec.json.format(msgspec.json.encode(each), indent=2) + b"\n"
    results = assessment_results(found.node, evidence.profile, found.results, evidence.started, evidence.marking)
    files["oscal-assessment-results.json"] = results
    return files


def _inventory(evidence: Evidence) -> dict[str, bytes]:
    config, status = evidence.config, evidence.status
    shown = redact_config(Source.read(config.path).values)
    files = {
        "inventory/configuration.json": msgspec.json.format(msgspec.json.encode(shown), indent=2) + b"\n",
        "inventory/crypto.json": inventory.crypto_inventory(config, status),
        "inventory/rules.csv": inventory.rules_csv(config),
        "inventory/versions.txt": inventory.versions_text(evidence.profile, status, evidence.os_release),
        "inventory/sbom.cdx.json": inventory.sbom(),
    }
    if evidence.dpia:
        files["inventory/dpia.md"] = evidence.dpia.encode()
    if status is not None:
        me = config.node.id.dotted
        files["inventory/diagram.svg"] = inventory.diagram(me, status, evidence.ways, evidence.started)
    return files


def write_pack(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a new folder, whole or not at all, for its owner alone.

    RunError: there is something of that name, or it cannot be written. PermissionProblem: this user may not write.
    """
    if os.path.lexists(folder):
        raise RunError(f"{folder}: this is there already and is never overwritten; name another folder.")
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        draft.mkdir(FOLDER_MODE)
        for name, data in files.items():
            path = draft / name
            for parent in reversed(Path(name).parents[:-1]):
                (draft / parent).mkdir(FOLDER_MODE, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
            with os.fdopen(descriptor, "wb") as sink:
                sink.write(data)
                sink.flush()
                os.fsync(descriptor)
        draft.rename(folder)
    except PermissionError:
        raise PermissionProblem(f"{folder}: this user may not write here; name another folder.") from None
    except FileNotFoundError:
        raise RunError(f"{folder}: the folder {folder.parent} does not exist; create it first.") from None
    except OSError as error:
        raise RunError(f"{folder}: the pack cannot be written ({reason_of(error)}).") from None
    finally:
        with suppress(OSError):
            shutil.rmtree(draft)


def check_room(folder: Path) -> None:
    """Find out, before the tests, whether a pack can be written there; the errors of write_pack. Nothing is left."""
    write_pack(folder, {})
    os.rmdir(folder)


def marking_of(config: Config) -> str:
    """Return the highest marking of what this node serves and of the networks that it uses."""
    markings = [each.marking for each in config.exports] + [each.marking for each in config.bearers]
    return max(markings, key=list(Marking).index, default=Marking.OFFICIAL).value
