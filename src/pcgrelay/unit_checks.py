"""What can be checked about pcgrelay@.service of the packages, for a file in /etc/pcgrelay whose node it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pcgrelay.config import Config
from pcgrelay.files import SYSTEM_FOLDER, UNIT_GROUP, UNIT_USER, is_hidden_from_units
from pcgrelay.finding import Finding, doubtful


def unit_makes(config: Config, folder: Path) -> bool:
    """Whether a folder that is not there yet is one of the two that the unit makes before the node starts."""
    name = config.path.stem
    is_made = folder in (Path("/run/pcgrelay", name), Path("/var/lib/pcgrelay", name))
    return is_made and config.path.absolute().parent == SYSTEM_FOLDER and not folder.exists()


def hidden_from_unit(config: Config) -> Iterator[Finding]:
    """What root can read and the unit's user cannot: the node would not start."""
    for key in ("certificate", "key", "trust", "crl"):
        path = getattr(config.identity, key)
        if path is not None and is_hidden_from_units(path):
            sentence = f"The user {UNIT_USER}, as which the units of the package run, may not read {path}."
            yield doubtful(f"identity.{key}", sentence, f"Run: chown root:{UNIT_GROUP} {path} && chmod 640 {path}")
    for key in ("certificate", "key", "trust", "password"):
        path = getattr(config.fleet, key, None)
        if path is not None and is_hidden_from_units(path):
            sentence = f"The user {UNIT_USER}, as which the units of the package run, may not read {path}."
            yield doubtful(f"fleet.{key}", sentence, f"Run: chown root:{UNIT_GROUP} {path} && chmod 640 {path}")
