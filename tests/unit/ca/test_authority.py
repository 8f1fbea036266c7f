"""The small CA: what it leaves, whom others believe, and what it refuses."""

import json
import os
import shutil
import stat
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from pcgrelay import files
from pcgrelay.ca import Authority
from pcgrelay.clock import SetClock
from pcgrelay.errors import ConfigError, PcgrelayError, PermissionProblem, RunError, UsageProblem
from pcgrelay.identity.credentials import key_matches, load_certificates, load_key

KENT = "kent.police.example"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "ca", "police.example")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_init_leaves_four_files(authority: Authority) -> None:
    names = {path.name: mode_of(path) for path in authority.folder.iterdir()}
    assert names == {"realm-ca.pem": 0o644, "realm-ca.key": 0o600, "index.json": 0o644, "realm.crl": 0o644}
    assert list(x509.load_pem_x509_crl(authority.crl_path.read_bytes())) == []
    assert json.loads(authority.index_path.read_text())["realm"] == "police.example"


def test_a_leaf_names_its_node_once_and_may_do_nothing_else(authority: Authority, tmp_path: Path) -> None:
    authority.issue(KENT, "kent-1", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["kent-1.key", "kent-1.pem", "realm-ca.pem"]
    assert mode_of(tmp_path / "out/kent-1.key") == 0o600
    (leaf,) = load_certificates(tmp_path / "out/kent-1.pem", "certificate")
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [f"spiffe://police.example/org/{KENT}/node/kent-1"]
    basic = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert not basic.value.ca
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(purposes) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    public = leaf.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert isinstance(public.curve, ec.SECP256R1)
    assert key_matches(load_key(tmp_path / "out/kent-1.key"), leaf)
    assert timedelta(days=89) < leaf.not_valid_after_utc - datetime.now(UTC) < timedelta(days=91)


def test_openssl_believes_it_until_it_is_revoked(authority: Authority, tmp_path: Path) -> None:
    authority.issue(KENT, "kent-1", tmp_path)
    authority.issue(KENT, "kent-2", tmp_path)
    verify = ["openssl", "verify", "-x509_strict", "-crl_check", "-CRLfile", str(authority.crl_path)]
    verify += ["-CAfile", str(authority.certificate_path)]
    assert subprocess.run([*verify, tmp_path / "kent-1.pem"], capture_output=True, check=False).returncode == 0
    assert [entry.node for entry in authority.revoke(KENT, "kent-1")] == ["kent-1"]
    answer = subprocess.run([*verify, tmp_path / "kent-1.pem"], capture_output=True, text=True, check=False)
    assert "revoked" in answer.stderr
    assert subprocess.run([*verify, tmp_path / "kent-2.pem"], capture_output=True, check=False).returncode == 0


def test_each_list_begins_later_than_the_one_before(authority: Authority, tmp_path: Path) -> None:
    starts, numbers = [], []
    for node in ("a", "b", "c"):
        authority.issue(KENT, node, tmp_path)
        authority.revoke(KENT, node)
        crl = x509.load_pem_x509_crl(authority.crl_path.read_bytes())
        starts.append(crl.last_update_utc)
        numbers.append(crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number)
    assert starts == sorted(set(starts))
    assert numbers == [2, 3, 4]


def test_revoking_takes_every_certificate_of_the_node(authority: Authority, tmp_path: Path) -> None:
    authority.issue(KENT, "kent-1", tmp_path / "old")
    authority.issue(KENT, "kent-1", tmp_path / "new")
    assert len(authority.revoke(KENT, "kent-1")) == 2
    assert authority.revoke(KENT, "kent-1") == []
    assert len(list(x509.load_pem_x509_crl(authority.crl_path.read_bytes()))) == 2


def revoked_serials(authority: Authority) -> set[int]:
    return {entry.serial_number for entry in x509.load_pem_x509_crl(authority.crl_path.read_bytes())}


def test_a_lost_key_is_revoked_and_the_renewed_certificate_is_not(authority: Authority, tmp_path: Path) -> None:
    made = [authority.issue(KENT, "kent-1", tmp_path / str(number)) for number in range(3)]
    other = authority.issue(KENT, "kent-2", tmp_path / "other")
    serials = [int(entry.serial, 16) for entry in made]
    assert [entry.serial for entry in authority.revoke(KENT, "kent-1", serials=[made[1].serial.upper()])] == [
        made[1].serial
    ]
    assert revoked_serials(authority) == {serials[1]}
    assert [entry.serial for entry in authority.revoke(KENT, "kent-1", all_but_newest=True)] == [made[0].serial]
    assert revoked_serials(authority) == {serials[0], serials[1]}
    assert authority.revoke(KENT, "kent-1", all_but_newest=True) == []
    # As openssl prints it.
    text = f"{serials[2]:040X}"
    colons = ":".join(text[at : at + 2] for at in range(0, 40, 2))
    assert len(authority.revoke(KENT, "kent-1", serials=[colons])) == 1
    assert int(other.serial, 16) not in revoked_serials(authority)
    for wrong in ([other.serial], [made[0].serial, "abc"], [made[0].serial[:16]]):
        with pytest.raises(RunError, match="has no certificate with serial"):
            authority.revoke(KENT, "kent-1", serials=wrong)
    with pytest.raises(UsageProblem, match="no hexadecimal number"):
        authority.revoke(KENT, "kent-1", serials=["0xyz"])
    with pytest.raises(UsageProblem, match="exclude each other"):
        authority.revoke(KENT, "kent-1", serials=[made[0].serial], all_but_newest=True)


def test_issuing_renews_a_list_that_would_end_first(tmp_path: Path) -> None:
    clock = SetClock(datetime(2026, 1, 1, tzinfo=UTC))
    authority = Authority.create(tmp_path / "ca", "police.example", clock=clock)
    authority.issue(KENT, "kent-1", tmp_path / "1")
    assert authority.crl_end() == datetime(2026, 4, 1, tzinfo=UTC)
    clock.advance(80 * 86_400_000)
    issued = authority.issue(KENT, "kent-2", tmp_path / "2")
    assert authority.crl_end() == issued.not_after
    authority.renew_crl(days=2000)
    end = authority.crl_end()
    authority.revoke(KENT, "kent-1")
    later = authority.crl_end()
    assert end is not None
    assert later is not None
    assert later >= end
    # One that was made short on purpose and is nearly over.
    authority.renew_crl(days=10)
    clock.advance(9 * 86_400_000)
    authority.issue(KENT, "kent-3", tmp_path / "3", days=1)
    assert authority.crl_end() == clock.wall() + timedelta(days=90)


def test_no_number_of_revocations_makes_a_list_of_the_future(authority: Authority, tmp_path: Path) -> None:
    authority.issue(KENT, "kent-1", tmp_path)
    for _ in range(310):
        authority.revoke(KENT, "kent-1")
    crl = x509.load_pem_x509_crl(authority.crl_path.read_bytes())
    assert crl.last_update_utc <= datetime.now(UTC)


def test_the_list_is_renewed_with_its_entries(authority: Authority, tmp_path: Path) -> None:
    authority.issue(KENT, "kent-1", tmp_path)
    authority.revoke(KENT, "kent-1")
    end = authority.renew_crl(days=7)
    crl = x509.load_pem_x509_crl(authority.crl_path.read_bytes())
    assert crl.next_update_utc == end
    assert len(list(crl)) == 1


def test_a_ca_that_was_restored_goes_on_above_the_lists_that_are_out(authority: Authority, tmp_path: Path) -> None:
    """Nodes take no list whose number is not greater."""
    shutil.copytree(authority.folder, tmp_path / "copy")
    for _ in range(5):
        authority.renew_crl()
    restored = Authority(tmp_path / "copy")
    restored.renew_crl(above=number_of(authority))
    assert number_of(restored) == number_of(authority) + 1 == 7
    restored.renew_crl(above=3)
    assert number_of(restored) == 8
    for above in (-1, 1 << 63):
        with pytest.raises(UsageProblem, match="--above"):
            restored.renew_crl(above=above)


def number_of(authority: Authority) -> int:
    crl = x509.load_pem_x509_crl(authority.crl_path.read_bytes())
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_a_leaf_does_not_outlive_its_ca(tmp_path: Path) -> None:
    clock = SetClock(datetime(2026, 1, 1, tzinfo=UTC))
    authority = Authority.create(tmp_path / "ca", "police.example", days=10, clock=clock)
    assert authority.issue(KENT, "kent-1", tmp_path).not_after == datetime(2026, 1, 11, tzinfo=UTC)


def test_dates_may_be_given(authority: Authority, tmp_path: Path) -> None:
    before, after = datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC)
    issued = authority.issue(KENT, "kent-1", tmp_path, not_before=before, not_after=after)
    assert (issued.not_before, issued.not_after) == (before, after)


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["realm-ca.pem", "realm-ca.key", "index.json", "realm.crl"])
def test_init_overwrites_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match="never overwritten"):
        Authority.create(tmp_path, "police.example")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["kent-1.pem", "kent-1.key"])
def test_issue_overwrites_nothing(authority: Authority, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match="never overwritten"):
        authority.issue(KENT, "kent-1", tmp_path)
    assert (tmp_path / name).read_text() == "mine"
    assert authority.issued() == []


def test_issue_refuses_the_folder_of_another_ca(authority: Authority, tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "other", "police.example")
    other.issue(KENT, "kent-2", tmp_path / "out")
    with pytest.raises(RunError, match="another CA"):
        authority.issue(KENT, "kent-1", tmp_path / "out")


@pytest.mark.parametrize(
    ("organisation", "node"), [("Kent", "kent-1"), (KENT, "Kent-1"), (KENT, "../x"), (KENT, ""), (KENT, "realm-ca")]
)
def test_issue_refuses_strange_names(authority: Authority, tmp_path: Path, organisation: str, node: str) -> None:
    with pytest.raises(UsageProblem):
        authority.issue(organisation, node, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("days", [0, -1, 36_501])
def test_strange_days_are_refused(authority: Authority, tmp_path: Path, days: int) -> None:
    with pytest.raises(UsageProblem, match="--days"):
        authority.issue(KENT, "kent-1", tmp_path, days=days)
    with pytest.raises(UsageProblem, match="--days"):
        Authority.create(tmp_path / "x", "police.example", days=days)
    with pytest.raises(UsageProblem, match="--days"):
        authority.renew_crl(days=days)


def test_a_node_that_has_nothing_cannot_be_revoked(authority: Authority) -> None:
    with pytest.raises(RunError, match="nothing was ever issued"):
        authority.revoke(KENT, "kent-9")


def test_a_folder_without_a_ca_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="pcgrelay ca init"):
        Authority(tmp_path)


def test_a_damaged_index_and_a_strange_key_are_refused(authority: Authority, tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "other", "police.example")
    authority.key_path.write_bytes(other.key_path.read_bytes())
    with pytest.raises(ConfigError, match="does not belong"):
        authority.issue(KENT, "kent-1", tmp_path / "out")
    authority.key_path.chmod(0o640)
    with pytest.raises(PermissionProblem, match="chmod 600"):
        authority.issue(KENT, "kent-1", tmp_path / "out")
    authority.index_path.write_text("{")
    with pytest.raises(ConfigError, match="index is damaged"):
        Authority(authority.folder)


# --- files ---------------------------------------------------------------------------------------------------------


def test_a_key_is_never_readable_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at each file of the folder at each moment that something reaches the disk."""
    seen: list[int] = []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        seen.extend(mode_of(path) for path in tmp_path.iterdir() if "key" in path.name)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    old = os.umask(0)
    try:
        files.write_new(tmp_path / "a.key", b"secret", files.PRIVATE_MODE)
    finally:
        os.umask(old)
    assert seen
    assert set(seen) == {0o600}


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(RunError, match="no space left on device"):
        files.write_new(tmp_path / "a", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_replacement_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_new(tmp_path / "a", b"old")

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(RunError):
        files.write_replacing(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_writing_into_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="create it first"):
        files.write_new(tmp_path / "none" / "a", b"")


def test_many_at_once_lose_no_certificate(authority: Authority, tmp_path: Path) -> None:
    failed: list[PcgrelayError] = []

    def issue(number: int) -> None:
        try:
            Authority(authority.folder).issue(KENT, f"kent-{number}", tmp_path / "out")
        except PcgrelayError as error:
            failed.append(error)

    threads = [threading.Thread(target=issue, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert {entry.node for entry in authority.issued()} == {f"kent-{number}" for number in range(8)}
