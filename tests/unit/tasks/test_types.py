"""What every kind of task keeps to, and what each does of its own."""

import json
from pathlib import Path

import pytest

from harness.data.rows import Row, Span
from harness.errors import UserError
from harness.metrics.metric import METRICS
from harness.tasks.entities import locate_mentions
from harness.tasks.entity_format import Mention
from harness.tasks.task import Task, load_task
from harness.tasks.types import TASK_TYPES, AnswerMode

HEAD = "name: mine\nsummary: x\ndata: {folder: .}\n"
ENDS = {
    "entities": (
        'kind: entities\nprompt: "{text}\\n"\nmetrics: [entity_f1]\n'
        "objective: {metric: entity_f1, direction: maximize, margin: 0.02}\n"
    ),
    "pairs": (
        'kind: pairs\nprompt: "{instruction}: {input}\\n"\nmetrics: [rougeL, rouge1]\n'
        "objective: {metric: rougeL, direction: maximize, margin: 0.01}\n"
    ),
    "choice": (
        'kind: choice\nprompt: "{input}\\n"\nmetrics: [accuracy, class_f1]\n'
        "objective: {metric: accuracy, direction: maximize, margin: 0.01}\n"
    ),
}
ROWS = {
    "entities": {
        "id": "d-1",
        "text": "On insulin.",
        "entities": [{"start": 3, "end": 10, "label": "MED"}],
    },
    "pairs": {"id": "d-1", "instruction": "Sum", "input": "A cat. It sat.", "output": "Cat sat."},
    "choice": {"id": "d-1", "input": "Where is my card?", "output": "card_arrival"},
}


def make(
    folder: Path, kind: str, more: str = "", rows: list[dict[str, object]] | None = None
) -> Task:
    folder.mkdir(exist_ok=True)
    text = "\n".join(json.dumps(row) for row in rows or [ROWS[kind]])
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    (folder / "task.yaml").write_text(HEAD + ENDS[kind] + more, encoding="utf-8")
    return load_task(f"{folder}/")


@pytest.mark.parametrize("kind", sorted(ROWS))
def test_the_right_answer_is_read_back_and_scores_best(tmp_path: Path, kind: str) -> None:
    task = make(tmp_path, kind)
    (example,) = task.examples("test")
    parsed = task.parse(task.target(example))
    assert not parsed.unparsed
    assert parsed.prediction == example.reference
    assert task.write(parsed.prediction).strip() == task.target(example).strip()
    found = task.evaluate([parsed.prediction], [example], [False])
    assert all(found.values[metric.name] == 1.0 for metric in task.metrics)
    assert len(found.statistics[0]) == len(task.objective.columns)
    wrong = task.evaluate([task.parse("???").prediction], [example], [True])
    assert all(wrong.values[metric.name] == 0.0 for metric in task.metrics)
    assert wrong.values["unparsed"] == 1.0


@pytest.mark.parametrize("kind", sorted(ROWS))
def test_guesses_of_nothing_trained_can_be_scored(tmp_path: Path, kind: str) -> None:
    task = make(tmp_path, kind)
    assert task.baselines
    for name in task.baselines:
        found = task.evaluate(task.baseline_predictions(name, "test"), task.examples("test"))
        assert 0.0 < found.values[task.objective.name] <= 1.0


def test_kinds_that_are_registered() -> None:
    assert set(TASK_TYPES.names()) >= {*ROWS, "text"}
    assert all(set(metric.task_types) <= set(TASK_TYPES.names()) for _, metric in METRICS)


def test_a_pair_has_its_instruction_in_the_prompt(tmp_path: Path) -> None:
    task = make(tmp_path, "pairs")
    (example,) = task.examples("test")
    assert task.prompt(example) == "Sum: A cat. It sat.\n"
    assert task.baseline_predictions("copied_input", "test") == ("A cat. It sat.",)
    assert task.baseline_predictions("first_sentence", "test") == ("A cat.",)


def test_braces_in_an_input_are_no_fields(tmp_path: Path) -> None:
    row = {"input": "{instruction} {x}", "instruction": "{input}", "output": "y"}
    task = make(tmp_path, "pairs", rows=[row])
    assert task.prompt(task.examples("test")[0]) == "{input}: {instruction} {x}\n"


def test_a_prompt_that_asks_for_what_a_row_lacks_is_told(tmp_path: Path) -> None:
    task = make(tmp_path, "pairs", rows=[{"id": "a", "input": "x", "output": "y"}])
    with pytest.raises(UserError, match=r"task\.yaml: prompt: names {instruction}, which row a"):
        task.prompt(task.examples("test")[0])


def test_rouge_of_all_kinds_is_told_beside_the_objective(tmp_path: Path) -> None:
    task = make(tmp_path, "pairs")
    found = task.evaluate(["A cat sat."], task.examples("test"))
    assert found.values["rougeL"] == pytest.approx(0.8)
    assert found.values["rouge1"] == pytest.approx(0.8)
    assert found.statistics == ((pytest.approx(0.8), 1.0),)


def test_case_is_folded_where_the_task_says_so(tmp_path: Path) -> None:
    ends = (
        ENDS["pairs"].replace("[rougeL, rouge1]", "[exact_match]").replace("rougeL", "exact_match")
    )
    ENDS["exact"] = ends
    ROWS["exact"] = ROWS["pairs"]
    try:
        plain, folded = (
            make(tmp_path / "a", "exact"),
            make(tmp_path / "b", "exact", "fold_case: true\n"),
        )
    finally:
        del ENDS["exact"], ROWS["exact"]
    examples = plain.examples("test")
    assert plain.evaluate(["CAT sat."], examples).values["exact_match"] == 0.0
    assert folded.evaluate(["CAT sat."], folded.examples("test")).values["exact_match"] == 1.0


def several(*names: str) -> list[dict[str, object]]:
    return [
        {"id": f"{number}-0", "input": f"text {number}", "output": name}
        for number, name in enumerate(names)
    ]


def test_the_classes_of_a_choice_are_those_of_the_training_rows(tmp_path: Path) -> None:
    task = make(tmp_path, "choice", rows=several("b", "a", "b", "c"))
    assert task.labels == task.objective.classes == ("a", "b", "c")
    assert task.type.answers is AnswerMode.MOST_LIKELY
    assert task.baseline_predictions("most_frequent", "test") == ("b",) * 4
    assert {one.reference for one in task.few_shot_examples(3)} <= {"a", "b", "c"}
    written = make(tmp_path, "choice", "answers: generation\n", several("b", "a"))
    assert written.type.answers is AnswerMode.GENERATED


def test_a_choice_is_read_with_its_written_name(tmp_path: Path) -> None:
    more = "target: {names: {a: no}}\n"
    with pytest.raises(UserError, match=r"target\.names\.a: YAML takes yes, no, .* in quotes"):
        make(tmp_path, "choice", more, several("a", "b"))
    more = "target: {names: {a: yes it is}}\n"
    with pytest.raises(UserError, match=r"target\.names\.a: 'yes it is' should be a word"):
        make(tmp_path / "words", "entities", more)
    task = make(tmp_path, "choice", more, several("a", "b"))
    assert [one.target for one in task.examples("test")] == [" yes it is", " b"]
    assert task.parse(" YES  it is \nand more") == ("a", False)
    assert task.parse("maybe") == (None, True)


def test_a_class_that_training_lacks_is_told(tmp_path: Path) -> None:
    make(tmp_path, "choice", rows=several("card", "cash"))
    row = json.dumps({"id": "x", "input": "y", "output": "cadr"})
    (tmp_path / "test.jsonl").write_text(row)
    with pytest.raises(UserError, match="label 'cadr' occurs in test but in no training row"):
        load_task(f"{tmp_path}/")


def test_two_classes_that_are_written_alike_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"target\.names: two labels would be written 'yep'"):
        make(tmp_path, "choice", "target: {names: {a: yep}}\n", several("a", "Yep"))


def test_mentions_are_located_where_they_stand() -> None:
    text = "Took iron. Ironic\niron  pills and iron pills"
    mentions = [Mention("M", "iron"), Mention("M", "iron"), Mention("P", "iron pills")]
    found = locate_mentions(mentions, text)
    assert [(span.start, span.end) for span in found] == [(5, 9), (18, 22), (18, 29)]
    assert [text[span.start : span.end].split() for span in found] == [
        ["iron"],
        ["iron"],
        ["iron", "pills"],
    ]


def test_a_mention_that_stands_nowhere_overlaps_nothing() -> None:
    found = locate_mentions(
        [Mention("M", "gold"), Mention("M", "gold"), Mention("M", "on")], "Iron."
    )
    assert [span.start >= 5 for span in found] == [True, True, False]
    assert found[0].end <= found[1].start
    assert found[2][:2] == (2, 4)  # a part of a word, where no whole word is the mention
    assert locate_mentions([Mention("M", "IRON")], "Iron.", fold_case=True)[0][:2] == (0, 4)


def test_examples_know_their_spans(tmp_path: Path) -> None:
    (example,) = make(tmp_path, "entities").examples("test")
    assert example.row == Row("d-1", "On insulin.", (Span(3, 10, "MED", "insulin"),))


SCRIPT = """
import evaluate
import datasets


class Same(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions, references):
        pairs = zip(predictions, references)
        return {"same": sum(a[:1] == b[:1] for a, b in pairs) / len(predictions)}
"""


def test_a_metric_of_the_users_own_scores_a_task(tmp_path: Path) -> None:
    (tmp_path / "same.py").write_text(SCRIPT)
    ends = ENDS["pairs"].replace("rougeL, rouge1", "'evaluate:./same.py', rougeL")
    ends = ends.replace("metric: rougeL", "metric: 'evaluate:./same.py'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENDS, "mine", ends)
        patch.setitem(ROWS, "mine", ROWS["pairs"])
        task = make(tmp_path, "mine")
        found = task.evaluate(["Corn"], task.examples("test"))
        assert found.values["evaluate:./same.py"] == 1.0
        assert found.values["rougeL"] == 0.0
        assert task.objective.name == "evaluate:./same.py"
        (tmp_path / "same.py").write_text(SCRIPT.replace("[:1]", "[:2]"))
        other = make(tmp_path, "mine")
    assert other.digest != task.digest
    assert other.evaluate(["Corn"], other.examples("test")).values["evaluate:./same.py"] == 0.0


def test_a_users_metric_of_texts_scores_no_entities(tmp_path: Path) -> None:
    (tmp_path / "same.py").write_text(SCRIPT)
    ends = ENDS["entities"].replace("[entity_f1]", "[entity_f1, 'evaluate:./same.py']")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENDS, "mine", ends)
        patch.setitem(ROWS, "mine", ROWS["entities"])
        with pytest.raises(UserError, match=r"evaluate:\./same\.py scores tasks of kind pairs or"):
            make(tmp_path, "mine")
