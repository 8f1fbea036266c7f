"""Each rule says who allowed it, why, by which change and until when; all four where changes have to be approved."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from pcgrelay import config
from pcgrelay.config.paper import papers
from pcgrelay.errors import ConfigError
from tests.support.documented_config import PAPER, PATH, approved, documented, written


def test_the_four_keys_are_read() -> None:
    found = config.parse(written(approved()), PATH)
    expected = config.Paper(**PAPER)
    assert dict(papers(found)) == dict.fromkeys(
        [("policy", "paper"), *((table, 0) for table in ("listen", "link", "export", "import", "direct"))], expected
    )
    assert found.approvals == config.ApprovalsSettings(signers=Path("/etc/pcgrelay/allowed_signers"))


def test_a_rule_lasts_to_the_end_of_its_last_day_in_utc() -> None:
    assert config.Paper(until=date(2027, 3, 31)).end == datetime(2027, 4, 1, tzinfo=UTC)
    assert config.Paper(owner="a@b").end is None


def test_without_approvals_each_key_is_optional() -> None:
    values = documented()
    values["export"][0]["until"] = date(2027, 3, 31)
    found = config.parse(written(values), PATH)
    assert found.exports[0].paper == config.Paper(until=date(2027, 3, 31))
    assert found.links[0].paper is None
    assert found.approvals is None


def test_roles_have_an_order_of_their_own() -> None:
    values = approved()
    values["approvals"]["roles"] = {"owner": ["b@x.example", "a@x.example"], "assurer": ["c@x.example"]}
    found = config.parse(written(values), PATH).approvals
    assert found is not None
    assert found.roles == (("assurer", ("c@x.example",)), ("owner", ("a@x.example", "b@x.example")))


def test_each_rule_without_its_paper_is_told_once_with_its_number() -> None:
    values = approved()
    values["export"].append({"service": "pnd", "target": "127.0.0.1:5433", "owner": PAPER["owner"]})
    del values["link"][0]["until"]
    del values["policy"]["paper"]
    with pytest.raises(ConfigError) as refused:
        config.parse(written(values), PATH)
    policy, link, export = refused.value.sentences
    assert "policy.paper: owner, reason, change and until are missing, which each rule has where there is" in policy
    assert "link[1]: until is missing" in link
    assert "write for example: until = 2027-03-31." in link
    assert "export[2]: reason, change and until are missing" in export


def test_who_allows_nobody_needs_no_paper_for_that() -> None:
    values = approved()
    del values["policy"]["paper"], values["policy"]["members"]
    assert config.parse(written(values), PATH).policy.paper is None


def test_an_empty_table_of_paper_is_refused() -> None:
    values = documented()
    values["policy"]["paper"] = {}
    with pytest.raises(ConfigError, match=r"policy\.paper: there is none of owner, reason, change and until in it"):
        config.parse(written(values), PATH)
