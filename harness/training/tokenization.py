"""Turns a task's examples into token ids: prompts, answers, whole texts and tagged texts.

A prompt is the task's template filled in, or a user's turn of the model's own chat template, with
few-shot examples in front. Where an example is too long, its input is cut word by word on the side
that the task names, so that the instructions around it and the answer stay complete. Each split is
tokenized once for a process, whatever the number of trials.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Final, NamedTuple

from harness.config.settings import TrainingSettings
from harness.errors import UserError
from harness.models.base_model import BaseModel, start_token
from harness.models.batches import TokenSequence, pack_sequences
from harness.tasks.task import AnswerMode, Example, Task
from harness.training.token_classification import TaggedText, TextTagger

#: Placeholder answer, to find what a chat template appends to one.
_ANSWER: Final = "ANSWER"


#: Token ids of a prompt, the start token included, and whether it was shortened to fit.
BuiltPrompt = tuple[tuple[int, ...], bool]


class PromptBuilder:
    """Builds one model's prompts for one task.

    Args:
        base: the model whose tokenizer and chat template to use.
        task: the task.

    Attributes:
        head: the start token, where the tokenizer has one.
        tail: what ends an answer: the end-of-text token, or the one that ends a turn.

    Raises:
        UserError: the task needs a chat template, and the model has none or it fails.
    """

    def __init__(self, base: BaseModel, task: Task) -> None:
        self._tokenizer, self._task = base.tokenizer, task
        self.head = start_token(base)
        end = self._tokenizer.eos_token_id
        self.tail: tuple[int, ...] = () if end is None else (int(end),)
        if task.file.chat:
            if not self._tokenizer.chat_template:
                raise UserError(
                    f"{task.folder / 'task.yaml'}: chat: {base.name} has no chat template; use an "
                    "instruction-tuned model or 'chat: false'"
                )
            self.head = ()  # the template writes its own
            self.tail = self._end_of_turn()

    def answers(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of answers, without `tail`."""
        if self._task.file.chat:  # a turn starts without a blank, unlike an answer after "E:"
            texts = [text.lstrip() for text in texts]
        return self.encode(texts)

    def prompts(
        self, examples: Sequence[Example], shots: Sequence[Example], limits: Sequence[int | None]
    ) -> list[BuiltPrompt]:
        """The prompts of examples, each with the few-shot examples before it.

        `limits` has the most tokens of each prompt, `head` included; None for no limit.
        """
        encoded = self.encode([self.text(example, shots) for example in examples])
        built = []
        for example, ids, limit in zip(examples, encoded, limits, strict=True):
            ids_with_head = (*self.head, *ids)
            fits = limit is None or len(ids_with_head) <= limit
            built.append((ids_with_head, False) if fits else self._cut(example, shots, limit or 0))
        return built

    def text(self, example: Example, shots: Sequence[Example] = ()) -> str:
        """The prompt as text."""
        task = self._task
        if not task.file.chat:
            examples_text = "".join(f"{task.prompt(shot)}{shot.target}\n" for shot in shots)
            return examples_text + task.prompt(example)
        turns: list[dict[str, str]] = []
        for shot in shots:
            turns += self._turn(shot, shot.target)
        return self._chat([*turns, *self._turn(example)], generation=True)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts, without special tokens."""
        if not texts:
            return []
        ids: list[list[int]] = self._tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        return ids

    def _cut(self, example: Example, shots: Sequence[Example], limit: int) -> BuiltPrompt:
        """Drops few-shot examples, then words of the input, and at last tokens of the prompt."""
        for dropped in range(1, len(shots) + 1):
            ids = self._ids(example, shots[dropped:])
            if len(ids) <= limit:
                return ids, True
        words = example.text.split(" ")
        # Binary search for the most words that fit; token counts do not add up over words.
        low, high = 0, len(words)
        longest: tuple[int, ...] | None = None
        while low < high:
            middle = (low + high) // 2
            remaining = words[:middle] if self._task.file.truncate == "right" else words[-middle:]
            ids = self._ids(_with_text(example, " ".join(remaining if middle else ())), ())
            if len(ids) <= limit:
                low, longest = middle + 1, ids
            else:
                high = middle
        if longest is None:
            ids = self._ids(_with_text(example, ""), ())
            tail_ids = ids[len(ids) - (limit - len(self.head)) :] if limit > len(self.head) else ()
            longest = (*self.head, *tail_ids)
        return longest, True

    def _ids(self, example: Example, shots: Sequence[Example]) -> tuple[int, ...]:
        return (*self.head, *self.encode([self.text(example, shots)])[0])

    def _turn(self, example: Example, answer: str | None = None) -> list[dict[str, str]]:
        turn = [{"role": "user", "content": self._task.prompt(example)}]
        if answer is None:
            return turn
        return [*turn, {"role": "assistant", "content": answer.strip()}]

    def _chat(self, turns: list[dict[str, str]], generation: bool) -> str:
        system = self._task.file.system
        if system is not None:
            turns = [{"role": "system", "content": system}, *turns]
        try:
            text: Any = self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=generation
            )
        except Exception as error:  # templates are programs and raise what they like
            raise UserError(
                f"{self._task.folder / 'task.yaml'}: chat: the model's chat template refuses: "
                f"{' '.join(str(error).split())[:200]}"
            ) from error
        return str(text)

    def _end_of_turn(self) -> tuple[int, ...]:
        """The first token that the template appends to an answer."""
        turn = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": _ANSWER}]
        suffix = self._chat(turn, generation=False).rpartition(_ANSWER)[2].strip()
        ids = self.encode([suffix])[0] if suffix else []
        return (int(ids[0]),) if ids else self.tail


class TrainingTokens(NamedTuple):
    """The training examples as tokens.

    Attributes:
        sequences: in the order of the examples; pieces of texts, possibly packed, for language
            modelling; windows of texts for token classification.
        cut: examples that were cut to fit; in language modelling, texts cut into pieces.
        left_out: examples whose answer alone is too long.
        notes: further messages for the user.
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
    """A task's examples as tokens of one model, each split tokenized once.

    Prompt and answer are tokenized separately, so that the prompt has the same tokens in training
    and in scoring. A start token is added where the tokenizer itself does so.

    Args:
        base: the model whose tokenizer to use.
        task: the task.
        max_length: most tokens of a training example (prompts are cut, answers never), or of a
            window of tagged tokens; None where nothing is trained.
        packing: whether texts of language modelling share rows of `max_length` tokens.
    """

    def __init__(
        self, base: BaseModel, task: Task, max_length: int | None, packing: bool = False
    ) -> None:
        self._base, self._task = base, task
        self._window, self._max_length, self._packing = max_length, max_length or 1, packing
        self._builder = PromptBuilder(base, task)
        self._training: TrainingTokens | None = None
        self._prompts: dict[tuple[str, ...], PromptTokens] = {}
        self._tagged: dict[str, tuple[TaggedText, ...]] = {}

    @property
    def tail(self) -> tuple[int, ...]:
        """Token that ends an answer, if there is one."""
        return self._builder.tail

    def training(self) -> TrainingTokens:
        """The training split, with the positions that have a loss.

        Raises:
            UserError: no answer fits into `max_length`, or tokens cannot be tagged.
        """
        if self._training is None:
            tokenize = {
                AnswerMode.LIKELIHOOD: self._text_sequences,
                AnswerMode.TAGGED: self._tag_windows,
            }
            self._training = tokenize.get(self._task.type.answers, self._answer_sequences)()
        return self._training

    def answers(self, texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Answers as tokens, `tail` included."""
        return tuple((*ids, *self.tail) for ids in self._builder.answers(texts))

    def prompts(self, split: str, shots: Sequence[Example] | None = None) -> PromptTokens:
        """The prompts of a split, each with room for an answer within the model's context.

        Args:
            split: name of the split.
            shots: few-shot examples before each; None for those of the task's file.
        """
        few_shot = tuple(
            self._task.few_shot_examples(self._task.file.shots) if shots is None else shots
        )
        key = (split, *(shot.id for shot in few_shot))
        if key not in self._prompts:
            examples = self._task.examples(split)
            context = self._base.context
            limit = None if context is None else max(1, context - self._longest_answer())
            built = self._builder.prompts(examples, few_shot, [limit] * len(examples))
            self._prompts[key] = PromptTokens(
                tuple(ids for ids, _ in built), sum(cut for _, cut in built)
            )
        return self._prompts[key]

    def texts(self, split: str) -> tuple[tuple[int, ...], ...]:
        """The complete texts of a split, each after the token that precedes a text."""
        ids = self._builder.encode([example.target for example in self._task.examples(split)])
        head = self._text_prefix()
        return tuple((*head, *text_ids) for text_ids in ids)

    def tagged(self, split: str) -> tuple[TaggedText, ...]:
        """The texts of a split as tokens to tag, in windows where they are long.

        Raises:
            UserError: tokens cannot be tagged.
        """
        if split not in self._tagged:
            self._tagged[split] = self._tagger.tokenize(self._task.examples(split))
        return self._tagged[split]

    @cached_property
    def _tagger(self) -> TextTagger:
        return TextTagger(self._base, self._task, self._window)

    def _tag_windows(self) -> TrainingTokens:
        sequences, notes = self._tagger.tokenize_training(self._task.examples("train"))
        return TrainingTokens(sequences, 0, 0, notes)

    def _text_prefix(self) -> tuple[int, ...]:
        """The token from which a text's first token is predicted.

        The start token, or else the end-of-text token, as in lm-evaluation-harness.
        """
        start, end = self._base.tokenizer.bos_token_id, self._base.tokenizer.eos_token_id
        token_id = end if start is None else start
        return () if token_id is None else (int(token_id),)

    def _longest_answer(self) -> int:
        if self._task.type.answers is AnswerMode.MOST_LIKELY:
            names = [self._task.write(name) for name in self._task.type.classes]
            return max(len(ids) for ids in self.answers(names))
        return self._task.max_new_tokens

    def _text_sequences(self) -> TrainingTokens:
        """Texts with their end token; longer ones in pieces, each with the start token."""
        head, tail, length = self._text_prefix(), self.tail, self._max_length
        pieces: list[TokenSequence] = []
        cut = 0
        texts = [example.target for example in self._task.examples("train")]
        for ids in self._builder.encode(texts):
            text_ids = (*ids, *tail)
            room = length - len(head)
            cut += len(text_ids) > room
            for start in range(0, len(text_ids), room):
                piece = (*head, *text_ids[start : start + room])
                if len(piece) > 1:  # a single token predicts nothing
                    pieces.append(TokenSequence(piece, 0))
        sequences = pack_sequences(pieces, length) if self._packing else tuple(pieces)
        return TrainingTokens(sequences, cut, 0)

    def _answer_sequences(self) -> TrainingTokens:
        task, examples = self._task, self._task.examples("train")
        answers = self.answers([task.target(example) for example in examples])
        limits = [self._max_length - len(answer) for answer in answers]
        min_length = len(self._builder.head) + 1
        fitting = [index for index, limit in enumerate(limits) if limit >= min_length]
        sequences: list[TokenSequence] = []
        cut = 0
        prompts = self._training_prompts(fitting, limits)
        for index, (ids, is_cut) in zip(fitting, prompts, strict=True):
            cut += is_cut
            sequences.append(TokenSequence((*ids, *answers[index]), len(ids)))
        if not sequences:
            shortest = min((len(answer) for answer in answers), default=0)
            raise UserError(
                f"training.max_length: {self._max_length} tokens hold no training example of "
                f"{task.name}; the shortest of {len(examples)} answers has {shortest}"
            )
        return TrainingTokens(tuple(sequences), cut, len(examples) - len(sequences))

    def _training_prompts(
        self, indices: Sequence[int], limits: Sequence[int]
    ) -> list[BuiltPrompt]:
        """Prompts of training examples; no example is its own few-shot example."""
        examples, count = self._task.examples("train"), self._task.file.shots
        pool = self._task.few_shot_examples(count + 1) if count else ()
        default_shots = pool[:count]
        shot_ids = {example.id for example in default_shots}
        built: dict[int, BuiltPrompt] = {}
        as_shots = [index for index in indices if examples[index].id in shot_ids]
        rest = [index for index in indices if examples[index].id not in shot_ids]
        rest_prompts = self._builder.prompts(
            [examples[index] for index in rest], default_shots, [limits[index] for index in rest]
        )
        built.update(zip(rest, rest_prompts, strict=True))
        for index in as_shots:
            shots = tuple(example for example in pool if example.id != examples[index].id)
            built[index] = self._builder.prompts([examples[index]], shots, [limits[index]])[0]
        return [built[index] for index in indices]


def token_notes(task: Task, tokens: TrainingTokens, training: TrainingSettings) -> tuple[str, ...]:
    """Messages about the training tokens: what was cut, left out or not packed."""
    length, notes = training.max_length, list(tokens.notes)
    texts = task.type.answers is AnswerMode.LIKELIHOOD
    if tokens.cut and texts:
        notes.append(f"{tokens.cut} training texts were cut into pieces of {length} tokens")
    elif tokens.cut:
        side = task.file.truncate
        notes.append(f"{tokens.cut} training prompts were cut on the {side} to {length} tokens")
    if tokens.left_out:
        notes.append(
            f"{tokens.left_out} training examples were left out: their answers alone exceed "
            f"{length} tokens"
        )
    if training.packing and not texts:
        notes.append("training.packing: only language modelling packs; one example a row is used")
    elif training.packing and not any(sequence.breaks for sequence in tokens.sequences):
        notes.append(
            "training.packing: this model does not separate texts; one text a row is used"
        )
    return tuple(notes)


def _with_text(example: Example, text: str) -> Example:
    fields = example.prompt_fields
    new = {name: text if name in {"input", "text"} else fields[name] for name in fields}
    return replace(example, prompt_fields=new)
