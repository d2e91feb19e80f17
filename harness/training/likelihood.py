"""Log-likelihoods: of whole texts in overlapping windows, and of the likeliest of several answers.

Knows token ids only, nothing of texts or tasks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from harness.metrics.text import Likelihood
from harness.models.batches import TokenSequence, collate
from harness.training.generation import (
    BatchDecoder,
    ForwardContext,
    length_sorted_batches,
    no_context,
)

#: Logits held at once, in numbers: rows of a batch are bounded by it.
_LOGITS: Final = 64 * 2**20


@torch.inference_mode()
def text_log_likelihoods(
    model: PreTrainedModel,
    sequences: Sequence[Sequence[int]],
    length: int,
    stride: int,
    pad: int,
    batch_size: int,
    owners: Sequence[int] | None = None,
    around: ForwardContext = no_context,
) -> list[Likelihood]:
    """Negative log-likelihoods of texts, each token but the first scored once.

    A text longer than `length` is scored in windows that move by `stride`; of each window only the
    tokens are scored that no earlier one scored (Transformers' "Perplexity of fixed-length
    models"), so that all but the first window's have `length - stride` tokens before them.

    Args:
        model: a causal language model in evaluation mode.
        sequences: token ids.
        length: tokens of a window at most.
        stride: tokens that a window is moved by, less than `length`.
        pad: id to pad with on the right.
        batch_size: windows run together, at most.
        owners: whose adapter each text is for, where the model has several at once.
        around: tells the model whose its rows are.

    Returns:
        In the order given; a text of one token has nothing to be scored.
    """
    places: list[int] = []
    found: list[TokenSequence] = []
    for index, ids in enumerate(sequences):
        for window in windows(tuple(ids), length, stride):
            places.append(index)
            found.append(window)
    whose = [owners[index] if owners else 0 for index in places]
    sums = [0.0] * len(sequences)
    counts = [0] * len(sequences)
    device = next(model.parameters()).device
    vocabulary = int(model.config.get_text_config().vocab_size)
    longest = max((len(window.ids) for window in found), default=1)
    rows = max(1, min(batch_size, _LOGITS // (vocabulary * longest)))
    for chosen in length_sorted_batches([window.ids for window in found], rows, whose):
        batch = collate([found[index] for index in chosen], pad, device)
        with around([whose[index] for index in chosen], batch.ids.shape[1]):
            logits = model(input_ids=batch.ids, use_cache=False).logits[batch.rows]
        losses = functional.cross_entropy(logits.float(), batch.targets, reduction="none")
        shares = torch.split(losses.double(), batch.rows.sum(dim=1).tolist())
        for index, share in zip(chosen, shares, strict=True):
            sums[places[index]] += float(share.sum())
            counts[places[index]] += share.numel()
    return [Likelihood(*each) for each in zip(sums, counts, strict=True)]


def windows(ids: tuple[int, ...], length: int, stride: int) -> Iterator[TokenSequence]:
    """Cuts a text; `start` is the first token of a window that is scored in it."""
    if len(ids) < 2:
        return
    end = min(length, len(ids))
    yield TokenSequence(ids[:end], 1)
    while end < len(ids):
        done, end = end, min(end + stride, len(ids))
        begin = end - length
        yield TokenSequence(ids[begin:end], done - begin)


@dataclass
class _Node:
    """A beginning that some answers share."""

    next: dict[int, "_Node"] = field(default_factory=dict)
    answer: int | None = None  # the answer that ends here


@torch.inference_mode()
def most_likely_answers(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    pad: int,
    batch_size: int,
    owners: Sequence[int] | None = None,
    around: ForwardContext = no_context,
) -> list[int]:
    """Which of several answers has the highest probability after each prompt.

    Exact, without running every answer: what answers share is run once, and a beginning that is
    less likely already than the best complete answer is not gone on with (probabilities only
    fall). The first complete answer is the one that the likeliest allowed tokens lead to.

    Args:
        model: a causal language model in evaluation mode.
        prompts: token ids, each at least one.
        answers: token ids, none the beginning of another (each ends with an end of text).
        pad: id to pad with on the left (masked).
        batch_size: rows run together; up to twice as many where answers branch.
        owners: whose adapter each prompt is for, where the model has several at once.
        around: tells the model whose its rows are.

    Returns:
        For each prompt an index into `answers`; of equals, the first.

    Raises:
        AmbiguousError: an answer is empty, twice there, or the beginning of another.
    """
    root = _tree(answers)
    best = [0] * len(prompts)
    depth = max(map(len, answers))
    # At worst every answer is a row of its own, with keys and values of the prompt.
    together = max(1, min(batch_size, 2 * batch_size // len(answers)))
    whose = owners or [0] * len(prompts)
    for chosen in length_sorted_batches(prompts, together, whose):
        rows = [prompts[index] for index in chosen]
        going = BatchDecoder(model, rows, depth, pad, [whose[index] for index in chosen], around)
        first = going.logits().float().log_softmax(dim=-1)
        lowest = _dive(going.copy(), first, root)
        for index, found in zip(chosen, _search(going, first, root, lowest), strict=True):
            best[index] = found
    return best


class AmbiguousError(ValueError):
    """Two answers of which one is the beginning of the other.

    Attributes:
        answers: their indices.
    """

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"answers {first} and {second}: one is the beginning of the other")
        self.answers = (first, second)


def _tree(answers: Sequence[Sequence[int]]) -> _Node:
    root = _Node()
    for index, ids in enumerate(answers):
        node = root
        for token in ids:
            node = node.next.setdefault(token, _Node())
            if node.answer is not None:
                raise AmbiguousError(node.answer, index)
        if node.next or node is root:
            raise AmbiguousError(index, _any(node, index))
        node.answer = index
    return root


def _any(node: _Node, other: int) -> int:
    """An answer that goes on from here."""
    while node.answer is None and node.next:
        node = next(iter(node.next.values()))
    return other if node.answer is None else node.answer


def _dive(going: BatchDecoder, logs: torch.Tensor, root: _Node) -> list[float]:
    """The log-probability of the answer that the likeliest allowed tokens lead to, each row."""
    nodes: list[_Node] = [root] * len(logs)
    rows = list(range(len(logs)))
    sums = [0.0] * len(logs)
    while True:
        tokens = []
        for place, row in enumerate(rows):
            steps = logs[place, list(nodes[row].next)]
            token = list(nodes[row].next)[int(steps.argmax())]
            sums[row] += float(steps.max())
            nodes[row] = nodes[row].next[token]
            tokens.append(token)
        keep = [place for place, row in enumerate(rows) if nodes[row].next]
        if not keep:
            return sums
        going.add(torch.tensor(tokens, device=logs.device))
        going.keep(torch.tensor(keep, device=logs.device))
        rows = [rows[place] for place in keep]
        logs = going.logits().float().log_softmax(dim=-1)


class _Live(NamedTuple):
    row: int
    node: _Node
    sum: float


def _search(
    going: BatchDecoder, logs: torch.Tensor, root: _Node, lowest: Sequence[float]
) -> list[int]:
    """All beginnings that can still win, level by level."""
    count = len(logs)
    best: list[tuple[float, int]] = [(float("-inf"), 0)] * count
    # What was found on the dive was summed in another batch: its last bits may differ.
    bounds = [value - 1e-3 for value in lowest]
    live = [_Live(row, root, 0.0) for row in range(count)]
    while live:
        parents: list[int] = []
        tokens: list[int] = []
        grown: list[_Live] = []
        for place, (row, node, total) in enumerate(live):
            ids = list(node.next)
            for token, step in zip(ids, logs[place, ids].tolist(), strict=True):
                child, value = node.next[token], total + step
                if value < bounds[row]:
                    continue
                if child.answer is not None:
                    if (value, -child.answer) > (best[row][0], -best[row][1]):
                        best[row] = (value, child.answer)
                    bounds[row] = max(bounds[row], value)
                else:
                    grown.append(_Live(row, child, value))
                    parents.append(place)
                    tokens.append(token)
        if not grown:
            break
        going.keep(torch.tensor(parents, device=logs.device))
        going.add(torch.tensor(tokens, device=logs.device))
        logs = going.logits().float().log_softmax(dim=-1)
        live = grown
    return [answer for _, answer in best]
