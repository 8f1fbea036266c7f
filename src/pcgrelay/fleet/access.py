"""How a command asks the store: as the node whose configuration it was given."""

from __future__ import annotations

from pcgrelay.fleet.client import StoreAccess
from pcgrelay.fleet.values import root_of
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.identity.store_tls import store_context


def store_access(local: LocalIdentity) -> StoreAccess | None:
    """Return how the store is asked; None: there is none. Raises ConfigError, PermissionProblem."""
    settings, credentials = local.written.fleet, local.store_credentials
    if settings is None or credentials is None:
        return None
    return StoreAccess(
        endpoints=settings.endpoints,
        root=root_of(local.config.node.id.realm),
        context=store_context(credentials),
        user=settings.user,
        password=credentials.password,
    )
