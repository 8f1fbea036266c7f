"""What outlasts a single link: the settings by which it is chosen, and its flap damping.

A link that is made again, after a lost connection or a restart of the neighbour, inherits the history of the one
before, so that a link that flaps is recognised.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pcgrelay.config import LinkSettings, ListenSettings
from pcgrelay.health.damping import FlapDamping


@dataclass(eq=False, slots=True)
class LinkHistory:
    """The history of the links with one neighbour that were dialled to, or accepted at, the same address."""

    settings: LinkSettings | ListenSettings
    damping: FlapDamping = field(default_factory=FlapDamping)
