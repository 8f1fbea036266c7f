"""Judges of what happens when something is lost: R1, R2 and R6."""

from __future__ import annotations

from datetime import timedelta
from itertools import combinations

from pcgrelay.assure.judgement import Judgement, failed, judge_all, listed, passed
from pcgrelay.assure.parameters import Parameters
from pcgrelay.assure.rule_facts import Backup, DrillFact, Drills, LinkLoss, LinkLosses, ServiceWays, WayFact, Ways
from pcgrelay.drills.record import BACKUP, PASSED
from pcgrelay.output import counted

DIGITS = 12


def ways_are_apart(facts: Ways, parameters: Parameters) -> Judgement:
    """R1: of each critical import two ways share no relay and no bearer."""
    expected = "each critical import has two ways that share no relay and no bearer"
    wrong = [_why_together(each) for each in facts.services if not _are_apart(each)]
    return judge_all(wrong, f"{counted(len(facts.services), 'critical import')}, each with two", expected)


def _are_apart(each: ServiceWays) -> bool:
    return any(_share_nothing(one, other) for one, other in combinations(each.ways, 2))


def _share_nothing(one: WayFact, other: WayFact) -> bool:
    return one.bearer != other.bearer and not set(one.relays) & set(other.relays)


def _why_together(each: ServiceWays) -> str:
    if len(each.ways) < 2:
        return f"{each.service} has {len(each.ways) or 'no'} way"
    bearers = {way.bearer for way in each.ways}
    if len(bearers) == 1:
        return f"all ways of {each.service} go over {bearers.pop()}"
    shared = set.intersection(*(set(way.relays) for way in each.ways))
    through = f"through {sorted(shared)[0]}" if shared else "over what another one needs too"
    return f"all ways of {each.service} go {through}"


def serves_without_a_link(facts: LinkLosses, parameters: Parameters) -> Judgement:
    """R3: without any one link each import has a way, and exports can be reached; a drill that was held has passed."""
    expected = "with any one link taken away each import has a way, and exports can be reached"
    wrong = [fault for each in facts.losses if (fault := _link_fault(each, exports=facts.exports))]
    if not facts.losses:
        wrong.append("no link is up")
    words = f"{len(facts.losses)} links, each can be missed"
    if taken := facts.taken:
        pause = "" if taken.pause_longest_ms is None else f", longest pause {taken.pause_longest_ms:,} ms"
        words = f"{words}; {taken.neighbour} was taken away: {taken.sentence}{pause}"
        if taken.result != PASSED:
            wrong.append(f"the drill without {taken.neighbour} {taken.result}: {taken.sentence}")
        if taken.stopped:
            wrong.append(f"without {taken.neighbour} these were not ready: {listed(taken.stopped)}")
    return judge_all(wrong, words, expected)


def _link_fault(each: LinkLoss, *, exports: bool) -> str:
    link = f"without {each.neighbour} over {each.bearer}"
    if each.stops:
        return f"{link}, no way is left for {listed(each.stops)}"
    if exports and not each.links_left:
        return f"{link}, nobody reaches what is exported here"
    return ""


def drills_were_held(facts: Drills, parameters: Parameters) -> Judgement:
    """R2: the last drill of the back-up of each critical service, by this node."""
    most = parameters.drill.most_days
    expected = f"the back-up of each critical service was drilled within {most} days, and the drill passed"
    wrong = [f"{each} is not as it was written" for each in facts.odd]
    for service in facts.critical:
        mine = [each for each in facts.drills if (each.kind, each.subject, each.node) == (BACKUP, service, facts.node)]
        foreign = any(each.subject == service and each.node != facts.node for each in facts.drills)
        if not mine:
            of_others = ", and a report of another node says nothing of this one" if foreign else ""
            wrong.append(f"the back-up of {service} was never drilled here{of_others}")
        elif fault := _drill_fault(max(mine, key=_ended), facts, most):
            wrong.append(f"the back-up of {service} {fault}")
    return judge_all(wrong, f"{len(facts.critical)} critical services, each drilled", expected)


def _ended(each: DrillFact) -> float:
    return each.ended.timestamp() if each.ended else 0.0


def _drill_fault(last: DrillFact, facts: Drills, most_days: int) -> str:
    if last.ended is None:
        return "was drilled at an unknown time"
    age = facts.now - last.ended
    if last.result != PASSED:
        return f"was drilled on {last.ended:%Y-%m-%d}, and the drill {last.result}"
    if age > timedelta(days=most_days):
        return f"was drilled {age.days} days ago"
    if age < -timedelta(hours=1):
        return "was drilled in the future; look at the clock"
    return ""


def backup_starts_a_node(facts: Backup, parameters: Parameters) -> Judgement:
    """R6: what was restored into an empty folder passes `check`, and is the policy that holds."""
    expected = "a back-up, restored into an empty folder, passes check and has the policy that holds"
    if facts.problem:
        return failed(facts.problem, expected)
    if facts.digest != facts.restored:
        return failed(f"it has the policy {facts.restored[:DIGITS]}, and {facts.digest[:DIGITS]} holds", expected)
    return passed(f"{facts.files} files, policy {facts.restored[:DIGITS]}", expected)
