"""Pretrains the embedded base model from random weights, in one seeded run.

    python -m harness.embedded.recipe.pretrain --out DIR [--seed 0] [--tokens N] [--processes 2]

The same seed, tokens and processes give the same weights on the same machine: nothing depends on
time. DIR/log.jsonl gets a line of metrics at intervals, DIR/README.md is the model card.
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
from harness.embedded.recipe.documents import Corpus, document_text
from harness.embedded.recipe.model import Optimizer, ProcessGroup, run_processes
from harness.embedded.recipe.quality import LOG, Packer, Probes

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MATRIX_RATE, _OTHER_RATE = 0.02, 3e-3
_STEPS_PER_CHUNK = 100
#: glibc returns large blocks to the system and requests them again each step; keeping them makes
#: a step 1.5 times as fast.
_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "8589934592",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}


@dataclass(frozen=True)
class Options:
    """Options of one run."""

    out: Path
    seed: int = 0
    tokens: int = 20_000_000
    tokenizer_documents: int = 9000
    probe_documents: int = 64
    log_every: int = 250
    save_every: int = 650
    checkpoints: Path | None = None


class PretrainingRun:
    """The state of a build between two steps."""

    def __init__(self, options: Options, processes: ProcessGroup) -> None:
        """Trains the tokenizer and draws the initial weights: the same in each process."""
        self.options = options
        self.processes = processes
        self.started = time.perf_counter()
        corpus = Corpus(options.seed + 1_000_003)
        texts = (document_text(corpus.document(900)) for _ in range(options.tokenizer_documents))
        self.tokenizer: Tokenizer = model.train_tokenizer(texts, model.LlamaShape.vocabulary)
        torch.manual_seed(options.seed)
        self.model = model.FusedLlama(model.LlamaShape(vocabulary=self.tokenizer.get_vocab_size()))
        matrices = self.model.matrices()
        matrix_ids = {id(matrix) for group in matrices for matrix in group}
        others = [weight for weight in self.model.parameters() if id(weight) not in matrix_ids]
        self.optimizer = Optimizer(matrices, others, _MATRIX_RATE, _OTHER_RATE, processes)
        self.packer = Packer(Corpus(options.seed), self.tokenizer, options.seed)
        self.probes = Probes(self.tokenizer, options.probe_documents)
        self.step = 0
        self.tokens = 0
        self.packing_seconds = 0.0

    def train(self) -> None:
        """All steps, with metrics and checkpoints at intervals."""
        for stage, count in documents.step_chunks(self.options.tokens, _STEPS_PER_CHUNK):
            begun = time.perf_counter()
            rows = self.packer.rows(stage.rows * count, stage.length, stage.mix)
            self.packing_seconds += time.perf_counter() - begun
            for ids, weights in zip(
                torch.split(rows.ids, stage.rows),
                torch.split(rows.weights, stage.rows),
                strict=True,
            ):
                loss = self._step(ids, weights)
                if self.step % self.options.log_every == 0:
                    self.log_metrics(loss)
                if self.options.checkpoints and self.step % self.options.save_every == 0:
                    self.save(self.options.checkpoints / f"step_{self.step}")

    def _step(self, ids: Tensor, weights: Tensor) -> float:
        total_weight = weights[:, 1:].sum()
        ids, weights = self.processes.local_rows(ids), self.processes.local_rows(weights)
        targets, target_weights = ids[:, 1:].reshape(-1), weights[:, 1:].reshape(-1)
        positions = target_weights.nonzero().squeeze(1)
        logits = self.model(ids[:, :-1].contiguous(), positions)
        losses = functional.cross_entropy(logits, targets[positions], reduction="none")
        loss = (losses * target_weights[positions]).sum() / total_weight
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step(
            documents.learning_rate_factor(self.step, self.tokens / self.options.tokens)
        )
        self.step += 1
        self.tokens += targets.numel() * self.processes.size
        return loss.item() * self.processes.size

    def log_metrics(self, loss: float) -> None:
        """Writes one line of metrics to the log; the loss is that of the first process's rows."""
        if self.processes.rank:
            return
        seconds = time.perf_counter() - self.started
        line = {
            "step": self.step,
            "tokens": self.tokens,
            "seconds": round(seconds, 1),
            "packing_seconds": round(self.packing_seconds, 1),
            "tokens_per_second": round(self.tokens / seconds),
            "loss": round(loss, 4),
            **self.probes.measure(self.model),
        }
        text = json.dumps(line)
        print(text, flush=True)
        self.options.out.mkdir(parents=True, exist_ok=True)
        with (self.options.out / LOG).open("a") as log:
            log.write(text + "\n")

    def save(self, folder: Path) -> None:
        """Writes a folder that `AutoModelForCausalLM` and `AutoTokenizer` load."""
        if self.processes.rank:
            return
        folder.mkdir(parents=True, exist_ok=True)
        model.save_model(self.model, folder)
        model.save_tokenizer(self.tokenizer, folder, self.model.shape.positions)


def build(options: Options, processes: ProcessGroup = ProcessGroup()) -> None:  # noqa: B008  (frozen)
    """One run, from random weights to files in `options.out`; overwrites an earlier log."""
    if not processes.rank:
        (options.out / LOG).unlink(missing_ok=True)
    run = PretrainingRun(options, processes)
    run.train()
    run.log_metrics(float("nan"))
    run.save(options.out)


def _with_allocator() -> None:
    """Restarts this program with the allocator's settings, unless they are set."""
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
    arguments = parser.parse_args()
    _with_allocator()
    options = Options(
        arguments.out, arguments.seed, arguments.tokens, checkpoints=arguments.checkpoints
    )
    with tempfile.TemporaryDirectory() as folder:
        run_processes(arguments.processes, Path(folder) / "meeting", partial(build, options))
    quality.write_model_card(arguments.out, arguments.seed, arguments.tokens, arguments.processes)


if __name__ == "__main__":
    main()
