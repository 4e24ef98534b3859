"""The page is what Prometheus' own parser reads back, whatever the labels and values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from exporter.exposition import Metric, Page, Sample, header, write_samples
from exporter.service import TABLES
from exporter.snapshot import Snapshot, View

LABEL_VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.one_of(st.integers(-(2**53), 2**53), st.floats())


@given(
    help_text=LABEL_VALUES.filter(lambda text: text == text.strip()),
    samples=st.lists(st.tuples(LABEL_VALUES, LABEL_VALUES, VALUES), max_size=8),
    cluster=LABEL_VALUES,
)
def test_what_is_written_is_read_back_the_same(
    help_text: str, samples: list[tuple[str, str, int | float]], cluster: str
) -> None:
    unique = {(one, two): value for one, two, value in samples}
    page = header("pve_thing", "gauge", help_text) + write_samples(
        "pve_thing", ("one", "two"), list(unique.items()), cluster
    )
    families = list(text_string_to_metric_families(page.decode()))
    assert [(family.name, family.type) for family in families] == [("pve_thing", "gauge")]
    read = [(sample.labels, sample.value) for sample in families[0].samples]
    expected = [({"cluster": cluster, "one": one, "two": two}, float(value)) for (one, two), value in unique.items()]
    assert [labels for labels, _ in read] == [labels for labels, _ in expected]
    for (_, found), (_, wanted) in zip(read, expected, strict=True):
        assert found == wanted or (math.isnan(found) and math.isnan(wanted))


def test_a_value_that_is_not_known_gives_no_line() -> None:
    assert (
        write_samples("pve_thing", ("id",), [(("a",), None), (("b",), 0)], "lab")
        == b'pve_thing{cluster="lab",id="b"} 0\n'
    )


def test_text_that_is_no_valid_unicode_is_written_all_the_same() -> None:
    line = write_samples("pve_thing", ("id",), [(("\ud800",), 1)], "lab")
    assert line == b'pve_thing{cluster="lab",id="?"} 1\n'


def test_a_percent_sign_in_a_cluster_name_is_no_template() -> None:
    assert write_samples("pve_thing", ("id",), [(("5%",), 1)], "a%sb") == b'pve_thing{cluster="a%sb",id="5%"} 1\n'


def _page() -> tuple[Page, list[str]]:
    written: list[str] = []

    def samples(name: str) -> Metric:
        def of(view: View) -> list[Sample]:
            written.append(f"{name}/{view.cluster}")
            return [((view.cluster + name,), 1)]

        return Metric(name, "gauge", "One.", ("id",), of, reads=("config",) if name == "pve_b" else ())

    return Page((("resources", (samples("pve_a"), samples("pve_b"))), ("status", (samples("pve_c"),)))), written


def test_families_come_once_with_the_samples_of_all_clusters_together() -> None:
    page, _ = _page()
    for name in ("one", "two"):
        page.refresh(Snapshot(name))
    text = page.text().decode()
    assert text.count("# TYPE pve_a gauge") == 1
    assert text.index('pve_a{cluster="one"') < text.index('pve_a{cluster="two"') < text.index("# HELP pve_b")


def test_only_what_was_read_again_is_written_again() -> None:
    page, written = _page()
    snapshot = Snapshot("one")
    page.refresh(snapshot)
    written.clear()
    snapshot.record_success(("config", ""), None, at=1, duration=0, keep_seconds=10)
    page.refresh(snapshot)
    assert written == ["pve_b/one"]
    page.refresh(snapshot)
    assert written == ["pve_b/one"]


def test_a_family_declared_twice_with_another_help_is_refused() -> None:
    one = Metric("pve_a", "gauge", "One.", (), lambda _: ())
    other = Metric("pve_a", "gauge", "Other.", (), lambda _: ())
    with pytest.raises(ValueError, match="pve_a is declared twice"):
        Page((("resources", (one,)), ("status", (other,))))


def test_every_family_is_announced_before_anything_was_asked() -> None:
    page = Page(TABLES)
    page.refresh(Snapshot("lab"))
    text = page.text().decode()
    for _, table in TABLES:
        for metric in table:
            assert f"# TYPE {metric.name} {metric.type}\n" in text


def test_a_family_whose_origin_is_equal_is_not_written_again_until_it_differs() -> None:
    names, written = ["a"], []

    def samples(_view: View) -> list[Sample]:
        written.append(tuple(names))
        return [((name,), 1) for name in names]

    metric = Metric("pve_name", "gauge", "One.", ("id",), samples, made_of=lambda _view: tuple(names))
    page = Page((("resources", (metric,)),))
    snapshot = Snapshot("lab")

    def answer() -> int:
        snapshot.record_success(("resources", ""), object(), at=1.0, duration=0.1, keep_seconds=60)
        return page.refresh(snapshot)

    assert [answer(), answer(), answer()] == [1, 0, 0]
    names.append("b")
    assert answer() == 1
    assert written == [("a",), ("a", "b")]
    assert b'pve_name{cluster="lab",id="b"} 1\n' in page.text()


def test_one_value_that_needs_escaping_changes_no_other_line() -> None:
    lines = write_samples("pve_thing", ("id",), [(('a"b',), 1), (("c",), True), (("d",), 0.5)], "lab")
    assert lines == (
        b'pve_thing{cluster="lab",id="a\\"b"} 1\npve_thing{cluster="lab",id="c"} 1\n'
        b'pve_thing{cluster="lab",id="d"} 0.5\n'
    )


@given(value=LABEL_VALUES, cluster=LABEL_VALUES)
def test_what_stands_under_two_names_is_worked_out_once_and_read_back_under_both(value: str, cluster: str) -> None:
    asked: list[str] = []

    def samples(view: View) -> list[Sample]:
        asked.append(view.cluster)
        return [((value,), 1), (("pve_old{pve_old{",), 2)]

    old, new = (Metric(name, "gauge", "One.", ("id",), samples) for name in ("pve_old", "pve_new"))
    page = Page((("resources", (old, new)),))
    page.refresh(Snapshot(cluster))
    read = {family.name: family.samples for family in text_string_to_metric_families(page.text().decode())}
    figures = {
        name: [(sample.name, sample.labels, sample.value) for sample in read[name]] for name in ("pve_old", "pve_new")
    }
    for name in ("pve_old", "pve_new"):
        assert figures[name] == [
            (name, {"cluster": cluster, "id": value}, 1),
            (name, {"cluster": cluster, "id": "pve_old{pve_old{"}, 2),
        ]
    assert asked == [cluster]
