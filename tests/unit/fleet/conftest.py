from tests.support.fleet_fixtures import client, fleet, store

__all__ = ["client", "fleet", "store"]
