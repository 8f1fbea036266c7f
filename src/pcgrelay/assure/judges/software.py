"""Judges of what the node is made of: S1 to S5, and D1."""

from __future__ import annotations

from datetime import timedelta

from pcgrelay.assure.facts import Ends, Libraries, Release, Sbom, WheelFiles
from pcgrelay.assure.judgement import Judgement, failed, judge_all, passed
from pcgrelay.assure.parameters import Parameters


def components_are_listed(facts: Sbom, parameters: Parameters) -> Judgement:
    """S1: a list of components of this version, with each requirement."""
    expected = "a list of components of this version, with everything that pcgrelay requires"
    if not facts.components:
        return failed("there is no list of components", expected)
    wrong = [f"{each} is not in it" for each in facts.missing]
    if facts.version != facts.own_version:
        wrong.insert(0, f"it is of version {facts.version or 'unknown'}, not {facts.own_version}")
    return judge_all(wrong, f"{len(facts.components)} components ({facts.source})", expected)


def files_are_as_recorded(facts: WheelFiles, parameters: Parameters) -> Judgement:
    """S2: each file has the digest that the installation recorded."""
    expected = "each installed file has the digest that was recorded when it was built"
    wrong = [f"{each} was changed" for each in facts.changed] + [f"{each} is gone" for each in facts.missing]
    return judge_all(wrong, f"{facts.recorded:,} files", expected)


def libraries_are_supported(facts: Libraries, parameters: Parameters) -> Judgement:
    """S3: both OpenSSL libraries and the Python are within their support."""
    expected = "the OpenSSL of frames, that of sessions, and the Python are supported"
    wrong = []
    for each in facts.libraries:
        if each.supported_until is None:
            wrong.append(f"the end of support of {each.version} ({each.use}) is not known here")
        elif each.supported_until < facts.today:
            wrong.append(f"{each.version} ({each.use}) was supported by {each.kept_by} until {each.supported_until}")
    words = ", ".join(f"{each.use}: {each.version} until {each.supported_until}" for each in facts.libraries)
    reviewed = min((each.reviewed for each in facts.libraries if each.reviewed), default="")
    return judge_all(wrong, f"{words}{f' (reviewed {reviewed})' if reviewed else ''}", expected)


def release_is_recent(facts: Release, parameters: Parameters) -> Judgement:
    """S4: the age of this release, and the node runs the same one."""
    most = parameters.release.most_days
    expected = f"the release is at most {most} days old, and the node runs it"
    if facts.made is None:
        return failed(f"it is not known when {facts.version} was made", expected)
    age = (facts.today - facts.made).days
    wrong = [f"{facts.version} is {age} days old"] if age > most else []
    if facts.node_version != facts.version:
        wrong.append(f"the node runs {facts.node_version}, and {facts.version} is installed")
    return judge_all(wrong, f"{facts.version}, {age} days old", expected)


def release_is_supported(facts: Release, parameters: Parameters) -> Judgement:
    """S5: the last day of this release's support."""
    expected = f"the release is supported: at most {parameters.release.supported_days} days from when it was made"
    if facts.made is None:
        return failed(f"it is not known when {facts.version} was made", expected)
    until = facts.made + timedelta(days=parameters.release.supported_days)
    if until < facts.today:
        return failed(f"{facts.version} was supported until {until}", expected)
    return passed(f"{facts.version} until {until}", expected)


def networks_are_supported(facts: Ends, parameters: Parameters) -> Judgement:
    """D1: bearers and outlets in use."""
    expected = "no bearer or outlet in use is past its supported_until"
    wrong = [f"{what} was supported until {end}" for what, end in facts.ends if end < facts.today]
    unknown = f"; no end is written for {', '.join(facts.without)}" if facts.without else ""
    return judge_all(wrong, f"{len(facts.ends)} with an end, none past it{unknown}", expected)
