"""Builds the embedded base model from nothing, in one seeded run.

    python -m harness.embedded.recipe.pretrain --out DIR [--seed 0] [--tokens N] [--processes 2]

The same seed, tokens and processes give the same weights on the same machine: nothing is decided
by the clock. DIR/log.jsonl gets a line of figures at each look, DIR/README.md is the model card.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as functional
from torch import Tensor

from harness.embedded.recipe import documents, model, quality
from harness.embedded.recipe import model as tokenizer
from harness.embedded.recipe.documents import Corpus, text_of
from harness.embedded.recipe.model import Crew, Optimizer, together
from harness.embedded.recipe.quality import LOG, Packer, Probes

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MATRIX_RATE, _OTHER_RATE = 0.02, 3e-3
_STEPS_PER_CHUNK = 100
#: glibc hands large blocks back and asks for them again each step; keeping them is worth 1.5 x.
_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "8589934592",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}


@dataclass(frozen=True)
class Options:
    """One run."""

    out: Path
    seed: int = 0
    tokens: int = 20_000_000
    tokenizer_documents: int = 9000
    probe_documents: int = 64
    look_every: int = 250
    save_every: int = 650
    checkpoints: Path | None = None


class Run:
    """The state of a build between two steps."""

    def __init__(self, options: Options, crew: Crew) -> None:
        """Trains the tokenizer and draws the first weights: the same in each process."""
        self.options = options
        self.crew = crew
        self.started = time.perf_counter()
        corpus = Corpus(options.seed + 1_000_003)
        texts = (text_of(corpus.document(900)) for _ in range(options.tokenizer_documents))
        self.tokenizer: Tokenizer = tokenizer.train(texts, model.Shape.vocabulary)
        torch.manual_seed(options.seed)
        self.twin = model.Twin(model.Shape(vocabulary=self.tokenizer.get_vocab_size()))
        matrices = self.twin.matrices()
        inside = {id(matrix) for group in matrices for matrix in group}
        others = [one for one in self.twin.parameters() if id(one) not in inside]
        self.optimizer = Optimizer(matrices, others, _MATRIX_RATE, _OTHER_RATE, crew)
        self.packer = Packer(Corpus(options.seed), self.tokenizer, options.seed)
        self.probes = Probes(self.tokenizer, options.probe_documents)
        self.step = 0
        self.tokens = 0
        self.packing_seconds = 0.0

    def train(self) -> None:
        """All steps, with looks and checkpoints between."""
        for stage, count in documents.chunks(self.options.tokens, _STEPS_PER_CHUNK):
            begun = time.perf_counter()
            rows = self.packer.rows(stage.rows * count, stage.length, stage.mix)
            self.packing_seconds += time.perf_counter() - begun
            for ids, weights in zip(
                torch.split(rows.ids, stage.rows),
                torch.split(rows.weights, stage.rows),
                strict=True,
            ):
                loss = self._step(ids, weights)
                if self.step % self.options.look_every == 0:
                    self.look(loss)
                if self.options.checkpoints and self.step % self.options.save_every == 0:
                    self.save(self.options.checkpoints / f"step_{self.step}")

    def _step(self, ids: Tensor, weights: Tensor) -> float:
        whole = weights[:, 1:].sum()
        ids, weights = self.crew.mine(ids), self.crew.mine(weights)
        targets, wanted = ids[:, 1:].reshape(-1), weights[:, 1:].reshape(-1)
        places = wanted.nonzero().squeeze(1)
        logits = self.twin(ids[:, :-1].contiguous(), places)
        losses = functional.cross_entropy(logits, targets[places], reduction="none")
        loss = (losses * wanted[places]).sum() / whole
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step(documents.factor(self.step, self.tokens / self.options.tokens))
        self.step += 1
        self.tokens += targets.numel() * self.crew.size
        return loss.item() * self.crew.size

    def look(self, loss: float) -> None:
        """Writes one line of figures to the log; the loss is that of the first process's rows."""
        if self.crew.rank:
            return
        seconds = time.perf_counter() - self.started
        line = {
            "step": self.step,
            "tokens": self.tokens,
            "seconds": round(seconds, 1),
            "packing_seconds": round(self.packing_seconds, 1),
            "tokens_per_second": round(self.tokens / seconds),
            "loss": round(loss, 4),
            **self.probes.measure(self.twin),
        }
        text = json.dumps(line)
        print(text, flush=True)
        self.options.out.mkdir(parents=True, exist_ok=True)
        with (self.options.out / LOG).open("a") as log:
            log.write(text + "\n")

    def save(self, folder: Path) -> None:
        """Writes a folder that `AutoModelForCausalLM` and `AutoTokenizer` load."""
        if self.crew.rank:
            return
        folder.mkdir(parents=True, exist_ok=True)
        model.save_model(self.twin, folder)
        tokenizer.save(self.tokenizer, folder, self.twin.shape.positions)


def build(options: Options, crew: Crew = Crew()) -> None:  # noqa: B008  (frozen)
    """One run from nothing to files in `options.out`; a log of an earlier run is overwritten."""
    if not crew.rank:
        (options.out / LOG).unlink(missing_ok=True)
    run = Run(options, crew)
    run.train()
    run.look(float("nan"))
    run.save(options.out)


def _with_allocator() -> None:
    """Starts this program again with the allocator's settings, unless they are set."""
    if any(name not in os.environ for name in _ALLOCATOR):
        arguments = [sys.executable, "-m", "harness.embedded.recipe.pretrain", *sys.argv[1:]]
        os.execve(sys.executable, arguments, {**os.environ, **_ALLOCATOR})


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m harness.embedded.recipe.pretrain")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model and log")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=Options.tokens)
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    parser.add_argument("--checkpoints", type=Path, help="folder for models on the way")
    given = parser.parse_args()
    _with_allocator()
    options = Options(given.out, given.seed, given.tokens, checkpoints=given.checkpoints)
    with tempfile.TemporaryDirectory() as folder:
        together(given.processes, Path(folder) / "meeting", partial(build, options))
    quality.write(given.out, given.seed, given.tokens, given.processes)


if __name__ == "__main__":
    main()
