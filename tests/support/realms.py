"""Realms that were made up, with names, addresses and hosts of their own, and the facts of a cut-over in each."""

from __future__ import annotations

from datetime import date

from hypothesis import strategies as st
from msgspec import structs

from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.publishable import patterns_found
from pcgrelay.cutover.report import report_files
from pcgrelay.cutover.report_facts import OutletFacts, ReportFacts, StatementFacts
from pcgrelay.drills.record import RESULTS
from tests.support.reported import PLAN, reported

Realm = tuple[ReportFacts, list[str]]
LABEL = st.from_regex(r"x[a-z]{3}[0-9][a-z]{2}", fullmatch=True)  # no word of any sentence
HOST = st.builds("{}.{}.example".format, LABEL, LABEL)
ADDRESS = st.one_of(
    st.ip_addresses(v=4).map(lambda each: f"{each}:5432"), st.ip_addresses(v=6).map(lambda each: f"[{each}]:5432")
)


@st.composite
def realms(draw: st.DrawFn) -> Realm:
    """Facts with names, addresses and hosts of their own, and all of these."""
    labels = draw(st.lists(LABEL, min_size=8, max_size=8, unique=True))
    old, second, node, bearer, label, relay, person, observer = labels
    owner, own = draw(st.lists(HOST, min_size=2, max_size=2, unique=True))
    addresses = draw(st.lists(ADDRESS, min_size=2, max_size=2, unique=True))
    facts = reported()
    plan = PLAN.replace("custody@kent.police.example", f"{label}@{owner}").replace('"cjx"', f'"{old}"')
    plan = plan.replace("psnp-b", second).replace("j.smith@met.police.example", f"{person}@{own}")
    decisions = tuple(
        structs.replace(
            each, by=person, reason=f"{observer} said so at {addresses[0]}", sentence=f"{old} and {second} on {own}",
            shares={"gateway": each.shares["gateway"], old: each.shares["cjx"]},
        )
        for each in facts.decisions
    )  # fmt: skip
    new = facts.outlets[0]
    direct = [
        OutletFacts(name=name, kind="direct", bearer=bearer, addresses=(address,), sums=facts.outlets[1].sums)
        for name, address in zip((old, second), addresses, strict=True)
    ]
    said = [
        StatementFacts(bearer=bearer, observer=observer, since=date(2020, 2, 1), until=date(2020, 3, 1), transferred=0)
    ]
    drills = tuple(
        structs.replace(
            each, id=f"2020-02-06-backup-{label}@{owner}", outlet=second, result=draw(st.sampled_from(RESULTS)),
            sentence=f"{second} at {addresses[1]} failed alone", passed=draw(st.booleans()),
        )
        for each in facts.drills
    )  # fmt: skip
    advice = tuple(structs.replace(each, by=f"root ({person})", reason=f"asked at {own}") for each in facts.advice)
    phase = draw(st.sampled_from(Phase))
    made = structs.replace(
        facts, node=node, organisation=own, service=f"{label}@{owner}", plan_text=plan, decisions=decisions,
        outlets=(new, *direct), statements=tuple(said), drills=drills, advice=advice, names=(relay,), phase=phase,
    )  # fmt: skip
    hosts = [address.rpartition(":")[0].strip("[]") for address in addresses]
    return made, [*labels, owner, own, *addresses, *(host for host in hosts if len(host) > 3)]


def assert_nothing_is_named(facts: ReportFacts, names: list[str]) -> None:
    """Nothing of a realm stands in Part 1, and what belongs there stands in Part 2."""
    files = report_files(facts)
    for name in ("part1.md", "part1.html"):
        text = files[name].decode()
        assert [each for each in names if each in text] == []
    assert patterns_found(files["part1.md"].decode()) == ""
    part2 = files["part2.md"].decode()
    assert facts.service in part2
    assert facts.outlets[1].addresses[0].strip("[").split("]")[0] in part2.replace("\\", "")
    assert facts.drills[0].outlet in part2
    assert facts.advice[0].by in part2
