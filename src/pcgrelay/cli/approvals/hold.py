"""pcgrelay hold."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import click

from pcgrelay import config
from pcgrelay.admin.client import ask
from pcgrelay.admin.policy_answers import POLICY_PATH, PolicyAnswer
from pcgrelay.cli.approvals.common import (
    TIMEOUT_S,
    head_of,
    held_of,
    key_options,
    show,
    shown_names,
    signer_of,
    write_text,
)
from pcgrelay.cli.root import config_option
from pcgrelay.errors import ConfigError
from pcgrelay.output import say
from pcgrelay.policy.change import Act, parse_change, text_lines
from pcgrelay.policy.gate import Paper
from pcgrelay.policy.signatures import HOLD_NAMESPACE, read_plain, sign
from pcgrelay.policy.signed_text import TEXT_LIMIT_BYTES, Line, Misspelt

LIFE_DAYS = 1  # a hold is taken now, or not at all

EPILOG = """\b
Examples:
  pcgrelay hold kent-1.change --reason "the DPIA is not signed" -c kent-1.toml
  pcgrelay hold kent-1.change --lift --reason "it is now" -c kent-1.toml

\b
Exit codes:
   0  held, or lifted
   3  the node does not answer
   6  a rule of approval does not allow it
  78  nobody may hold a change here ([approvals] holds), or it is none
"""


@click.command(epilog=EPILOG)
@click.argument("change", metavar="CHANGE", type=click.Path(path_type=Path))
@config_option
@click.option("--reason", metavar="TEXT", required=True, help="Why, in one line.")
@click.option("--lift", is_flag=True, help="Let it go again; only who holds it can.")
@key_options
def hold(change: Path, path: Path, reason: str, lift: bool, key: Path, principal: str | None) -> int:
    """Have a node refuse a change until you lift that.

    Any signer may, with or without having approved it. The change is named by its digest: another text is not held.
    """
    data = read_plain(change, "change", TEXT_LIMIT_BYTES)
    try:
        parsed = parse_change(data)
    except Misspelt as error:
        raise ConfigError(f"{change}: this is no change ({error.name}): {error}.") from None
    held = held_of(path).policy
    if held is None or held.config.approvals is None or not held.config.approvals.holds:
        raise ConfigError("Nobody may hold a change here; [approvals] holds = true allows it.")
    key, who = signer_of(key, principal, held.signers)
    head = head_of(held.config.node.id, who, parsed.head.change, reason, LIFE_DAYS)
    lines: tuple[Line, ...] = text_lines("\n".join(f"{line.kind} {line.sentence}" for line in parsed.lines))
    act = Act(head, "lift" if lift else "hold", Paper(data, ()).sha256, lines)
    text = change.with_suffix(".hold")
    write_text(text, act.render())
    show(act.render())
    sign(text, key, HOLD_NAMESPACE, who)
    query = urlencode({"change": str(change.absolute()), "text": str(text.absolute())})
    answer = ask(config.admin_path(path), "POST", f"{POLICY_PATH}?{query}", PolicyAnswer, TIMEOUT_S)
    if answer.reason:
        say(f"pcgrelay: {answer.reason}", err=True)
    elif answer.held_by:
        say(f"Held by {shown_names(answer.held_by)}: the node does not take this change until they lift that.")
    else:
        say("Nobody holds this change any more.")
    return answer.exit_code
