"""Writes the manual pages: `manual_pages.py FOLDER DATE`, with a Python that has pcgrelay, and go-md2man on the path.

pcgrelay(1), a page for each command from its own help, and pcgrelay.toml(5) from docs/configuration.md. go-md2man
(Debian) turns Markdown into roff. A line of help stays a line where click was told so (\\b), as in examples.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click

from pcgrelay import __version__
from pcgrelay.cli.root import pcgrelay as root

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    folder, date = Path(sys.argv[1]), sys.argv[2]
    for section in ("man1", "man5"):
        (folder / section).mkdir(parents=True, exist_ok=True)
    context = click.Context(root, info_name="pcgrelay")
    for name, text in command_pages(context, date):
        write(folder / "man1" / f"{name}.1", text)
    page = (ROOT / "docs" / "configuration.md").read_text()
    write(folder / "man5" / "pcgrelay.toml.5", configuration_page(page, date))


def write(path: Path, text: str) -> None:
    roff = subprocess.run(["go-md2man"], input=text, capture_output=True, text=True, check=True).stdout
    path.write_text(roff)


def title(name: str, section: int, date: str, line: str) -> str:
    heading = f'{name.upper()} {section} {date} "pcgrelay {__version__}" "pcgrelay"'
    return f"{heading}\n==================================================\n\n# NAME\n\n{name} - {line}\n\n"


def command_pages(context: click.Context, date: str) -> Iterator[tuple[str, str]]:
    """Name and text of the page of a command, and of all below it."""
    command, name = context.command, context.command_path.replace(" ", "-")
    lines = (command.help or "").strip().splitlines()
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [title(name, 1, date, lines[0].rstrip(".") if lines else name)]
    parts.append(f"# SYNOPSIS\n\n**{context.command_path}** {escaped(usage)}\n\n")
    parts.append(f"# DESCRIPTION\n\n{paragraphs(command.help or '')}\n\n")
    records = [found for each in command.get_params(context) if (found := each.get_help_record(context))]
    if records:
        parts.append("# OPTIONS\n\n" + "".join(f"**{escaped(o)}**\n: {escaped(t)}\n\n" for o, t in records))
    below = []
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            assert found is not None
            below.append(click.Context(found, info_name=each, parent=context))
        shown = "".join(f"**{c.command_path.replace(' ', '-')}**(1)\n: {escaped(summary(c))}\n\n" for c in below)
        parts.append(f"# COMMANDS\n\n{shown}")
    if command.epilog:
        parts.append(f"# NOTES\n\n{paragraphs(command.epilog)}\n\n")
    if context.parent is not None:
        parts.append("# SEE ALSO\n\n**pcgrelay**(1), **pcgrelay.toml**(5), /usr/share/doc/pcgrelay\n")
    else:
        parts.append("# SEE ALSO\n\n**pcgrelay.toml**(5), /usr/share/doc/pcgrelay/install.md, operations.md\n")
    yield name, "".join(parts)
    for each in below:
        yield from command_pages(each, date)


def summary(context: click.Context) -> str:
    return context.command.get_short_help_str(200)


def paragraphs(text: str) -> str:
    """Markdown of a help text: what follows \\b keeps its lines, all else is a paragraph."""
    found = []
    for block in re.split(r"\n\s*\n", cleandoc(text)):
        if block.startswith("\b"):
            found.append("\n".join(f"    {line}" for line in block.splitlines()[1:]))
        else:
            found.append(escaped(block))
    return "\n\n".join(found)


def escaped(text: str) -> str:
    return re.sub(r"([*_`<>\[\]\\])", r"\\\1", text)


def configuration_page(text: str, date: str) -> str:
    """The page of every key as a manual page: links become their words, and headings move up by one."""
    body = text.split("\n", 1)[1]
    body = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", body)
    body = re.sub(r"^#(#+ )", r"\1", body, flags=re.M)
    body = re.sub(r"^# (.*)$", lambda found: f"# {found[1].upper()}", body, flags=re.M)
    body = re.sub(r"(?:^\|.*\n)+", lambda found: definitions(found[0]), body, flags=re.M)
    return title("pcgrelay.toml", 5, date, "the configuration of a pcgrelay node") + f"# DESCRIPTION\n{body}"


def definitions(table: str) -> str:
    """A table as a list of definitions, which any width of a terminal has room for."""
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))] for line in table.splitlines()]
    names, lines = rows[0], []
    for first, *between, last in rows[2:]:
        said = "".join(f", {name} {cell}" for name, cell in zip(names[1:-1], between, strict=True) if cell)
        lines.append(f"**{plain(first)}**{plain(said)}\n: {plain(last)}\n\n")
    return "".join(lines)


def plain(text: str) -> str:
    return escaped(text.replace("`", "").replace("\\|", "|"))


if __name__ == "__main__":
    main()
