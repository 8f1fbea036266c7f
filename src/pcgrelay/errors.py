"""The exception types of the control plane, each with the exit code of a command that ends with it.

A message is one sentence for a user: what is wrong, where, and how to correct it. The command line prints it unchanged.
The codes are those of sysexits(3) where one fits, so that a service manager can tell a wrong file from a temporary
failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

AnError = TypeVar("AnError", bound=BaseException)


class PcgrelayError(Exception):
    """Base of everything that pcgrelay refuses or cannot do; the message is one sentence."""

    exit_code = 1

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that there is to say, each a sentence of its own."""
        return (str(self),)


class RunError(PcgrelayError):
    """A failure at run time."""

    exit_code = 1


class UsageProblem(PcgrelayError):
    """A command was called with invalid or contradictory arguments."""

    exit_code = 2


class StatusProblem(PcgrelayError):
    """A node does not answer, or cannot serve something."""

    exit_code = 3


class RuleProblem(PcgrelayError):
    """It was understood, and a rule does not allow it."""

    exit_code = 6


class ProofProblem(PcgrelayError):
    """What was kept does not agree with what was signed."""

    exit_code = 8


class PermissionProblem(PcgrelayError):
    """This user lacks a permission, or a file gives others too many (EX_NOPERM)."""

    exit_code = 77


class ConfigError(PcgrelayError):
    """The configuration, or a file that it names, cannot be used (EX_CONFIG)."""

    exit_code = 78


class ConfigErrors(ConfigError):
    """Several things are wrong in one file. As a text it is the first of them, and how many there are more."""

    def __init__(self, sentences: Sequence[str], first: Sequence[str] = ()) -> None:
        """first: what stands before all others."""
        self._sentences = (*first, *sentences)
        more = len(self._sentences) - 1
        noun = "is 1 more error" if more == 1 else f"are {more} more errors"
        super().__init__(self._sentences[0] + (f" There {noun} in it; run: pcgrelay check" if more else ""))

    @property
    def sentences(self) -> tuple[str, ...]:
        return self._sentences


def without_traceback(error: AnError) -> AnError:
    """Return an exception that is to be kept, without where it was raised and from what.

    A traceback refers to the frames that it passed, and so keeps all that they worked with.
    """
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error
