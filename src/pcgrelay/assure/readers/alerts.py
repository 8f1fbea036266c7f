"""M7: the alert rules for Prometheus, and whether each metric that they name exists."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import subprocess
import sys
from pathlib import Path

from pcgrelay.admin.client import read_page
from pcgrelay.admin.core_help import CORE_HELP
from pcgrelay.admin.metrics import metrics_text
from pcgrelay.admin.status import ApprovalsStatus, AuditStatus, NodeStatus, StateStatus, Status
from pcgrelay.assure.judgement import AskedError
from pcgrelay.assure.record_facts import Alerts
from pcgrelay.assure.scene import Scene
from pcgrelay.errors import RunError
from pcgrelay.figures import Durations
from pcgrelay.files import read_text, reason_of
from pcgrelay.services.traffic import Traffic
from pcgrelay.views.traffic import TrafficText, handshake_text

NAME = "pcgrelay.yml"
# Where the rules of this node may be, the most telling first.
PLACES = (
    Path("/etc/prometheus/rules.d") / NAME,
    Path("/etc/prometheus") / NAME,
    Path("/usr/share/doc/pcgrelay/rules.yml"),
    Path(sys.prefix) / "share/doc/pcgrelay/rules.yml",
)
PROMTOOL = Path("/usr/bin/promtool")
RULES_LIMIT_BYTES = 1 << 20
DEADLINE_S = 5.0
_TYPE = re.compile(r"^# TYPE (\S+) (\S+)", re.MULTILINE)
_NAMED = re.compile(r"\b(?:pcgrelay|process)_[a-z0-9_]+")
# An expression may go over lines that are further in than its key.
_EXPRESSION = re.compile(r"^( *)(?:- )?expr:(.*(?:\n\1 +.*)*)", re.MULTILINE)
_ALERT = re.compile(r"^ *- alert:", re.MULTILINE)


async def read_alerts(scene: Scene) -> Alerts:
    """M7. The rules are those that a profile names, or those of a known place."""
    named = scene.parameters.monitoring.rules
    path = Path(named) if named else next((each for each in PLACES if each.is_file()), None)
    if path is None:
        raise AskedError("no alert rules are at a known place of this machine, nor named in monitoring.rules")
    text = await asyncio.to_thread(read_text, path, "alert rules", RULES_LIMIT_BYTES)
    complaint, by = await asyncio.to_thread(complaint_of, path)
    live = await asyncio.to_thread(read_page, scene.config.node.admin, "/metrics")
    if live.code != http.client.OK:
        raise RunError("The node does not tell its metrics.")
    known = known_metrics() | metric_names(live.body.decode("utf-8", "replace"))
    return alerts_of(path.name, text, known, complaint, by)


def alerts_of(name: str, text: str, known: set[str], complaint: str = "", by: str = "") -> Alerts:
    """Return what is judged of the rules in a text."""
    used = {metric for found in _EXPRESSION.finditer(text) for metric in _NAMED.findall(found[2])}
    return Alerts(
        file=name,
        alerts=len(_ALERT.findall(text)),
        complaint=complaint,
        checked_by=by,
        unknown=tuple(sorted(used - known)),
    )


def complaint_of(path: Path) -> tuple[str, str]:
    """Return what promtool says against the rules, and its name if it was asked."""
    if not os.access(PROMTOOL, os.X_OK):
        return "", ""
    try:
        done = subprocess.run(
            [os.fspath(PROMTOOL), "check", "rules", os.fspath(path)],
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
            env={"LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        return f"promtool did not answer within {DEADLINE_S:g} s", PROMTOOL.name
    except OSError as error:
        raise RunError(f"{PROMTOOL}: it does not run ({reason_of(error)}).") from None
    if done.returncode == 0:
        return "", PROMTOOL.name
    lines = (done.stderr or done.stdout).decode("utf-8", "replace").splitlines()
    told = [line.strip() for line in lines if line.strip() and not line.startswith("Checking ")]
    return " ".join(told[:2]).replace(str(path), path.name)[:300] or "promtool refuses it", PROMTOOL.name


def metric_names(text: str) -> set[str]:
    """Return the names of the samples of a scrape, by the lines that say their types."""
    found = set()
    for name, kind in _TYPE.findall(text):
        found |= {f"{name}{end}" for end in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    return found


def known_metrics() -> set[str]:
    """Return the names of all metrics that a node of this version may have, whatever it is configured for."""
    node = NodeStatus(identity="", role="edge", uptime_s=0.0, version="")
    status = Status(
        node=node, state=StateStatus(folder=True), audit=AuditStatus(), approvals=ApprovalsStatus(active=True)
    )
    text = metrics_text(status, dict.fromkeys(CORE_HELP, 0)) + TrafficText(Traffic()).text({})
    return metric_names(text + handshake_text(Durations(), Durations()))
