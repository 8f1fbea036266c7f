"""Signatures of people over texts, made and verified by OpenSSH's ssh-keygen (PROTOCOL.sshsig).

ssh-keygen decides. What is read of a signature here finds the words for a refusal, and refuses before a process is
begun what can never be good. It runs by its absolute path, without a shell, with an empty environment, on sealed files
in memory: what was verified is what was read, and nothing of it is left on a disk.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
import re
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from pcgrelay.errors import ConfigError, RunError
from pcgrelay.files import read_bounded, reason_of
from pcgrelay.policy.signers import Signer, fingerprint_of, is_address, strings_of

SSH_KEYGEN = "/usr/bin/ssh-keygen"
PACKAGE = "openssh-client"
DEADLINE_S = 2.0
SIGN_DEADLINE_S = 120.0  # a person types a passphrase, or touches a key
SIGNATURES_MOST = 16
AT_ONCE = 4
SIGNATURE_LIMIT_BYTES = 16 << 10
KRL_LIMIT_BYTES = 64 << 10
KRL_MAGIC = b"SSHKRL\n\0"
ENVIRONMENT = {"LC_ALL": "C"}
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

CHANGE_NAMESPACE = "pcgrelay-change@1"
PLAN_NAMESPACE = "pcgrelay-plan@1"  # the plan of a cut-over
ACT_NAMESPACE = "pcgrelay-act@1"  # any other act
HOLD_NAMESPACE = "pcgrelay-hold@1"

_ARMOUR = re.compile(rb"-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)-----END SSH SIGNATURE-----\n?")
_GOOD = re.compile(r'Good "([^"\n]+)" signature for (\S+) with \S+ key (SHA256:[A-Za-z0-9+/]{43})\n', re.ASCII)


class ToolProblem(RunError):
    """ssh-keygen is not there, or does not run."""


class Flaw(StrEnum):
    """Why one signature does not count."""

    NAME = "name"  # of the file: no address
    FORM = "form"
    NAMESPACE = "namespace"
    SIGNER = "signer"  # nobody in the list has that key
    PRINCIPAL = "principal"  # the key is that of somebody else
    NOT_YET = "not-yet-valid"
    EXPIRED = "expired"
    REVOKED = "revoked"
    TEXT = "text"  # it is over another text, or was changed
    TIMEOUT = "timeout"


_WORDS = {
    Flaw.NAME: "the file is not called after an address",
    Flaw.FORM: "it is no signature of ssh-keygen",
    Flaw.NAMESPACE: "it was made for something else (another namespace)",
    Flaw.SIGNER: "nobody in the list of signers has that key",
    Flaw.PRINCIPAL: "the key is that of another person",
    Flaw.NOT_YET: "the key is not valid yet",
    Flaw.EXPIRED: "the key has expired",
    Flaw.REVOKED: "the key is revoked",
    Flaw.TEXT: "it is over another text",
    Flaw.TIMEOUT: f"ssh-keygen did not answer within {DEADLINE_S:g} s",
}


@dataclass(frozen=True, slots=True)
class Signature:
    """A file beside a text, not verified: of whom it says it is, and its bytes."""

    principal: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Good:
    """A signature that counts."""

    principal: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Bad:
    """A signature that does not count, and why."""

    principal: str
    flaw: Flaw

    @property
    def sentence(self) -> str:
        """Why it does not count, without a full stop."""
        return f"the signature of {self.principal} does not count: {_WORDS[self.flaw]}"


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found beside a text."""

    good: tuple[Good, ...] = ()
    bad: tuple[Bad, ...] = ()


def find_signatures(text: Path) -> tuple[Signature, ...]:
    """Read the signatures beside a text, `TEXT.PRINCIPAL.sig`, in the order of their names.

    ConfigError: there are too many, or one is a link, no plain file, or too large. PermissionProblem: it may not be
    read.
    """
    prefix, suffix = f"{text.name}.", ".sig"
    try:
        names = sorted(name for name in os.listdir(text.parent) if name.startswith(prefix) and name.endswith(suffix))
    except OSError:
        return ()
    if len(names) > SIGNATURES_MOST:
        raise ConfigError(
            f"{text}: there are more than {SIGNATURES_MOST} signatures beside it; remove what is not needed."
        )
    return tuple(
        Signature(name[len(prefix) : -len(suffix)], read_plain(text.parent / name, "signature", SIGNATURE_LIMIT_BYTES))
        for name in names
    )


def read_plain(path: Path, what: str, limit_bytes: int) -> bytes:
    """Read a file of paper: bounded, and never through a link, which somebody could turn meanwhile."""
    if path.is_symlink():
        raise ConfigError(f"{path}: the {what} is a symbolic link; put the file itself there.")
    return read_bounded(path, what, limit_bytes)


def verify(
    text: bytes,
    signatures: Sequence[Signature],
    namespace: str,
    signers: tuple[bytes, Sequence[Signer]],
    revoked: bytes,
    now: datetime,
) -> Verified:
    """Verify signatures over a text at a moment; blocks for at most DEADLINE_S for each.

    signers: the file, and what stands in it. revoked: a KRL, or nothing.

    ToolProblem: ssh-keygen is not there. RunError: the copies for it cannot be made, for there are no more descriptors.
    """
    listed, people = signers
    judged: list[Bad | None] = [_flaw(each, namespace, people, now) for each in signatures]
    doubtful = [each for each, flaw in zip(signatures, judged, strict=True) if flaw is None]
    answers: Iterator[Good | Bad] = iter(())
    if doubtful:
        require_ssh_keygen()
        files = {"text": text, "signers": listed, **({"revoked": revoked} if revoked else {})}
        answers = iter(_verified_all(files, doubtful, namespace, now))
    found = [flaw if flaw is not None else next(answers) for flaw in judged]
    return Verified(
        tuple(each for each in found if isinstance(each, Good)), tuple(each for each in found if isinstance(each, Bad))
    )


def sign(text: Path, key: Path, namespace: str, principal: str) -> Path:
    """Sign a file with a key of this user, as ssh-keygen asks for it; return the signature's file, TEXT.PRINCIPAL.sig.

    RunError: ssh-keygen is not there (ToolProblem), or did not sign.
    """
    require_ssh_keygen()
    target = text.with_name(f"{text.name}.{principal}.sig")
    kept = {
        name: value
        for name in ("SSH_AUTH_SOCK", "SSH_ASKPASS", "DISPLAY", "HOME", "TERM")
        if (value := os.environ.get(name))
    }
    command = [SSH_KEYGEN, "-q", "-Y", "sign", "-n", namespace, "-f", os.fspath(key)]
    try:
        # From standard input to standard output, so that no file TEXT.sig is made that somebody would have to rename.
        done = subprocess.run(
            command, input=text.read_bytes(), stdout=subprocess.PIPE, timeout=SIGN_DEADLINE_S, check=False,
            env={**ENVIRONMENT, **kept},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise RunError(f"ssh-keygen did not sign within {SIGN_DEADLINE_S:g} s; do it again.") from None
    except OSError as error:
        raise ToolProblem(f"{SSH_KEYGEN}: it does not run ({reason_of(error)}).") from None
    if done.returncode != 0 or not done.stdout:
        raise RunError(f"{key}: ssh-keygen did not sign with this key; its words are above.")
    try:
        target.write_bytes(done.stdout)
    except OSError as error:
        raise RunError(f"{target}: it cannot be written ({reason_of(error)}).") from None
    return target


def read_revoked(path: Path) -> bytes:
    """Read a list of revoked keys (a KRL). ConfigError: it is none; ssh-keygen would take a text for keys."""
    data = read_bounded(path, "list of revoked keys", KRL_LIMIT_BYTES)
    if not data.startswith(KRL_MAGIC):
        raise ConfigError(
            f"{path}: this is no key revocation list; make one with: ssh-keygen -k -f {path.name} KEY.pub"
        )
    return data


def require_ssh_keygen() -> None:
    """Raise ToolProblem if ssh-keygen is not where it has to be."""
    if not os.access(SSH_KEYGEN, os.X_OK):
        raise ToolProblem(f"{SSH_KEYGEN}: it is not there, and signatures are verified by it; install {PACKAGE}.")


def fingerprint_of_signature(data: bytes) -> str:
    """Return the fingerprint of the key inside a signature. ValueError: it is none."""
    return _parts(data)[0]


def fingerprint_of_public_key(path: Path) -> str:
    """Return the fingerprint of a .pub file. ConfigError: it is none."""
    words = read_bounded(path, "public key", SIGNATURE_LIMIT_BYTES).split()
    try:
        return fingerprint_of(base64.b64decode(words[1], validate=True))
    except (IndexError, binascii.Error, ValueError):
        raise ConfigError(
            f"{path}: this is no public key of ssh-keygen; name the key whose .pub is beside it."
        ) from None


def _flaw(signature: Signature, namespace: str, people: Sequence[Signer], now: datetime) -> Bad | None:
    """What makes a signature useless whatever ssh-keygen says."""
    if not is_address(signature.principal):
        return Bad(signature.principal[:80], Flaw.NAME)
    try:
        fingerprint, made_for = _parts(signature.data)
    except ValueError:
        return Bad(signature.principal, Flaw.FORM)
    if made_for != namespace:
        return Bad(signature.principal, Flaw.NAMESPACE)
    signer = next((each for each in people if each.fingerprint == fingerprint), None)
    if signer is None:
        return Bad(signature.principal, Flaw.SIGNER)
    if signer.principal != signature.principal:
        return Bad(signature.principal, Flaw.PRINCIPAL)
    if namespace not in signer.namespaces:
        return Bad(signature.principal, Flaw.NAMESPACE)
    if not signer.is_valid(now):
        is_early = signer.valid_after is not None and now < signer.valid_after
        return Bad(signature.principal, Flaw.NOT_YET if is_early else Flaw.EXPIRED)
    return None


def _parts(data: bytes) -> tuple[str, str]:
    """Return fingerprint and namespace of a signature, as PROTOCOL.sshsig has them. ValueError: it is none."""
    if len(data) > SIGNATURE_LIMIT_BYTES or not (match := _ARMOUR.fullmatch(data)):
        raise ValueError("no armour")
    blob = base64.b64decode(match[1].replace(b"\n", b""), validate=True)
    if blob[:6] != b"SSHSIG" or len(blob) < 10 or struct.unpack_from(">I", blob, 6) != (1,):
        raise ValueError("not SSHSIG, version 1")
    key, namespace, _reserved, _hash, _signature = strings_of(blob[10:])
    return fingerprint_of(key), namespace.decode("ascii")


@contextmanager
def _in_memory(files: Mapping[str, bytes]) -> Iterator[dict[str, int]]:
    """Files without a name that nobody can change; their descriptors. RunError: they cannot be made."""
    descriptors = dict[str, int]()
    try:
        for name, data in files.items():
            descriptors[name] = os.memfd_create("pcgrelay-signed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            with open(descriptors[name], "wb", closefd=False) as sink:
                sink.write(data)
            fcntl.fcntl(descriptors[name], fcntl.F_ADD_SEALS, _SEALS)
            if not os.path.exists(_path_of(descriptors[name])):
                raise ToolProblem("/proc: it is not mounted here, and ssh-keygen is given its files by it.")
        yield descriptors
    except OSError as error:
        raise RunError(f"The copies for ssh-keygen cannot be made ({reason_of(error)}).") from None
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)


def _path_of(descriptor: int) -> str:
    """By which a process opens a file that it inherits, with a position of its own."""
    return f"/proc/self/fd/{descriptor}"


def _verified_all(
    files: Mapping[str, bytes], signatures: Sequence[Signature], namespace: str, now: datetime
) -> list[Good | Bad]:
    whole = {**files, **{f"{number}.sig": each.data for number, each in enumerate(signatures)}}
    with _in_memory(whole) as copies, ThreadPoolExecutor(AT_ONCE) as pool:

        def verified(number: int) -> Good | Bad:
            return _verified(copies, number, signatures[number].principal, namespace, now)

        return list(pool.map(verified, range(len(signatures))))


def _verified(copies: Mapping[str, int], number: int, principal: str, namespace: str, now: datetime) -> Good | Bad:
    paths = {name: _path_of(descriptor) for name, descriptor in copies.items()}
    command = [SSH_KEYGEN, "-Y", "verify", "-f", paths["signers"], "-I", principal, "-n", namespace]
    command += ["-s", paths[f"{number}.sig"], "-O", f"verify-time={now.astimezone(UTC):%Y%m%d%H%M%S}Z"]
    with_list = [*command, "-r", paths["revoked"]] if "revoked" in paths else command
    try:
        good = _asked(copies, with_list, principal, namespace)
        if good is not None:
            return good
        # ssh-keygen does not say why. Only to find the word for it: would it be good without the list?
        if "revoked" in paths and _asked(copies, command, principal, namespace) is not None:
            return Bad(principal, Flaw.REVOKED)
    except subprocess.TimeoutExpired:
        return Bad(principal, Flaw.TIMEOUT)
    return Bad(principal, Flaw.TEXT)


def _asked(copies: Mapping[str, int], command: Sequence[str], principal: str, namespace: str) -> Good | None:
    """Ask ssh-keygen about the text; nothing if it does not say that the signature is good."""
    try:
        with open(_path_of(copies["text"]), "rb") as text:
            done = subprocess.run(
                command, stdin=text, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/", env=ENVIRONMENT,
                timeout=DEADLINE_S, check=False, pass_fds=tuple(copies.values()),
            )  # fmt: skip
    except OSError as error:
        raise ToolProblem(f"{SSH_KEYGEN}: it does not run ({reason_of(error)}); install {PACKAGE}.") from None
    match = _GOOD.fullmatch(done.stdout.decode("ascii", "replace"))
    if done.returncode != 0 or match is None or (match[1], match[2]) != (namespace, principal):
        return None
    return Good(principal, match[3])
