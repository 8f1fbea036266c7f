"""A node's renewal: judged before anything changes, and at each moment a pair that fits or can be set right."""

import os
import stat
from pathlib import Path

import pytest

from pcgrelay.ca import Authority
from pcgrelay.ca.renewal import Renewal
from pcgrelay.ca.request import read_request
from pcgrelay.config import IdentitySettings
from pcgrelay.errors import ConfigError, RunError
from pcgrelay.identity.credentials import Credentials, key_matches, load_certificates, load_key
from pcgrelay.model import NodeId

KENT = NodeId("police.example", "kent.police.example", "kent-1")


class PowerCut(BaseException):
    """The machine stops."""


class Setup:
    """A node's files, and the CA that has issued them."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority.create(folder / "ca", KENT.realm)
        self.tls = folder / "tls"
        self.authority.issue(KENT.organisation, KENT.name, self.tls)
        self.files = IdentitySettings(
            certificate=self.tls / "kent-1.pem",
            key=self.tls / "kent-1.key",
            trust=self.tls / "realm-ca.pem",
            crl=None,
        )
        self.renewal = Renewal(self.files, KENT)
        self.signed = folder / "signed"

    def sign(self) -> Path:
        self.authority.sign(read_request(self.renewal.request, KENT.realm), self.signed)
        return self.signed / "kent-1.pem"

    def serial(self, name: str = "kent-1.pem") -> str:
        return f"{load_certificates(self.tls / name, 'certificate')[0].serial_number:x}"

    def fits(self) -> bool:
        return key_matches(load_key(self.files.key), load_certificates(self.files.certificate, "certificate")[0])


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def fine(credentials: Credentials) -> str:
    assert key_matches(credentials.key, credentials.leaf)
    return ""


def test_the_new_pair_is_in_place_and_the_old_is_kept(setup: Setup) -> None:
    setup.files.key.chmod(0o640)
    setup.files.certificate.chmod(0o640)
    os.chown(setup.files.key, -1, os.getgid())
    before = setup.files.key.read_bytes()
    setup.files.key.chmod(0o600)
    setup.renewal.begin()
    assert setup.files.key.read_bytes() == before
    leaf = setup.renewal.finish(setup.sign(), fine)
    old, new = (entry.serial for entry in setup.authority.issued())
    assert f"{leaf.serial_number:x}" == setup.serial() == new
    assert setup.serial("kent-1.old.pem") == old
    assert (setup.tls / "kent-1.old.key").read_bytes() == before
    assert setup.fits()
    assert stat.S_IMODE(setup.files.certificate.stat().st_mode) == 0o640
    assert stat.S_IMODE(setup.files.key.stat().st_mode) == 0o600
    names = {path.name for path in setup.tls.iterdir()}
    assert names == {"kent-1.pem", "kent-1.key", "kent-1.old.pem", "kent-1.old.key", "realm-ca.pem"}


def test_the_second_renewal_keeps_the_pair_before_it(setup: Setup) -> None:
    for number in range(2):
        setup.renewal.begin()
        setup.signed = setup.tls.parent / f"signed-{number}"
        setup.renewal.finish(setup.sign(), fine)
    serials = [entry.serial for entry in setup.authority.issued()]
    assert [setup.serial("kent-1.old.pem"), setup.serial()] == serials[1:]


def test_what_the_node_could_not_use_changes_nothing(setup: Setup) -> None:
    setup.renewal.begin()
    signed = setup.sign()
    before = {path.name: path.read_bytes() for path in setup.tls.iterdir()}
    with pytest.raises(ConfigError, match=r"kent-1\.pem: It is of no use"):
        setup.renewal.finish(signed, lambda credentials: "It is of no use.")
    assert {path.name: path.read_bytes() for path in setup.tls.iterdir()} == before
    setup.renewal.finish(signed, fine)


def test_a_certificate_for_another_key_is_refused(setup: Setup) -> None:
    setup.renewal.begin()
    with pytest.raises(ConfigError, match="is not for"):
        setup.renewal.finish(setup.files.certificate, fine)
    assert setup.fits()


def test_a_renewal_begins_once_and_not_at_the_end(setup: Setup) -> None:
    setup.renewal.begin()
    key = setup.renewal.key.read_bytes()
    with pytest.raises(RunError, match="has begun"):
        setup.renewal.begin()
    assert setup.renewal.key.read_bytes() == key
    setup.renewal.give_up()
    other = setup.tls.parent / "other"
    setup.authority.issue(KENT.organisation, KENT.name, other)
    with pytest.raises(RunError, match="no renewal has begun"):
        setup.renewal.finish(other / "kent-1.pem", fine)


@pytest.mark.parametrize("step", range(12))
def test_a_power_cut_at_each_step_leaves_something_that_can_be_finished(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The step is the rename or link at which the machine stops."""
    setup.renewal.begin()
    signed = setup.sign()
    old = setup.files.key.read_bytes()
    left = [step]

    def stops(call: object) -> object:
        def called(*arguments: object) -> object:
            if not left[0]:
                raise PowerCut
            left[0] -= 1
            return call(*arguments)  # type: ignore[operator]

        return called

    with monkeypatch.context() as patch:
        for name in ("replace", "link", "chown", "chmod"):
            patch.setattr(os, name, stops(getattr(os, name)))
        was_cut = False
        try:
            setup.renewal.finish(signed, fine)
        except PowerCut:
            was_cut = True
    if was_cut:
        setup.renewal.finish(signed, fine)
    assert setup.fits()
    assert setup.serial() == setup.authority.issued()[-1].serial
    assert (setup.tls / "kent-1.old.key").read_bytes() == old


@pytest.mark.parametrize("name", ["key", "certificate"])
def test_files_that_another_tool_keeps_are_left_alone(setup: Setup, name: str) -> None:
    path: Path = getattr(setup.files, name)
    path.rename(path.with_name("kept"))
    path.symlink_to("kept")
    with pytest.raises(RunError, match="symbolic link"):
        setup.renewal.begin()


def test_a_key_in_the_file_of_its_certificate_is_refused(setup: Setup) -> None:
    both = IdentitySettings(certificate=setup.files.key, key=setup.files.key, trust=setup.files.trust, crl=None)
    with pytest.raises(RunError, match="one file"):
        Renewal(both, KENT).begin()
