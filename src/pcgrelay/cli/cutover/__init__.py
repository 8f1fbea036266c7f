"""pcgrelay cutover: a service moves from an old network to the gateway, step by step.

A file for each command or kind of command; what is shown is made by pure functions, from an answer to lines.
"""

from __future__ import annotations

import click

from pcgrelay.cli.root import CONTEXT, LazyGroup

# Command: its module and its line in the help, which is here so that the help loads no command.
COMMANDS = {
    "rehearse": ("pcgrelay.cli.cutover.rehearse:rehearse", "Try both ways with connections of our own."),
    "plan": ("pcgrelay.cli.cutover.plan:plan", "Print a plan, or say what speaks against it."),
    "start": ("pcgrelay.cli.cutover.start:start", "Begin, as plans say."),
    "watch": ("pcgrelay.cli.cutover.watch:watch", "Show a cut-over, redrawn each second."),
    "status": ("pcgrelay.cli.cutover.watch:status", "Show a cut-over once, as watch --once."),
    "why": ("pcgrelay.cli.cutover.why:why", "Say in one sentence what a cut-over waits for."),
    "list": ("pcgrelay.cli.cutover.listing:list_all", "List all cut-overs, and when all are done."),
    "pause": ("pcgrelay.cli.cutover.acts:pause", "Make no step forward until it is resumed."),
    "resume": ("pcgrelay.cli.cutover.acts:resume", "Go on at the same step."),
    "back": ("pcgrelay.cli.cutover.acts:back", "Lead new streams back to the old network, at once."),
    "advance": ("pcgrelay.cli.cutover.acts:advance", "Make the next step, if nothing speaks against it."),
    "advice": ("pcgrelay.cli.cutover.advice:advice", "Note advice that the plan asks for."),
    "report": ("pcgrelay.cli.cutover.report:report", "Write the report, in two parts."),
    "replay": ("pcgrelay.cli.cutover.report:replay", "Compute every verdict of a report again."),
    "nudge": ("pcgrelay.cli.cutover.nudge:nudge", "Close idle streams that are left on the old outlet."),
}

EPILOG = """\b
Example, from the first look to the end:
  pcgrelay cutover rehearse custody -c met-1.toml
  pcgrelay cutover plan custody --from cjx --deadline 2020-03-31 \\
      -c met-1.toml > custody.plan.toml
  pcgrelay cutover start custody.plan.toml -c met-1.toml
  pcgrelay cutover watch custody -c met-1.toml

\b
If something is wrong:
  pcgrelay cutover back custody --reason INC-77 -c met-1.toml

\b
Exit codes:
   0  good
   1  failed at run time
   2  wrong usage of the command line
   3  there is nowhere to fall back to, its state is lost, or no answer
   4  it is late or held, or something needs attention
   6  a rule does not allow it, or it fell back
   8  replay: a verdict does not come out the same
  77  no permission
  78  a plan, or the node's configuration, cannot be used
"""


@click.group(cls=LazyGroup, lazy=COMMANDS, epilog=EPILOG, context_settings=CONTEXT)
def cutover() -> None:
    """Move a service from an old network to the gateway, step by step.

    New connections of applications go to the gateway by the shares of a plan: 1, 5, 25, 50, 100 percent. Each step is
    judged beside the old network; if the gateway is worse, it falls back by itself. A connection that cannot be set up
    is led on to the other network before the application notices.
    """
