"""What a probe is asked for, and what becomes of its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from pcgrelay import config
from pcgrelay.assure.judgement import FAILED, PASSED, TOLD, AskedError
from pcgrelay.assure.judges import record as judges
from pcgrelay.assure.parameters import Parameters
from pcgrelay.assure.readers import probe
from pcgrelay.assure.record_facts import Marker, Observed, Privacy
from pcgrelay.assure.scene import Scene
from pcgrelay.config import AssureSettings, Config, ImportSettings
from pcgrelay.config.values import Address
from pcgrelay.errors import StatusProblem
from pcgrelay.model import NodeId, ServiceName
from tests.support.documented_config import PATH, documented, written

P = Parameters()


def node(*allowed: str) -> Config:
    values = documented()
    first = values["export"][0]
    values["export"] = [{**first, "allow": list(allowed)}, {**first, "service": "pnd", "also": []}]
    return config.parse(written(values), PATH)


def imported(name: str, address: str = "127.0.0.1:9") -> ImportSettings:
    return ImportSettings(service=ServiceName.parse(name), listen=Address.parse(address))


def probed(*names: str) -> Config:
    settings = node()
    own = replace(settings.node, id=NodeId("police.example", "probe.example", "probe-1"))
    return replace(settings, node=own, imports=tuple(imported(each) for each in names))


CUSTODY, PND = "custody@kent.police.example", "pnd@kent.police.example"


@pytest.mark.parametrize(
    ("allow", "names", "allowed", "forbidden"),
    [
        (("probe.example",), (CUSTODY, PND), CUSTODY, PND),
        ((), (CUSTODY,), None, CUSTODY),
        (("probe.example",), (CUSTODY,), CUSTODY, None),
        # What this node does not export at all, it would never hear of.
        (("probe.example",), ("x@kent.police.example", "custody@met.police.example"), None, None),
    ],
)
def test_imports_of_a_probe(allow: tuple[str, ...], names: tuple[str, ...], allowed: str, forbidden: str) -> None:
    found = probe.probe_of(node(*allow), probed(*names))
    assert [each and str(each.service) for each in (found.allowed, found.forbidden)] == [allowed, forbidden]


async def test_without_a_probe_a_person_is_asked(tmp_path: Path) -> None:
    scene = Scene(replace(node(), assure=AssureSettings()), P, tmp_path)
    for read in (probe.read_refusal, probe.read_observed):
        with pytest.raises(AskedError):
            await read(scene)
    assert (await probe.read_privacy(scene)).marker is None


Served = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def spoken_with(serve: Served) -> probe.Spoken:
    served: list[asyncio.Task[None]] = []
    writers: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.append(task)
        writers.append(writer)
        await serve(reader, writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()
        return await probe.speak(imported(CUSTODY, f"{host}:{port}"), b"marker\n")
    finally:
        server.close()
        for task, writer in zip(served, writers, strict=True):
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*served, return_exceptions=True)
        await server.wait_closed()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read())
    writer.close()


async def refusing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(probe.STREAM_S * 2)


async def test_what_becomes_of_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "STREAM_S", 0.3)
    assert await spoken_with(echo) == probe.Spoken(b"marker\n", ended=True, reset=False)
    found = await spoken_with(refusing)
    assert (found.answer, found.ended) == (b"", True)
    assert not (await spoken_with(silent)).ended
    with pytest.raises(StatusProblem, match="The probe does not listen"):
        await probe.speak(imported(CUSTODY, "127.0.0.1:1"), b"")


MARKER = Marker(sent_bytes=50, came_back=True, searched=("metrics", "log"))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (Privacy(records=2, fields=9, open_fields=(), marker=MARKER), ""),
        (Privacy(records=2, fields=9, open_fields=("a.b",)), "a.b may hold text from the wire"),
        (
            Privacy(records=2, fields=9, open_fields=(), marker=replace(MARKER, hits=("log",))),
            "the marker was found in the log",
        ),
        (
            Privacy(records=2, fields=9, open_fields=(), marker=replace(MARKER, came_back=False)),
            "its absence shows nothing",
        ),
    ],
)
def test_privacy(facts: Privacy, said: str) -> None:
    judgement = judges.nothing_is_held(facts, P)
    assert judgement.outcome == (FAILED if said else PASSED)
    assert said in judgement.observed


def test_without_a_marker_privacy_is_not_shown() -> None:
    """The page about personal data has its first sentence only if this has passed."""
    judgement = judges.nothing_is_held(Privacy(records=2, fields=9, open_fields=()), P)
    assert judgement.outcome == TOLD
    assert "no marker was sent" in judgement.observed


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (Observed(stream_s=0.3, refusal_s=0.4), ""),
        (Observed(stream_s=0.3, refusal_s=None, refusal_tried=False), ""),
        (Observed(stream_s=None, refusal_s=0.4), "no record of the stream came"),
        (Observed(stream_s=0.3, refusal_s=None), "no record of the refusal came"),
        (Observed(stream_s=2.4, refusal_s=0.4), "the record of the stream came after 2.4 s"),
        (Observed(stream_s=0.3, refusal_s=0.4, missing=("stream.end.id",)), "stream.end.id is missing"),
    ],
)
def test_what_is_recorded(facts: Observed, said: str) -> None:
    judgement = judges.what_happens_is_recorded(facts, P)
    assert judgement.outcome == (FAILED if said else PASSED)
    assert said in judgement.observed
