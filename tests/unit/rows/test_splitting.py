from __future__ import annotations

from collections import Counter

import pytest

from harness.data.preparation import carve, grouped
from harness.data.rows import Row, Span


def rows_of(classes: str, by: int = 1) -> list[Row]:
    """Rows with one letter as their class, `by` of them to a document."""
    return [Row(f"d{n // by}-{n}", f"text {n}", output=one) for n, one in enumerate(classes)]


def output(row: Row) -> tuple[str, ...]:
    return (str(row.output),)


def present(row: Row) -> set[str]:
    return {span.label for span in row.entities}


def test_no_document_falls_into_both_parts_and_equal_seeds_give_equal_parts() -> None:
    rows = rows_of("a" * 60, by=3)
    cut = carve(rows, 4, 7, "document")
    assert (cut.groups, len(cut.carved)) == (4, 12)
    assert not {r.document for r in cut.kept} & {r.document for r in cut.carved}
    assert sorted([*cut.kept, *cut.carved], key=lambda row: int(row.id.split("-")[1])) == rows
    assert carve(rows, 4, 7, "document") == cut
    assert len({carve(rows, 4, seed, "document").carved for seed in range(5)}) == 5


def test_a_document_more_moves_no_other() -> None:
    rows = rows_of("a" * 60, by=3)
    more = [*rows, Row("new-0", "text")]
    before = {row.document for row in carve(rows, 4, 7, "document").carved}
    assert len(before - {row.document for row in carve(more, 4, 7, "document").carved}) <= 1


def test_rows_with_the_same_input_stay_together() -> None:
    rows = [Row(str(n), f"Text  {n // 2}" if n % 2 else f"text {n // 2}") for n in range(40)]
    cut = carve(rows, 5, 0, "row")
    assert len(cut.carved) == 10
    assert not {r.text.split()[1] for r in cut.kept} & {r.text.split()[1] for r in cut.carved}


def test_groups_may_be_what_a_field_says() -> None:
    rows = [Row(f"r{n}", f"text {n}", group=f"patient {n % 5}") for n in range(30)]
    assert {len(own) for own in grouped(rows, "patient").values()} == {6}
    cut = carve(rows, 2, 0, "patient")
    assert not {r.group for r in cut.kept} & {r.group for r in cut.carved}


def test_one_group_cannot_be_cut_and_one_stays() -> None:
    with pytest.raises(ValueError, match="one group only"):
        carve([Row("a-1", "x"), Row("a-2", "y")], 1, 0, "document")
    assert len(carve(rows_of("ab"), 2, 0, "document").kept) == 1


@pytest.mark.parametrize("seed", range(3))
def test_classes_of_single_rows_keep_their_proportions_to_the_row(seed: int) -> None:
    rows = rows_of("a" * 100 + "b" * 40 + "c" * 12 + "d" * 2)
    cut = carve(rows, 0.2 * len(rows), seed, "document", output)
    assert Counter(row.output for row in cut.carved) == {"a": 20, "b": 8, "c": 2}
    plain = carve(rows, 0.2 * len(rows), seed, "document")
    assert Counter(r.output for r in plain.carved) != Counter(r.output for r in cut.carved)


def test_classes_keep_their_proportions_nearly_where_groups_are_large() -> None:
    rows = rows_of("aaab" * 60 + "aacc" * 30, by=4)
    cut = carve(rows, 0.2 * len(rows), 0, "document", output)
    counts, whole = (Counter(r.output for r in part) for part in (cut.carved, rows))
    # no nearer than one document
    assert {name: pytest.approx(0.2 * number, abs=4) for name, number in whole.items()} == counts


def test_labels_of_texts_keep_their_proportions_nearly() -> None:
    rows = []
    for n in range(300):
        labels = [name for name, step in (("A", 2), ("B", 5), ("C", 25)) if n % step == 0]
        spans = tuple(Span(0, 1, label, "t") for label in labels)
        rows.append(Row(f"r{n}", f"text {n}", spans))
    cut = carve(rows, 60, 1, "document", present)
    counts = Counter(label for row in cut.carved for label in present(row) or {"none"})
    assert counts["A"] == pytest.approx(30, abs=2)
    assert counts["B"] == pytest.approx(12, abs=2)
    assert counts["C"] == pytest.approx(2.4, abs=1)
    assert len(cut.carved) == pytest.approx(60, abs=5)


def test_no_class_loses_its_last_group() -> None:
    rare = [Row("rare-0", "x", output="z"), Row("rare-1", "y", output="z")]
    rows = [*rows_of("a" * 8, by=2), *rare]
    for seed in range(20):
        cut = carve(rows, 9, seed, "document", output)
        assert {row.output for row in cut.kept} == {"a", "z"}
