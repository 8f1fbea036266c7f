"""Findings of an examination: a line each, with a cure."""

from __future__ import annotations

from pcgrelay.finding import ERROR, OK, WARNING, Finding


def good(where: str, sentence: str) -> Finding:
    """Return that something is right."""
    return Finding(level=OK, where=where, sentence=sentence)


def doubtful(where: str, sentence: str, mend: str) -> Finding:
    """Return that something needs attention, and how."""
    return Finding(level=WARNING, where=where, sentence=sentence, mend=mend)


def broken(where: str, sentence: str, mend: str) -> Finding:
    """Return that something does not work now. It may without a change of the file, so a node starts with it."""
    return Finding(level=ERROR, where=where, sentence=sentence, mend=mend, passing=True, starts=True)
