"""The control plane, by real nodes on loopback: how soon a loss is known, what reload, status and set-ups take, and how
long small requests through the same nodes wait meanwhile.

All nodes share one processor, as on rung 4, so the control plane of each is in the way of every data plane: no worse
place could be chosen. The load has the other one. What the nodes are asked, they are asked over their admin sockets by
this process, which waits; a command of its own would first start an interpreter beside them.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from benches import results
from benches.chain import Place
from benches.generator import Load, held, measure
from benches.peers.pcgrelay.peer import FAR, MIDDLE, NEAR, PROGRAM, Pcgrelay, table
from benches.processes import BenchError, cpu_seconds, free_port, until
from benches.settings import HOST, LOAD_CPU, Settings, allow_many_descriptors, chosen
from pcgrelay.admin.answers import RELOAD_PATH, ReloadAnswer
from pcgrelay.admin.client import ask, read_status
from pcgrelay.errors import PcgrelayError

SERVICES = 1_000
STREAMS = 20_000
LINKS = 20
ROUNDS_MOST = 3
# How long requests are measured, without and with the control plane at work.
WINDOWS_S = {"full": 1.5, "short": 0.6, "tiny": 0.2}
# How many services, streams and links there are, as a share of those above.
SHARES = {"full": 1.0, "short": 0.5, "tiny": 0.02}
# Links that came up together are renewed together; this is long enough for one such wave, and mostly two.
RENEWALS_S = 1.5
SCRAPES = 20
# Long enough for some scrapes, of which there is one each second.
SCRAPES_S = {"full": 6.0, "short": 3.0, "tiny": 1.2}
ANSWER_S = 20.0
LOOK_S = 0.001
Rows = Iterator[dict[str, Any]]


def run(settings: Settings) -> None:
    limit = allow_many_descriptors()
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pcgrelay-bench-") as name:
        for number in range(min(ROUNDS_MOST, settings.rounds)):
            for part in (_losses, _reloads, _status, _scrapes, _set_ups):
                try:
                    for row in part(settings, Path(name) / f"{number}-{part.__name__}", limit):
                        rows.append({"round": number, **row})
                        print(_line(row), flush=True)
                except (BenchError, PcgrelayError, OSError, subprocess.SubprocessError) as error:
                    failures.append(f"control plane, {part.__name__.strip('_')}: {error}")
                results.write("plane", settings, rows, failures)


def _some(settings: Settings, count: int) -> int:
    return max(2, int(count * SHARES[settings.name]))


# -- losses -----------------------------------------------------------------------------------------------------------


def _losses(_settings: Settings, folder: Path, _limit: int) -> Rows:
    """From the loss until the near edge's status says that its import has no way, and until it has one again."""
    with Pcgrelay(Place(folder, 3, free_port())) as chain:
        relay, far = MIDDLE, chain.place.hops - 1
        losses: dict[str, Callable[[], Callable[[], object]]] = {
            "the TCP connections of the relay": lambda: _cut(chain.place.ports[relay]),
            "the relay, by kill -9": lambda: _killed(chain, relay),
            "the far edge behind the relay, by kill -9": lambda: _killed(chain, far),
        }
        for what, lose in losses.items():
            until(lambda: _has_a_way(chain), ANSWER_S, "the import has a way")
            began = time.monotonic()
            mend = lose()
            withdrawn = _seconds_until(began, lambda: not _has_a_way(chain), what)
            began = time.monotonic()
            mend()
            yield {"what": "loss", "lost": what, "seconds": withdrawn, "again_s": _again(chain, began)}


def _has_a_way(chain: Pcgrelay) -> bool:
    return all(service.state == "ready" for service in read_status(chain.admin(0)).services)


def _again(chain: Pcgrelay, began: float) -> float:
    return _seconds_until(began, lambda: _has_a_way(chain), "there is a way again")


def _seconds_until(began: float, true: Callable[[], bool], what: str) -> float:
    while not true():
        if time.monotonic() - began > ANSWER_S:
            raise BenchError(f"within {ANSWER_S:g} s nothing came of it: {what}")
        time.sleep(LOOK_S)
    return time.monotonic() - began


def _cut(port: int) -> Callable[[], object]:
    """Have the kernel abort every connection of that port; they are made again without help."""
    which = f"( sport = :{port} )"
    done = subprocess.run(
        ["ss", "-K", "-H", "state", "established", which], capture_output=True, text=True, check=False
    )
    if not done.stdout.strip():
        raise BenchError(f"this kernel aborts no connection: {done.stderr.strip()}")
    return lambda: None


def _killed(chain: Pcgrelay, hop: int) -> Callable[[], object]:
    """Kill a node; what is answered starts it again."""
    process = next(each for each in chain.processes if each.role == chain.place.names[hop])
    process.popen.kill()

    def start() -> None:
        process.popen.wait(ANSWER_S)
        chain.processes.remove(process)
        chain.run(hop)

    return start


# -- requests meanwhile -----------------------------------------------------------------------------------------------


def _reloads(settings: Settings, folder: Path, _limit: int) -> Rows:
    """One service of a thousand comes or goes at each reload."""
    count = _some(settings, SERVICES)
    with Pcgrelay(Place(folder, 2, free_port())) as chain:
        port = free_port()
        for hop, side in ((1, "exports"), (0, "imports")):
            configurations = [_services(chain, hop, port, number) for number in (count, count - 1)]
            chain.configure(hop, configurations[0])
            began = time.monotonic()
            _reload(chain, hop)
            yield {"what": f"reload, {count:,} {side} come at once", "seconds": time.monotonic() - began}

            def change(number: int, hop: int = hop, configurations: list[list[str]] = configurations) -> float:
                chain.configure(hop, configurations[1 - number % 2])
                began = time.monotonic()
                _reload(chain, hop)
                return time.monotonic() - began

            what = f"reload, one of {count:,} {side} comes or goes"
            yield {"what": what, **_meanwhile(settings, chain.place.load(), chain, change)}


def _services(chain: Pcgrelay, hop: int, port: int, count: int) -> list[str]:
    if hop:
        common = {"target": chain.place.target, "allow": [NEAR], "probe": "none"}
        return [table("export", service=f"service-{number}", **common) for number in range(count)]
    # Every address of 127.0.0.0/8 is this machine, so one port does for all.
    doors = [_door(number, port) for number in range(count)]
    return [table("import", service=f"service-{n}@{FAR}", listen=f"{host}:{at}") for n, (host, at) in enumerate(doors)]


def _door(number: int, port: int) -> tuple[str, int]:
    return f"127.87.{number >> 7}.{1 + number % 128}", port


def _reload(chain: Pcgrelay, hop: int) -> None:
    answer = ask(chain.admin(hop), "POST", RELOAD_PATH, ReloadAnswer, ANSWER_S)
    if not answer.ok or not answer.changes:
        raise BenchError(f"the reload of {chain.place.names[hop]} changed nothing: {answer.reason}")


def _status(settings: Settings, folder: Path, limit: int) -> Rows:
    """The status of the near edge, while so many streams are open and silent."""
    wanted = _some(settings, STREAMS)
    count = min(wanted, limit - 1_000)
    fewer = {"fewer": f"{count:,} streams, not {wanted:,}: a process may have {limit:,} descriptors here"}
    place = Place(folder, 2, free_port(), connections=limit)
    with Pcgrelay(place) as chain, held(chain.place.load(), count):

        def look(_number: int) -> float:
            began = time.monotonic()
            if read_status(chain.admin(0)).streams.active < count:
                raise BenchError("the status does not know of all streams")
            return time.monotonic() - began

        # The server of the silent ones serves the requests too.
        load = Load(chain.place.load().host, chain.place.load().port)
        what = f"status over the admin socket beside {count:,} open streams"
        yield {"what": what, **_meanwhile(settings, load, chain, look), **(fewer if count < wanted else {})}
        command = ["taskset", "-c", str(LOAD_CPU), PROGRAM, "status", "--json", "-c", chain.config(0)]
        began = time.monotonic()
        # 3 would say that the node needs attention, which is an answer too.
        done = subprocess.run(command, capture_output=True, timeout=ANSWER_S, check=False)
        if done.returncode not in (0, 3):
            raise BenchError(f"status: {done.stderr.decode()}")
        yield {"what": f"`pcgrelay status --json` beside {count:,} open streams", "seconds": time.monotonic() - began}


def _scrapes(settings: Settings, folder: Path, _limit: int) -> Rows:
    """The metrics of the near edge with a thousand imports that have carried streams, over TCP, once a second."""
    count = _some(settings, SERVICES)
    with Pcgrelay(Place(folder, 2, free_port())) as chain, held(chain.place.load(), 1):
        port, metrics = free_port(), f"{HOST}:{free_port()}"
        chain.configure(1, _services(chain, 1, port, count))
        _reload(chain, 1)
        chain.configure(0, [*_services(chain, 0, port, count), f'[metrics]\nlisten = "{metrics}"'])
        _reload(chain, 0)
        until(lambda: _has_a_way(chain), ANSWER_S, "all imports have a way")
        for number in range(count):
            with socket.create_connection(_door(number, port), ANSWER_S) as sock:
                sock.shutdown(socket.SHUT_WR)
                sock.recv(1)
        wanted = f"service-{count - 1}@{FAR}"

        def scrape(_number: int) -> float:
            began = time.monotonic()
            with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=ANSWER_S) as answer:
                text = answer.read().decode()
            took = time.monotonic() - began
            if f'service="{wanted}"' not in text.partition("_service_life_seconds_count")[2]:
                raise BenchError("the metrics do not know of all streams")
            return took

        def scrape_each_second(number: int) -> float:
            took = scrape(number)
            time.sleep(max(0.0, 1.0 - took))
            return took

        near = chain.place.names[0]
        scrape(0)  # writes all lines for the first time
        before = cpu_seconds(chain.pids())[near]
        for number in range(SCRAPES):
            scrape(number)
        each_s = (cpu_seconds(chain.pids())[near] - before) / SCRAPES
        yield {"what": f"processor time of a scrape, {count:,} imports that carried streams", "seconds": each_s}
        load = Load(chain.place.load().host, chain.place.load().port)
        what = f"a scrape each second beside {count:,} imports that carried streams"
        yield {"what": what, **_meanwhile(settings, load, chain, scrape_each_second, SCRAPES_S[settings.name])}


def _set_ups(settings: Settings, folder: Path, _limit: int) -> Rows:
    """Full handshakes of both edges: links that come all at once, and links that are renewed each second."""
    count = _some(settings, LINKS)
    with Pcgrelay(Place(folder, 2, free_port())) as chain:
        # Two links to one neighbour lead to two addresses.
        doors = [f"{HOST}:{free_port()}" for _ in range(count)]
        listeners = [table("listen", address=door) for door in doors]
        links = [table("link", peer=chain.dotted(1), address=door) for door in doors]
        chain.configure(1, listeners)
        _reload(chain, 1)

        def come(_number: int) -> float:
            chain.configure(0, links)
            began = time.monotonic()
            _reload(chain, 0)
            took = _seconds_until(began, lambda: _links_up(chain) > count, "all links are up")
            chain.configure(0)
            _reload(chain, 0)
            until(lambda: _links_up(chain) == 1, ANSWER_S, "the links are gone")
            return took

        yield {"what": f"{count} links set up at once", **_meanwhile(settings, chain.place.load(), chain, come)}
        soon = "renewal_interval_s = 1"
        chain.configure(1, listeners, soon)
        _reload(chain, 1)
        quiet = _requests(settings, chain.place.load(), chain)
        chain.configure(0, links, soon)
        _reload(chain, 0)
        until(lambda: _renewals(chain) >= count, ANSWER_S, "each link was renewed once")
        before, began = _renewals(chain), time.monotonic()
        busy = _requests(settings, chain.place.load(), chain, RENEWALS_S)
        rate = (_renewals(chain) - before) / (time.monotonic() - began)
        what = f"{count + 1} links and a session, with {soon}"
        yield {"what": what, "per_s": rate, **_beside(quiet, busy)}


def _links_up(chain: Pcgrelay) -> int:
    links = read_status(chain.admin(0)).links
    return len(links) if all(link.state == "up" for link in links) else 0


def _renewals(chain: Pcgrelay) -> int:
    status = read_status(chain.admin(0))
    return sum(each.generation for each in (*status.links, *status.sessions))


def _requests(settings: Settings, load: Load, chain: Pcgrelay, least_s: float = 0.0) -> dict[str, Any]:
    """One request of 64 B after the other."""
    seconds = max(least_s, WINDOWS_S[settings.name])
    return measure(load, chain.pids(), request=1, warm=settings.warm_s, seconds=seconds)


def _meanwhile(
    settings: Settings, load: Load, chain: Pcgrelay, act: Callable[[int], float], least_s: float = 0.0
) -> dict[str, Any]:
    """Requests, first undisturbed, then while `act` is done over and over; how long each act took is its answer."""
    quiet = _requests(settings, load, chain, least_s)
    took = []
    with ThreadPoolExecutor(1) as aside:
        measured = aside.submit(_requests, settings, load, chain, least_s)
        while not measured.done():
            took.append(act(len(took)))
        busy = measured.result()
    return {"seconds": median(took), "times": len(took), **_beside(quiet, busy)}


def _beside(quiet: dict[str, Any], busy: dict[str, Any]) -> dict[str, Any]:
    kept = ("p50_us", "p99_us", "most_us")
    # What this process and the commands take meanwhile counts as others too, so only the quiet window tells of them.
    disturbed = {key: quiet[key] for key in ("others_cores", "stolen_cores")}
    return {key: busy[key] for key in kept} | {f"quiet_{key}": quiet[key] for key in kept} | disturbed


def _line(row: dict[str, Any]) -> str:
    words = [f"{1e3 * row['seconds']:9.1f} ms" if "seconds" in row else f"{row['per_s']:9.1f} /s"]
    if "again_s" in row:
        words.append(f"a way again {1e3 * row['again_s']:.0f} ms after it was mended")
    if "p99_us" in row:
        words.append(f"p99 {row['quiet_p99_us']:.0f} -> {row['p99_us']:.0f} us")
        words.append(f"most {row['quiet_most_us']:.0f} -> {row['most_us']:.0f} us")
    what = row.get("lost") or row["what"]
    return f"{what:60} {', '.join(words)}"


if __name__ == "__main__":
    run(chosen())
