"""What `check` says of certificates and lists is what nodes do: they link, or not, or do not even start."""

import io
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509
from hypothesis import HealthCheck, given, settings, strategies

from pcgrelay import config
from pcgrelay.check import check, exit_code, refuse_errors, refuse_reload
from pcgrelay.daemon.run import make_node
from pcgrelay.errors import PcgrelayError
from pcgrelay.finding import ERROR
from pcgrelay.identity.exporter import Purpose
from pcgrelay.identity.handshake import Handshake
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.link.link import LinkState
from pcgrelay.log.writer import Log
from tests.support import fake_core
from tests.support.nodes_in_process import KENT, MET, Running
from tests.support.odd_pki import CLIENT, DAY, SERVER, TEST_KEYS, Issuer, Odd, ca, crl, usage
from tests.support.pki import write_config
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

Case = Callable[[], Odd]


def one(*, authority: dict[str, Any] | None = None, lists: dict[str, Any] | None = None, **leaf: Any) -> Odd:
    """A CA that is its own issuer, its list, and leaves below it."""
    root = ca("root", **(authority or {}))
    return Odd(root, [root], [crl(root, **(lists or {}))], leaf=leaf)


def two(
    *, root: dict[str, Any] | None = None, middle: dict[str, Any] | None = None, lists: bool = True, **leaf: Any
) -> Odd:
    """A root, a CA below it that issues, and the lists of both."""
    top = ca("root", **(root or {}))
    below = ca("issuing", top, **(middle or {}))
    return Odd(below, [top], [crl(top), crl(below)] if lists else [crl(below)], above=[below], leaf=leaf)


def with_root_list(**given: Any) -> Odd:
    top = ca("root")
    below = ca("issuing", top)
    return Odd(below, [top], [crl(top, **given), crl(below)], above=[below])


def without_its_root() -> Odd:
    top = ca("root")
    below = ca("issuing", top)
    return Odd(below, [below], [crl(below)])


def rekeyed(*, aki: bool, old_first: bool = True, key_identifiers: bool = True) -> Odd:
    """Two CAs of one name and two keys, each with its list."""
    made = {"skid": key_identifiers}
    old, new = ca("root", **made), ca("root", **made)
    pair = [old, new] if old_first else [new, old]
    return Odd(new, pair, [crl(each, aki=aki) for each in pair], leaf={"aki": key_identifiers})


def renewed_ca(*, old_first: bool, old_end: Any = -DAY / 2) -> Odd:
    """The same name and key with later dates."""
    old = ca("root", start=-10 * DAY, end=old_end)
    new = ca("root", key=old.key)
    return Odd(new, [old, new] if old_first else [new, old], [crl(new)])


def expired_root_beside(*, old_first: bool) -> Odd:
    old, new = ca("old root", start=-10 * DAY, end=-DAY), ca("root")
    return Odd(new, [old, new] if old_first else [new, old], [crl(new), crl(old, start=-9 * DAY, end=-DAY)])


def cross_signed(*, with_old: bool) -> Odd:
    old, new = ca("old root"), ca("root")
    crossed = Issuer(ca("root", old, key=new.key).certificate, new.key)
    return Odd(new, [old] if with_old else [new], [crl(old), crl(new)], above=[crossed])


def cross_signed_by_expired() -> Odd:
    old, new = ca("old root", start=-10 * DAY, end=-DAY), ca("root")
    crossed = Issuer(ca("root", old, key=new.key).certificate, new.key)
    return Odd(new, [new, old], [crl(old), crl(new)], above=[crossed])


def of_a_stranger() -> Odd:
    root, stranger = ca("root"), ca("root")
    return Odd(stranger, [root], [crl(root)])


def list_of_a_stranger(*, beside: bool) -> Odd:
    root, stranger = ca("root"), ca("stranger")
    return Odd(root, [root], [crl(stranger), crl(root)] if beside else [crl(stranger)])


def forged_list() -> Odd:
    root = ca("root")
    return Odd(root, [root], [crl(root, key=TEST_KEYS["p256"]())])


def revoked() -> Odd:
    root = ca("root")
    return Odd(root, [root], [], revokes=lambda serials: [crl(root, revoked=serials)])


def revoked_by_a_list_that_ran_out() -> Odd:
    root = ca("root")
    return Odd(root, [root], [], revokes=lambda serials: [crl(root, start=-9 * DAY, end=-DAY, revoked=serials)])


def revoked_intermediate() -> Odd:
    top = ca("root")
    below = ca("issuing", top)
    return Odd(below, [top], [crl(top, revoked=[below.certificate.serial_number]), crl(below)], above=[below])


def old_list_beside() -> Odd:
    root = ca("root")
    return Odd(root, [root], [crl(root, start=-9 * DAY, end=-DAY), crl(root)])


def early_list_beside() -> Odd:
    root = ca("root")
    return Odd(root, [root], [crl(root, start=DAY), crl(root)])


def said_twice() -> Odd:
    root = ca("root")
    return Odd(root, [root, root], [crl(root), crl(root)])


def long_chain(count: int) -> Odd:
    chain = [ca("root")]
    for number in range(count):
        chain.append(ca(f"issuing {number}", chain[-1]))
    return Odd(chain[-1], chain[:1], [crl(each) for each in chain], above=chain[:0:-1])


def missing_intermediate() -> Odd:
    top = ca("root")
    below = ca("issuing", top)
    return Odd(below, [top], [crl(top), crl(below)])


def intermediate_in_trust() -> Odd:
    top = ca("root")
    below = ca("issuing", top)
    return Odd(below, [below, top], [crl(top), crl(below)])


NAMED_POINT = x509.IssuingDistributionPoint(
    full_name=[x509.UniformResourceIdentifier("http://pki.example/list.crl")],
    relative_name=None,
    only_contains_user_certs=False,
    only_contains_ca_certs=False,
    only_some_reasons=None,
    indirect_crl=False,
    only_contains_attribute_certs=False,
)
ONLY = {
    "full_name": None,
    "relative_name": None,
    "only_some_reasons": None,
    "indirect_crl": False,
    "only_contains_attribute_certs": False,
}
OF_USERS = x509.IssuingDistributionPoint(only_contains_user_certs=True, only_contains_ca_certs=False, **ONLY)
OF_CAS = x509.IssuingDistributionPoint(only_contains_user_certs=False, only_contains_ca_certs=True, **ONLY)

OWN_NAMES = {"permitted": "police.example"}
CASES: dict[str, Case] = {
    "good": one,
    "good below an intermediate": two,
    "key encipherment only": lambda: one(usages=usage("key_encipherment")),
    "key agreement only": lambda: one(usages=usage("key_agreement")),
    "digital signature only": lambda: one(usages=usage("digital_signature")),
    "content commitment only": lambda: one(usages=usage("content_commitment")),
    "server only": lambda: one(purposes=[SERVER]),
    "client only": lambda: one(purposes=[CLIENT]),
    "no purposes": lambda: one(purposes=None),
    "purposes without those of TLS": lambda: one(purposes=[x509.ObjectIdentifier("1.3.6.1.5.5.7.3.4")]),
    "any purpose": lambda: one(purposes=[x509.ObjectIdentifier("2.5.29.37.0")]),
    "an issuing CA for servers only": lambda: two(middle={"purposes": [SERVER]}),
    "an issuing CA for clients only": lambda: two(middle={"purposes": [CLIENT]}),
    "an issuing CA for both": lambda: two(middle={"purposes": [SERVER, CLIENT]}),
    "a root for servers only": lambda: one(authority={"purposes": [SERVER]}),
    "a path length that is too short": lambda: two(root={"path_length": 0}),
    "a path length that is enough": lambda: two(root={"path_length": 1}, middle={"path_length": 0}),
    "a name that is not permitted": lambda: one(authority={"permitted": "fire.example"}),
    "a name that is permitted": lambda: one(authority=OWN_NAMES),
    "a name that is excluded": lambda: two(middle={"excluded": "police.example"}),
    "a list of one distribution point": lambda: one(lists={"idp": NAMED_POINT}),
    "a list of users' certificates": lambda: one(lists={"idp": OF_USERS}),
    "a list of CAs' certificates": lambda: one(lists={"idp": OF_CAS}),
    "a list with an unknown critical extension": lambda: one(lists={"critical_oid": True}),
    "a list that ran out": lambda: one(lists={"start": -9 * DAY, "end": -DAY}),
    "a list of tomorrow": lambda: one(lists={"start": DAY}),
    "a list that ran out beside a new one": old_list_beside,
    "a list of tomorrow beside one of today": early_list_beside,
    "a list without key identifier": lambda: one(lists={"aki": False}),
    "the root's list ran out": lambda: with_root_list(start=-9 * DAY, end=-DAY),
    "the root's list is of tomorrow": lambda: with_root_list(start=DAY),
    "the root has no list": lambda: two(lists=False),
    "a CA with a new key, lists without key identifiers": lambda: rekeyed(aki=False),
    "the same, the new one first": lambda: rekeyed(aki=False, old_first=False),
    "a CA with a new key, lists with key identifiers": lambda: rekeyed(aki=True),
    "a CA with a new key, no identifiers at all": lambda: rekeyed(aki=False, key_identifiers=False),
    "the same without, the new one first": lambda: rekeyed(aki=False, key_identifiers=False, old_first=False),
    "trust without its root": without_its_root,
    "an intermediate in trust beside its root": intermediate_in_trust,
    "an intermediate that is nowhere": missing_intermediate,
    "RSA of 1024 bits": lambda: one(kind="rsa1024"),
    "RSA of 2048 bits": lambda: one(kind="rsa2048"),
    "P-384": lambda: one(kind="p384"),
    "P-521": lambda: one(kind="p521"),
    "secp256k1": lambda: one(kind="k256"),
    "Ed25519": lambda: one(kind="ed25519"),
    "Ed448": lambda: one(kind="ed448"),
    "a CA of Ed448": lambda: one(authority={"key": TEST_KEYS["ed448"]()}),
    "a CA of RSA 1024": lambda: one(authority={"key": TEST_KEYS["rsa1024"]()}),
    "an intermediate of RSA 1024": lambda: two(middle={"key": TEST_KEYS["rsa1024"]()}),
    "SHA-1 below an intermediate": lambda: two(root={"key": TEST_KEYS["rsa2048"]()}, middle={"sha1": True}),
    "SHA-1 in the leaf": lambda: one(sha1=True, authority={"key": TEST_KEYS["rsa2048"]()}),
    "a CA renewed, the old one first": lambda: renewed_ca(old_first=True),
    "a CA renewed, the new one first": lambda: renewed_ca(old_first=False),
    "a CA renewed, both good": lambda: renewed_ca(old_first=True, old_end=50 * DAY),
    "a root that expired, first": lambda: expired_root_beside(old_first=True),
    "a root that expired, last": lambda: expired_root_beside(old_first=False),
    "cross-signed, the old root trusted": lambda: cross_signed(with_old=True),
    "cross-signed, the new root trusted": lambda: cross_signed(with_old=False),
    "cross-signed by a root that expired": cross_signed_by_expired,
    "the root expired": lambda: one(authority={"start": -9 * DAY, "end": -DAY}),
    "the intermediate expired": lambda: two(middle={"start": -9 * DAY, "end": -DAY}),
    "the leaf expired": lambda: one(start=-9 * DAY, end=-DAY),
    "the leaf is of tomorrow": lambda: one(start=DAY),
    "leaf and list ran out": lambda: one(start=-9 * DAY, end=-DAY, lists={"start": -9 * DAY, "end": -DAY}),
    "an expired leaf for servers only": lambda: one(start=-9 * DAY, end=-DAY, purposes=[SERVER]),
    "another CA of the same name": of_a_stranger,
    "a list of a stranger": lambda: list_of_a_stranger(beside=False),
    "a list of a stranger beside": lambda: list_of_a_stranger(beside=True),
    "a forged list": forged_list,
    "revoked": revoked,
    "revoked by a list that ran out": revoked_by_a_list_that_ran_out,
    "a revoked intermediate": revoked_intermediate,
    "everything twice": said_twice,
    "no basic constraints in the leaf": lambda: one(constraints=False),
    "no basic constraints in the root": lambda: one(authority={"constraints": False}),
    "no basic constraints in the intermediate": lambda: two(middle={"constraints": False}),
    "an intermediate that may not sign": lambda: two(middle={"usages": usage("digital_signature")}),
    "a CA that may not sign lists": lambda: one(authority={"usages": usage("key_cert_sign")}),
    "an unknown critical extension": lambda: one(critical_oid=True),
    "an unknown critical extension above": lambda: two(middle={"critical_oid": True}),
    "six intermediates": lambda: long_chain(6),
    "seven intermediates": lambda: long_chain(7),
    "eight intermediates": lambda: long_chain(8),
    "a leaf of 20 KiB": lambda: one(padding_bytes=20_000),
    "a leaf of 60 KiB": lambda: one(padding_bytes=60_000),
    "a leaf of 140 KiB": lambda: one(padding_bytes=140_000),
}


class World:
    """Two nodes with the files of a case: one listens, both export."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[Running] = []
        self.port = free_port()

    def written(self, odd: Odd) -> list[config.Config]:
        odd.prepare((KENT, "kent-1"), (MET, "met-1"))
        kent, met = odd.files(self.folder / "kent", "kent-1"), odd.files(self.folder / "met", "met-1")
        offer = [{"service": "custody", "target": "127.0.0.1:5432", "allow": [MET]}]
        dialled = [{"peer": f"kent-1.{KENT}", "address": f"127.0.0.1:{self.port}"}]
        listens = [f"127.0.0.1:{self.port}"]
        paths = (
            write_config(self.folder / "k.toml", kent, KENT, "kent-1", listens=listens, exports=offer),
            write_config(self.folder / "m.toml", met, MET, "met-1", links=dialled, exports=offer),
        )
        return [config.load(path) for path in paths]

    async def outcome(self, loaded: list[config.Config]) -> str:
        """`links`, `no link` or `no start`."""
        try:
            for each in loaded:
                # Whatever the check would say: this is what the node itself does.
                sink = io.StringIO()
                running = Running(make_node(each, fake_core, Log("debug", sink)), sink)
                self.running.append(running)
                await running.node.start()
        except PcgrelayError:
            return "no start"
        kent, met = self.running
        refused = lambda: met.lines("link.failed") or kent.lines("handshake.refused")
        await until(lambda: self._known() or refused() or met.lines("link.down"), 20, "two nodes make up their minds")
        if refused():
            return "no link"
        # A link whose ends cannot take each other's entries is none that serves.
        known = lambda: self._known() == 2
        bad = lambda: any(each.lines("link.down") or each.lines("catalogue.refused") for each in self.running)
        await until(lambda: known() or bad(), 20, "each knows what the other exports")
        return "no link" if bad() else "links"

    def _known(self) -> int:
        up = [link for each in self.running for link in each.node.link_table.links.values()]
        if not up or any(link.state is not LinkState.UP for link in up):
            return 0
        return sum(bool(list(each.node.exchange.catalogue.edges())) for each in self.running)

    async def stop(self) -> None:
        for running in self.running:
            await running.node.stop()


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    await made.stop()


@pytest.mark.parametrize("name", CASES)
async def test_what_check_says_is_what_nodes_do(world: World, name: str) -> None:
    loaded = world.written(CASES[name]())
    findings = [finding for each in loaded for finding in check(each) if finding.where.startswith("identity")]
    errors = [finding for finding in findings if finding.level == ERROR]
    code = exit_code(findings)
    if code != 78:
        for each in loaded:
            refuse_errors(each)
            refuse_reload(each)
    outcome = await world.outcome(loaded)
    if code == 78:
        assert outcome in ("no link", "no start")
    elif errors:
        # A date: the node starts and is in trouble.
        assert (code, outcome) == (4, "no link")
    else:
        assert outcome == "links"


def handshake_of(one: config.Config, other: config.Config) -> str:
    """Two nodes without a wire: `links`, or the word of the refusal."""
    here, there = LocalIdentity(one), LocalIdentity(other)
    client, server = (
        Handshake(local.context, local.link_parameters(), client=client, purpose=Purpose.LINK, judge=lambda peer: None)
        for local, client in ((here, True), (there, False))
    )
    try:
        data = client.start()
        while client.established is None and data:
            data = client.receive(server.receive(data))
    except HandshakeRefused as refused:
        return refused.reason
    return "links"


@pytest.mark.parametrize("issuer", ["new", "renewed", "other"])
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=strategies.data())
def test_the_order_of_files_decides_nothing(tmp_path: Path, issuer: str, data: strategies.DataObject) -> None:
    old, expired = ca("root"), ca("old root", start=-10 * DAY, end=-DAY)
    before = ca("renewed", start=-10 * DAY, end=-DAY / 2)
    authorities = {"new": ca("root"), "renewed": ca("renewed", key=before.key), "other": ca("other root")}
    trust = [old, expired, before, *authorities.values()]
    lists = [crl(each) for each in (old, *authorities.values())]
    lists += [crl(expired, start=-9 * DAY, end=-DAY), crl(authorities["new"], start=-9 * DAY, end=-DAY)]
    chosen = authorities[issuer]
    odd = Odd(chosen, data.draw(strategies.permutations(trust)), data.draw(strategies.permutations(lists)))
    world = World(Path(tempfile.mkdtemp(dir=tmp_path)))
    loaded = world.written(odd)
    assert handshake_of(*loaded) == "links"
    for each in loaded:
        assert [finding for finding in check(each) if finding.level == ERROR] == []
        # One that nobody needs any more has expired, which is worth a word.
        assert exit_code(check(each)) == 4
