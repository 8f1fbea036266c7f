"""One invocation of the command line, from its arguments to its exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

import click

from pcgrelay.cli.root import pcgrelay
from pcgrelay.errors import PcgrelayError
from pcgrelay.printable import printable

INTERRUPTED = 130  # 128 + SIGINT, as in a shell


def invoke(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every failure ends with one sentence on standard error."""
    try:
        answer = pcgrelay.main(args=arguments, prog_name="pcgrelay", standalone_mode=False)
        # Output that cannot be written is lost, and that must not look like success.
        sys.stdout.flush()
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except PcgrelayError as error:
        for sentence in error.sentences:
            _complain(sentence)
        return error.exit_code
    except BrokenPipeError:
        return 1  # the reader of the output has closed it
    except Exception as error:  # the last resort: a user gets a sentence, never a traceback
        return _unexpected(error)
    return answer if isinstance(answer, int) else 0


def _unexpected(error: Exception) -> int:
    if os.environ.get("PCGRELAY_DEBUG") == "1":
        traceback.print_exc()
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        _complain("there is no space left for the output; make room and try again.")
    elif isinstance(error, UnicodeEncodeError) and "\udc80" <= error.object[error.start] <= "\udcff":
        # What Python makes of a byte that is no UTF-8.
        word = error.object[max(0, error.start - 20) : error.end]
        _complain(f"a word that was given, or the name of a file, is no UTF-8 text ({word}); write it in UTF-8.")
        return 2
    else:
        words = " ".join(str(error).split())[:300]
        detail = f"{type(error).__name__}: {words}" if words else type(error).__name__
        _complain(f"this should not have happened ({detail}); run it again with PCGRELAY_DEBUG=1 and report that.")
    return 1


def _complain(sentence: str) -> None:
    with suppress(OSError):  # standard error may be on the same full disk; the exit code still reports the failure
        click.echo(f"pcgrelay: {printable(sentence)}", err=True)
