"""The text form of metrics, read by prometheus-client's own parser, and more strictly than Prometheus reads it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Sample = tuple[str, frozenset[tuple[str, str]]]


def samples(text: str) -> dict[Sample, float]:
    """Every sample of the text. AssertionError: a family or a sample is there twice, or a family says nothing."""
    assert text.endswith("\n")
    found: dict[Sample, float] = {}
    names: set[str] = set()
    for family in text_string_to_metric_families(text):
        assert family.name not in names, family.name
        assert family.type in ("gauge", "counter", "histogram"), family.name
        assert family.documentation.endswith("."), family.name
        names.add(family.name)
        for each in family.samples:
            sample = (each.name, frozenset(each.labels.items()))
            assert sample not in found, each
            found[sample] = float(each.value)
    return found


def value(text: str, name: str, **labels: str) -> float:
    """The one sample of this name that has exactly these labels; KeyError: it is not there."""
    return samples(text)[(name, frozenset(labels.items()))]
