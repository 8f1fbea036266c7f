"""Judges of rules, of who approved them, and of the networks between which they lead: N3, N5 to N8, and L4."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pcgrelay.assure.judgement import Judgement, failed, judge_all, not_here, passed
from pcgrelay.assure.parameters import Parameters
from pcgrelay.assure.rule_facts import (
    BearerPair,
    ChangeFact,
    Changes,
    Diagram,
    Markings,
    PathFact,
    Refusal,
    Rules,
    SignerFacts,
    Transit,
)
from pcgrelay.output import counted
from pcgrelay.policy.clearances import LOWEST, NAMES

DIGITS = 12  # of a digest, for people
NO_APPROVALS = "add [approvals], then: pcgrelay approve --first"


def rules_are_owned(facts: Rules, parameters: Parameters) -> Judgement:
    """N3: each rule has its paper and none has ended; the file is the one that was approved."""
    expected = "each rule has owner, reason, change and until, none has ended, and the file is as it was approved"
    wrong = []
    for each in facts.rules:
        if each.missing:
            wrong.append(f"{each.where} has no {', '.join(each.missing)}")
        elif each.until is not None and each.until < facts.today:
            wrong.append(f"{each.where} ended on {each.until}")
    if wrong:
        return judge_all(wrong, "", expected)
    if not facts.approvals:
        return failed("nobody has to approve a change of this node", expected, NO_APPROVALS)
    if not facts.approved:
        return failed("nothing was approved yet", expected, "pcgrelay approve --first")
    if facts.approved != facts.holds:
        words = f"the file is {facts.holds[:DIGITS]}, and {facts.approved[:DIGITS]} was approved"
        return failed(words, expected, "have it approved: pcgrelay plan; or put back what was")
    return passed(f"{len(facts.rules)} rules, policy {facts.approved[:DIGITS]}", expected)


def changes_are_signed(facts: Changes, parameters: Parameters) -> Judgement:
    """L4: the signatures of the last changes, verified again."""
    needs = max(parameters.rules.signatures, facts.needs)
    expected = f"the last {parameters.rules.changes} changes have {needs} good signatures each, of different persons"
    if not facts.approvals:
        return failed("nobody has to approve a change of this node", expected, NO_APPROVALS)
    if not facts.changes:
        return failed("nothing was approved yet", expected, "pcgrelay approve --first")
    wrong = [fault for each in facts.changes[: parameters.rules.changes] for fault in _change_faults(each, needs)]
    told = f", {facts.only_log} by the keys that the log names" if facts.only_log else ""
    again = f"{len(facts.changes) - facts.only_log} verified again by ssh-keygen{told}"
    return judge_all(wrong, f"{counted(len(facts.changes), 'change')}, each with {needs} or more: {again}", expected)


def _change_faults(each: ChangeFact, needs: int) -> Iterator[str]:
    name = f"{each.number or 'the change'} of {each.taken[:10]}"
    if not each.whole:
        yield f"{name} is not the change that leads to the policy beside it"
    if not each.recorded:
        yield f"{name} is in the log with other keys, or not at all"
    count = len(set(each.signers) - {each.by})
    if count < needs:
        why = f" ({each.bad[0]})" if each.bad else ""
        yield f"{name} has {count} of {needs} signatures of others{why}"


def nothing_leads_across(facts: Transit, parameters: Parameters) -> Judgement:
    """N5: no pair of bearers is open that nobody named, by the file and by what the node leads and would lead."""
    expected = "nothing leads from one bearer to another, nor would, unless both are named together"
    wrong = [f"{each.one} and {each.other} are open to each other" for each in facts.pairs if _is_open(each)]
    for each in facts.live:
        if not each.named and each.paths:
            wrong.append(f"{each.paths} paths lead from {each.came} to {each.goes}")
        elif not each.named and each.led:
            wrong.append(f"the running node would lead a path from {each.came} to {each.goes}")
    named = sum(each.named for each in facts.pairs)
    words = f"{len(facts.bearers)} bearers, {len(facts.pairs)} pairs, {named} of them named"
    if facts.forwards:
        paths = sum(each.paths for each in facts.live)
        words += (
            f"; {paths} paths across stand, and of {facts.asked} ways that it was asked for it refuses {facts.refused}"
        )
    else:
        words += "; the running node forwards nothing"
    cure = "add [[bearer]] tables, and name in [policy] transit which bearers may meet" if wrong else ""
    return judge_all(wrong, words, expected, cure)


def _is_open(pair: BearerPair) -> bool:
    return pair.allowed and not pair.named


def markings_are_kept(facts: Markings, parameters: Parameters) -> Judgement:
    """N7: bearer and neighbour of everything that is live are cleared, and the node clears nothing for more."""
    expected = "bearer and relays of each live path are cleared for its marking, and the node clears none for more"
    if not facts.judged and facts.highest > LOWEST:
        words = f"something is marked {NAMES.get(facts.highest, facts.highest)}, and no bearer has a marking"
        return failed(words, expected, "write a [[bearer]] with its marking for each network")
    wrong = [fault for each in facts.paths for fault in _path_faults(each)]
    wrong += [f"the running node clears {each} for more than the file says" for each in facts.leaks]
    if facts.judged:
        wrong += [f"[policy] relays has {each}, which is no single organisation" for each in facts.patterns]
        if facts.any_relay:
            wrong.append("every member may be a relay ([policy] relays is not there)")
    return judge_all(wrong, f"{len(facts.paths)} live over a bearer each, all cleared", expected)


def _path_faults(each: PathFact) -> Iterator[str]:
    marking = NAMES.get(each.marking, str(each.marking))
    if each.bearer_cleared < each.marking:
        yield f"{each.what}: marked {marking}, and {each.over} is cleared for {NAMES[each.bearer_cleared]}"
    if each.neighbour_cleared < each.marking:
        yield f"{each.what}: marked {marking}, and {each.neighbour} is cleared for {NAMES[each.neighbour_cleared]}"


def network_is_drawn(facts: Diagram, parameters: Parameters) -> Judgement:
    """N8: the drawing is of today, and imports have the codes that a network asks for."""
    expected = "the drawing is of today, and each import has its code where a network asks for one"
    wrong = []
    if facts.drawn is None:
        wrong.append("there is no drawing")
    elif facts.drawn != facts.today:
        wrong.append(f"the drawing is of {facts.drawn}")
    if facts.coded:
        wrong += [f"{each} has no srv, which {facts.coded[0]} asks for" for each in facts.without]
    asked = f"codes for {', '.join(facts.coded)}" if facts.coded else "no network here asks for codes"
    return judge_all(wrong, f"drawn today; {asked}", expected)


def strangers_are_refused(facts: Refusal, parameters: Parameters) -> Judgement:
    """N6: what nobody exported to the probe's organisation is refused, and that is on record."""
    most = parameters.monitoring.recorded_most_s
    expected = f"an OPEN of what is not exported is refused, with its cause on record within {most} s"
    if not facts.service:
        return not_here("the probe may use everything that this node exports", expected)
    if facts.served:
        return failed(f"the probe was connected to {facts.service}", expected)
    if not facts.recorded:
        return failed(f"{facts.service} was refused, and no record says so", expected)
    if facts.waited_s > most:
        return failed(f"the record came after {facts.waited_s:.1f} s", expected)
    rule = "no rule" if facts.rule is None else f"rule {facts.rule}"
    return passed(
        f"{facts.service} was refused ({facts.cause}, {rule}), on record after {facts.waited_s:.1f} s", expected
    )


def signers_are_persons(facts: SignerFacts, parameters: Parameters) -> Judgement:
    """L3: each key has an end, each person one key, and no person has all roles."""
    expected = "each signer has an end, each person one key, no person all roles, and there are enough of them"
    wrong = [f"the key of {each.person} has no end" for each in facts.signers if each.until is None]
    valid = [each for each in facts.signers if each.until is None or each.until >= facts.today]
    people = Counter(each.person for each in valid)
    wrong += [f"{person} has {count} keys" for person, count in people.items() if count > 1]
    roles = {role for each in valid for role in each.roles}
    wrong += [f"{each.person} has every role" for each in valid if len(roles) > 1 and set(each.roles) == roles]
    # Whoever proposes a change does not sign it.
    if len(people) <= facts.needs:
        wrong.append(f"{len(people)} persons may sign, and a change needs {facts.needs} and one who proposes it")
    return judge_all(wrong, f"{len(people)} persons, each with one key and an end", expected)
