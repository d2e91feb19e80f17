"""Turns a task's examples into token batches with the loss on the answers alone.

Texts become tokens once for a process, whatever the number of trials. The order of the data comes
from the trial's seed and nothing else, so that two ranks or two variants see identical batches.
"""

from collections.abc import Sequence
from typing import NamedTuple

from harness.errors import UserError
from harness.models.base_model import BaseModel
from harness.models.tokens import TokenSequence
from harness.task import Task


class TrainingTokens(NamedTuple):
    """The training examples as tokens.

    Attributes:
        sequences: in the order of the examples.
        cut: prompts that had to be cut on the left to fit.
        left_out: examples whose answer alone is too long.
    """

    sequences: tuple[TokenSequence, ...]
    cut: int
    left_out: int


class PromptTokens(NamedTuple):
    """The prompts of a split as tokens.

    Attributes:
        prompts: in the order of the examples.
        cut: prompts that had to be cut on the left to fit.
    """

    prompts: tuple[tuple[int, ...], ...]
    cut: int


class TaskTokens:
    """A task's examples as one model's tokens, each made once.

    Prompt and answer are tokenised apart, so that the prompt has the same tokens in training and
    in scoring. A start token is put in front where the tokenizer itself does so.

    Args:
        base: whose tokenizer to use.
        task: the examples.
        max_length: tokens of a training example; prompts are cut on the left, answers never.
    """

    def __init__(self, base: BaseModel, task: Task, max_length: int) -> None:
        """Makes no tokens yet."""
        self._tokenizer = base.tokenizer
        self._context = base.context
        self._task = task
        self._max_length = max_length
        self._head = _start(base)
        self._training: TrainingTokens | None = None
        self._prompts: dict[tuple[str, str], PromptTokens] = {}

    def training(self) -> TrainingTokens:
        """The training split, with answers and the end of text.

        Raises:
            UserError: no answer fits into `max_length`.
        """
        if self._training is None:
            self._training = self._encode_training()
        return self._training

    def prompts(self, split: str, prefix: str = "") -> PromptTokens:
        """The prompts of a split, each with room for an answer within the model's context.

        Args:
            split: name of the split.
            prefix: text put before each prompt, such as worked examples.
        """
        key = (split, prefix)
        if key not in self._prompts:
            examples = self._task.examples(split)
            texts = [prefix + self._task.prompt(example) for example in examples]
            room = None
            if self._context is not None:
                room = max(1, self._context - self._task.max_new_tokens - len(self._head))
            encoded = self._encode(texts)
            cut = 0 if room is None else sum(len(ids) > room for ids in encoded)
            prompts = tuple((*self._head, *_tail(ids, room)) for ids in encoded)
            self._prompts[key] = PromptTokens(prompts, cut)
        return self._prompts[key]

    def _encode(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        found: list[list[int]] = self._tokenizer(
            texts, add_special_tokens=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        return found

    def _encode_training(self) -> TrainingTokens:
        examples = self._task.examples("train")
        prompts = self._encode([self._task.prompt(example) for example in examples])
        answers = self._encode([self._task.target(example) for example in examples])
        end = self._tokenizer.eos_token_id
        tail = [] if end is None else [int(end)]
        sequences: list[TokenSequence] = []
        cut = 0
        for prompt, answer in zip(prompts, answers, strict=True):
            room = self._max_length - len(self._head) - len(answer) - len(tail)
            if room < 1:
                continue
            cut += len(prompt) > room
            front = (*self._head, *_tail(prompt, room))
            sequences.append(TokenSequence((*front, *answer, *tail), len(front)))
        if not sequences:
            shortest = min((len(answer) for answer in answers), default=0)
            raise UserError(
                f"training.max_length: {self._max_length} tokens hold no training example of "
                f"{self._task.name}; the shortest of {len(examples)} answers has {shortest}"
            )
        return TrainingTokens(tuple(sequences), cut, len(examples) - len(sequences))


def _start(base: BaseModel) -> tuple[int, ...]:
    """The start token, where the tokenizer puts it before a text or declares that it should."""
    tokenizer = base.tokenizer
    start = tokenizer.bos_token_id
    if start is None:
        return ()
    marked = tokenizer("a", add_special_tokens=True)["input_ids"]
    if marked[:1] == [start] or getattr(tokenizer, "add_bos_token", False):
        return (int(start),)
    return ()


def _tail(ids: Sequence[int], room: int | None) -> Sequence[int]:
    return ids if room is None or len(ids) <= room else ids[len(ids) - room :]
