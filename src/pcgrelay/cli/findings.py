"""Findings of `check` and `doctor`, as people and programs read them."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from pcgrelay.check import exit_code
from pcgrelay.errors import PcgrelayError, PermissionProblem
from pcgrelay.finding import ERROR, OK, WARNING, Finding
from pcgrelay.output import print_json, styled, terminal


def findings_of(error: PcgrelayError) -> list[Finding]:
    """Return the refusal of a file as findings."""
    refused = isinstance(error, PermissionProblem)
    return [
        Finding(level=ERROR, where="configuration", sentence=sentence, permission=refused)
        for sentence in error.sentences
    ]


def show_findings(path: Path, findings: list[Finding], *, as_json: bool) -> int:
    """Print findings, the errors first; return the exit code for them."""
    code = exit_code(findings)
    if as_json:
        print_json({"ok": code == 0, "exit_code": code, "findings": findings})
    else:
        _print(path, findings)
    return code


def _print(path: Path, findings: list[Finding]) -> None:
    console = terminal()
    order = [ERROR, WARNING, OK]
    widest = max(len(finding.where) for finding in findings)
    for finding in sorted(findings, key=lambda finding: order.index(finding.level)):
        line = Text.assemble(styled(finding.level), " " * (9 - len(finding.level)), finding.where.ljust(widest + 2))
        room = max(30, console.width - len(line))
        words = Text(f"{finding.sentence} {finding.mend}".rstrip())
        first, *others = words.wrap(console, room)
        console.print(line + first)
        for other in others:
            console.print(Text(" " * len(line)) + other)
    console.print(f"{path}: {_summary(findings)}")


def _summary(findings: list[Finding]) -> str:
    counts = {level: sum(finding.level == level for finding in findings) for level in (ERROR, WARNING)}
    words = [f"{number} {level}{'' if number == 1 else 's'}" for level, number in counts.items() if number]
    return " and ".join(words) + "." if words else "all is well."
