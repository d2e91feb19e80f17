"""Measures a model in training: does it copy, does it find spans by label.

All on documents drawn with a seed of their own. Answers are scored with the right prompt before
each token; an answer counts as exact if the model would write every token of it.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from tokenizers import Tokenizer
from torch import Tensor

from harness.embedded import words
from harness.embedded.batches import encode
from harness.embedded.corpus import Corpus
from harness.embedded.model import Twin
from harness.embedded.sentences import Document
from harness.embedded.tokenizer import PAD_ID

_SEED = 77
_COPIED = 48
_BUDGET = 700
_BATCH = 16


@dataclass(frozen=True)
class _Answer:
    """Where one answer stands: row, first and last-plus-one target position."""

    row: int
    start: int
    stop: int


class Probes:
    """Fixed documents; `measure` answers figures by name."""

    def __init__(self, tokenizer: Tokenizer, documents: int = 64) -> None:
        """`documents` is the number of documents of each kind."""
        rng = random.Random(_SEED)
        runs: list[Document] = []
        for _ in range(documents):
            run = " " + " ".join(words.novel(rng) for _ in range(40))
            runs.append([(run, 0.0)])
        newline = tokenizer.encode("\n", add_special_tokens=False).ids
        first = [one.ids[: _COPIED + 1] for one in encode(tokenizer, runs)]
        self._runs = torch.tensor([ids + newline + ids[1:] for ids in first])
        self._sets = {
            kind: _padded(tokenizer, _documents(kind, documents))
            for kind in ("episode", "questions", "note")
        }

    @torch.no_grad()
    def measure(self, model: Twin) -> dict[str, float]:
        """Copying (loss on first and second sight, accuracy), and answers by kind."""
        loss, right = _score(model, self._runs)
        figures = {
            "first_loss": loss[:, :_COPIED].mean().item(),
            "copy_loss": loss[:, _COPIED + 1 :].mean().item(),
            "copy_accuracy": right[:, _COPIED + 1 :].float().mean().item(),
        }
        for kind, (ids, answers) in self._sets.items():
            _, right = _score(model, ids)
            spans = [right[one.row, one.start : one.stop] for one in answers]
            figures[f"{kind}_tokens"] = torch.cat(spans).float().mean().item()
            figures[f"{kind}_exact"] = sum(bool(span.all()) for span in spans) / len(spans)
        return {name: round(value, 4) for name, value in figures.items()}


def _documents(kind: str, count: int) -> list[Document]:
    corpus = Corpus(_SEED)
    only: Mapping[str, float] = {kind: 1.0}
    return [corpus.document(_BUDGET, only) for _ in range(count)]


def _padded(tokenizer: Tokenizer, documents: list[Document]) -> tuple[Tensor, list[_Answer]]:
    """Rows padded on the right, and the fully weighed segments in them."""
    encoded = encode(tokenizer, documents)
    longest = max(len(one.ids) for one in encoded)
    rows = torch.full((len(encoded), longest), PAD_ID)
    answers: list[_Answer] = []
    for row, (one, document) in enumerate(zip(encoded, documents, strict=True)):
        rows[row, : len(one.ids)] = torch.tensor(one.ids)
        for number, (_, weight) in enumerate(document):
            places = [place for place, segment in enumerate(one.segments) if segment == number]
            if weight >= 1 and places:
                # The target of position p is token p + 1.
                answers.append(_Answer(row, places[0] - 1, places[-1]))
    return rows, answers


def _score(model: Twin, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and correctness of each next token, (rows, length - 1)."""
    losses: list[Tensor] = []
    rights: list[Tensor] = []
    for part in torch.split(rows, _BATCH):
        ids, targets = part[:, :-1].contiguous(), part[:, 1:]
        logits = model(ids, torch.arange(ids.numel()))
        loss = functional.cross_entropy(logits, targets.reshape(-1), reduction="none")
        losses.append(loss.view(targets.shape))
        rights.append(logits.argmax(-1).view(targets.shape) == targets)
    return torch.cat(losses), torch.cat(rights)
