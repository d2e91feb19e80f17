"""Real scripts in the form that `evaluate.load` takes; nothing here needs a network."""

from __future__ import annotations

import math
from pathlib import Path

import evaluate
import pytest
from sklearn.metrics import accuracy_score

from harness import metrics
from harness.errors import UserError
from harness.metrics.metric import METRICS

SCRIPT = """
import datasets
import evaluate


class Mine(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description="",
            citation="",
            inputs_description="",
            features=datasets.Features(
                {{name: datasets.Value("{kind}") for name in {inputs}}}
            ),
        )

    def _compute(self, {inputs_as_arguments}):
{body}
"""
OVERLAP = """
        pairs = [(set(p.split()), set(r.split())) for p, r in zip(predictions, references)]
        return {"overlap": sum(len(p & r) / len(p | r) for p, r in pairs) / len(pairs)}
"""
RIGHT = """
        right = sum(p == r for p, r in zip(predictions, references))
        return {"right": right / len(references), "signature": "exact"}
"""
ALL = ("all",)


def script(
    folder: Path,
    body: str,
    kind: str = "string",
    inputs: tuple[str, ...] = ("predictions", "references"),
    name: str = "mine.py",
) -> Path:
    path = folder / name
    path.write_text(
        SCRIPT.format(
            kind=kind, inputs=inputs, inputs_as_arguments=", ".join(inputs), body=body.rstrip()
        ),
        encoding="utf-8",
    )
    return path


def fault(folder: Path, name: str = "evaluate:./mine.py") -> str:
    """What is said of a metric when it is found or scores an example: one line that names it."""
    with pytest.raises(UserError) as caught:
        metrics.find_metric(name, folder).score("a b", "a c", ALL)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{name}: ")
    return text


def test_a_registered_metric_is_found_by_its_name(tmp_path: Path) -> None:
    assert metrics.find_metric("rougeL", tmp_path) is METRICS.get("rougeL")


def test_a_typo_is_answered(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown metric 'rougel'; did you mean 'rougeL'\?"):
        metrics.find_metric("rougel", tmp_path)
    with pytest.raises(UserError, match="are written evaluate:chrf"):
        metrics.find_metric("chrf", tmp_path)


def test_a_script_scores_each_example_and_is_averaged(tmp_path: Path) -> None:
    script(tmp_path, OVERLAP)
    metric = metrics.find_metric("evaluate:./mine.py", tmp_path)
    rows = [metric.score(*pair, ALL) for pair in [("a b", "a b"), ("a b", "a c"), ("", "a")]]
    assert [row[0] for row in rows] == pytest.approx([1.0, 1 / 3, 0.0])
    assert metric.aggregate(rows, ALL) == pytest.approx(4 / 9)
    assert metric.values(rows, ALL) == {"evaluate:./mine.py": pytest.approx(4 / 9)}
    assert (metric.form, metric.direction, metric.unit) == ("mean", "", "mine")
    assert metric.task_types == ("pairs", "choice")


def test_it_is_what_the_library_says_of_each_example(tmp_path: Path) -> None:
    path = script(tmp_path, OVERLAP)
    theirs, ours = evaluate.load(str(path)), metrics.find_metric("evaluate:./mine.py", tmp_path)
    for pair in [("a b c", "b c d"), ("x", "x y z"), ("p q", "q")]:
        expected = theirs.compute(predictions=[pair[0]], references=[pair[1]])["overlap"]
        assert ours.score(*pair, ALL) == (pytest.approx(expected), 1.0)


def test_a_folder_with_a_script_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    script(tmp_path / "mine", OVERLAP)
    metric = metrics.find_metric("evaluate:./mine", tmp_path)
    assert metric.score("a b", "a c", ALL)[0] == pytest.approx(1 / 3)


def test_one_of_several_values_is_picked_by_its_name(tmp_path: Path) -> None:
    script(tmp_path, '        return {"low": 0.25, "high": [0.75], "words": "none"}')
    metric = metrics.find_metric("evaluate:./mine.py#high", tmp_path)
    assert metric.score("a", "b", ALL) == (0.75, 1.0)
    assert metric.unit == "high"
    assert "select one: evaluate:./mine.py#low, evaluate:./mine.py#high" in fault(tmp_path)
    name = "evaluate:./mine.py#hihg"
    assert "no number 'hihg'; did you mean 'high'?" in fault(tmp_path, name)


@pytest.mark.parametrize("kind", ["string", "int32"])
def test_one_class_of_several(tmp_path: Path, kind: str) -> None:
    script(tmp_path, RIGHT, kind)
    metric = metrics.find_metric("evaluate:./mine.py", tmp_path)
    classes = ("ask", "tell", "thank")
    wanted = ["ask", "tell", "tell", "thank"]
    found = ["ask", "ask", "tell", None]
    rows = [metric.score(*pair, classes) for pair in zip(found, wanted, strict=True)]
    plain = [one or "" for one in found]
    assert metric.aggregate(rows, classes) == pytest.approx(accuracy_score(wanted, plain))
    assert metric.sums(rows, classes).tolist() == [[1, 1], [1, 2], [0, 1]]
    with pytest.raises(ValueError, match="'shout' is none of"):
        metric.score("ask", "shout", classes)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("        return None", "returned None instead of named numbers"),
        ("        return 0.5", "returned 0.5 instead of named numbers"),
        ("        return {'kind': 'good'}", "returned {'kind': 'good'} instead of named numbers"),
        (
            "        raise KeyError('no such word')",
            "raised KeyError: 'no such word' on prediction",
        ),
        ("        return {'r': float('nan')}", "returned nan for a single example; only metrics"),
    ],
)
def test_what_gives_no_number_is_named(tmp_path: Path, body: str, told: str) -> None:
    script(tmp_path, body)
    assert told in fault(tmp_path)


def test_answers_that_a_script_cannot_read_are_shown(tmp_path: Path) -> None:
    script(tmp_path, RIGHT, "float32")
    text = fault(tmp_path)
    assert "raised ValueError" in text
    assert "on prediction 'a b' and reference 'a c'" in text


def test_a_script_that_is_no_metric_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def score(:\n", encoding="utf-8")
    assert "mine.py cannot be loaded as a metric of the evaluate library" in fault(tmp_path)
    (tmp_path / "mine.py").write_text("import no_such_library_here\n", encoding="utf-8")
    assert "no_such_library_here" in fault(tmp_path)
    (tmp_path / "mine.py").write_text("import evaluate\n\nX = 1\n", encoding="utf-8")
    assert "has no subclass of evaluate.Metric" in fault(tmp_path)


def test_a_script_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert f"there is no script {tmp_path / 'mine.py'}" in fault(tmp_path)
    script(tmp_path, OVERLAP)
    text = fault(tmp_path, "evaluate:./mien.py")
    assert text.endswith("did you mean './mine.py'?")
    assert "names no metric" in fault(tmp_path, "evaluate:")


def test_a_metric_that_asks_for_more_is_refused(tmp_path: Path) -> None:
    wanted = ("predictions", "references", "sources")
    script(tmp_path, "        return {'x': 1.0}", inputs=wanted)
    assert "needs predictions, references, sources;" in fault(tmp_path)


def test_a_name_that_cannot_be_had_from_the_hub_is_named(tmp_path: Path) -> None:
    text = fault(tmp_path, "evaluate:no_such_metric_anywhere")
    assert "not in the evaluate library's cache, and cannot be downloaded" in text
    assert text.endswith("as evaluate:./no_such_metric_anywhere.py")


def test_its_digest_follows_the_script(tmp_path: Path) -> None:
    script(tmp_path, OVERLAP)
    first = metrics.find_metric("evaluate:./mine.py", tmp_path)
    again = metrics.find_metric("evaluate:./mine.py", tmp_path)
    script(tmp_path, RIGHT)
    other = metrics.find_metric("evaluate:./mine.py", tmp_path)
    assert first.digest == again.digest != other.digest
    assert len(other.digest) == 64
    assert METRICS.get("accuracy").digest == ""
    assert math.isclose(other.score("a", "a", ALL)[0], 1.0)
