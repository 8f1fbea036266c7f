"""A client of etcd over its JSON gateway: requests with a deadline, over whichever member answers.

A request goes to the member that answered last, then to the others in turn, until its deadline. Reads are those of the
majority (etcd calls them linearizable), so each answer but those of a watch proves that the store is alive.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp

from pcgrelay.clock import Clock
from pcgrelay.fleet import errors, wire
from pcgrelay.fleet.errors import StoreProblem, StoreRefused, StoreSilent
from pcgrelay.fleet.names import StoreResolver

T = TypeVar("T")

REQUEST_S = 4.0  # for the answer to one request, over all members: longer than they need for a new leader
TRY_S = 1.5  # of it, for one member
AGAIN_S = 0.2  # after all members have failed
PROGRESS_S = 5.0  # a watch that says nothing for so long is opened again
PAGE_KEYS = 500
KEYS_MOST = 20_000
ANSWER_MOST_BYTES = 16 << 20
VALUE_MOST_BYTES = 1 << 20  # etcd takes 1.5 MiB in one request
LINE_MOST_BYTES = 16 << 20
CONNECTIONS_MOST = 8
# A watch at a member that has no leader any more is ended by that member.
HEADERS = {"Content-Type": "application/json", "Grpc-Metadata-hasleader": "true"}
_OUT_OF_RANGE, _NOT_FOUND, _DENIED, _EXHAUSTED, _UNAUTHENTICATED = 11, 5, 7, 8, 16
_LEADERLESS = (1, 4, 10, 14)  # cancelled, deadline, aborted, unavailable


@dataclass(frozen=True, slots=True)
class StoreAccess:
    """Where the store is, and as whom it is asked."""

    endpoints: tuple[str, ...]  # https://HOST:PORT, at least one
    root: str  # before each key: pcg/1/REALM/
    context: ssl.SSLContext | None = None
    user: str = ""  # none: the certificate alone
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class StoreState:
    """Whether the store is heard of."""

    live: bool = False
    since_ms: int = 0  # monotonic: when that began; of a silent one, when it was heard last
    reason: str = ""  # of SILENCES, while it is silent
    refused: str = ""  # of STORE_REFUSALS: why the last write was not taken


@dataclass(frozen=True, slots=True)
class Found:
    """A value in the store."""

    value: bytes
    revision: int  # of the write
    created: int  # revision at which the key came to be
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Loaded:
    """All keys below a prefix at one revision."""

    revision: int
    values: dict[str, Found]


@dataclass(frozen=True, slots=True)
class Change:
    """One change that a watch tells. found: None if the key is gone."""

    key: str
    revision: int
    found: Found | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a watch tells at once. No change at all: that it has begun, or that it is alive."""

    changes: tuple[Change, ...]
    revision: int  # of the store, as the member knows it
    began: bool = False  # the watch has begun: what has happened since the revision that was asked for comes later


@dataclass(frozen=True, slots=True)
class Put:
    """A write of a transaction."""

    key: str
    value: bytes
    lease: int = 0


class StoreClient:
    """The store as one process sees it. Its methods are called from one event loop."""

    def __init__(self, access: StoreAccess, clock: Clock, told: Callable[[StoreState], None] = lambda state: None):
        """told: called when the state has changed."""
        self.access = access
        self.state = StoreState(since_ms=clock.monotonic_ms())
        self._heard_ms = self.state.since_ms
        self._clock = clock
        self._told = told
        self._at = 0  # the member that is asked first
        self._token = ""
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    @property
    def endpoint(self) -> str:
        """The member that is asked first."""
        return self.access.endpoints[self._at]

    async def close(self) -> None:
        """End all connections. Whoever asks afterwards is told that the store cannot be reached."""
        self._is_closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # -- reads -------------------------------------------------------------------------------------------------

    async def load(self, prefix: str) -> Loaded:
        """Return all keys below a prefix. Raises StoreProblem."""
        start = self._key(prefix)
        end, values, revision = wire.prefix_end(start), {}, 0
        while True:
            body = {"key": start, "range_end": end, "limit": PAGE_KEYS}
            if revision:
                body["revision"] = revision  # all pages are of one moment
            answer = await self._ask(wire.RANGE, body, wire.RangeAnswer)
            revision = revision or answer.header.revision
            for each in answer.kvs:
                if (key := self._name(each.key)) is not None:
                    values[key] = _found(each)
            if not answer.more or not answer.kvs:
                return Loaded(revision, values)
            if len(values) >= KEYS_MOST:
                raise self._silent(errors.TOO_LARGE)
            start = answer.kvs[-1].key + b"\0"

    async def get(self, key: str) -> Found | None:
        """Return one key as the majority has it, or None. Raises StoreProblem."""
        answer = await self._ask(wire.RANGE, {"key": self._key(key), "limit": 1}, wire.RangeAnswer)
        return _found(answer.kvs[0]) if answer.kvs else None

    async def watch(self, prefix: str, revision: int) -> AsyncGenerator[Changes, None]:
        """Yield what changes below a prefix from a revision on, until nothing is said for PROGRESS_S.

        The caller opens it again, behind the last revision that was told. Raises StoreRefused (COMPACTED) if the
        history from there is gone: load again. StoreSilent: the member is lost.
        """
        key = self._key(prefix)
        create = {"key": key, "range_end": wire.prefix_end(key), "start_revision": revision, "progress_notify": True}
        body, endpoint = wire.encode({"create_request": create}), self.endpoint
        try:
            async with asyncio.timeout(PROGRESS_S):
                response = await self._post(endpoint, wire.WATCH, body)
            async with response:
                if response.status != 200:
                    async with asyncio.timeout(TRY_S):
                        await self._good(response)
                async for line in _lines(response):
                    yield self._changes(wire.decode(line, wire.WatchLine))
        except StoreProblem as problem:
            if isinstance(problem, StoreSilent):
                self._pass_over(endpoint)
            raise
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self._pass_over(endpoint)
            raise StoreSilent(_silence(error)) from None

    def _changes(self, line: wire.WatchLine) -> Changes:
        if line.error is not None:
            raise _refusal(line.error)
        result = line.result or wire.WatchResult()
        if result.compact_revision:
            raise StoreRefused(errors.COMPACTED)
        if result.canceled:
            raise StoreSilent(errors.NO_LEADER)
        changes = [
            Change(key, event.kv.mod_revision, None if event.type == "DELETE" else _found(event.kv))
            for event in result.events
            if (key := self._name(event.kv.key)) is not None
        ]
        return Changes(tuple(changes), result.header.revision, result.created)

    # -- writes ------------------------------------------------------------------------------------------------

    async def put(self, key: str, value: bytes, lease: int = 0) -> int:
        """Write a key, under a lease if one is given; return the revision. Raises StoreProblem."""
        body = {"key": self._key(key), "value": _bounded(value), "lease": lease}
        return (await self._ask(wire.PUT, body, wire.WriteAnswer, writes=True)).header.revision

    async def delete(self, key: str) -> None:
        """Remove a key, if it is there. Raises StoreProblem."""
        await self._ask(wire.DELETE, {"key": self._key(key)}, wire.WriteAnswer, writes=True)

    async def swap(
        self,
        created: dict[str, int] | None = None,
        written: dict[str, int] | None = None,
        puts: Sequence[Put] = (),
        deletes: Sequence[str] = (),
    ) -> int:
        """Write all, or nothing unless each key has the revision that is named; return the revision, 0 if nothing.

        created: of keys, at which revision they came to be; 0: they are not there. written: of keys, at which they
        were written last. Raises StoreProblem; after StoreSilent it may have been done or not.
        """
        compare = [
            *(_compare(self._key(key), "CREATE", "create_revision", number) for key, number in (created or {}).items()),
            *(_compare(self._key(key), "MOD", "mod_revision", number) for key, number in (written or {}).items()),
        ]
        success = [
            *(
                {"request_put": {"key": self._key(put.key), "value": _bounded(put.value), "lease": put.lease}}
                for put in puts
            ),
            *({"request_delete_range": {"key": self._key(key)}} for key in deletes),
        ]
        body = {"compare": compare, "success": success}
        answer = await self._ask(wire.TXN, body, wire.WriteAnswer, writes=True, once=True)
        return answer.header.revision if answer.succeeded else 0

    # -- leases ------------------------------------------------------------------------------------------------

    async def grant(self, ttl_s: int) -> int:
        """Return a new lease, which ends if it is not kept for that many seconds. Raises StoreProblem."""
        return (await self._ask(wire.GRANT, {"TTL": ttl_s}, wire.LeaseAnswer, writes=True)).lease

    async def keep(self, lease: int) -> bool:
        """Renew a lease; whether it still exists. Raises StoreProblem."""
        answer = await self._ask(wire.KEEP_ALIVE, {"ID": lease}, wire.KeepAliveAnswer)
        return answer.result.ttl_s > 0

    async def revoke(self, lease: int) -> None:
        """End a lease, and all keys under it. Raises StoreProblem."""
        try:
            await self._ask(wire.REVOKE, {"ID": lease}, wire.WriteAnswer, writes=True)
        except StoreRefused as refused:
            if refused.reason != errors.NO_LEASE:
                raise

    # -- one request -------------------------------------------------------------------------------------------

    async def _ask(
        self, path: str, body: dict[str, Any], kind: type[T], *, writes: bool = False, once: bool = False
    ) -> T:
        """Return the answer of the first member that gives one.

        once: what may have been done is not asked for a second time.
        """
        data = wire.encode(body)
        deadline = asyncio.get_running_loop().time() + REQUEST_S
        failed, reason = 0, errors.DEADLINE
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            endpoint = self.endpoint
            try:
                async with asyncio.timeout(min(left, TRY_S)):
                    answer = wire.decode(await self._answer(endpoint, path, data), kind)
            except StoreRefused as refused:
                self._heard(refused.reason if writes else self.state.refused)
                raise
            except StoreSilent as silent:
                reason, sent = silent.reason, silent.reason != errors.NO_LEADER
            except TimeoutError:
                # What a member has said tells more than that the time is over.
                reason, sent = reason if failed else errors.DEADLINE, True
            except (aiohttp.ClientError, OSError, ValueError) as error:
                reason, sent = _silence(error), not isinstance(error, aiohttp.ClientConnectorError)
            else:
                self._heard("" if writes else self.state.refused)
                return answer
            self._pass_over(endpoint)
            if once and sent:
                break
            failed += 1
            if failed % len(self.access.endpoints) == 0:
                await asyncio.sleep(AGAIN_S)
        raise self._silent(reason)

    async def _answer(self, endpoint: str, path: str, data: bytes) -> bytes:
        """Ask one member, with a new token if it does not know the one that there is."""
        if self.access.user and not self._token:
            self._token = await self._authenticated(endpoint)
        token = self._token
        async with self._post(endpoint, path, data) as response:
            if response.status != 401 or not self.access.user:
                return await self._good(response)
        if self._token == token:
            self._token = await self._authenticated(endpoint)
        async with self._post(endpoint, path, data) as response:
            return await self._good(response)

    async def _authenticated(self, endpoint: str) -> str:
        body = wire.encode({"name": self.access.user, "password": self.access.password})
        self._token = ""
        try:
            async with self._post(endpoint, wire.AUTHENTICATE, body) as response:
                return wire.decode(await self._good(response), wire.TokenAnswer).token
        except StoreRefused:
            raise StoreSilent(errors.UNAUTHENTICATED) from None

    def _post(self, endpoint: str, path: str, data: bytes) -> aiohttp.client._RequestContextManager:
        if self._is_closed:
            raise StoreSilent(errors.UNREACHABLE)
        if self._session is None:
            connector = aiohttp.TCPConnector(
                ssl=self.access.context or False, limit=CONNECTIONS_MOST, resolver=StoreResolver(), ttl_dns_cache=10
            )
            # Nothing of the environment, no cookies, no redirections, no compression: only what was asked for.
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=TRY_S),
                headers=HEADERS,
                skip_auto_headers=("User-Agent", "Accept-Encoding"),
                auto_decompress=False,
            )
        headers = {"Authorization": self._token} if self._token else {}
        return self._session.post(f"{endpoint}/v3/{path}", data=data, headers=headers, allow_redirects=False)

    async def _good(self, response: aiohttp.ClientResponse) -> bytes:
        """Return the body of an answer that is one. Raises StoreProblem."""
        data = bytearray()
        async for chunk in response.content.iter_any():
            data += chunk
            if len(data) > ANSWER_MOST_BYTES:
                raise StoreSilent(errors.TOO_LARGE)
        if response.status == 200:
            return bytes(data)
        raise _refusal(wire.decode(bytes(data), wire.ErrorBody))

    def _pass_over(self, endpoint: str) -> None:
        """Ask the next member first from now on."""
        if endpoint == self.endpoint:
            self._at = (self._at + 1) % len(self.access.endpoints)

    def _heard(self, refused: str) -> None:
        self._heard_ms = self._clock.monotonic_ms()
        if not self.state.live:
            self._tell(StoreState(live=True, since_ms=self._heard_ms, refused=refused))
        elif self.state.refused != refused and refused not in (errors.NO_LEASE, errors.COMPACTED):
            self._tell(StoreState(live=True, since_ms=self.state.since_ms, refused=refused))

    def _silent(self, reason: str) -> StoreSilent:
        if self.state.live or self.state.reason != reason:
            self._tell(StoreState(live=False, since_ms=self._heard_ms, reason=reason))
        return StoreSilent(reason)

    def _tell(self, state: StoreState) -> None:
        self.state = state
        self._told(state)

    # -- keys --------------------------------------------------------------------------------------------------

    def _key(self, key: str) -> bytes:
        return (self.access.root + key).encode()

    def _name(self, key: bytes) -> str | None:
        """Return a key without the root; None: it is none of ours."""
        root = self.access.root.encode()
        if not key.startswith(root) or not key.isascii():
            return None
        return key[len(root) :].decode("ascii")


def _found(each: wire.KeyValue) -> Found:
    return Found(each.value, each.mod_revision, each.create_revision, each.lease)


def _compare(key: bytes, target: str, field_: str, number: int) -> dict[str, Any]:
    return {"key": key, "target": target, "result": "EQUAL", field_: number}


def _bounded(value: bytes) -> bytes:
    if len(value) > VALUE_MOST_BYTES:
        raise StoreRefused(errors.OTHER)
    return value


def _refusal(body: wire.ErrorBody) -> StoreProblem:
    """Return what a refusal of the gateway means."""
    code = body.code or body.grpc_code
    if code == _OUT_OF_RANGE and "compacted" in body.message:
        return StoreRefused(errors.COMPACTED)
    if code == _NOT_FOUND:
        return StoreRefused(errors.NO_LEASE)
    if code == _DENIED:
        return StoreRefused(errors.PERMISSION)
    if code == _EXHAUSTED:
        return StoreRefused(errors.NO_SPACE)
    # A store that wants passwords, and was told no name.
    if code == _UNAUTHENTICATED or "user name is empty" in body.message:
        return StoreSilent(errors.UNAUTHENTICATED)
    if code in _LEADERLESS or "no leader" in body.message:
        return StoreSilent(errors.NO_LEADER)
    return StoreRefused(errors.OTHER) if code else StoreSilent(errors.MALFORMED)


def _silence(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return errors.DEADLINE
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return errors.TLS
    return errors.MALFORMED if isinstance(error, ValueError) else errors.UNREACHABLE


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the lines of a watch, until it ends or says nothing for PROGRESS_S."""
    rest = bytearray()
    while True:
        try:
            async with asyncio.timeout(PROGRESS_S):
                chunk = await response.content.readany()
        except TimeoutError:
            return
        if not chunk:
            return
        rest += chunk
        *lines, last = bytes(rest).split(b"\n")
        rest = bytearray(last)
        if len(rest) > LINE_MOST_BYTES:
            raise StoreSilent(errors.TOO_LARGE)
        for line in lines:
            if line.strip():
                yield line
