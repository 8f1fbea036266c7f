"""The exception types of the control plane, each with the exit code of a command that ends with it.

A message is one sentence for a user: what is wrong, where, and how to correct it. The command line prints it unchanged.
The codes are those of sysexits(3) where one fits, so that a service manager can tell a wrong file from a temporary
failure.
"""

from __future__ import annotations


class PcgrelayError(Exception):
    """Base of everything that pcgrelay refuses or cannot do; the message is one sentence."""

    exit_code = 1


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


class PermissionProblem(PcgrelayError):
    """This user lacks a permission, or a file gives others too many (EX_NOPERM)."""

    exit_code = 77


class ConfigError(PcgrelayError):
    """The configuration, or a file that it names, cannot be used (EX_CONFIG)."""

    exit_code = 78
