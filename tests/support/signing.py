"""People with keys of their own, who sign as people do: with ssh-keygen."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pcgrelay.policy.signatures import (
    ACT_NAMESPACE,
    CHANGE_NAMESPACE,
    HOLD_NAMESPACE,
    PLAN_NAMESPACE,
    SSH_KEYGEN,
    Signature,
)

NAMESPACES = ",".join((CHANGE_NAMESPACE, PLAN_NAMESPACE, ACT_NAMESPACE, HOLD_NAMESPACE))


def ssh_keygen(*words: str, data: bytes | None = None) -> bytes:
    done = subprocess.run([SSH_KEYGEN, *words], input=data, capture_output=True, check=True, timeout=60)
    return done.stdout


@dataclass(frozen=True)
class Person:
    """One signer."""

    address: str
    key: Path

    @property
    def public_file(self) -> Path:
        return Path(f"{self.key}.pub")

    @property
    def public(self) -> str:
        kind, key, *_ = self.public_file.read_text().split()
        return f"{kind} {key}"

    def line(self, options: str = f'namespaces="{NAMESPACES}"') -> str:
        return f"{self.address} {options} {self.public}\n"

    def sign(self, text: bytes, namespace: str = CHANGE_NAMESPACE) -> bytes:
        return ssh_keygen("-q", "-Y", "sign", "-n", namespace, "-f", str(self.key), data=text)

    def signature(self, text: bytes, namespace: str = CHANGE_NAMESPACE) -> Signature:
        return Signature(self.address, self.sign(text, namespace))

    def put(self, text: Path, namespace: str = CHANGE_NAMESPACE) -> Path:
        """Sign a file; the signature lies beside it, as `pcgrelay approve` puts it there."""
        path = text.with_name(f"{text.name}.{self.address}.sig")
        path.write_bytes(self.sign(text.read_bytes(), namespace))
        return path


def make_person(folder: Path, address: str) -> Person:
    key = folder / address.partition("@")[0]
    ssh_keygen("-q", "-t", "ed25519", "-N", "", "-C", address, "-f", str(key))
    return Person(address, key)


def make_people(folder: Path, *names: str) -> list[Person]:
    folder.mkdir(exist_ok=True)
    return [make_person(folder, f"{name}@kent.police.example") for name in names]


def listed(people: Sequence[Person]) -> str:
    return "".join(person.line() for person in people)


def revoke(path: Path, *people: Person) -> None:
    """Write a list of revoked keys."""
    ssh_keygen("-q", "-k", "-f", str(path), *(str(each.public_file) for each in people))
