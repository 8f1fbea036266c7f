"""Whatever the bytes, they are a list of signers or one sentence that names the file; a list that is taken has a line,
a literal address and a key for each, with namespaces; and a signature is one, or none, without an error of its own."""

import re
import sys
from pathlib import Path

from pcgrelay.errors import ConfigError
from pcgrelay.policy.signatures import fingerprint_of_signature
from pcgrelay.policy.signers import is_address, parse_signers

KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICwvk2gwgx+UrkzkZ45TqZqbgvFvzPNmNX9lkp9VOKvB"
OTHER = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB"
GOOD = (
    b'# who may sign\nj.smith@kent.police.example namespaces="pcgrelay-change@1" ' + KEY + b"\n"
    b'a.jones@kent.police.example namespaces="pcgrelay-change@1,pcgrelay-act@1",valid-after="20260101Z",'
    b'valid-before="20270101120000Z" ' + OTHER + b" a comment\n"
)
SIGNATURE = b"""\
-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgsL5NoMIMflK5M9GOeU6am4Lxb8
zzpjV/ZZKfVTirwUkAAAARcGNncmVsYXktY2hhbmdlQDEAAAAAAAAABnNoYTUxMgAAAFMA
AAALc3NoLWVkMjU1MTkAAABAlJcRb4drJ9S/wNr7FkwpiAMp4N+uKTavwLchw5kb7603KE
z8msYSA7uu2QTYOupJaLtWDCID+Uruq/0JxMqCAQ==
-----END SSH SIGNATURE-----
"""
WORDS = [
    *GOOD.split(), KEY, OTHER, b"cert-authority", b"*", b"!", b",", b'"', b"=", b'valid-after="', b"Z", b"\r\n", b"\n",
    b"ssh-rsa", b"sk-ssh-ed25519@openssh.com", b"ssh-dss", b"AAAA", b"\xd0\xb5", b"\0", b'namespaces="*"',
    b"-----BEGIN SSH SIGNATURE-----\n", b"U1NIU0lH",
]  # fmt: skip
PATH = Path("allowed_signers")


def run(data: bytes) -> object:
    try:
        signature = fingerprint_of_signature(data)
        assert re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", signature), signature
    except ValueError:
        signature = ""
    try:
        found = parse_signers(data, PATH)
    except ConfigError as error:
        words = str(error)
        assert words.startswith(str(PATH)), words
        assert words.isprintable(), words
        assert len(words) < 800, words
        return signature, re.sub(r"['\"].*?['\"]|\d+|\(.*?\)", "", words)[:80]
    assert found
    assert len({each.fingerprint for each in found}) == len(found)
    for each in found:
        assert is_address(each.principal)
        assert each.namespaces
        assert all(name and "*" not in name for name in each.namespaces)
        line = data.split(b"\n")[each.line - 1]
        assert line.startswith(each.principal.encode())
    return signature, len(found), *sorted({each.key_type for each in found})


if __name__ == "__main__":
    from tests.fuzz.mutation import main

    sys.exit(main([GOOD, SIGNATURE], WORDS, run))
