"""Judges of clocks, of the audit log, of what records can hold, and of alerts: M1 to M7."""

from __future__ import annotations

from pcgrelay.assure.judgement import TOLD, Judgement, failed, judge_all, passed
from pcgrelay.assure.parameters import Parameters
from pcgrelay.assure.record_facts import Alerts, ClockFacts, Kept, LogVerified, Observed, Privacy

CLOCK_MOST_MS = 1_000.0  # a kernel that is kept reckons with less
HOUR_S = 3_600.0
SLACK_S = 60.0  # of a record that comes each hour
WHOLE = "whole"


def clock_is_kept(facts: ClockFacts, parameters: Parameters) -> Judgement:
    """M1: something keeps the clock, and its state is on record."""
    expected = "the kernel's clock is synchronised, no node's differs, and its state was recorded within the hour"
    wrong = []
    if not facts.synchronised:
        wrong.append("the clock of this machine is not synchronised")
    elif facts.error_ms > CLOCK_MOST_MS:
        wrong.append(f"the clock of this machine may be wrong by {facts.error_ms:,.0f} ms")
    wrong += [f"the clock of {each} differs" for each in facts.skewed]
    if facts.recorded_s is None:
        wrong.append("no record says how the clock is")
    elif facts.recorded_s > HOUR_S + SLACK_S:
        wrong.append(f"the last record of the clock is {facts.recorded_s / HOUR_S:,.0f} hours old")
    return judge_all(wrong, f"within {facts.error_ms:,.0f} ms, {facts.peers} clocks of nodes agree", expected)


def log_is_whole(facts: LogVerified, parameters: Parameters) -> Judgement:
    """M4: every record is as it was signed, recently, and others have seen it."""
    most_s, most_h = parameters.monitoring.checkpoint_most_s, parameters.monitoring.witness_most_h
    expected = f"the log is whole, its checkpoint at most {most_s} s behind, a witness within {most_h} h"
    if facts.verdict != WHOLE:
        return failed(facts.problem or f"the log is {facts.verdict}", expected)
    wrong = []
    if facts.checkpoint_age_s is None:
        wrong.append("nothing was signed yet")
    elif facts.unsigned and facts.checkpoint_age_s > most_s:
        wrong.append(
            f"{facts.unsigned:,} records are not signed, and the checkpoint is {facts.checkpoint_age_s:,.0f} s old"
        )
    if not facts.witnesses:
        wrong.append("nobody has witnessed it")
    elif (youngest := min(each.age_s for each in facts.witnesses)) > most_h * HOUR_S:
        wrong.append(f"the last witness saw it {youngest / HOUR_S:,.0f} hours ago")
    lost = f"; it says itself that {facts.lost:,} were lost" if facts.lost else ""
    cure = "start the node, and see its status: pcgrelay status" if wrong else ""
    return judge_all(wrong, f"{facts.records:,} records, {len(facts.witnesses)} witnesses{lost}", expected, cure)


def records_are_kept(facts: Kept, parameters: Parameters) -> Judgement:
    """M5: how long records are kept, and nobody else may write them."""
    least = parameters.monitoring.keep_least_days
    expected = f"records are kept for {least} days or more, and no other user may write them"
    wrong = []
    if facts.keep_days < least:
        wrong.append(f"they are kept for {facts.keep_days} days")
    if facts.oldest_days is None:
        wrong.append("there is no record")
    elif facts.pruned and facts.oldest_days < least - 1:
        wrong.append(f"records were removed, and the oldest is {facts.oldest_days:,.0f} days old")
    wrong += [f"others may write {each}" for each in facts.writable]
    since = "since the start" if not facts.pruned else f"the oldest {facts.oldest_days or 0:,.0f} days old"
    return judge_all(wrong, f"kept for {facts.keep_days} days, {since}", expected)


def nothing_is_held(facts: Privacy, parameters: Parameters) -> Judgement:
    """M6: no field of a record can hold free text from the wire, and a marker is found nowhere."""
    expected = "no field of any record can hold text from the wire, and a marker sent through is found nowhere"
    wrong = [f"{each} may hold text from the wire" for each in facts.open_fields]
    marker = facts.marker
    if marker is not None:
        wrong += [f"the marker was found in the {each}" for each in marker.hits]
        if not marker.came_back:
            wrong.append("the marker did not get through, so its absence shows nothing")
    words = f"{facts.fields} fields of {facts.records} records"
    if marker is None and not wrong:
        # By the schema alone it has not been shown: what is kept is shown by a marker that is searched for.
        return Judgement(outcome=TOLD, observed=f"{words}; no marker was sent (no [assure] probe)", expected=expected)
    if marker is None:
        return judge_all(wrong, "", expected)
    return judge_all(wrong, f"{words}; 0 hits in {', '.join(marker.searched)}", expected)


def what_happens_is_recorded(facts: Observed, parameters: Parameters) -> Judgement:
    """M2: a stream and a refusal are on record in time, with all fields."""
    most = parameters.monitoring.recorded_most_s
    expected = f"a stream and a refusal of the probe are on record within {most} s, with all their fields"
    tried = [("stream", facts.stream_s)] + ([("refusal", facts.refusal_s)] if facts.refusal_tried else [])
    wrong = []
    for what, after_s in tried:
        if after_s is None:
            wrong.append(f"no record of the {what} came")
        elif after_s > most:
            wrong.append(f"the record of the {what} came after {after_s:.1f} s")
    wrong += [f"{each} is missing" for each in facts.missing]
    words = ", ".join(f"the {what} after {after_s:.1f} s" for what, after_s in tried if after_s is not None)
    return judge_all(wrong, words, expected)


def alerts_are_sound(facts: Alerts, parameters: Parameters) -> Judgement:
    """M7: the rules can be loaded, and each metric that they name exists."""
    expected = "the rules can be loaded, and each metric that they name exists"
    if facts.complaint:
        return failed(f"{facts.file}: {facts.complaint}", expected)
    if not facts.alerts:
        return failed(f"{facts.file} has no alert", expected)
    wrong = [f"no node has {each}" for each in facts.unknown]
    by = f", by {facts.checked_by}" if facts.checked_by else ""
    if wrong:
        return judge_all(wrong, "", expected)
    return passed(f"{facts.alerts} alerts{by}", expected)
