"""Turns a task's examples into tokens: with the loss on the answers alone, or tagged.

Texts become tokens once for a process, whatever the number of trials. The order of the data comes
from the trial's seed and nothing else, so that two ranks or two variants see identical batches.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from harness.config.settings import TrainingSettings
from harness.errors import UserError
from harness.models.base_model import BaseModel
from harness.models.batches import TokenSequence, pack_sequences
from harness.tasks.task import Answers, Example, Task
from harness.training.prompting import BuiltPrompt, PromptBuilder
from harness.training.token_classification import TaggedText, TextTagger


class TrainingTokens(NamedTuple):
    """The training examples as tokens.

    Attributes:
        sequences: in the order of the examples; of texts alone, pieces of them, perhaps packed; of
            tagged texts, windows.
        cut: examples that had to be cut to fit; texts alone are cut into pieces, all of them used.
        left_out: examples whose answer alone is too long.
        notes: what else the user should know.
    """

    sequences: tuple[TokenSequence, ...]
    cut: int
    left_out: int
    notes: tuple[str, ...] = ()


class PromptTokens(NamedTuple):
    """The prompts of a split as tokens.

    Attributes:
        prompts: in the order of the examples.
        cut: prompts that had to be cut to fit.
    """

    prompts: tuple[tuple[int, ...], ...]
    cut: int


class TokenizedTask:
    """A task's examples as one model's tokens, each made once.

    Prompt and answer are tokenised apart, so that the prompt has the same tokens in training and
    in scoring. A start token is put in front where the tokenizer itself does so.

    Args:
        base: whose tokenizer to use.
        task: the examples.
        max_length: tokens of a training example (prompts are cut, answers never), or of a window
            of tagged tokens; None where nothing is trained.
        packing: whether texts alone share a row of `max_length` tokens, none seeing another.
    """

    def __init__(
        self, base: BaseModel, task: Task, max_length: int | None, packing: bool = False
    ) -> None:
        self._base, self._task = base, task
        self._window, self._max_length, self._packing = max_length, max_length or 1, packing
        self._prompting = PromptBuilder(base, task)
        self._training: TrainingTokens | None = None
        self._prompts: dict[tuple[str, ...], PromptTokens] = {}
        self._tagged: dict[str, tuple[TaggedText, ...]] = {}

    @property
    def tail(self) -> tuple[int, ...]:
        """What ends an answer."""
        return self._prompting.tail

    def training(self) -> TrainingTokens:
        """The training split, with what is learnt of it.

        Raises:
            UserError: no answer fits into `max_length`, or tokens cannot be tagged.
        """
        if self._training is None:
            made = {Answers.LIKELIHOOD: self._texts_alone, Answers.TAGGED: self._with_tags}
            self._training = made.get(self._task.kind.answers, self._with_answers)()
        return self._training

    def answers(self, texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Answers as tokens, with what ends them."""
        return tuple((*ids, *self.tail) for ids in self._prompting.answers(texts))

    def prompts(self, split: str, shots: Sequence[Example] | None = None) -> PromptTokens:
        """The prompts of a split, each with room for an answer within the model's context.

        Args:
            split: name of the split.
            shots: worked examples to show before each; None for those that the task asks for.
        """
        chosen = tuple(
            self._task.few_shot_examples(self._task.file.shots) if shots is None else shots
        )
        key = (split, *(one.id for one in chosen))
        if key not in self._prompts:
            examples = self._task.examples(split)
            context, room = self._base.context, None
            if context is not None:
                room = max(1, context - self._longest_answer())
            made = self._prompting.prompts(examples, chosen, [room] * len(examples))
            self._prompts[key] = PromptTokens(
                tuple(one.ids for one in made), sum(one.cut for one in made)
            )
        return self._prompts[key]

    def texts(self, split: str) -> tuple[tuple[int, ...], ...]:
        """The texts of a split, whole, each behind the token that stands before a text."""
        ids = self._prompting.encode([one.target for one in self._task.examples(split)])
        head = self._before_text()
        return tuple((*head, *each) for each in ids)

    def tagged(self, split: str) -> tuple[TaggedText, ...]:
        """The texts of a split as tokens to be tagged, in windows where they are long.

        Raises:
            UserError: tokens cannot be tagged.
        """
        if split not in self._tagged:
            self._tagged[split] = self._tagging.read(self._task.examples(split))
        return self._tagged[split]

    @cached_property
    def _tagging(self) -> TextTagger:
        return TextTagger(self._base, self._task, self._window)

    def _with_tags(self) -> TrainingTokens:
        learnt = self._tagging.learnt(self._task.examples("train"))
        return TrainingTokens(learnt.sequences, 0, 0, learnt.notes)

    def _before_text(self) -> tuple[int, ...]:
        """What a text's first token is predicted from.

        The start token, or else the end of the text before, as in lm-evaluation-harness.
        """
        tokenizer = self._base.tokenizer
        found = tokenizer.bos_token_id
        if found is None:
            found = tokenizer.eos_token_id
        return () if found is None else (int(found),)

    def _longest_answer(self) -> int:
        if self._task.kind.answers is Answers.CHOSEN:
            names = [self._task.write(name) for name in self._task.kind.classes]
            return max(len(ids) for ids in self.answers(names))
        return self._task.max_new_tokens

    def _texts_alone(self) -> TrainingTokens:
        """Texts with the end of text; longer ones in pieces that each begin anew."""
        head, tail, length = self._before_text(), self.tail, self._max_length
        pieces: list[TokenSequence] = []
        cut = 0
        for ids in self._prompting.encode([one.target for one in self._task.examples("train")]):
            whole = (*ids, *tail)
            room = length - len(head)
            cut += len(whole) > room
            for start in range(0, len(whole), room):
                piece = (*head, *whole[start : start + room])
                if len(piece) > 1:  # a lone first token predicts nothing
                    pieces.append(TokenSequence(piece, 0))
        sequences = pack_sequences(pieces, length) if self._packing else tuple(pieces)
        return TrainingTokens(sequences, cut, 0)

    def _with_answers(self) -> TrainingTokens:
        task, examples = self._task, self._task.examples("train")
        answers = self.answers([task.target(example) for example in examples])
        rooms = [self._max_length - len(answer) for answer in answers]
        least = len(self._prompting.head) + 1
        fitting = [index for index, room in enumerate(rooms) if room >= least]
        sequences: list[TokenSequence] = []
        cut = 0
        for index, prompt in zip(fitting, self._training_prompts(fitting, rooms), strict=True):
            cut += prompt.cut
            sequences.append(TokenSequence((*prompt.ids, *answers[index]), len(prompt.ids)))
        if not sequences:
            shortest = min((len(answer) for answer in answers), default=0)
            raise UserError(
                f"training.max_length: {self._max_length} tokens hold no training example of "
                f"{task.name}; the shortest of {len(examples)} answers has {shortest}"
            )
        return TrainingTokens(tuple(sequences), cut, len(examples) - len(sequences))

    def _training_prompts(self, chosen: Sequence[int], rooms: Sequence[int]) -> list[BuiltPrompt]:
        """Prompts of training examples; none is shown its own answer."""
        examples, count = self._task.examples("train"), self._task.file.shots
        pool = self._task.few_shot_examples(count + 1) if count else ()
        usual = pool[:count]
        names = {one.id for one in usual}
        found: dict[int, BuiltPrompt] = {}
        mine = [index for index in chosen if examples[index].id in names]
        others = [index for index in chosen if examples[index].id not in names]
        made = self._prompting.prompts(
            [examples[index] for index in others], usual, [rooms[index] for index in others]
        )
        found.update(zip(others, made, strict=True))
        for index in mine:
            shots = tuple(one for one in pool if one.id != examples[index].id)
            found[index] = self._prompting.prompts([examples[index]], shots, [rooms[index]])[0]
        return [found[index] for index in chosen]


def token_notes(task: Task, tokens: TrainingTokens, training: TrainingSettings) -> tuple[str, ...]:
    """What the user should know of the training tokens: what was cut, left out or not packed."""
    length, found = training.max_length, list(tokens.notes)
    texts = task.kind.answers is Answers.LIKELIHOOD
    if tokens.cut and texts:
        found.append(f"{tokens.cut} training texts were cut into pieces of {length} tokens")
    elif tokens.cut:
        side = task.file.truncate
        found.append(f"{tokens.cut} training prompts were cut on the {side} to {length} tokens")
    if tokens.left_out:
        found.append(
            f"{tokens.left_out} training examples were left out, for their answers alone exceed "
            f"{length} tokens"
        )
    if training.packing and not texts:
        found.append("training.packing: only language modelling packs; each example has its row")
    elif training.packing and not any(sequence.breaks for sequence in tokens.sequences):
        found.append("training.packing: this model would not keep texts apart; each has its row")
    return tuple(found)
