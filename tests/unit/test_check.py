"""What can be known without the network: each fault is found, named by its key, and does not hide the next."""

import os
import pwd
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pcgrelay import config
from pcgrelay.check import check, exit_code, refuse_errors, refuse_reload
from pcgrelay.clock import SetClock
from pcgrelay.errors import ConfigError, PcgrelayError, PermissionProblem, RunError
from pcgrelay.finding import ERROR, OK, WARNING, Finding
from pcgrelay.kernel import read_kernel
from tests.support.kernel_settings import faked
from tests.support.pki import Files, RealmPki, write_config
from tests.support.ports import free_port

KENT = "kent.police.example"


@pytest.fixture(autouse=True)
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines of tests differ in what they are set to."""
    made = read_kernel(faked(tmp_path / "sys"))
    monkeypatch.setattr("pcgrelay.check.read_kernel", lambda: made)


@pytest.fixture
def realm(tmp_path: Path) -> RealmPki:
    return RealmPki(tmp_path)


@pytest.fixture
def port() -> int:
    """One that no outgoing connection of another test takes, between here and a check of whether it is free."""
    return free_port()


@pytest.fixture
def settings(tmp_path: Path, realm: RealmPki, port: int) -> Callable[..., config.Config]:
    """A node that is all right, but for what the test says."""

    def make(files: Files | None = None, node: str = "kent-1", **entries: Any) -> config.Config:
        good = {"listens": [f"127.0.0.1:{port}"], **entries}
        path = write_config(tmp_path / "node.toml", files or realm.issue(KENT, "kent-1"), KENT, node, **good)
        return config.load(path)

    return make


Settings = Callable[..., config.Config]


def at_level(findings: list[Finding], level: str) -> list[Finding]:
    return [finding for finding in findings if finding.level == level]


def only_error(findings: list[Finding]) -> Finding:
    (error,) = at_level(findings, ERROR)
    assert exit_code(findings) == (77 if error.permission else 1 if error.passing else 4 if error.dates else 78)
    return error


def test_a_good_node_has_nothing_but_good_findings(settings: Settings) -> None:
    loaded = settings()
    findings = check(loaded)
    assert {finding.level for finding in findings} == {OK}
    assert exit_code(findings) == 0
    assert refuse_errors(loaded) == []


@pytest.mark.parametrize(
    ("odd", "where", "words"),
    [
        ({"expired": True}, "identity.certificate", "expired on"),
        ({"not_yet_valid": True}, "identity.certificate", "is valid from"),
        ({"revoked": True}, "identity.crl", "was revoked"),
        ({"wrong_ca": True}, "identity.certificate", "issued by nobody trusted"),
        ({"no_san": True}, "identity.certificate", "names no node"),
        ({"two_sans": True}, "identity.certificate", "has 2 URI names"),
        ({"uris": [f"spiffe://fire.example/org/{KENT}/node/kent-1"]}, "identity.certificate", "belongs to realm"),
        ({"uris": [f"spiffe://police.example/org/{KENT}/node/kent-2"]}, "identity.certificate", "is that of kent-2"),
        ({"uris": ["spiffe://police.example/org/met.example/node/kent-1"]}, "identity.certificate", "is that of"),
    ],
)
def test_a_certificate_that_peers_would_refuse(
    settings: Settings, realm: RealmPki, odd: dict[str, Any], where: str, words: str
) -> None:
    error = only_error(check(settings(realm.issue(KENT, "kent-1", **odd))))
    assert error.where == where
    assert words in error.sentence


@pytest.mark.parametrize("name", ["certificate", "key", "trust", "crl"])
def test_each_missing_file_is_named(settings: Settings, realm: RealmPki, name: str) -> None:
    good = realm.issue(KENT, "kent-1")
    parts = {key: getattr(good, key) for key in ("certificate", "key", "trust", "crl")}
    parts[name] = Path("/nowhere/file")
    error = only_error(check(settings(Files(**parts))))
    assert error.where == f"identity.{name}"
    assert error.sentence.startswith("/nowhere/file: there is no ")


@pytest.mark.parametrize("name", ["certificate", "key", "trust", "crl"])
def test_each_file_with_other_contents_is_named(settings: Settings, realm: RealmPki, tmp_path: Path, name: str) -> None:
    good = realm.issue(KENT, "kent-1")
    parts = {key: getattr(good, key) for key in ("certificate", "key", "trust", "crl")}
    parts[name] = tmp_path / "junk"
    parts[name].write_text("-----BEGIN NOTHING-----\n")
    parts[name].chmod(0o600)
    error = only_error(check(settings(Files(**parts))))
    assert error.where == f"identity.{name}"
    assert "holds no usable" in error.sentence


def test_several_faults_are_found_at_once(settings: Settings, realm: RealmPki) -> None:
    good = realm.issue(KENT, "kent-1")
    nowhere = Path("/nowhere/file")
    findings = check(settings(Files(nowhere, nowhere, good.trust, nowhere), node_table={"admin": "/nowhere/x.sock"}))
    wheres = [finding.where for finding in at_level(findings, ERROR)]
    assert wheres == ["identity.certificate", "identity.key", "identity.crl", "node.admin"]


def test_a_key_of_another_certificate(settings: Settings, realm: RealmPki) -> None:
    good, other = realm.issue(KENT, "kent-1"), realm.issue(KENT, "kent-2")
    error = only_error(check(settings(Files(good.certificate, other.key, good.trust, good.crl))))
    assert error.where == "identity.key"
    assert "does not belong" in error.sentence


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666, 0o660])
def test_a_key_that_others_may_use_is_a_matter_of_permission(settings: Settings, realm: RealmPki, mode: int) -> None:
    good = realm.issue(KENT, "kent-1")
    good.key.chmod(mode)
    loaded = settings(good)
    error = only_error(check(loaded))
    assert error.permission
    assert f"mode {mode:04o}" in error.sentence
    with pytest.raises(PermissionProblem, match="chmod 600"):
        refuse_errors(loaded)


def test_a_key_that_root_has_given_to_a_group_is_good_for_root_too(
    settings: Settings, realm: RealmPki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the package installs it; "chmod 600" would take it from the node."""
    good = realm.issue(KENT, "kent-1")
    good.key.chmod(0o640)
    true_fstat, inode = os.fstat, good.key.stat().st_ino

    def given_away(descriptor: int) -> os.stat_result:
        status = list(true_fstat(descriptor))
        if status[1] == inode:
            status[4:6] = 0, 1_000
        return os.stat_result(status)

    monkeypatch.setattr(os, "fstat", given_away)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    loaded = settings(good)
    assert exit_code(check(loaded)) == 0
    refuse_errors(loaded)


def test_a_key_that_only_its_owner_may_read_is_good(settings: Settings, realm: RealmPki) -> None:
    good = realm.issue(KENT, "kent-1")
    good.key.chmod(0o400)
    assert exit_code(check(settings(good))) == 0


def test_a_certificate_that_ends_soon_is_a_warning(settings: Settings, realm: RealmPki) -> None:
    realm.authority.renew_crl(days=365)
    loaded = settings()  # for 90 days
    soon = SetClock(datetime.now(UTC) + timedelta(days=71))
    assert at_level(check(loaded, soon), WARNING) == []
    near = SetClock(datetime.now(UTC) + timedelta(days=73))  # 18 days before: a fifth of 90
    (warning,) = at_level(check(loaded, near), WARNING)
    assert warning.where == "identity.certificate"
    assert "Put a new one into" in warning.mend
    assert refuse_errors(loaded, soon) == []
    assert exit_code(check(loaded, near)) == 4
    assert refuse_errors(loaded, near) == [warning]
    late = SetClock(datetime.now(UTC) + timedelta(days=91))
    error = only_error(check(loaded, late))
    assert error.sentence.startswith("The certificate of kent-1.kent.police.example expired on")
    # The node runs all the same, in trouble; a reload is refused only if what runs has better dates.
    assert refuse_errors(loaded, late) == [error]
    refuse_reload(loaded, late)
    with pytest.raises(ConfigError, match="expired"):
        refuse_reload(loaded, late, dates=True)


def test_a_list_that_is_late_or_over(settings: Settings, realm: RealmPki) -> None:
    loaded = settings()
    realm.authority.renew_crl(days=10)
    late = SetClock(datetime.now(UTC) + timedelta(days=9, hours=12))
    (warning,) = at_level(check(loaded, late), WARNING)
    assert warning.where == "identity.crl"
    over = SetClock(datetime.now(UTC) + timedelta(days=11))
    error = only_error(check(loaded, over))
    assert error.where == "identity.crl"
    assert "expired on" in error.sentence


def test_a_list_of_another_ca_is_refused(settings: Settings, realm: RealmPki, tmp_path: Path) -> None:
    good, other = realm.issue(KENT, "kent-1"), RealmPki(tmp_path / "other")
    error = only_error(check(settings(Files(good.certificate, good.key, good.trust, other.crl))))
    assert error.where == "identity.crl"
    assert "There is no revocation list of" in error.sentence


def test_no_list_is_a_warning(settings: Settings) -> None:
    assert [finding.where for finding in at_level(check(settings(crl=False)), WARNING)] == ["identity.crl"]


def test_a_policy_that_lets_nobody_in_is_a_warning(settings: Settings) -> None:
    entries = [{"service": "custody", "target": "127.0.0.1:5432"}]
    findings = at_level(check(settings(policy={"members": []}, exports=entries)), WARNING)
    assert [finding.where for finding in findings] == ["policy.members", "export[1].allow"]


def test_a_clear_listener_on_every_address_is_a_warning(settings: Settings, port: int) -> None:
    entries = [{"service": "custody@met.police.example", "listen": f"0.0.0.0:{port + 1}"}]
    findings = at_level(check(settings(imports=entries)), WARNING)
    assert [finding.where for finding in findings] == ["import[1].listen"]


# --- ports and the admin socket ------------------------------------------------------------------------------------


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_of_another_program(settings: Settings, taken: int) -> None:
    error = only_error(check(settings(listens=[f"127.0.0.1:{taken}"])))
    assert error.where == "listen[1].address"
    assert "in use by another program" in error.sentence


def test_a_port_of_an_import(settings: Settings, taken: int) -> None:
    entries = [{"service": "custody@met.police.example", "listen": f"127.0.0.1:{taken}"}]
    assert only_error(check(settings(imports=entries))).where == "import[1].listen"


def test_an_address_of_another_machine(settings: Settings) -> None:
    error = only_error(check(settings(listens=["192.0.2.1:7400"])))
    assert "no address of this machine" in error.sentence


def test_a_port_that_this_user_may_not_have(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pcgrelay.check._bind_once", refuse)
    error = only_error(check(settings()))
    assert error.permission
    assert "1024" in error.mend


def test_the_ports_are_free_again(settings: Settings, port: int) -> None:
    check(settings())
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_running_node_may_hold_its_own(settings: Settings, taken: int, tmp_path: Path) -> None:
    loaded = settings(listens=[f"127.0.0.1:{taken}"])
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(loaded.node.admin))
        server.listen(8)
        assert exit_code(check(loaded)) == 0
        with pytest.raises(RunError, match="runs already"):
            refuse_errors(loaded)
    # What a dead node left behind is no hindrance for the socket, and no excuse for the port.
    assert only_error(check(loaded)).where == "listen[1].address"


def test_a_file_in_the_place_of_the_admin_socket(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "node.sock").write_text("mine")
    assert "is no socket" in only_error(check(settings())).sentence


def test_a_folder_that_this_user_may_not_write(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    error = only_error(check(settings()))
    assert (error.where, error.permission) == ("node.admin", True)


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        ("", 0),
        ("port", 1),
        ("mode", 77),
        ("file", 78),
        ("port mode", 77),
        ("port file", 78),
        ("mode file", 78),
        ("port mode file", 78),
    ],
)
def test_what_passes_yields_to_permissions_and_both_to_what_is_written_wrong(
    settings: Settings, realm: RealmPki, taken: int, faults: str, code: int
) -> None:
    """A service manager that is told not to start again at 77 and 78 must do so at a port that is taken."""
    good = realm.issue(KENT, "kent-1")
    if "mode" in faults:
        good.key.chmod(0o644)
    if "file" in faults:
        good = Files(good.certificate, good.key, good.trust, Path("/nowhere/file"))
    ports = {"listens": [f"127.0.0.1:{taken}"]} if "port" in faults else {}
    loaded = settings(good, **ports)
    assert exit_code(check(loaded)) == code
    if code:
        with pytest.raises(PcgrelayError) as caught:
            refuse_errors(loaded)
        assert caught.value.exit_code == code


@pytest.mark.parametrize("listen", ["192.0.2.1:7400", "nowhere.invalid:7400"])
def test_an_address_that_is_not_there_may_come(settings: Settings, listen: str) -> None:
    """At boot, before the network is up."""
    with pytest.raises(RunError):
        refuse_errors(settings(listens=[listen]))


# -- libraries --------------------------------------------------------------------------------------------------------


def test_the_libraries_are_named_in_one_line(settings: Settings) -> None:
    (found,) = [finding for finding in check(settings()) if finding.where == "libraries"]
    assert found.level == OK
    assert "Frames are sealed by OpenSSL 3." in found.sentence


@pytest.mark.parametrize(("hard", "warned"), [(256, True), (4_095, True), (4_096, False), (-1, False)])
def test_a_process_with_few_descriptors_is_warned_of(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, hard: int, warned: bool
) -> None:
    monkeypatch.setattr("pcgrelay.check.resource.getrlimit", lambda which: (min(hard, 256), hard))
    found = [finding for finding in check(settings()) if finding.where == "descriptors"]
    assert [finding.level for finding in found] == [WARNING] * warned


# --- outlets and state ---------------------------------------------------------------------------------------------

CUSTODY = {"service": "custody@met.police.example"}


def with_outlet(settings: Settings, until: date | None = None, **entries: Any) -> config.Config:
    bearer = {"name": "cjx"} if until is None else {"name": "cjx", "supported_until": until}
    direct = {**CUSTODY, "name": "cjx", "address": "127.0.0.9:5432", "bearer": "cjx", **entries.pop("direct", {})}
    listen = f"127.0.0.1:{free_port()}"
    return settings(
        imports=[{**CUSTODY, "listen": listen}], bearers=[bearer, {"name": "internet"}], directs=[direct], **entries
    )


@pytest.mark.parametrize(
    ("days", "level", "words"),
    [
        (91, OK, "is supported until"),
        (90, WARNING, "90 days left. It is time to plan"),
        (30, WARNING, "30 days left. What goes over it has to move within the month"),
        (7, WARNING, "7 days left. What goes over it loses its support within a week"),
        (1, WARNING, "1 day left"),
        (0, WARNING, "today is its last day"),
        (-1, WARNING, "is not supported any more: its last day was"),
    ],
)
def test_the_end_of_a_network_is_told_in_time(settings: Settings, days: int, level: str, words: str) -> None:
    today = datetime.now(UTC).date()
    found = check(with_outlet(settings, today + timedelta(days=days)))
    (finding,) = [finding for finding in found if finding.where == "bearer[1].supported_until"]
    assert finding.level == level
    assert words in finding.sentence
    # Whatever ends, the node starts.
    assert exit_code(found) == 0


def test_a_bearer_that_nothing_is_on_is_a_slip_of_the_pen(settings: Settings) -> None:
    found = check(settings(bearers=[{"name": "cjy"}]))
    assert [finding.where for finding in at_level(found, WARNING)] == ["bearer[1].name"]


def test_shares_without_a_folder_are_doubted(settings: Settings) -> None:
    found = check(with_outlet(settings))
    assert [finding.where for finding in at_level(found, WARNING)] == ["node.state"]


def test_a_folder_for_shares_is_good(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    found = check(with_outlet(settings, node_table={"state": str(tmp_path / "state")}))
    assert {finding.level for finding in found} == {OK}


def test_a_folder_of_state_that_is_not_fit(settings: Settings, tmp_path: Path) -> None:
    loaded = settings(node_table={"state": str(tmp_path / "state")})
    error = only_error(check(loaded))
    assert (error.where, error.permission) == ("node.state", False)
    assert "install -d -m 0700" in error.sentence
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o777)
    error = only_error(check(loaded))
    assert (error.where, error.permission) == ("node.state", True)
    with pytest.raises(PermissionProblem, match="others may write"):
        refuse_errors(loaded)


def test_a_source_that_is_not_of_this_machine(settings: Settings) -> None:
    error = only_error(check(with_outlet(settings, direct={"source": "192.0.2.1"})))
    assert (error.where, error.passing) == ("direct[1].source", True)


def test_further_listeners_are_tried_too(settings: Settings) -> None:
    with socket.socket() as taken, socket.socket() as probe:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        probe.bind(("127.0.0.1", 0))
        entry = {**CUSTODY, "listen": f"127.0.0.1:{probe.getsockname()[1]}"}
        probe.close()
        error = only_error(check(settings(imports=[{**entry, "also": [f"127.0.0.1:{taken.getsockname()[1]}"]}])))
    assert error.where == "import[1].also[1]"


def test_folders_that_the_unit_makes_are_missed_only_at_a_start(
    settings: Settings, realm: RealmPki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pcgrelay.unit_checks.SYSTEM_FOLDER", tmp_path)
    files = realm.issue(KENT, "kent-1")
    made = {"admin": "/run/pcgrelay/node/admin.sock", "state": "/var/lib/pcgrelay/node"}
    loaded = settings(files, node_table=made)  # node.toml, so the unit is pcgrelay@node
    assert exit_code(check(loaded)) == 0
    assert "The unit makes /run/pcgrelay/node when it starts." in [finding.sentence for finding in check(loaded)]
    with pytest.raises(ConfigError, match=r"node\.admin: The folder /run/pcgrelay/node"):
        refuse_errors(loaded)
    # Those of another node it does not make, nor any for a file elsewhere.
    assert exit_code(check(settings(files, node_table={**made, "state": "/var/lib/pcgrelay/other"}))) != 0
    monkeypatch.setattr("pcgrelay.unit_checks.SYSTEM_FOLDER", tmp_path / "elsewhere")
    assert exit_code(check(loaded)) != 0


@pytest.mark.parametrize(
    ("owner", "group", "mode", "is_hidden"),
    [
        ("root", "root", 0o600, True),
        ("root", "units", 0o640, False),
        ("root", "units", 0o600, True),
        ("units", "units", 0o600, False),
        ("units", "units", 0o040, True),
        ("root", "root", 0o644, False),
    ],
)
def test_root_is_told_of_files_that_the_units_cannot_read(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: str,
    group: str,
    mode: int,
    is_hidden: bool,
) -> None:
    loaded = settings()
    seen = loaded.identity.trust
    ids = {"root": 0, "units": 871}
    really = Path.stat

    def stat(path: Path, **keys: bool) -> os.stat_result:
        found = really(path, **keys)
        if path != seen:
            return found
        return os.stat_result((0o100000 | mode, *found[1:4], ids[owner], ids[group], *found[6:]))

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr("pcgrelay.files.SYSTEM_FOLDER", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: pwd.struct_passwd((name, "x", 871, 871, "", "/", "/")))
    words = f"The user pcgrelay, as which the units of the package run, may not read {seen}."
    found = [finding for finding in check(loaded) if finding.sentence == words]
    assert [(finding.level, finding.where) for finding in found] == ([(WARNING, "identity.trust")] if is_hidden else [])
    # Not at a start: that shows itself whether they can be read.
    assert not any(finding.sentence == words for finding in refuse_errors(loaded))
