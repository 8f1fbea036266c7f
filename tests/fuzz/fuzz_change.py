"""Whatever the bytes, they are a change, an act, or neither by a name of the closed list; and what is one has one
spelling: written again it is the very same bytes."""

import hashlib
import sys

from pcgrelay.policy.change import ACT, CHANGE, parse_act, parse_change
from pcgrelay.policy.signed_text import Misspelt, Spelling

GOOD = b"""\
pcgrelay change, version 1
node      kent-1.kent.police.example, realm police.example
before    7f3ac1d97f3ac1d97f3ac1d97f3ac1d97f3ac1d97f3ac1d97f3ac1d97f3ac1d9
after     a91b02eea91b02eea91b02eea91b02eea91b02eea91b02eea91b02eea91b02ee
by        j.smith@kent.police.example
made      2026-11-03T09:12:00Z, to be taken before 2026-11-06T09:12:00Z
change    CR-1042
reason    Essex needs custody look-ups
WIDENS    export custody: allow essex.police.example added
NARROWS   export pnd: removed
NEUTRAL   log.level debug
"""
FIRST = GOOD.replace(b"7f3ac1d9" * 8, b"none")
DONE = (
    b"pcgrelay act, version 1\n"
    + GOOD.splitlines(keepends=True)[1]
    + b"act       retire\nsha256    "
    + hashlib.sha256(b"x").hexdigest().encode()
    + b"\n"
    + b"".join(GOOD.splitlines(keepends=True)[4:8])
    + b"TEXT      cjx/custody\n"
)
WORDS = [
    *GOOD.split(), b"\n", b"\r\n", b"\r", b"\t", b" ", b"  ", b"\0", b"\xd0\xb5", b"\xe2\x80\xae", b"\xef\xbb\xbf",
    b"none", b"TEXT", b"WIDENS    ", b"\n\n", b"Z", b"+00:00", b"x" * 3_000,
]  # fmt: skip


def told(error: Misspelt) -> str:
    words = str(error)
    assert error.name in Spelling, error.name
    assert words.isascii(), words
    assert words.isprintable(), words
    assert len(words) < 400, words
    return error.name.value


def run(data: bytes) -> object:
    answers = []
    for parse in (parse_change, parse_act):
        try:
            text = parse(data)
        except Misspelt as error:
            answers.append(told(error))
        else:
            assert text.render() == data, text
            assert data.isascii()
            assert b"\r" not in data
            answers.append(f"{len(text.lines)} lines")
    assert not all(answer.endswith("lines") for answer in answers)
    return (*answers, data.startswith(CHANGE.title.encode()), data.startswith(ACT.title.encode()))


if __name__ == "__main__":
    from tests.fuzz.mutation import main

    sys.exit(main([GOOD, FIRST, DONE], WORDS, run))
