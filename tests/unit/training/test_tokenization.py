"""Prompts, plain or through a chat template, and examples as tokens with masked labels."""

import dataclasses
from pathlib import Path

import pytest

from harness.config.settings import ModelSettings
from harness.errors import UserError
from harness.models import base_model
from harness.models.base_model import BaseModel
from harness.tasks.task import Task, load_task
from harness.training.evaluation import score
from harness.training.tokenization import PromptBuilder, TokenizedTask
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


def text_of(base: BaseModel, ids: tuple[int, ...]) -> str:
    return base.tokenizer.decode(ids)


def test_an_example_is_start_prompt_answer_end(base: BaseModel, task: Task) -> None:
    tokens = TokenizedTask(base, task, 200).training()
    assert (tokens.cut, tokens.left_out) == (0, 0)
    for example, sequence in zip(task.examples("train"), tokens.sequences, strict=True):
        prompt, answer = sequence.ids[: sequence.start], sequence.ids[sequence.start :]
        assert text_of(base, prompt) == f"<s>{task.prompt(example)}"
        assert text_of(base, answer) == f"{task.target(example)}</s>"


def test_no_start_token_where_the_tokenizer_sets_none(tmp_path: Path, task: Task) -> None:
    folder = toy.save_model(tmp_path)
    toy.tokenizer(marks_start=False).save_pretrained(folder)
    base = base_model.load(ModelSettings(name=str(folder)))
    first = TokenizedTask(base, task, 200).training().sequences[0]
    assert text_of(base, first.ids).startswith("N: Takes")


@pytest.mark.parametrize("side", ["left", "right"])
def test_inputs_are_cut_on_the_tasks_side_and_answers_never(
    base: BaseModel, tmp_path: Path, side: str
) -> None:
    folder = toy.save_task(tmp_path)
    file = folder / "task.yaml"
    file.write_text(f"{file.read_text()}truncate: {side}\n")
    task = load_task(f"{folder}/")
    uncut = TokenizedTask(base, task, 200).training().sequences
    length = sorted(len(sequence.ids) for sequence in uncut)[5]
    tokens = TokenizedTask(base, task, length).training()
    assert tokens.left_out == 0
    assert tokens.cut == sum(len(sequence.ids) > length for sequence in uncut) > 0
    for example, full, cut in zip(task.examples("train"), uncut, tokens.sequences, strict=True):
        assert len(cut.ids) <= length
        assert cut.ids[cut.start :] == full.ids[full.start :]
        prompt = text_of(base, cut.ids[: cut.start])
        assert prompt.startswith("<s>N: ")  # what the task writes around the input stays
        assert prompt.endswith("\nE:")
        remaining = prompt.removeprefix("<s>N: ").removesuffix("\nE:")
        assert (
            example.text.endswith(remaining)
            if side == "left"
            else example.text.startswith(remaining)
        )
        if len(full.ids) > length:  # no further word would fit
            words = example.text.split(" ")
            more = (
                words[-len(remaining.split(" ")) - 1]
                if side == "left"
                else words[len(remaining.split())]
            )
            assert len(cut.ids) + len(f"{more} " if remaining else more) > length


def test_examples_whose_answer_is_too_long_are_left_out(base: BaseModel, task: Task) -> None:
    answers = sorted(len(task.target(example)) + 2 for example in task.examples("train"))
    tokens = TokenizedTask(base, task, answers[4] + 1).training()
    assert tokens.left_out == sum(length > answers[4] for length in answers) > 0
    assert len(tokens.sequences) + tokens.left_out == len(answers)


def test_a_length_that_holds_no_answer_is_the_users_mistake(base: BaseModel, task: Task) -> None:
    with pytest.raises(UserError, match=r"training\.max_length: 8 tokens hold no training ex"):
        TokenizedTask(base, task, 8).training()


def test_prompts_leave_room_for_the_answer(base: BaseModel, task: Task) -> None:
    tokens = TokenizedTask(base, task, 200)
    plain = tokens.prompts("validation")
    texts = [f"<s>{task.prompt(example)}" for example in task.examples("validation")]
    assert plain.cut == 0
    assert [text_of(base, ids) for ids in plain.prompts] == texts
    assert base.context is not None
    shots = task.few_shot_examples(10)
    long = tokens.prompts("validation", shots)
    assert long.cut == len(texts)  # worked examples go first, the earliest of them
    for ids, text in zip(long.prompts, texts, strict=True):
        assert len(ids) <= base.context - task.max_new_tokens
        last = f"{task.prompt(shots[-1])}{shots[-1].target}\n"
        assert text_of(base, ids).endswith(last + text.removeprefix("<s>"))
        assert text_of(base, ids).startswith("<s>N: ")


def test_tokens_are_made_once(base: BaseModel, task: Task) -> None:
    tokens = TokenizedTask(base, task, 200)
    assert tokens.training() is tokens.training()
    assert tokens.prompts("test") is tokens.prompts("test")


def test_a_chat_template_wraps_prompt_and_answer(chatty: BaseModel, tmp_path: Path) -> None:
    task = task_with(tmp_path, "chat: true\nsystem: Be brief.\n")
    tokens = TokenizedTask(chatty, task, 250).training()
    assert tokens.cut == tokens.left_out == 0
    for example, sequence in zip(task.examples("train"), tokens.sequences, strict=True):
        prompt = chatty.tokenizer.decode(sequence.ids[: sequence.start])
        answer = chatty.tokenizer.decode(sequence.ids[sequence.start :])
        prompt_text = task.prompt(example)
        assert prompt == f"[system]Be brief.</s>\n[user]{prompt_text}</s>\n[assistant]"
        assert answer == f"{task.target(example).strip()}</s>"
        assert sequence.ids.count(chatty.tokenizer.bos_token_id) == 0  # the template sets none


def test_few_shot_examples_are_earlier_turns(chatty: BaseModel, tmp_path: Path) -> None:
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


def test_a_model_without_a_chat_template_is_an_error(base: BaseModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task\.yaml: chat: .* has no chat template"):
        TokenizedTask(base, task_with(tmp_path, "chat: true\n"), 100)


def test_a_failing_template_is_an_error_of_one_line(base: BaseModel, tmp_path: Path) -> None:
    tokenizer = toy.tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no system turns,\nplease') }}"
    chatty = dataclasses.replace(base, tokenizer=tokenizer)
    with pytest.raises(UserError, match=r"chat template refuses: no system turns, please$"):
        TokenizedTask(chatty, task_with(tmp_path, "chat: true\n"), 100)


def test_few_shot_examples_precede_each_prompt(base: BaseModel, tmp_path: Path) -> None:
    task = task_with(tmp_path, "shots: 2\n")
    tokens = TokenizedTask(base, task, 250).training()
    pool = task.few_shot_examples(3)
    for example, sequence in zip(task.examples("train"), tokens.sequences, strict=True):
        prompt = base.tokenizer.decode(sequence.ids[: sequence.start]).removeprefix("<s>")
        shots = [shot for shot in pool if shot.id != example.id][:2]  # never its own answer
        expected = "".join(f"{task.prompt(shot)}{shot.target}\n" for shot in shots)
        assert prompt == expected + task.prompt(example)
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
    ((ids, cut),) = PromptBuilder(base, task).prompts([long], (), [12])
    assert cut
    assert base.tokenizer.decode(ids) == "<s>N: \nE:"  # no whole word had room
    ((ids, _),) = PromptBuilder(base, task).prompts([long], (), [4])
    assert base.tokenizer.decode(ids) == "<s>\nE:"  # not even the task's own words
