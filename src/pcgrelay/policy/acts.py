"""The acts that need the same signatures as a change that widens: a closed list, and where the text of each lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pcgrelay.policy.signatures import ACT_NAMESPACE, HOLD_NAMESPACE, PLAN_NAMESPACE


@dataclass(frozen=True, slots=True)
class ActKind:
    """One kind of act."""

    option: str  # as `pcgrelay plan --act` takes it, and its file is called
    namespace: str = ACT_NAMESPACE


ACTS = {
    "start": ActKind("start", PLAN_NAMESPACE),
    "waive": ActKind("waive"),
    "advice": ActKind("advice"),
    "nudge --hard": ActKind("nudge-hard"),
    "retire": ActKind("retire"),
    "outlet": ActKind("outlet"),
    "drill --even-so": ActKind("drill-even-so"),
    "audit restart": ActKind("audit-restart"),
}
HOLDS = ("hold", "lift")
OPTIONS = {kind.option: name for name, kind in ACTS.items()}


def act_path(path: Path, act: str) -> Path:
    """Where the text of an act lies: kent-1.retire.act beside kent-1.toml."""
    return path.with_suffix(f".{ACTS[act].option}.act")


def namespace_of(act: str) -> str:
    """The namespace of signatures over the text of an act."""
    return HOLD_NAMESPACE if act in HOLDS else ACTS[act].namespace
