"""pcgrelay fleet upgrade."""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
from pathlib import Path

import click

from pcgrelay import config
from pcgrelay.cli.root import config_option
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.errors import ConfigError, RunError, UsageProblem
from pcgrelay.fleet.access import store_access
from pcgrelay.fleet.client import StoreClient
from pcgrelay.fleet.lock import Holder
from pcgrelay.fleet.report import UPGRADE
from pcgrelay.fleet.roll import Member, Roll
from pcgrelay.fleet.values import signing_as
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.output import counted, say

EPILOG = """\b
Examples:
  pcgrelay fleet upgrade --one-by-one -c kent-1.toml
  pcgrelay fleet upgrade --one-by-one --only relays -c relay-1.toml
  pcgrelay fleet upgrade --one-by-one --dry-run -c kent-1.toml

\b
Each node starts what is installed on its machine: install the new version
there first. No stream ends.

\b
Exit codes:
   0  all were replaced, or shown
   1  it stopped on the way, or the store is silent
   2  wrong usage, and nothing was done
   6  somebody else changes nodes of this organisation, or a node does not
      take new work; nothing was done
  77  no permission: the node's own user, or root, may do this
  78  bad configuration, or one without [fleet]
 130  interrupted: the node that was begun goes on, no other one is
"""
ROLES = {"relays": "relay", "edges": "edge"}


@click.command(epilog=EPILOG)
@config_option
@click.option("--one-by-one", is_flag=True, help="The next one begins when the one before is ready again.")
@click.option("--only", type=click.Choice([*ROLES]), help="Relays alone, or edges alone.")
@click.option("--dry-run", is_flag=True, help="Show which nodes it would be, in which order.")
def upgrade(path: Path, one_by_one: bool, only: str | None, dry_run: bool) -> int:
    """Have the nodes of this organisation replace their processes, one by one.

    The node of FILE signs for it, and holds a lock of its organisation in the store meanwhile. Each node of the
    organisation is told in turn to do what `pcgrelay upgrade` does, on its own machine. One that is not ready again
    stops it. Nodes of other organisations take no order from this one.
    """
    if not one_by_one:
        raise UsageProblem("Nodes are replaced one by one, and in no other way; write: --one-by-one")
    local = LocalIdentity(config.load(path))
    return asyncio.run(_run(local, ROLES.get(only or "", ""), dry_run))


async def _run(local: LocalIdentity, role: str, dry_run: bool) -> int:
    access = store_access(local)
    if access is None:
        raise ConfigError(f"{local.config.path}: there is no [fleet], so no other node can be told; add it.")
    client = StoreClient(access, SYSTEM_CLOCK)
    own = local.config.node.id
    roll = Roll(client, SYSTEM_CLOCK, own, signing_as(local), local, say)
    try:
        if dry_run:
            return _shown(await roll.members(role))
        user = pwd.getpwuid(os.getuid()).pw_name[:64]
        since_s = int(SYSTEM_CLOCK.wall().timestamp())
        holder = Holder(node=own.dotted, act=UPGRADE, by=user, nonce=secrets.token_hex(8), since_s=since_s)
        count = await roll.run(holder, role)
    finally:
        await client.close()
    if not count:
        raise RunError("No node of this organisation is in the store; nothing was done.")
    say(f"{counted(count, 'node')} replaced, one by one.")
    return 0


def _shown(members: list[Member]) -> int:
    for number, member in enumerate(members, 1):
        state = "" if member.report.ready else f", {member.report.condition or 'not ready'}"
        say(f"{number}. {member.node} ({member.report.role}, {member.report.version}{state})")
    return 0
