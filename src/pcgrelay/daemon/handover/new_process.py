"""The incoming side of a hand-over: this process replaces the running one and continues with its whole state.

Everything that can fail in this process is done first: files are read, ports opened, names resolved. Only then is the
running process asked to stop its workers. A failure before GO ends this process with one error sentence and nothing
else: it closes its copies of the descriptors, which ends no connection, and the running process continues.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pcgrelay.config import Address
from pcgrelay.daemon.handover.channel import (
    DESCRIPTORS_MOST,
    Channel,
    ChannelBroken,
    Go,
    Offer,
    Ready,
    Refusal,
    State,
    Taken,
    handover_path,
)
from pcgrelay.daemon.handover.memfd import map_record
from pcgrelay.daemon.keeper import refusal_to_take
from pcgrelay.errors import PermissionProblem, RunError
from pcgrelay.files import reason_of
from pcgrelay.gateway.handover import common_facts, expect, restore
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.prepared import Prepared
from pcgrelay.handover.node import LEAST, VERSION, decode_handover
from pcgrelay.state.folder import StateFolder

OFFER_S = 10.0
STATE_S = 5.0
GO_S = 3.0
SAID_S = 2.0
OWN = 5  # number of descriptors before those of listeners and core
SPARE_DESCRIPTORS = 64


@dataclass(slots=True)
class HandedOver:
    """What the previous process hands over besides the node: output, log, two sockets, and how it was supervised."""

    output: int
    log: int
    admin: socket.socket
    door: socket.socket
    drain_s: float | None
    is_kept: bool
    notify_socket: str


async def take_over(node: Node) -> HandedOver:
    """Replace the running node. When this returns, the previous process has stopped sealing and this one has not begun.

    RunError: the hand-over failed or was refused, and the previous process continues.
    """
    channel = _connect(node)
    try:
        offer = channel.receive(Offer, OFFER_S)
        if word := _refusal(node, offer):
            with suppress(ChannelBroken):
                channel.send(Refusal(reason=word), SAID_S)
            raise RunError(f"{word[:1].upper()}{word[1:]}; the running node goes on.")
        prepared = await _prepared(node, offer)
        return _taken(node, channel, prepared)
    except ChannelBroken as broken:
        raise RunError(f"The running node was not taken over: {broken}.") from None
    finally:
        channel.close()


def _connect(node: Node) -> Channel:
    path = handover_path(node.config.node.admin)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(OFFER_S)
        sock.connect(str(path))
    except PermissionError:
        sock.close()
        raise PermissionProblem(f"{path}: only the user that the node runs as may take it over.") from None
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        raise RunError(f"{path}: no node runs here; start one with: pcgrelay run -c FILE") from None
    except OSError as error:
        sock.close()
        raise RunError(f"{path}: the node does not answer ({reason_of(error)}).") from None
    channel = Channel(sock)
    # First: root, who may do everything, is to hear what to run instead.
    if word := refusal_to_take(channel.peer()[0]):
        channel.close()
        raise RunError(f"{word[:1].upper()}{word[1:]}; the running node goes on.")
    if not channel.is_own():
        channel.close()
        raise PermissionProblem(f"{path}: the node runs as another user, and only that one may take it over.")
    return channel


def _refusal(node: Node, offer: Offer) -> str:
    """Return why this process cannot continue for the running one, or an empty string."""
    plane, path = node.plane, node.config.path
    if not (plane.record_least <= offer.record <= plane.record_version and LEAST <= offer.handover <= VERSION):
        return "the running node is of a version whose state this one does not read; restart it instead"
    mine = common_facts(node)
    if other := [f"node.{key}" for key, value in mine.items() if offer.node.get(key, value) != value]:
        verb = "has" if len(other) == 1 else "have"
        return f"{path}: {' and '.join(other)} {verb} changed, which needs a restart"
    if offer.used_bytes > node.config.node.memory_bytes:
        return f"{path}: node.memory is less than the running node uses now; give it more"
    wanted = offer.descriptors + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        return (
            f"the running node has {offer.descriptors} open files, and this process may have {hard}; raise that limit"
        )
    if soft != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return ""


async def _prepared(node: Node, offer: Offer) -> Prepared:
    try:
        expect(node, [Address.parse(text) for text in offer.listens], offer.imports)
    except ValueError:
        raise ChannelBroken("it offers what cannot be read") from None
    node.local.prepare_readers()
    prepared = await node.prepare(node.config)
    # In parallel: if a name service does not answer, each look-up takes its whole deadline.
    targets = [*prepared.targets.values(), *prepared.directs.values()]
    await asyncio.gather(*(target.settled() for target in targets))
    return prepared


def _taken(node: Node, channel: Channel, prepared: Prepared) -> HandedOver:
    """Run the exchange from READY to GO: this process restores everything, or it exits."""
    channel.send(Ready(), SAID_S)
    try:
        state = channel.receive(State, STATE_S)
        count = OWN + len(state.listens) + state.core
        if not 0 <= state.core <= count <= DESCRIPTORS_MOST:
            raise ChannelBroken("it passes on more descriptors than there can be")
        descriptors = channel.receive_descriptors(count, STATE_S)
        node.state = state_folder(node.config.node.state, channel, has_lock=state.has_lock)
        left = _restored(node, state, descriptors, prepared)
        channel.send(Taken(), SAID_S)
        channel.receive_last(Go, GO_S)
    except BaseException as error:
        # Exit directly on any error: an orderly stop would send messages on connections that belong to the other
        # process.
        _end(node, str(error) or type(error).__name__)
    return left


def state_folder(path: Path | None, channel: Channel, *, has_lock: bool) -> StateFolder | None:
    """Return the folder of state with the lock that the other process passes on, or with a lock of its own.

    has_lock: the other process passes one on. It is of no use if the configuration names another folder now.
    """
    (lock,) = channel.receive_descriptors(1, STATE_S) if has_lock else (-1,)
    folder = StateFolder.adopt(path, lock) if path is not None and lock >= 0 else None
    if folder is None and lock >= 0:
        os.close(lock)
    return folder or (None if path is None else StateFolder.take(path))


def _restored(node: Node, state: State, descriptors: Sequence[int], prepared: Prepared) -> HandedOver:
    handover = decode_handover(state.handover)
    own, rest = descriptors[:OWN], descriptors[OWN:]
    memory = map_record(own[0], state.record_bytes)
    try:
        with memoryview(memory) as record:
            try:
                unused = node.plane.handover_read(record, rest[len(state.listens) :])
            finally:
                node.plane.wiped(record)
    finally:
        memory.close()
        os.close(own[0])
    for descriptor in unused:
        os.close(descriptor)
    wanted = {settings.address for settings in node.config.listens}
    wanted |= {address for export in node.config.exports for address in export.also}
    wanted |= {each.listen for each in node.config.readers.values() if each.listen is not None}
    for text, descriptor in zip(state.listens, rest, strict=False):
        sock = socket.socket(fileno=descriptor)
        address = Address.parse(text)
        if address in wanted:
            prepared.listeners[address] = sock
        else:
            sock.close()
    prepared.listen()
    restore(node, handover, prepared)
    return HandedOver(
        output=own[1],
        log=own[2],
        admin=socket.socket(fileno=own[3]),
        door=socket.socket(fileno=own[4]),
        drain_s=state.drain_s,
        is_kept=state.is_kept,
        notify_socket=state.notify_socket,
    )


def _end(node: Node, reason: str) -> NoReturn:
    """Exit without an orderly stop, which would send messages on the descriptors that were received."""
    node.plane.abandon()
    print(f"pcgrelay: The running node was not taken over: {reason.rstrip('.')}.", file=sys.stderr, flush=True)
    os._exit(1)
