"""What a node answers to those who read over TCP: metrics and health to a scraper, pages to a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from pcgrelay.admin.http import Answer, Asked, Events, text_answer
from pcgrelay.admin.server import AdminHandlers, answer_scrape
from pcgrelay.gateway.node import Node
from pcgrelay.model import NodeId
from pcgrelay.views.status import node_status
from pcgrelay.views.status_page import (
    EVENTS_PATH,
    PAGE_PATH,
    SCRIPT_PATH,
    STYLE_PATH,
    CatalogueLine,
    node_page,
    node_part,
    script,
    style,
)

EVENT_S = 5.0  # between two views of the node
STREAMS_MOST = 8  # browsers with a live view at once
LIFE_S = 600.0  # of a live view; a browser begins another one, and proves again who it is


def answer_readers(node: Node, handlers: AdminHandlers) -> None:
    """Give the readers' listeners of a node their answers."""

    async def scraped(asked: Asked) -> Answer | Events:
        return answer_scrape(asked.method, asked.target, handlers)

    node.readers.metrics.answering = scraped
    node.readers.page.answering = Pages(node, handlers).answer


class Pages:
    """The pages of a node."""

    def __init__(self, node: Node, handlers: AdminHandlers) -> None:
        self._node = node
        self._handlers = handlers
        self.streams = 0  # live views that are open

    async def answer(self, asked: Asked) -> Answer | Events:
        """Return what a browser asks for."""
        if asked.method not in ("GET", "HEAD"):
            return text_answer(405, "Only GET is answered here; nothing can be changed from a page.")
        path = asked.target.partition("?")[0]
        if path == PAGE_PATH:
            node = self._node
            return node_page(node_status(node), catalogue(node), node.config.node.id.dotted, node.clock.wall())
        if path == STYLE_PATH:
            return style()
        if path == SCRIPT_PATH:
            return script()
        if path == EVENTS_PATH and asked.method == "GET":
            if self.streams >= STREAMS_MOST:
                return text_answer(503, f"{STREAMS_MOST} browsers have a live view already; refresh by hand.")
            return Events(self._views())
        return self._handlers.page(path) or text_answer(404, "There is nothing here.")

    async def _views(self) -> AsyncGenerator[str, None]:
        """Yield the part of the page that changes, every few seconds."""
        node, loop = self._node, asyncio.get_running_loop()
        ends = loop.time() + LIFE_S
        self.streams += 1
        try:
            while loop.time() < ends:
                yield node_part(node_status(node), catalogue(node), node.config.node.id.dotted, node.clock.wall())
                await asyncio.sleep(EVENT_S)
        finally:
            self.streams -= 1


def catalogue(node: Node) -> tuple[CatalogueLine, ...]:
    """Return what neighbours announce of other edges."""
    found, me = [], node.config.node.id
    for edge in sorted(node.exchange.catalogue.edges()):
        best, newest = node.exchange.catalogue.best(edge), node.exchange.catalogue.newest(edge)
        if edge == me or best is None or newest is None:
            continue
        relays = [NodeId.from_uri(uri).dotted for uri in reversed(best[1].path)]
        found.append(
            CatalogueLine(
                edge=edge.dotted,
                services=tuple(sorted(offer.service for offer in newest.offers)),
                hops=(*relays, edge.dotted),
                ways=len(node.exchange.catalogue.ways(edge)),
            )
        )
    return tuple(found)
