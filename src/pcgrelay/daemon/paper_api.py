"""Handlers of the admin socket for what people read of cut-overs: the facts of a report, and pages."""

from __future__ import annotations

from urllib.parse import unquote

from pcgrelay.admin.http import Answer, json_answer
from pcgrelay.admin.report_answers import ReportAnswer
from pcgrelay.admin.server import UID, Query
from pcgrelay.errors import PcgrelayError, RunError
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.node import Node
from pcgrelay.log.cutover_events import CutoverReported
from pcgrelay.views.cutover import cutover_list, cutover_status, lost_status
from pcgrelay.views.cutover_page import PAGE_PATH, STYLE_PATH, list_page, problem_page, status_page, style
from pcgrelay.views.cutover_report import report_facts

SUBJECT_LIMIT = 512


class PaperApi:
    """What the admin socket answers to people who read."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def facts(self, query: Query) -> Answer:
        """What a report of one cut-over is made from."""
        subject = query.get("service", "")[:SUBJECT_LIMIT]
        try:
            edge = self._edge()
            facts = report_facts(self._node, edge, edge.cutovers.find(subject))
            uid = query.get(UID)
            self._node.emit(CutoverReported(service=facts.service, uid=None if uid is None else int(uid)))
            return json_answer(ReportAnswer(service=facts.service, facts=facts))
        except PcgrelayError as error:
            return json_answer(ReportAnswer(service=subject, reason=str(error), exit_code=error.exit_code), 409)

    def page(self, path: str) -> Answer | None:
        """The page at a path; nothing if the path is none of them."""
        if path == STYLE_PATH:
            return style()
        home, _, rest = path.removeprefix("/").partition("/")
        if f"/{home}" != PAGE_PATH:
            return None
        subject, node, now = unquote(rest)[:SUBJECT_LIMIT], self._node.config.node.id.dotted, self._node.clock.wall()
        try:
            edge = self._edge()
            if not subject:
                return list_page(cutover_list(self._node, edge), node, now)
            if subject in edge.cutovers.lost:
                return status_page(lost_status(edge, subject), node, now)
            return status_page(cutover_status(self._node, edge, edge.cutovers.find(subject)), node, now)
        except PcgrelayError as error:
            return problem_page(str(error), node, now)

    def _edge(self) -> EdgeRole:
        if not isinstance(self._node.role, EdgeRole):
            raise RunError("A relay has no imports; ask an edge.")
        return self._node.role
