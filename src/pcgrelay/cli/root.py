"""The top of the command line: the list of commands, and the options that they share."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from pcgrelay import __version__

F = TypeVar("F", bound=Callable[..., Any])

# Command: its module and its line in the help, which is here so that the help loads no command.
COMMANDS = {
    "init": ("pcgrelay.cli.init:init", "Write the first configuration file of a node."),
    "run": ("pcgrelay.cli.run:run", "Run a node until it is stopped."),
    "check": ("pcgrelay.cli.check:check", "Check everything about a node that does not need its network."),
    "doctor": ("pcgrelay.cli.doctor:doctor", "Examine a node with its network: what is wrong, and what mends it."),
    "reload": ("pcgrelay.cli.reload:reload", "Make a running node apply its configuration and files again."),
    "plan": ("pcgrelay.cli.approvals.plan:plan", "Write the text of a change, for others to sign."),
    "approve": ("pcgrelay.cli.approvals.approve:approve", "Read the text of a change or an act, and sign it."),
    "apply": ("pcgrelay.cli.approvals.apply:apply", "Have a running node take its files, with what approves them."),
    "undo": ("pcgrelay.cli.approvals.undo:undo", "Go back to the policy that was approved before this one."),
    "hold": ("pcgrelay.cli.approvals.hold:hold", "Have a node refuse a change until you lift that."),
    "upgrade": ("pcgrelay.cli.upgrade:upgrade", "Replace a running node's process with this version of pcgrelay."),
    "drain": ("pcgrelay.cli.drain:drain", "Move traffic away from a running node before it is stopped."),
    "status": ("pcgrelay.cli.status:status", "Show the state of a running node."),
    "top": ("pcgrelay.cli.top:top", "Watch running nodes, with the rates of what they carry."),
    "explain": ("pcgrelay.cli.explain:explain", "Explain which route a new stream would take, and why not another."),
    "outlet": ("pcgrelay.cli.outlet:outlet", "Show the outlets of imports, or move new streams between them."),
    "cutover": ("pcgrelay.cli.cutover:cutover", "Move a service from an old network to the gateway, step by step."),
    "quiet": ("pcgrelay.cli.quiet:quiet", "Show since when nothing used an old network."),
    "retire": ("pcgrelay.cli.retire:retire", "Close an old outlet that is quiet; certify a network."),
    "drill": ("pcgrelay.cli.drill:drill", "Put a back-up, a relay or a network to the test."),
    "backup": ("pcgrelay.cli.backup:backup", "Write a back-up of a node: configuration, files and state."),
    "assure": ("pcgrelay.cli.assure:assure", "Test a node's controls, and write evidence that others can verify."),
    "audit": ("pcgrelay.cli.audit:audit", "Examine, prove and read the audit log of a node."),
    "dpia": ("pcgrelay.cli.dpia:dpia", "Write what a node keeps, for a data protection impact assessment."),
    "fleet": ("pcgrelay.cli.fleet:fleet", "Show the nodes of a realm, as the store of [fleet] has them."),
    "page": ("pcgrelay.cli.page:page", "Show the cut-overs of a running node to a browser on this machine."),
    "ca": ("pcgrelay.cli.ca:ca", "Make certificates for a small realm."),
    "demo": ("pcgrelay.cli.demo:demo", "Run a whole realm on this machine, for demonstration."),
}

EPILOG = """\b
First steps:
  pcgrelay demo                                         see it work
  pcgrelay ca init ca --realm police.example            make a realm
  pcgrelay ca issue ca --organisation kent.police.example --node kent-1 \\
      --out tls
  pcgrelay init kent-1.toml                             write the first file
  pcgrelay check -c kent-1.toml                         before the first start
  pcgrelay doctor -c kent-1.toml                        also with its network
  pcgrelay run -c kent-1.toml
  pcgrelay status -c kent-1.toml

\b
Exit codes:
   0  good
   1  failed at run time
   2  wrong usage of the command line
   3  status, explain: the node does not answer, or cannot serve something
   4  status: it serves, and something needs attention
   5  status: it drains
   6  outlet, cutover, retire, approve, apply, reload: a rule does not allow
      it, or has undone it
   8  assure, audit, cutover replay: a control failed, or evidence does not
      hold
  77  no permission
  78  bad configuration
 130  interrupted

\b
Environment:
  PCGRELAY_CONFIG  the file for -c
  PCGRELAY_DEBUG   1: show the traceback of an unexpected error
  NO_COLOR         set: no colours
"""

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


# Commands that are a node themselves, and print no facts.
BARE = ("run", "upgrade")


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def __init__(self, *arguments: Any, lazy: Mapping[str, tuple[str, str]], **options: Any) -> None:
        """lazy: as COMMANDS."""
        super().__init__(*arguments, **options)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return None
        module, _, name = self._lazy[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        # Here, since it depends on what options the command has; and not for a node: it loads what draws tables.
        if cmd_name in BARE:
            return command
        return importlib.import_module("pcgrelay.cli.marking").with_marking(command)  # type: ignore[no-any-return]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            # click looks for the nearest among the commands that are loaded, and here none is.
            raise click.NoSuchCommand(error.command_name, possibilities=list(self._lazy), ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._lazy.items()])


def _version_printed(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked:
        return
    # This loads the core, which nothing else in this file needs.
    libraries = importlib.import_module("pcgrelay.openssl")
    click.echo(f"pcgrelay {__version__}")
    click.echo(f"frames:   {libraries.data_plane_library()}")
    click.echo(f"sessions: {libraries.session_library()}")
    if libraries.leaves_speed(libraries.data_plane_library(), libraries.processor_flags()):
        click.echo("On this processor OpenSSL 3.1 or later seals AES-GCM up to three times as fast as this one.")
    ctx.exit()


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings=CONTEXT, epilog=EPILOG)
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version_printed,
    help="Show the version of pcgrelay and of the OpenSSL that it runs with, and exit.",
)
def pcgrelay() -> None:
    """A secure relay gateway between organisations.

    Applications of one organisation reach the services of another through relays that cannot read what they carry.
    """


def config_option(command: F) -> F:
    """Add -c FILE, which is the same for every command about one node."""
    return click.option(
        "-c",
        "--config",
        "path",
        metavar="FILE",
        required=True,
        envvar="PCGRELAY_CONFIG",
        show_envvar=True,
        # Readability is checked by pcgrelay itself: its lack is a matter of permission (77), not of usage (2).
        type=click.Path(path_type=Path, readable=False),
        help="The node's configuration.",
    )(command)


def json_option(command: F) -> F:
    """Add --json, which is the same for every command that prints facts."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)
