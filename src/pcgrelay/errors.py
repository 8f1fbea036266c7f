"""The few exception types of the control plane, each with the exit code that it ends a command with.

A message is one sentence for a person: what is wrong, where, and how to mend it. The command line prints it as it is.
The codes are those of sysexits(3) where one fits, so that a service manager can tell a bad file from a bad day.
"""

from __future__ import annotations


class PcgrelayError(Exception):
    """Anything that pcgrelay refuses or cannot do, told in one sentence."""

    exit_code = 1


class RunError(PcgrelayError):
    """Something failed at run time."""

    exit_code = 1


class UsageProblem(PcgrelayError):
    """A command was called in a way that makes no sense."""

    exit_code = 2


class StatusProblem(PcgrelayError):
    """A node does not answer, or cannot serve something."""

    exit_code = 3


class PermissionProblem(PcgrelayError):
    """This user may not do it, or a file lets others do too much (EX_NOPERM)."""

    exit_code = 77


class ConfigError(PcgrelayError):
    """The configuration, or a file that it names, cannot be used (EX_CONFIG)."""

    exit_code = 78
