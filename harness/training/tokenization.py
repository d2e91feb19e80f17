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
from harness.tasks.task import Answers, Example, Task
from harness.training.token_classification import TaggedText, TextTagger

#: Stands for an answer where a chat template is looked at.
_ANSWER: Final = "ANSWER"


class BuiltPrompt(NamedTuple):
    """The prompt of one example.

    Attributes:
        ids: token ids, the start token included.
        cut: whether anything was left out to make it fit.
    """

    ids: tuple[int, ...]
    cut: bool


class PromptBuilder:
    """How one model is asked one task.

    Args:
        base: whose tokenizer and chat template to use.
        task: what is asked.

    Attributes:
        head: the start token, where one belongs before a text.
        tail: what ends an answer: the end of text, or what ends a turn.
    """

    def __init__(self, base: BaseModel, task: Task) -> None:
        """Looks at the chat template, if the task wants it.

        Raises:
            UserError: the model has no chat template, or one that cannot be used.
        """
        self._tokenizer, self._task = base.tokenizer, task
        self.head = start_token(base)
        end = self._tokenizer.eos_token_id
        self.tail: tuple[int, ...] = () if end is None else (int(end),)
        if task.file.chat:
            if not self._tokenizer.chat_template:
                raise UserError(
                    f"{task.folder / 'task.yaml'}: chat: {base.name} has no chat template; take "
                    "an instruction-tuned model or 'chat: false'"
                )
            self.head = ()  # the template brings its own
            self.tail = self._end_of_turn()

    def answers(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of answers, without what ends them."""
        if self._task.file.chat:  # a turn begins on its own, without a blank
            texts = [text.lstrip() for text in texts]
        return self.encode(texts)

    def prompts(
        self,
        examples: Sequence[Example],
        shots: Sequence[Example],
        rooms: Sequence[int | None],
    ) -> list[BuiltPrompt]:
        """The prompts of examples.

        Args:
            examples: what to ask.
            shots: worked examples to show first.
            rooms: for each example the tokens that there are for it, head included.
        """
        encoded = self.encode([self.text(example, shots) for example in examples])
        found = []
        for example, ids, room in zip(examples, encoded, rooms, strict=True):
            whole = (*self.head, *ids)
            fits = room is None or len(whole) <= room
            found.append(
                BuiltPrompt(whole, cut=False)
                if fits
                else self._cut(example, shots, int(room or 0))
            )
        return found

    def text(self, example: Example, shots: Sequence[Example] = ()) -> str:
        """The prompt as text."""
        task = self._task
        if not task.file.chat:
            shown = "".join(f"{task.prompt(one)}{one.target}\n" for one in shots)
            return shown + task.prompt(example)
        turns: list[dict[str, str]] = []
        for one in shots:
            turns += self._turn(one, one.target)
        return self._chat([*turns, *self._turn(example)], generation=True)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts, nothing added."""
        if not texts:
            return []
        found: list[list[int]] = self._tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        return found

    def _cut(self, example: Example, shots: Sequence[Example], room: int) -> BuiltPrompt:
        """Worked examples go first, then words of the input, last of all the prompt's own."""
        for left in range(1, len(shots) + 1):
            ids = self._ids(example, shots[left:])
            if len(ids) <= room:
                return BuiltPrompt(ids, cut=True)
        words = example.text.split(" ")
        low, high = 0, len(words)  # the longest part that fits has low <= words < high
        best: tuple[int, ...] | None = None
        while low < high:
            middle = (low + high) // 2
            kept = words[:middle] if self._task.file.truncate == "right" else words[-middle:]
            ids = self._ids(_with_text(example, " ".join(kept if middle else ())), ())
            if len(ids) <= room:
                low, best = middle + 1, ids
            else:
                high = middle
        if best is None:
            ids = self._ids(_with_text(example, ""), ())
            kept_ids = ids[len(ids) - (room - len(self.head)) :] if room > len(self.head) else ()
            best = (*self.head, *kept_ids)
        return BuiltPrompt(best, cut=True)

    def _ids(self, example: Example, shots: Sequence[Example]) -> tuple[int, ...]:
        return (*self.head, *self.encode([self.text(example, shots)])[0])

    def _turn(self, example: Example, answer: str | None = None) -> list[dict[str, str]]:
        asked = [{"role": "user", "content": self._task.prompt(example)}]
        if answer is None:
            return asked
        return [*asked, {"role": "assistant", "content": answer.strip()}]

    def _chat(self, turns: list[dict[str, str]], generation: bool) -> str:
        system = self._task.file.system
        if system is not None:
            turns = [{"role": "system", "content": system}, *turns]
        try:
            made: Any = self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=generation
            )
        except Exception as error:  # templates are programs and raise what they like
            raise UserError(
                f"{self._task.folder / 'task.yaml'}: chat: the model's chat template refuses: "
                f"{' '.join(str(error).split())[:200]}"
            ) from error
        return str(made)

    def _end_of_turn(self) -> tuple[int, ...]:
        """The first token that the template puts behind an answer."""
        turn = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": _ANSWER}]
        behind = self._chat(turn, generation=False).rpartition(_ANSWER)[2].strip()
        ids = self.encode([behind])[0] if behind else []
        return (int(ids[0]),) if ids else self.tail


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


def _with_text(example: Example, text: str) -> Example:
    fields = {
        name: text if name in {"input", "text"} else value
        for name, value in example.prompt_fields.items()
    }
    return replace(example, prompt_fields=fields)
