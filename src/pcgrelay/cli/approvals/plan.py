"""pcgrelay plan."""

from __future__ import annotations

from pathlib import Path

import click

from pcgrelay import config
from pcgrelay.admin.client import ask
from pcgrelay.admin.policy_answers import POLICY_PATH, PolicyAnswer
from pcgrelay.cli.approvals.common import (
    TIMEOUT_S,
    counted_lines,
    head_of,
    head_options,
    held_of,
    put_change,
    put_text,
    show,
    shown_names,
)
from pcgrelay.cli.root import config_option
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.errors import ConfigError, RunError, UsageProblem
from pcgrelay.output import say
from pcgrelay.policy.acts import ACTS, OPTIONS, act_path, namespace_of
from pcgrelay.policy.change import Change, make_act
from pcgrelay.policy.gate import Policy, change_path, propose, read_policy, refuse_late
from pcgrelay.policy.signatures import CHANGE_NAMESPACE
from pcgrelay.policy.signed_text import Line

EPILOG = """\b
Examples:
  pcgrelay plan -c kent-1.toml
  pcgrelay plan --by j.smith@kent.police.example --change CR-1042 \\
      --reason "Essex needs custody look-ups" -c kent-1.toml
  pcgrelay plan --act retire --by j.smith@kent.police.example \\
      --change CR-1050 --reason "quiet for 60 days" -c met-1.toml

\b
Exit codes:
   0  shown, or written
   3  what was approved last cannot be found: the node does not answer
  78  the configuration, or a file that it names, is wrong
"""


@click.command(epilog=EPILOG)
@config_option
@head_options
@click.option("--act", metavar="NAME", help=f"Write the text of an act that was refused: {', '.join(OPTIONS)}.")
def plan(path: Path, by: str | None, change: str | None, reason: str | None, days: int, act: str | None) -> int:
    """Write the text of a change, for others to sign.

    The file is compared with what was approved last. Each difference widens what is allowed, narrows it, or does
    neither. What widens needs signatures; the text for them is written beside the file (kent-1.change) once --by,
    --change and --reason are given. Nothing of the node is changed.
    """
    if act is not None:
        return _planned_act(path, act, by, change, reason, days)
    fresh, last = read_policy(path), held_of(path)
    held, taken = last.policy, last.taken
    if held is None:
        return _without(path, fresh)
    proposed = propose(held, fresh)
    if not proposed.lines:
        click.echo("Nothing differs from what was approved last.")
        return 0
    if not proposed.widens:
        _print_lines(proposed.lines)
        click.echo(f"{counted_lines(proposed.lines)}. No signature is needed: pcgrelay reload -c {path}")
        return 0
    if by is None and change is None and reason is None:
        _print_lines(proposed.lines)
        click.echo(f"{counted_lines(proposed.lines)}. To write the text to sign, add --by, --change and --reason.")
        return 0
    refuse_late(fresh.config, SYSTEM_CLOCK.wall())
    text = Change(head_of(held.config.node.id, by, change, reason, days), held.digest, fresh.digest, proposed.lines)
    where = change_path(path)
    data, words = put_change(where, text, taken)
    show(data)
    click.echo("")
    say(f"{counted_lines(proposed.lines)}. {whom_to_ask(held, text.head.by, CHANGE_NAMESPACE)}")
    say(words)
    say(f"Each of them:  pcgrelay approve {where}")
    say(f"Then:          pcgrelay apply {where} -c {path}")
    return 0


def whom_to_ask(held: Policy, by: str, namespace: str) -> str:
    """How many signatures are needed, and who may give them now."""
    assert held.config.approvals is not None
    now = SYSTEM_CLOCK.wall()
    able = [each.principal for each in held.able if each.is_valid(now) and namespace in each.namespaces]
    ask_them = [each for each in dict.fromkeys(able) if each != by]
    needs = held.config.approvals.needs
    noun = "signature" if needs == 1 else "signatures"
    return f"It needs {needs} {noun} of: {shown_names(ask_them) or 'nobody who could sign now'}."


def _without(path: Path, fresh: Policy) -> int:
    if fresh.is_approved:
        raise ConfigError(f"{path}: nothing was approved yet; for the first policy: pcgrelay approve --first -c {path}")
    say(f"{path} has no [approvals], so nobody has to approve changes. pcgrelay reload --dry-run shows what one does.")
    return 0


def _planned_act(path: Path, option: str, by: str | None, change: str | None, reason: str | None, days: int) -> int:
    if option not in OPTIONS:
        raise UsageProblem(f'--act "{option[:40]}" is none; there are: {", ".join(OPTIONS)}.')
    act = OPTIONS[option]
    answer = ask(config.admin_path(path), "GET", POLICY_PATH, PolicyAnswer, TIMEOUT_S)
    if act not in answer.acts:
        raise RunError(f"No {act} was refused for want of approval; ask the node to do it first, and it says so.")
    held = held_of(path).policy
    assert held is not None
    text = make_act(head_of(held.config.node.id, by, change, reason, days), act, answer.acts[act])
    where = act_path(path, act)
    data, words = put_text(where, text)
    show(data)
    click.echo("")
    say(whom_to_ask(held, text.head.by, namespace_of(act)))
    say(words)
    say(f"Each of them:  pcgrelay approve {where}")
    say(f"Then do it again: {ACTS[act].option}")
    return 0


def _print_lines(lines: tuple[Line, ...]) -> None:
    for line in lines:
        say(f"{line.kind:<9} {line.sentence}")
