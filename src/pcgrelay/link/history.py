"""What outlasts a single link: the settings by which it is chosen, and how steady it has been.

A link that is made again, after a lost connection or a restart of the neighbour, takes over the standing of the one
before, so that a link that flaps is known as one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pcgrelay.config import LinkSettings, ListenSettings
from pcgrelay.health.damping import FlapDamping


@dataclass(eq=False, slots=True)
class LinkHistory:
    """Of the links with one neighbour that were dialled to one address, or came in at one."""

    settings: LinkSettings | ListenSettings
    damping: FlapDamping = field(default_factory=FlapDamping)
