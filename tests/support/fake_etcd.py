"""etcd's JSON gateway in this process, as far as nodes use it, with faults on purpose.

Several members have one content. What a majority would answer is what `content` has.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from tests.support.ports import HOST

Json = dict[str, Any]


@dataclass
class Kept:
    value: bytes
    created: int
    written: int
    lease: int = 0


@dataclass(eq=False)
class Member:
    """One member, at an address of its own."""

    endpoint: str = ""
    mute: bool = False  # it takes requests and never answers
    leaderless: bool = False
    silent_watches: bool = False  # its watches tell nothing
    asked: list[str] = field(default_factory=list)  # paths
    answers: list[tuple[int, Json | bytes]] = field(
        default_factory=list
    )  # given to the next requests, whatever these are


class FakeEtcd:
    """The content of a store, and its members."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.content: dict[bytes, Kept] = {}
        self.revision = 1
        self.compacted = 0
        self.history: list[tuple[int, Json]] = []
        self.leases: dict[int, int] = {}
        self.passwords: dict[str, str] = {}  # none: no passwords
        self.tokens: set[str] = set()
        self._next_lease = 100
        self._changed = asyncio.Event()
        self._runners: list[web.AppRunner] = []

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(member.endpoint for member in self.members)

    async def add_member(self) -> Member:
        member = Member()
        application = web.Application(client_max_size=4 << 20)

        async def answer(request: web.Request) -> web.StreamResponse:
            return await self._answer(member, request)

        application.router.add_post("/v3/{path:.*}", answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, HOST, 0).start()
        member.endpoint = f"http://{HOST}:{runner.addresses[0][1]}"
        self.members.append(member)
        return member

    async def stop_member(self, member: Member) -> None:
        await self._runners[self.members.index(member)].cleanup()

    async def close(self) -> None:
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))

    # -- what a test does ----------------------------------------------------------------------------------------

    def put(self, key: str, value: bytes, lease: int = 0) -> int:
        """Write a key with its root."""
        return self._put(key.encode(), value, lease)

    def delete(self, key: str) -> None:
        self._delete(key.encode())

    def expire(self, lease: int) -> None:
        """End a lease, and all keys under it."""
        self.leases.pop(lease, None)
        for key in [key for key, kept in self.content.items() if kept.lease == lease]:
            self._delete(key)

    def compact(self) -> None:
        """Forget all history up to now."""
        self.compacted = self.revision
        self.history.clear()

    def wipe(self) -> None:
        """Become another store, which never had anything."""
        self.content.clear()
        self.history.clear()
        self.leases.clear()
        self.revision = 1

    # -- requests ------------------------------------------------------------------------------------------------

    async def _answer(self, member: Member, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        member.asked.append(path)
        if member.mute:
            await asyncio.sleep(3600)
        if member.answers:
            status, said = member.answers.pop(0)
            return _response(said, status)
        if member.leaderless:
            return _refused(503, 14, "etcdserver: no leader")
        body = msgspec.json.decode(await request.read())
        if path == "auth/authenticate":
            if self.passwords.get(body["name"]) != body["password"]:
                return _refused(400, 3, "etcdserver: authentication failed, invalid user ID or password")
            token = f"token-{len(self.tokens)}-{self.revision}"
            self.tokens.add(token)
            return _response({"token": token})
        if self.passwords and request.headers.get("Authorization") not in self.tokens:
            if "Authorization" in request.headers:
                return _refused(401, 16, "etcdserver: invalid auth token")
            return _refused(400, 3, "etcdserver: user name is empty")
        if path == "watch":
            return await self._watch(member, request, body["create_request"])
        handlers: dict[str, Callable[[Json], web.Response]] = {
            "kv/range": self._range,
            "kv/put": self._put_asked,
            "kv/deleterange": self._delete_asked,
            "kv/txn": self._swap,
            "lease/grant": self._grant,
            "lease/keepalive": self._keep,
            "lease/revoke": self._revoke,
        }
        return handlers[path](body)

    def _head(self) -> Json:
        return {"cluster_id": "18446744073709551615", "revision": str(self.revision), "raft_term": "2"}

    def _range(self, body: Json) -> web.Response:
        if body.get("revision") and int(body["revision"]) < self.compacted:
            return _refused(400, 11, "etcdserver: mvcc: required revision has been compacted")
        start, end = _octets(body["key"]), _octets(body.get("range_end", ""))
        keys = sorted(key for key in self.content if (start <= key < end if end else key == start))
        limit = int(body.get("limit", 0)) or len(keys)
        answer: Json = {"header": self._head(), "count": str(len(keys))}
        answer["kvs"] = [_shown(key, self.content[key]) for key in keys[:limit]]
        if len(keys) > limit:
            answer["more"] = True
        return _response(answer)

    def _put_asked(self, body: Json) -> web.Response:
        lease = int(body.get("lease", 0))
        if lease and lease not in self.leases:
            return _refused(404, 5, "etcdserver: requested lease not found")
        self._put(_octets(body["key"]), _octets(body["value"]), lease)
        return _response({"header": self._head()})

    def _delete_asked(self, body: Json) -> web.Response:
        self._delete(_octets(body["key"]))
        return _response({"header": self._head()})

    def _swap(self, body: Json) -> web.Response:
        for each in body.get("compare", ()):
            kept = self.content.get(_octets(each["key"]))
            if each["target"] == "CREATE":
                holds = int(each["create_revision"]) == (kept.created if kept else 0)
            else:
                holds = int(each["mod_revision"]) == (kept.written if kept else 0)
            if not holds:
                return _response({"header": self._head()})
        at = self.revision + 1  # all of it is of one revision
        for each in body.get("success", ()):
            self.revision = at - 1
            if "request_put" in each:
                put = each["request_put"]
                self._put(_octets(put["key"]), _octets(put["value"]), int(put.get("lease", 0)))
            else:
                self._delete(_octets(each["request_delete_range"]["key"]))
        return _response({"header": self._head(), "succeeded": True})

    def _grant(self, body: Json) -> web.Response:
        self._next_lease += 1
        self.leases[self._next_lease] = int(body["TTL"])
        return _response({"header": self._head(), "ID": str(self._next_lease), "TTL": str(body["TTL"])})

    def _keep(self, body: Json) -> web.Response:
        lease = int(body["ID"])
        ttl = self.leases.get(lease)
        result = {"header": self._head(), "ID": str(lease)} | ({"TTL": str(ttl)} if ttl else {})
        return _response({"result": result})

    def _revoke(self, body: Json) -> web.Response:
        lease = int(body["ID"])
        if lease not in self.leases:
            return _refused(404, 5, "etcdserver: requested lease not found")
        self.expire(lease)
        return _response({"header": self._head()})

    async def _watch(self, member: Member, request: web.Request, body: Json) -> web.StreamResponse:
        start, end, at = _octets(body["key"]), _octets(body["range_end"]), int(body["start_revision"])
        response = web.StreamResponse()
        await response.prepare(request)
        await _line(response, {"result": {"header": self._head(), "created": True}})
        if at <= self.compacted:
            await _line(response, {"result": {"canceled": True, "compact_revision": str(self.compacted)}})
            return response
        while True:
            changed, events = self._changed, []
            for revision, event in self.history:
                if revision >= at and start <= _octets(event["kv"]["key"]) < end:
                    events.append(event)
            if events and not member.silent_watches:
                at = self.revision + 1
                await _line(response, {"result": {"header": self._head(), "events": events}})
            await changed.wait()

    def _put(self, key: bytes, value: bytes, lease: int) -> int:
        self.revision += 1
        before = self.content.get(key)
        self.content[key] = Kept(value, before.created if before else self.revision, self.revision, lease)
        self._happened({"kv": _shown(key, self.content[key])})
        return self.revision

    def _delete(self, key: bytes) -> None:
        if self.content.pop(key, None) is not None:
            self.revision += 1
            self._happened({"type": "DELETE", "kv": {"key": _text(key), "mod_revision": str(self.revision)}})

    def _happened(self, event: Json) -> None:
        self.history.append((self.revision, event))
        self._changed.set()
        self._changed = asyncio.Event()


def _shown(key: bytes, kept: Kept) -> Json:
    return {
        "key": _text(key),
        "value": _text(kept.value),
        "create_revision": str(kept.created),
        "mod_revision": str(kept.written),
        "version": "1",
        **({"lease": str(kept.lease)} if kept.lease else {}),
    }


async def _line(response: web.StreamResponse, said: Json) -> None:
    await response.write(msgspec.json.encode(said) + b"\n")


def _response(said: Json | bytes, status: int = 200) -> web.Response:
    body = said if isinstance(said, bytes) else msgspec.json.encode(said)
    return web.Response(status=status, body=body, content_type="application/json")


def _refused(status: int, code: int, message: str) -> web.Response:
    return _response({"error": message, "message": message, "code": code}, status)


def _octets(text: str) -> bytes:
    return base64.b64decode(text)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
