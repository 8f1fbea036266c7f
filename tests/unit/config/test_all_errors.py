"""All errors of a file are told at once, in its order, and none that only follows from another."""

import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcgrelay import config
from pcgrelay.config import schema
from pcgrelay.config.all_errors import DOUBTS, ERRORS_MOST
from pcgrelay.config.examples import EXAMPLES
from pcgrelay.errors import ConfigError
from tests.support.documented_config import DOCUMENTED, PATH, approved, documented, written

PLANTED = [
    ("node", "role", "egde"),
    ("node", "memory", "256MB"),
    ("identity", "key", ""),
    ("policy", "suites", ["AES-256-GCM", "DES"]),
    ("policy", "rekey_s", 500),
    ("listen", "address", "127.0.0.1"),
    ("link", "precedense", "preferred"),
    ("export", "allow", ["met.police.example", "Met"]),
    ("export", "probe_interval_ms", 1),
    ("import", "service", "custody"),
    ("import", "listen", "here:0"),
    ("direct", "name", "gateway"),
    ("drill", "every", "often"),
    ("caller", "networks", ["10.1.2.3/16"]),
    ("log", "level", "loud"),
]


def sentences_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        config.parse(text, PATH)
    assert str(refused.value).startswith(refused.value.sentences[0])
    return list(refused.value.sentences)


def with_planted(planted: list[tuple[str, str, Any]]) -> str:
    values = documented()
    for table, key, value in planted:
        entry = values.setdefault(table, {})
        (entry[0] if isinstance(entry, list) else entry)[key] = value
    return written(values)


def keys_named(sentences: list[str]) -> list[str]:
    return [re.sub(r"\[\d+\]", "", sentence.split(": ")[1]) for sentence in sentences]


def test_each_of_fifteen_planted_errors_is_told_in_the_order_of_the_file() -> None:
    text = with_planted(PLANTED)
    sentences = sentences_of(text)
    lines = [int(sentence.split(":")[1]) for sentence in sentences]
    assert lines == sorted(lines)
    assert sorted(keys_named(sentences)) == sorted(f"{table}.{key}" for table, key, _ in PLANTED)
    assert all(sentence.endswith(".") and sentence.isprintable() for sentence in sentences)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(range(len(PLANTED))), min_size=1, unique=True))
def test_any_of_them_together_are_told_and_no_other(chosen: list[int]) -> None:
    planted = [PLANTED[index] for index in chosen]
    assert sorted(keys_named(sentences_of(with_planted(planted)))) == sorted(f"{t}.{k}" for t, k, _ in planted)


def test_pairs_of_wrong_keys_are_told_both() -> None:
    chosen = random.Random(12)  # the same pairs each time
    names = [name for name in EXAMPLES if "." in name and not name.startswith("approvals.")]
    for _ in range(60):
        first, second = chosen.sample(names, 2)
        if first in DOUBTS.get(second, ()) or second in DOUBTS.get(first, ()):
            continue  # one of the two is wrong perhaps only because the other is
        planted = [(*name.split(".", 1), {}) for name in (first, second)]
        told = keys_named(sentences_of(with_planted(planted)))
        assert sorted(told) == sorted((first, second))


def test_a_missing_table_and_an_error_elsewhere_are_told_both() -> None:
    values = documented()
    del values["identity"]
    values["log"] = {"level": "loud"}
    assert keys_named(sentences_of(written(values))) == ["log.level", "identity"]


def test_each_rule_without_its_paper_is_told() -> None:
    """Whoever adds [approvals] to a file sees all of what is to be written, not one rule after the other."""
    values = approved()
    for table in ("listen", "export", "import"):
        values[table] = [
            {key: value for key, value in each.items() if key not in schema.PAPER} for each in values[table]
        ]
    del values["policy"]["paper"]
    sentences = sentences_of(written(values))
    count = sum(len(values[table]) for table in ("listen", "export", "import"))
    assert len(sentences) == count + 1
    assert all("which each rule has where there is [approvals]" in each for each in sentences)
    assert "write for example below [policy.paper]: owner = " in sentences[0]


def test_lines_that_are_no_toml_do_not_hide_the_rest() -> None:
    text = DOCUMENTED.replace('name = "kent-1"', "name = kent-1", 1).replace("workers = 0", "workers = = 0", 1)
    text += '[log]\nlevel = "loud"\n'
    sentences = sentences_of(text)
    assert [bool("not valid TOML" in sentence) for sentence in sentences] == [True, True, False]
    assert "log.level" in sentences[2]


@pytest.mark.parametrize(("old", "new"), [("[node]", "[node"), ("[[link]]", "[[link"), ('role = "edge" ', "x = '''")])
def test_a_file_that_cannot_be_read_without_whole_tables_has_one_error(old: str, new: str) -> None:
    assert len(sentences_of(DOCUMENTED.replace(old, new, 1))) == 1


def test_there_is_an_end_to_them_and_that_is_said() -> None:
    wrong = "".join(f'\n[[export]]\nservice = "s{n}"\ntarget = "nowhere"\n' for n in range(ERRORS_MOST + 5))
    sentences = sentences_of(DOCUMENTED + wrong)
    assert len(sentences) == ERRORS_MOST + 1
    assert "there may be more" in sentences[-1]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('role = "edge"', 'role = "egde"', 'the nearest is "edge", of: "edge", "relay"'),
        ('role = "edge"', 'role = "hub"', 'write one of: "edge", "relay"'),
        ("[node]", '[log]\nlevel = "INFO"\n[node]', 'the nearest is "info", of: "debug", "error", "info", "warning"'),
    ],
)
def test_the_possible_values_are_listed_with_the_nearest(old: str, new: str, words: str) -> None:
    assert words in sentences_of(DOCUMENTED.replace(old, new, 1))[0]
