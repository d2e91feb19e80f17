"""Packs documents into rows, measures a model in training, and writes its model card.

`python -m harness.embedded.recipe.quality DIR --processes 2`, with the options of the pretraining,
writes the card anew from its log. The probes measure copying and spans by label, on documents of a
separate seed. Answers are scored with the gold tokens before each token (teacher forcing); an
answer is exact if every token of it is the most likely one.
"""

import argparse
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as functional
from tokenizers import Tokenizer
from torch import Tensor

from harness.embedded.recipe.documents import FRAMES, MIXED, STAGES, Corpus
from harness.embedded.recipe.model import BOS_ID, EOS_ID, PAD_ID, FusedLlama
from harness.embedded.recipe.text import (
    Document,
    invent_word,
)
from harness.embedded.recipe.vocabulary import CONDITIONS, MEDICATIONS, PROCEDURES

#: The log of the pretraining, one JSON object a line.
LOG = "log.jsonl"
_COMMAND = "python -m harness.embedded.recipe.pretrain --out DIR"
_CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [llama, tiny, synthetic-data]
---

# tiny: the embedded base model of harness

A Llama of {parameters:.2f} million parameters, trained from nothing on text that this project
generates. It is there so that a search over LoRA settings can be tried, tested and measured on a
laptop CPU, without a download. It is no model for use on anybody's text, least of all a patient's.

| | |
|---|---|
| layout | `LlamaForCausalLM`: hidden {hidden_size}, {num_hidden_layers} layers, \
{num_attention_heads} heads, MLP {intermediate_size}, tied embeddings |
| adapters fit | `q_proj` `k_proj` `v_proj` `o_proj` `gate_proj` `up_proj` `down_proj` |
| tokenizer | byte-level BPE, {vocab_size:,} tokens, upper case kept; a blank belongs to the word \
after it, each digit and each mark is a token of its own |
| context | trained up to {longest} tokens; positions go to {max_position_embeddings:,} |
| file | float16, {megabytes:.1f} MB |
| trained on | {tokens:.1f} million tokens in {steps:,} steps, every document new |
| took | {minutes:.0f} minutes on a machine with 2 CPU cores that others used as well \
({processes} of one thread, float32) |
| licence | Apache-2.0, weights and generator |

## How it was made

    {command}

Nothing is decided by the clock: the same command on the same kind of machine gives the same
bytes. Rows are {lengths} tokens long, one after the other. Muon trains the block
matrices (0.02) and AdamW the rest (0.003); both rates are held for 35 % of the tokens and then
fall as a cosine to 3 %.

The corpus has no real text. It is drawn from {frames} sentence frames, {medications} drug,
{conditions} illness and {procedures} examination names (`harness/embedded/recipe/vocabulary.py`
lists them all) and words that a generator invents. Documents by kind: {mix}.

- Copying comes first: repeated words, keys with values, lists, marked words, other notations.
- Then spans by label: three to six worked examples under one set of labels in many formats. In
  four of ten the labels mean nothing, so they can be learnt from the examples alone.
- A little prose: clinical notes and short dialogues.

It has not seen the tasks that come with harness: other frames, other label words, another format,
and none of the names that these tasks hold out.

## What it can do

On documents of the generator with a seed of their own, from the last line of `{log}`, which the
command above writes. Each answer is scored with the right prompt before it; it is exact if every
token of it would be written.

| | |
|---|---|
| second copy of invented words, tokens right | {copy_accuracy:.3f} |
| loss on their first and second sight | {first_loss:.2f} and {copy_loss:.3f} |
| episodes of worked examples, answer tokens right | {episode_tokens:.3f} |
| episodes, answers exact | {episode_exact:.3f} |
| questions by label, answers exact | {questions_exact:.3f} |
| lines drawn from clinical notes, exact | {note_exact:.3f} |

Over the run:

| million tokens | loss on a second copy | copies right | episode tokens right | exact |
|---|---|---|---|---|
{course}

## What it cannot do

It knows no facts and no language beyond its frames. It follows no instruction. Shown worked
examples of labels it has never met, it answers in their form but often takes the wrong span. It
reads nothing longer than its context, and everything but ASCII is strange to it. What it says of
drugs, doses and illnesses is noise.
"""


def write_model_card(folder: Path, seed: int, tokens: int, processes: int) -> None:
    """Writes README.md into `folder`, where the model and its log are.

    `seed`, `tokens` and `processes` are those of the pretraining.

    Raises:
        FileNotFoundError: the folder has no model or no log.
    """
    lines = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    config = json.loads((folder / "config.json").read_text())
    last = lines[-1]
    weights = (folder / "model.safetensors").stat().st_size
    total = sum(MIXED.values())
    facts = {
        **config,
        **{name: value for name, value in last.items() if name != "tokens"},
        "parameters": weights / 2e6,
        "megabytes": weights / 1e6,
        "longest": max(stage.length for stage in STAGES),
        "tokens": last["tokens"] / 1e6,
        "steps": last["step"],
        "minutes": last["seconds"] / 60,
        "processes": "one process" if processes == 1 else f"{processes} processes",
        "command": f"{_COMMAND} --seed {seed} --tokens {tokens} --processes {processes}",
        "lengths": ", ".join(f"{stage.length}" for stage in STAGES),
        "frames": len(FRAMES),
        "medications": len(MEDICATIONS),
        "conditions": len(CONDITIONS),
        "procedures": len(PROCEDURES),
        "mix": ", ".join(
            f"{document_type.replace('_', ' ')} {100 * share / total:.0f} %"
            for document_type, share in MIXED.items()
        ),
        "log": LOG,
        "course": "\n".join(_row(line) for line in _thinned(lines)),
    }
    (folder / "README.md").write_text(_CARD.format(**facts))


def _thinned(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """About eight lines of the log, the last one included."""
    interval = max(1, len(lines) // 8)
    return [line for index, line in enumerate(lines) if (len(lines) - 1 - index) % interval == 0]


def _row(line: dict[str, Any]) -> str:
    return (
        f"| {line['tokens'] / 1e6:.1f} | {line['copy_loss']:.3f} | {line['copy_accuracy']:.3f} "
        f"| {line['episode_tokens']:.3f} | {line['episode_exact']:.3f} |"
    )


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m harness.embedded.recipe.quality")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=20_000_000)
    arguments = parser.parse_args()
    write_model_card(arguments.folder, arguments.seed, arguments.tokens, arguments.processes)


if __name__ == "__main__":
    main()


#: Letters of the corpus in one token, a little below the mean, so that documents fit their row.
LETTERS_PER_TOKEN = 2.3
_END_WEIGHT = 0.5
#: Of tokens below this weight a random third is scored, with three times the weight.
_LIGHT = 0.3
_LIGHT_SHARE = 1 / 3


class Rows(NamedTuple):
    """Token rows (count, length + 1) and the weight of each token as a target."""

    ids: Tensor
    weights: Tensor


class Encoded(NamedTuple):
    """One document in tokens."""

    ids: list[int]
    weights: list[float]
    segments: list[int]


def encode(tokenizer: Tokenizer, documents: list[Document]) -> list[Encoded]:
    """Each document between <s> and </s>; `segments` numbers the pieces it was made of."""
    pieces = [text for document in documents for text, _ in document]
    tokens = iter(tokenizer.encode_batch_fast(pieces, add_special_tokens=False))
    result = []
    for document in documents:
        encoded = Encoded([BOS_ID], [0.0], [-1])
        for number, (_, weight) in enumerate(document):
            ids = next(tokens).ids
            encoded.ids.extend(ids)
            encoded.weights.extend([weight] * len(ids))
            encoded.segments.extend([number] * len(ids))
        encoded.ids.append(EOS_ID)
        encoded.weights.append(_END_WEIGHT)
        encoded.segments.append(-1)
        result.append(encoded)
    return result


class Packer:
    """Draws documents and packs them greedily into rows.

    A document that does not fit is cut at the row's end and starts again in the next row; one
    longer than a row is dropped after its cut.
    """

    def __init__(self, corpus: Corpus, tokenizer: Tokenizer, seed: int) -> None:
        self._corpus = corpus
        self._tokenizer = tokenizer
        self._rng = random.Random(seed)

    def rows(self, count: int, length: int, mix: Mapping[str, float]) -> Rows:
        """`count` rows of `length` + 1 tokens."""
        ids: list[list[int]] = []
        weights: list[list[float]] = []
        row: list[int] = []
        row_weights: list[float] = []
        while len(ids) < count:
            documents = [
                self._corpus.document(int(length * LETTERS_PER_TOKEN), mix) for _ in range(256)
            ]
            for encoded in encode(self._tokenizer, documents):
                free = length + 1 - len(row)
                row += encoded.ids[:free]
                row_weights += encoded.weights[:free]
                if len(row) <= length:
                    continue
                ids.append(row)
                weights.append(self._thinned(row_weights))
                row, row_weights = [], []
                if free < len(encoded.ids) <= length:
                    row, row_weights = list(encoded.ids), list(encoded.weights)
        return Rows(torch.tensor(ids[:count]), torch.tensor(weights[:count]))

    def _thinned(self, weights: list[float]) -> list[float]:
        """Keeps the expected loss and saves most of the logits."""
        draw = self._rng.random
        return [
            weight
            if weight >= _LIGHT
            else (weight / _LIGHT_SHARE if draw() < _LIGHT_SHARE else 0.0)
            for weight in weights
        ]


_SEED = 77
_COPIED = 48
_BUDGET = 700
_BATCH = 16


@dataclass(frozen=True)
class _Answer:
    """Target positions of one answer: its row, first position and one past the last."""

    row: int
    start: int
    stop: int


class Probes:
    """Fixed documents; `measure` returns metrics by name."""

    def __init__(self, tokenizer: Tokenizer, documents: int = 64) -> None:
        rng = random.Random(_SEED)
        runs: list[Document] = []
        for _ in range(documents):
            run = " " + " ".join(invent_word(rng) for _ in range(40))
            runs.append([(run, 0.0)])
        newline = tokenizer.encode("\n", add_special_tokens=False).ids
        first = [encoded.ids[: _COPIED + 1] for encoded in encode(tokenizer, runs)]
        self._runs = torch.tensor([ids + newline + ids[1:] for ids in first])
        self._sets = {
            kind: _padded(tokenizer, _documents(kind, documents))
            for kind in ("episode", "questions", "note")
        }

    @torch.no_grad()
    def measure(self, model: FusedLlama) -> dict[str, float]:
        """Copying (loss of the first and second copy, accuracy), and answers by document type."""
        loss, right = _score(model, self._runs)
        figures = {
            "first_loss": loss[:, :_COPIED].mean().item(),
            "copy_loss": loss[:, _COPIED + 1 :].mean().item(),
            "copy_accuracy": right[:, _COPIED + 1 :].float().mean().item(),
        }
        for document_type, (ids, answers) in self._sets.items():
            _, right = _score(model, ids)
            spans = [right[answer.row, answer.start : answer.stop] for answer in answers]
            figures[f"{document_type}_tokens"] = torch.cat(spans).float().mean().item()
            figures[f"{document_type}_exact"] = sum(bool(span.all()) for span in spans) / len(
                spans
            )
        return {name: round(value, 4) for name, value in figures.items()}


def _documents(document_type: str, count: int) -> list[Document]:
    corpus = Corpus(_SEED)
    only: Mapping[str, float] = {document_type: 1.0}
    return [corpus.document(_BUDGET, only) for _ in range(count)]


def _padded(tokenizer: Tokenizer, documents: list[Document]) -> tuple[Tensor, list[_Answer]]:
    """Rows padded on the right, and their segments of full weight."""
    encoded = encode(tokenizer, documents)
    longest = max(len(encoded_document.ids) for encoded_document in encoded)
    rows = torch.full((len(encoded), longest), PAD_ID)
    answers: list[_Answer] = []
    for row, (encoded_document, document) in enumerate(zip(encoded, documents, strict=True)):
        rows[row, : len(encoded_document.ids)] = torch.tensor(encoded_document.ids)
        for number, (_, weight) in enumerate(document):
            positions = [
                position
                for position, segment in enumerate(encoded_document.segments)
                if segment == number
            ]
            if weight >= 1 and positions:
                # The target of position p is token p + 1.
                answers.append(_Answer(row, positions[0] - 1, positions[-1]))
    return rows, answers


def _score(model: FusedLlama, rows: Tensor) -> tuple[Tensor, Tensor]:
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
