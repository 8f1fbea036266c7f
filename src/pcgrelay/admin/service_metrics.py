"""The families of services and routes: whether applications get through.

An edge may have a thousand services, so their lines are kept as those of traffic are (`traffic_text`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pcgrelay.admin.families import PREFIX
from pcgrelay.admin.status import ServiceStatus, Status
from pcgrelay.admin.traffic_text import Family, RowsText, labels_of

FAMILIES = (
    Family("service_up", "gauge", "Whether it is ready."),
    Family("route_up", "gauge", "Whether streams of an import can go to that exporter."),
    Family(
        "import_back_up_in_use",
        "gauge",
        "Whether streams of an import go to a back-up exporter because no other one can be reached.",
    ),
)
_TAKEN = ("ready", "settling")
Routes = tuple[tuple[str, bool], ...]  # of an import: exporters, and whether each is up


class ServicesText:
    """The text of one node's services; it keeps what has not changed since the last scrape."""

    def __init__(self) -> None:
        self._rows = RowsText(FAMILIES)

    def text(self, status: Status) -> str:
        """Return all families."""
        return self._rows.text(
            ((each.direction, each.name), now, partial(_lines, each.direction, each.name, *now))
            for each, now in ((each, _now(each)) for each in status.services)
        )


def _now(service: ServiceStatus) -> tuple[bool, Routes, bool]:
    routes = tuple((route.exporter, route.state in _TAKEN) for route in service.routes)
    return service.state == "ready", routes, _is_on_back_up(service)


def _lines(direction: str, name: str, is_ready: bool, routes: Routes, on_back_up: bool) -> Sequence[str]:
    up = f"{PREFIX}service_up{{{labels_of(direction=direction, service=name)}}} {is_ready:d}\n"
    if direction != "import":
        return up, "", ""
    ways = [
        f"{PREFIX}route_up{{{labels_of(exporter=exporter, service=name)}}} {is_up:d}\n" for exporter, is_up in routes
    ]
    back_up = f"{PREFIX}import_back_up_in_use{{{labels_of(service=name)}}} {on_back_up:d}\n"
    return up, "".join(ways), back_up


def _is_on_back_up(service: ServiceStatus) -> bool:
    taken = [route for route in service.routes if route.state in _TAKEN]
    missing = [route for route in service.routes if route.state not in _TAKEN and route.precedence != "back-up"]
    return bool(taken and missing) and all(route.precedence == "back-up" for route in taken)
