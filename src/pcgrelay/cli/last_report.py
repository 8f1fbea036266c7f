"""The report that `pcgrelay retire` writes at the end: looked at before anything changes, for a retirement is final."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from msgspec import structs

from pcgrelay.admin.client import ask
from pcgrelay.admin.report_answers import REPORT_PATH, ReportAnswer
from pcgrelay.cli.cutover.nodes import AskedNode
from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.report import check_room, report_files, write_report
from pcgrelay.cutover.report_facts import ReportFacts
from pcgrelay.errors import PcgrelayError, StatusProblem, UsageProblem

TIMEOUT_S = 20.0


@dataclass(frozen=True)
class LastReport:
    """Where the report of each node goes, and under which title."""

    service: str
    title: str
    folders: dict[AskedNode, Path]  # of nodes that know of a cut-over
    done: frozenset[AskedNode]  # whose outlet was retired before, with a report there already

    def folder_of(self, node: AskedNode) -> Path:
        """Where the report of a node goes."""
        return self.folders.get(node) or Path(f"{node.name}-report")

    def write(self, node: AskedNode) -> Path | None:
        """Write the report of a node; nothing: it is there already. PcgrelayError: it is not written."""
        if node in self.done:
            return None
        facts = _facts(node, self.service)
        if facts is None:
            raise StatusProblem(f"{node.name} does not tell what a report is made from.")
        folder = self.folder_of(node)
        write_report(folder, report_files(structs.replace(facts, title=self.title)))
        return folder


def prepared(nodes: Sequence[AskedNode], service: str, named: Path | None, title: str, *, writes: bool) -> LastReport:
    """Find out whether the reports can be written; PcgrelayError: one cannot, and why.

    named: the folder that somebody wants. writes: without it only what a report says is looked at.
    """
    folders: dict[AskedNode, Path] = {}
    done: set[AskedNode] = set()
    for node in nodes:
        facts = _facts(node, service)
        if facts is None:
            # Without a cut-over nothing is retired, and the node says so itself.
            continue
        report_files(structs.replace(facts, title=title))
        plain = named or Path(f"{facts.service.partition('@')[0]}-report")
        folder = plain if len(nodes) == 1 else plain.with_name(f"{plain.name}-{node.name}")
        if folder in folders.values():
            raise UsageProblem(f"Two nodes are called {node.name}; retire the outlet at one after the other.")
        folders[node] = folder
        if facts.phase is Phase.RETIRED and folder.exists():
            done.add(node)
        elif writes:
            check_room(folder)
    return LastReport(service, title, folders, frozenset(done))


def _facts(node: AskedNode, service: str) -> ReportFacts | None:
    """What a node tells for a report; nothing: it has no cut-over of the service, or does not answer."""
    try:
        path = f"{REPORT_PATH}?{urlencode({'service': service})}"
        return ask(node.admin, "GET", path, ReportAnswer, TIMEOUT_S).facts
    except StatusProblem:
        return None


def unwritten(folder: Path, service: str, error: PcgrelayError) -> str:
    """Say that a report is not written, and how to have it."""
    return (
        f"The report is not written: {error} It can be written at any time: "
        f"pcgrelay cutover report {service} --out {folder}"
    )
