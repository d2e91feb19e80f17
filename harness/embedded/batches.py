"""Packs documents into rows of tokens with a loss weight for each token."""

import random
from collections.abc import Mapping
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor

from harness.embedded.corpus import Corpus
from harness.embedded.sentences import Document
from harness.embedded.tokenizer import BOS_ID, EOS_ID

#: Letters of the corpus in one token, a little below the mean, so that documents fit their row.
LETTERS_PER_TOKEN = 2.3
_END_WEIGHT = 0.5
#: Tokens below this weight are thinned: a third is kept, with three times the weight.
_LIGHT = 0.3
_KEPT = 1 / 3


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
        """`seed` chooses which light tokens are kept."""
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
            weight if weight >= _LIGHT else (weight / _KEPT if draw() < _KEPT else 0.0)
            for weight in weights
        ]
