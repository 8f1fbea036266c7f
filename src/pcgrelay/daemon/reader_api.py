"""What a node answers to those who read over TCP: metrics and health to a scraper, pages to a browser."""

from __future__ import annotations

from pcgrelay.admin.http import Answer, Asked, text_answer
from pcgrelay.admin.server import AdminHandlers, answer_scrape
from pcgrelay.gateway.node import Node

HOME = "/cutover"


def answer_readers(node: Node, handlers: AdminHandlers) -> None:
    """Give the readers' listeners of a node their answers."""

    async def scraped(asked: Asked) -> Answer:
        return answer_scrape(asked.method, asked.target, handlers)

    async def shown(asked: Asked) -> Answer:
        if asked.method not in ("GET", "HEAD"):
            return text_answer(405, "Only GET is answered here; nothing can be changed from a page.")
        path = asked.target.partition("?")[0]
        if path == "/":
            return Answer(303, "text/plain; charset=utf-8", b"", {"Location": HOME})
        return handlers.page(path) or text_answer(404, "There is nothing here.")

    node.readers.metrics.answering = scraped
    node.readers.page.answering = shown
