"""pcgrelay check."""

from __future__ import annotations

from pathlib import Path

import click
from rich.text import Text

from pcgrelay import config
from pcgrelay.check import ERROR, OK, WARNING, Finding, exit_code
from pcgrelay.check import check as look
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.errors import PcgrelayError, PermissionProblem
from pcgrelay.output import print_json, styled, terminal

EPILOG = """\b
Examples:
  pcgrelay check -c kent-1.toml
  pcgrelay check -c kent-1.toml --json | jq -r '.findings[].sentence'

\b
Exit codes:
   0  no error (there may be warnings)
   1  a port is taken, or an address is not there now; nothing else is wrong
   4  a date is wrong or near: of a certificate, of the revocation list, or of
      this machine; the node starts and says so
  77  permissions are wrong, and the configuration is not
  78  the configuration, or a file that it names, is wrong
"""


@click.command(epilog=EPILOG)
@config_option
@json_option
def check(path: Path, as_json: bool) -> int:
    """Check everything about a node that does not need its network.

    Checks syntax, names, the presence of files, that key and certificate belong together, identity, permissions, the
    admin socket's folder, and whether the ports can be listened on. Chain, dates and revocation are checked by a link
    that a node with these files makes with itself, in memory. Nothing is changed, so it is safe beside a running node.
    """
    try:
        findings = look(config.load(path))
    except PcgrelayError as error:
        if not as_json:
            raise
        refused = isinstance(error, PermissionProblem)
        findings = [
            Finding(level=ERROR, where="configuration", sentence=sentence, permission=refused)
            for sentence in error.sentences
        ]
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
