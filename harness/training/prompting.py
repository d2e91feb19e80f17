"""From an example to the text that a model goes on from, cut to the room there is.

Fills the task's prompt, or takes it as a user's turn of the model's own chat template; puts worked
examples in front. Where an example is too long, its input is cut word by word on the side that the
task names, so that the words around it and the answer stay whole. Knows nothing of training.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from harness.errors import UserError
from harness.models.base_model import BaseModel
from harness.tasks.task import Example, Task

#: Stands for an answer where a chat template is looked at.
_ANSWER = "ANSWER"


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


def start_token(base: BaseModel) -> tuple[int, ...]:
    """The start token, where the tokenizer puts it before a text or declares that it should."""
    tokenizer = base.tokenizer
    start = tokenizer.bos_token_id
    if start is None:
        return ()
    marked = tokenizer("a", add_special_tokens=True)["input_ids"]
    if marked[:1] == [start] or getattr(tokenizer, "add_bos_token", False):
        return (int(start),)
    return ()


def _with_text(example: Example, text: str) -> Example:
    fields = {
        name: text if name in {"input", "text"} else value
        for name, value in example.prompt_fields.items()
    }
    return replace(example, prompt_fields=fields)
