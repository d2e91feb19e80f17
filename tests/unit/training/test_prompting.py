"""Prompts as a model gets them: plain or through its chat template, with worked examples, cut."""

import dataclasses
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.models.base_model import BaseModel
from harness.tasks.task import Task, load_task
from harness.training.evaluation import score
from harness.training.prompting import PromptBuilder
from harness.training.tokenization import TokenizedTask
from tests import toy

#: In the manner of ChatML; a turn ends with the tokenizer's own end of text.
TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def task_with(folder: Path, keys: str) -> Task:
    file = toy.save_task(folder) / "task.yaml"
    file.write_text(file.read_text() + keys)
    return load_task(f"{folder}/")


@pytest.fixture
def chatty(base: BaseModel) -> BaseModel:
    tokenizer = toy.tokenizer()
    tokenizer.chat_template = TEMPLATE
    return dataclasses.replace(base, tokenizer=tokenizer)


def test_a_chat_template_wraps_prompt_and_answer(chatty: BaseModel, tmp_path: Path) -> None:
    task = task_with(tmp_path, "chat: true\nsystem: Be brief.\n")
    found = TokenizedTask(chatty, task, 250).training()
    assert found.cut == found.left_out == 0
    for example, sequence in zip(task.examples("train"), found.sequences, strict=True):
        prompt = chatty.tokenizer.decode(sequence.ids[: sequence.start])
        answer = chatty.tokenizer.decode(sequence.ids[sequence.start :])
        asked = task.prompt(example)
        assert prompt == f"[system]Be brief.</s>\n[user]{asked}</s>\n[assistant]"
        assert answer == f"{task.target(example).strip()}</s>"
        assert sequence.ids.count(chatty.tokenizer.bos_token_id) == 0  # the template sets none


def test_worked_examples_are_earlier_turns(chatty: BaseModel, tmp_path: Path) -> None:
    task = task_with(tmp_path, "chat: true\n")
    (shot,) = task.few_shot_examples(1)
    (first, *_) = task.examples("test")
    text = PromptBuilder(chatty, task).text(first, [shot])
    assert text == (
        f"[user]{task.prompt(shot)}</s>\n[assistant]{shot.target.strip()}</s>\n"
        f"[user]{task.prompt(first)}</s>\n[assistant]"
    )


def test_what_ends_a_turn_ends_an_answer(base: BaseModel, tmp_path: Path) -> None:
    tokenizer = toy.tokenizer()
    tokenizer.chat_template = TEMPLATE.replace("</s>", "<pad>")
    chatty = dataclasses.replace(base, tokenizer=tokenizer)
    assert PromptBuilder(chatty, task_with(tmp_path, "chat: true\n")).tail == (0,)
    assert PromptBuilder(chatty, toy.load_task(tmp_path / "plain")).tail == (2,)


def test_a_model_without_a_chat_template_is_told(base: BaseModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task\.yaml: chat: .* has no chat template"):
        TokenizedTask(base, task_with(tmp_path, "chat: true\n"), 100)


def test_a_template_that_refuses_is_told_in_one_line(base: BaseModel, tmp_path: Path) -> None:
    tokenizer = toy.tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no system turns,\nplease') }}"
    chatty = dataclasses.replace(base, tokenizer=tokenizer)
    with pytest.raises(UserError, match=r"chat template refuses: no system turns, please$"):
        TokenizedTask(chatty, task_with(tmp_path, "chat: true\n"), 100)


def test_a_tasks_worked_examples_stand_before_each_prompt(base: BaseModel, tmp_path: Path) -> None:
    task = task_with(tmp_path, "shots: 2\n")
    found = TokenizedTask(base, task, 250).training()
    shown = task.few_shot_examples(3)
    for example, sequence in zip(task.examples("train"), found.sequences, strict=True):
        prompt = base.tokenizer.decode(sequence.ids[: sequence.start]).removeprefix("<s>")
        shots = [one for one in shown if one.id != example.id][:2]  # never its own answer
        wanted = "".join(f"{task.prompt(one)}{one.target}\n" for one in shots)
        assert prompt == wanted + task.prompt(example)
    prompts = TokenizedTask(base, task, 250).prompts("test")
    first = base.tokenizer.decode(prompts.prompts[0])
    assert first.count("N: ") == 3
    bare = score(base, task, "test", shots=())
    assert score(base, task, "test").predictions != bare.predictions


def test_an_input_of_one_long_word_is_cut_last(base: BaseModel, tmp_path: Path) -> None:
    task = task_with(tmp_path, "truncate: right\n")
    (example, *_) = task.examples("train")
    fields = {"text": "x" * 50}
    long = dataclasses.replace(example, prompt_fields=fields)
    (found,) = PromptBuilder(base, task).prompts([long], (), [12])
    assert found.cut
    assert base.tokenizer.decode(found.ids) == "<s>N: \nE:"  # no whole word had room
    (found,) = PromptBuilder(base, task).prompts([long], (), [4])
    assert base.tokenizer.decode(found.ids) == "<s>\nE:"  # not even the task's own words
