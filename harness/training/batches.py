"""Turns a task's examples into token batches with the loss on the answers alone.

Texts become tokens once for a process, whatever the number of trials. The order of the data comes
from the trial's seed and nothing else, so that two ranks or two variants see identical batches.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import torch

from harness.errors import UserError
from harness.task import Task
from harness.training.base_model import BaseModel
from harness.training.seeds import Purpose, derive

#: Batches that are sorted by length together: more pads less, fewer shuffles better.
WINDOW: Final = 8


class TokenSequence(NamedTuple):
    """One training example: prompt, answer, end of text.

    Attributes:
        ids: token ids.
        start: where the answer begins.
    """

    ids: tuple[int, ...]
    start: int


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


class Batch(NamedTuple):
    """Sequences padded on the right.

    Attributes:
        ids: token ids, shape (sequences, longest).
        rows: whether a position predicts an answer token, shape as `ids`.
        targets: the answer tokens predicted, in the order of `rows`, shape (answer tokens,).
        tokens: tokens of all sequences, padding excluded.
    """

    ids: torch.Tensor
    rows: torch.Tensor
    targets: torch.Tensor
    tokens: int


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


def data_order(lengths: Sequence[int], batch_size: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Batches of indices without end, each epoch shuffled anew from the trial's data generator.

    Examples are shuffled, cut into windows of `WINDOW` batches, sorted by length within a window
    (little padding) and cut into batches, whose order is shuffled.

    Args:
        lengths: tokens of each example.
        batch_size: examples of a batch; the last one of an epoch may be smaller.
        seed: the trial's seed.

    Yields:
        Indices of the examples of one batch.
    """
    generator = random.Random(derive(seed, Purpose.DATA_ORDER))
    window = batch_size * WINDOW
    while lengths:
        order = list(range(len(lengths)))
        generator.shuffle(order)
        batches: list[tuple[int, ...]] = []
        for start in range(0, len(order), window):
            block = sorted(order[start : start + window], key=lambda index: lengths[index])
            batches += [tuple(block[i : i + batch_size]) for i in range(0, len(block), batch_size)]
        generator.shuffle(batches)
        yield from batches


def collate(sequences: Sequence[TokenSequence], pad: int, device: torch.device) -> Batch:
    """Pads sequences on the right and marks the positions that predict an answer token.

    Args:
        sequences: of one batch or micro-batch.
        pad: id of the padding token.
        device: where the tensors shall lie.
    """
    longest = max(len(sequence.ids) for sequence in sequences)
    ids = torch.tensor([(*s.ids, *(pad,) * (longest - len(s.ids))) for s in sequences])
    rows = torch.zeros_like(ids, dtype=torch.bool)
    for row, sequence in zip(rows, sequences, strict=True):
        # Position i predicts token i + 1; the first token of all is predicted by nothing.
        row[max(0, sequence.start - 1) : len(sequence.ids) - 1] = True
    targets = ids.roll(-1, dims=1)[rows]
    tokens = sum(len(sequence.ids) for sequence in sequences)
    return Batch(ids.to(device), rows.to(device), targets.to(device), tokens)


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
