"""Pages and reports from templates: Jinja2, where a name that is not there is a fault and every value is escaped.

HTML escapes by Jinja2's rules. Markdown has rules of its own: each value is escaped so that it is text and no mark-up.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from pcgrelay.printable import printable

TEXT_LIMIT = 1 << 18
# All of them now: while an older process still answers, its folder may have been replaced by that of a newer version.
_FILES = {
    path.name: path.read_text(encoding="utf-8")
    for path in Path(__file__).with_name("templates").iterdir()
    if path.suffix in {".j2", ".css", ".js"}
}
_MARKDOWN = re.compile(r"([\\`*_\[\]<>#|~&])")


def render(template: str, **values: object) -> str:
    """Return the text of a template, whose name ends with .html or .md."""
    return _environment(template.endswith(".html")).get_template(f"{template}.j2").render(values)


def read_asset(name: str) -> str:
    """Return a file that stands beside the templates, as it is."""
    return _FILES[name]


def css_text(text: str) -> Markup:
    """Return text as a string of CSS within a style element, where HTML's escapes mean nothing."""
    escaped = "".join(each if each.isascii() and each.isalnum() else f"\\{ord(each):x} " for each in text)
    return Markup(f'"{escaped}"')  # noqa: S704 # letters, digits and escapes alone


def markdown_text(value: Any) -> str:
    """Return a value as text that Markdown shows as it is."""
    return _MARKDOWN.sub(r"\\\1", printable(str(value)))


@lru_cache(maxsize=2)
def _environment(is_html: bool) -> Environment:
    environment = Environment(
        loader=DictLoader(_FILES),
        autoescape=is_html,  # noqa: S701 # Markdown has its own below
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown if is_html else markdown_text,
    )
    environment.filters["css_text"] = css_text
    return environment


def _shown(value: Any) -> Any:
    """What nobody sees is shown as its number. Texts are limited where they come in; a drawn path may be long."""
    return printable(value, TEXT_LIMIT) if isinstance(value, str) and not isinstance(value, Markup) else value
