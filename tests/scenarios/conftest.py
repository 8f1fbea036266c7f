"""One realm for each topology, started once for all scenarios that leave it as they found it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.nodes import PATHS, Line, Stage, line

FIGURES = pytest.StashKey[list[str]]()
MEASURED = pytest.StashKey[dict[str, Any]]()

# What is exported in every topology. A test that starts a server at a target ends it too.
SERVICES = ("web", "ssh", "sql", "redis", "iperf", "echo")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("how long scenarios go on")
    group.addoption("--upgrades", type=int, default=2, help="how often each node is upgraded under a thousand streams")
    group.addoption("--kills", type=int, default=3, help="how often a relay is killed under streams")
    group.addoption("--power-cuts", type=int, default=20, help="how often an edge is killed in a cut-over")
    group.addoption("--power-cut-seed", type=int, default=1, help="the moments of these and of upgrades")
    group.addoption("--cut-over-upgrades", type=int, default=3, help="how often an edge is upgraded in a cut-over")
    group.addoption("--target-down", type=float, default=30.0, help="seconds a target is down in each step")
    group.addoption("--gate-runs", type=int, default=1, help="how many real moves are judged of each kind")
    group.addoption("--move-soak", type=float, default=3.0, help="seconds of each step under real clients")
    group.addoption("--acceptance", action="store_true", help="with the cases of `make acceptance` alone")
    group.addoption("--figures", type=Path, help="where the figures of the run are written, as JSON")
    group.addoption("--store-cut", type=float, default=60.0, help="seconds a relay is cut from the store of its fleet")
    group.addoption("--saturated", type=float, default=4.0, help="seconds without a free processor")
    group.addoption("--chaos", type=float, default=20.0, help="seconds of chaos")
    group.addoption("--upgrade-from", default="baa4472", help="the commit whose nodes are upgraded to this code")
    group.addoption("--debian", default="", help="bookworm or trixie: the Debian that a package is tried on")
    group.addoption("--package", type=Path, help="the package that is tried there; one is built if none is named")
    group.addoption("--chaos-seed", type=int, default=1, help="what happens in the chaos")


@pytest.fixture(scope="session")
def realms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Line]]:
    """The realm of each topology, which is started when it is first asked for and stays to the end."""
    with ExitStack() as stack:

        @cache
        def realm(topology: str) -> Line:
            stage = stack.enter_context(Stage(tmp_path_factory.mktemp(topology)))
            made = line(stage, topology, SERVICES, node_table={"memory": "64MiB"})
            made.start()
            return made

        yield realm


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest, realms: Callable[[str], Line]) -> Line:
    """Every topology in turn, with all services of the Met's edge ready."""
    return realms(request.param)


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Says a measured figure in the summary of the run."""
    figures: list[str] = request.config.stash.setdefault(FIGURES, [])
    return lambda text: figures.append(f"{request.node.name}: {text}")


@pytest.fixture
def measured(request: pytest.FixtureRequest, figure: Callable[[str], None]) -> Callable[..., None]:
    """Says figures by their names, for people and for `--figures`."""
    kept: dict[str, Any] = request.config.stash.setdefault(MEASURED, {})

    def say(**figures: Any) -> None:
        kept.update(figures)
        figure(", ".join(f"{name} {value}" for name, value in figures.items()))

    return say


def pytest_sessionfinish(session: pytest.Session) -> None:
    file: Path | None = session.config.getoption("--figures")
    if file is not None:
        said = session.config.stash.get(FIGURES, [])
        file.write_text(json.dumps(session.config.stash.get(MEASURED, {}) or {"said": said}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if figures := config.stash.get(FIGURES, []):
        terminalreporter.section("figures of the scenarios")
        for line_ in figures:
            terminalreporter.write_line(line_)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.scenario)
    if not config.getoption("--acceptance"):
        left_out = [item for item in items if item.get_closest_marker("only_acceptance")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
