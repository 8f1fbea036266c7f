"""pcgrelay cutover plan."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import click

from pcgrelay import config
from pcgrelay.admin.answers import OUTLET_PATH, OutletAnswer
from pcgrelay.admin.client import ask
from pcgrelay.cli.cutover.acts import check_text
from pcgrelay.cli.cutover.draft import Wishes, draft_plan
from pcgrelay.cli.cutover.nodes import nodes_of, refusal_code, refused, shown
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.cutover.plan_text import digest
from pcgrelay.errors import ConfigError
from pcgrelay.output import print_json, say

EPILOG = """\b
Examples:
  pcgrelay cutover plan custody --from cjx --deadline 2020-03-31 \\
      -c met-1.toml > custody.plan.toml
  pcgrelay cutover plan custody --from cjx --deadline 2020-03-31 \\
      --soak 2h --steps 5,50,100 --advance "mon-fri 08:00-16:00" \\
      --zone Europe/London -c met-1.toml > custody.plan.toml

\b
Exit codes:
   0  the plan is on standard output
   1  the node knows no such import
   2  an option is wrong in itself
   3  the node does not answer
  77  no permission
  78  something speaks against the plan; nothing is printed but what
"""


@click.command(epilog=EPILOG)
@click.argument("service", metavar="SERVICE")
@click.option("--from", "old", metavar="OUTLET", required=True, help="The outlet that it moves from.")
@click.option("--deadline", metavar="DATE", required=True, help="The last day, as 2020-03-31.")
@click.option("--to", "new", metavar="OUTLET", default="gateway", show_default=True, help="The one that it moves to.")
@click.option("--back", metavar="OUTLETS", default="", help="Where it falls back to, the first that is well and in "
              "support, as cjx,psnp-b; unless said, --from and then the service's others.")  # fmt: skip
@click.option("--steps", metavar="PERCENTS", default="", help="Shares of the new one; unless said, 1,5,25,50,100.")
@click.option("--soak", metavar="TIME", default="30m", show_default=True, help="Least time at each step, as 20s, 2h.")
@click.option("--advance", metavar="WINDOWS", default="", help='When a step may be: "mon-fri 08:00-16:00".')
@click.option("--zone", metavar="ZONE", default="UTC", show_default=True, help="Of --advance, as Europe/London.")
@click.option("--freeze", metavar="DAYS", multiple=True, help="No step on these: 2019-12-20/2020-01-05; several times.")
@click.option("--change", metavar="TEXT", default="", help="Reference of the change, as CR-1042.")
@click.option("--owner", metavar="TEXT", default="", help="Whose cut-over it is.")
@click.option("--title", metavar="TEXT", default="", help="Title of the report.")
@click.option("--send", metavar="BYTES", default="", help="What a shadow sends, with escapes; of UDP a whole datagram.")
@click.option("--expect", metavar="BYTES", default="", help="What its answer begins with; of UDP, has in it.")
@config_option
@json_option
def plan(service: str, path: Path, as_json: bool, freeze: tuple[str, ...], **options: str) -> int:
    """Print a plan, or say what speaks against it.

    The plan is a commented file; each line may be edited before it is started. The running node is asked for the
    service's outlets and for the days on which support of their networks ends, and nothing is changed.
    """
    for option, text in [("SERVICE", service), *options.items(), *(("--freeze", each) for each in freeze)]:
        check_text(option if option == "SERVICE" else f"--{_NAMES.get(option, option)}", text)
    node = nodes_of([path])[0]
    answer = ask(config.admin_path(path), "GET", f"{OUTLET_PATH}?{urlencode({'service': service})}", OutletAnswer)
    if answer.reason:
        refused(shown(answer).reason)
        return refusal_code(answer.exit_code)
    draft = draft_plan(shown(answer), Wishes(**options, freeze=freeze), SYSTEM_CLOCK.wall(), node.name)
    if as_json:
        facts = {"plan": draft.plan, "text": draft.text, "sha256": digest(draft.text)}
        print_json({**facts, "against": draft.against, "warnings": draft.warnings})
    else:
        for sentence in draft.against:
            say(f"pcgrelay: {sentence}", err=True)
        if not draft.against:
            click.echo(draft.text, nl=False)
            for sentence in draft.warnings:
                say(f"Note: {sentence}", err=True)
    return ConfigError.exit_code if draft.against else 0


_NAMES = {"old": "from", "new": "to"}
