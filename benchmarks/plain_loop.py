"""The loop that people write around Optuna, PEFT and Transformers, to hold this project against.

Two manners of it: as it is usually written (`USUAL`), and with every saving that needs no code of
one's own (`strongest`). Both get tokens that were made before, which is in their favour.
"""

import gc
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from harness.adapters.targets import target_names
from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel
from harness.models.batches import IGNORED, TokenSequence
from harness.tasks.task import Task
from harness.training import evaluation
from harness.training.generation import length_sorted_batches
from harness.training.tokenization import TokenizedTask
from harness.trial import SplitScores, TrialConfig


class Spent(NamedTuple):
    """Seconds by the wall's clock and of the processor."""

    wall: float = 0.0
    cpu: float = 0.0

    def plus(self, other: "Spent", sign: int = 1) -> "Spent":
        """The sum of both, or their difference with `sign` -1."""
        return Spent(self.wall + sign * other.wall, self.cpu + sign * other.cpu)


class Clock:
    """What each part of a loop takes; a part within a part is not counted in the outer one."""

    def __init__(self) -> None:
        """Nothing spent yet."""
        self.spent: dict[str, Spent] = {}
        self._inner: list[Spent] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts what is done meanwhile."""
        start = Spent(time.perf_counter(), time.process_time())
        self._inner.append(Spent())
        try:
            yield
        finally:
            whole = Spent(time.perf_counter(), time.process_time()).plus(start, -1)
            own = whole.plus(self._inner.pop(), -1)
            self.spent[name] = self.spent.get(name, Spent()).plus(own)
            if self._inner:
                self._inner[-1] = self._inner[-1].plus(whole)


@dataclass(frozen=True)
class Work:
    """What every loop has to do, the same for all.

    Attributes:
        folder: the base model's.
        task: its validation examples are those that are scored.
        training: with `steps`.
        sequences: training examples.
        prompts: of the validation examples.
        stops: ids that end an answer.
        tokenizer: with a padding token.
    """

    folder: str
    task: Task
    training: TrainingSettings
    sequences: tuple[TokenSequence, ...]
    prompts: tuple[tuple[int, ...], ...]
    stops: tuple[int, ...]
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def of(cls, base: BaseModel, folder: str, task: Task, training: TrainingSettings) -> "Work":
        """With the tokens that this project makes, and what ends an answer for it."""
        tokens = TokenizedTask(base, task, training.max_length)
        end = base.tokenizer.eos_token_id
        stops = {*tokens.tail, *(() if end is None else (int(end),))}
        if evaluation.has_single_line_answers(task):
            stops |= evaluation.newline_ids(base)
        return cls(
            folder,
            task,
            training,
            sequences=tokens.training().sequences,
            prompts=tokens.prompts("validation").prompts,
            stops=tuple(sorted(stops)),
            tokenizer=base.tokenizer,
        )


class Done(NamedTuple):
    """What a trial came to: mean training loss in nats an answer token, and the scores."""

    loss: float
    scores: SplitScores


@dataclass(frozen=True)
class Manner:
    """How a plain loop is written.

    Attributes:
        dtype: of the base.
        keeps_base: whether it is loaded once, or anew for each trial.
        pads: whether all examples have the full length, or that of the batch's longest, grouped.
        rows: prompts that are answered together.
    """

    dtype: torch.dtype
    keeps_base: bool
    pads: bool
    rows: int


USUAL: Final = Manner(torch.float32, keeps_base=False, pads=True, rows=8)


def strongest(dtype: torch.dtype) -> Manner:
    """The manner with all savings, in the precision that is faster here."""
    return Manner(dtype, keeps_base=True, pads=False, rows=32)


class PlainLoop:
    """Trains and scores trial after trial with PEFT, `Trainer` and `generate`.

    Args:
        work: what to do.
        manner: how.
        clock: counts `load`, `train` and `score`.
    """

    def __init__(self, work: Work, manner: Manner, clock: Clock) -> None:
        """Loads the base if it is kept."""
        self._work, self._manner, self._clock = work, manner, clock
        self._kept = self._load() if manner.keeps_base else None
        length = work.training.max_length if manner.pads else 0
        pad = int(work.tokenizer.pad_token_id)
        self._rows = [_row(sequence, length, pad) for sequence in work.sequences]

    def trial(self, config: TrialConfig) -> Done:
        """One trial from the base to its score."""
        base = self._load() if self._kept is None else self._kept
        with self._clock.part("train"):
            set_seed(config.seed)
            adapter = LoraConfig(
                r=config.rank,
                lora_alpha=round(config.alpha),
                lora_dropout=config.dropout,
                target_modules=list(target_names(base, config.target_modules)),
                use_dora=config.variant == "dora",
                task_type="CAUSAL_LM",
            )
            model = get_peft_model(base, adapter)
            loss = self._train(model, config)
        with self._clock.part("score"):
            scores = self._score(model)
        with self._clock.part("train"):
            if self._kept is not None:
                model.unload()
            del model, base
            gc.collect()
        return Done(loss, scores)

    def _load(self) -> Any:
        with self._clock.part("load"):
            return AutoModelForCausalLM.from_pretrained(
                self._work.folder, dtype=self._manner.dtype
            )

    def _train(self, model: Any, config: TrialConfig) -> float:
        training, steps = self._work.training, self._work.training.steps or 1
        with tempfile.TemporaryDirectory() as folder:
            given = TrainingArguments(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=training.batch_size,
                learning_rate=config.learning_rate,
                lr_scheduler_type="linear",
                warmup_steps=round(training.warmup * steps),
                weight_decay=training.weight_decay,
                max_grad_norm=training.max_gradient_norm,
                optim="adamw_torch_fused",
                train_sampling_strategy="random" if self._manner.pads else "group_by_length",
                seed=config.seed,
                use_cpu=not torch.cuda.is_available(),
                dataloader_pin_memory=False,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            )
            trainer = Trainer(model, given, self._collate, self._rows)
            trainer.remove_callback(PrinterCallback)
            return float(trainer.train().training_loss)

    def _collate(self, rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        pads = {
            "input_ids": int(self._work.tokenizer.pad_token_id),
            "attention_mask": 0,
            "labels": IGNORED,
        }
        return {
            name: torch.tensor([row[name] + [pad] * (longest - len(row[name])) for row in rows])
            for name, pad in pads.items()
        }

    @torch.no_grad()
    def _score(self, model: Any) -> SplitScores:
        work, rows = self._work, self._manner.rows
        model.eval()
        order = list(range(len(work.prompts)))
        batches = [order[i : i + rows] for i in range(0, len(order), rows)]
        if not self._manner.pads:
            batches = list(length_sorted_batches(work.prompts, rows))
        texts = [""] * len(order)
        for batch in batches:
            written = self._written(model, [work.prompts[index] for index in batch])
            for index, text in zip(batch, written, strict=True):
                texts[index] = text
        parsed = [work.task.parse(text) for text in texts]
        answers = [
            evaluation.Answer(p.prediction, text, p.unparsed)
            for p, text in zip(parsed, texts, strict=True)
        ]
        examples = work.task.examples("validation")
        return evaluation.score_answers(work.task, "validation", examples, answers)

    def _written(self, model: Any, prompts: Sequence[Sequence[int]]) -> list[str]:
        work, pad = self._work, int(self._work.tokenizer.pad_token_id)
        longest = max(map(len, prompts))
        ids = [[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        found = model.generate(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            max_new_tokens=work.task.max_new_tokens,
            do_sample=False,
            eos_token_id=list(work.stops),
            pad_token_id=pad,
        )
        new = [_until(row, work.stops) for row in found[:, longest:].tolist()]
        return work.tokenizer.batch_decode(new, skip_special_tokens=True)


def _row(sequence: TokenSequence, length: int, pad: int) -> dict[str, list[int]]:
    """An example as `Trainer` takes it, with its loss on the answer alone."""
    ids, left = list(sequence.ids), max(0, length - len(sequence.ids))
    start = max(1, sequence.start)
    return {
        "input_ids": ids + [pad] * left,
        "attention_mask": [1] * len(ids) + [0] * left,
        "labels": [IGNORED] * start + ids[start:] + [IGNORED] * left,
    }


def _until(ids: Sequence[int], stops: Sequence[int]) -> list[int]:
    """What was written before the first id that ends an answer."""
    ends = [place for place, token in enumerate(ids) if token in stops]
    return list(ids[: ends[0] if ends else len(ids)])
