"""Log-likelihoods of texts in overlapping windows, and the most likely of several answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

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

#: Most logits in memory at once; limits the rows of a batch.
_MAX_LOGITS: Final = 64 * 2**20


@torch.inference_mode()
def text_log_likelihoods(
    model: PreTrainedModel,
    sequences: Sequence[Sequence[int]],
    length: int,
    stride: int,
    pad: int,
    batch_size: int,
    adapters: Sequence[int] | None = None,
    forward_context: ForwardContext = no_context,
) -> list[Likelihood]:
    """Negative log-likelihoods of texts, each token but the first scored once.

    A text longer than `length` is scored in windows that move by `stride`. Each window scores only
    the tokens that no earlier one has scored, with at least `length - stride` tokens of context
    (Transformers' guide "Perplexity of fixed-length models").

    Args:
        model: a causal language model in evaluation mode.
        sequences: token ids of each text.
        length: most tokens of a window.
        stride: tokens by which a window moves, less than `length`.
        pad: id of the padding token, added on the right.
        batch_size: most windows run together.
        adapters: index of each text's adapter, where the model has several at once.
        forward_context: tells the model the adapter of each row.

    Returns:
        Sums and counts in the order of the texts; a text of one token scores no token.
    """
    text_of_window: list[int] = []
    all_windows: list[TokenSequence] = []
    for index, ids in enumerate(sequences):
        for window in windows(tuple(ids), length, stride):
            text_of_window.append(index)
            all_windows.append(window)
    adapter_of = [adapters[index] if adapters else 0 for index in text_of_window]
    sums = [0.0] * len(sequences)
    counts = [0] * len(sequences)
    device = next(model.parameters()).device
    vocabulary = int(model.config.get_text_config().vocab_size)
    longest = max((len(window.ids) for window in all_windows), default=1)
    rows = max(1, min(batch_size, _MAX_LOGITS // (vocabulary * longest)))
    window_ids = [window.ids for window in all_windows]
    for batch_indices in length_sorted_batches(window_ids, rows, adapter_of):
        batch = collate([all_windows[index] for index in batch_indices], pad, device)
        with forward_context([adapter_of[index] for index in batch_indices], batch.ids.shape[1]):
            logits = model(input_ids=batch.ids, use_cache=False).logits[batch.rows]
        losses = functional.cross_entropy(logits.float(), batch.targets, reduction="none")
        losses_by_window = torch.split(losses.double(), batch.rows.sum(dim=1).tolist())
        for index, window_losses in zip(batch_indices, losses_by_window, strict=True):
            sums[text_of_window[index]] += float(window_losses.sum())
            counts[text_of_window[index]] += window_losses.numel()
    return [Likelihood(*sum_and_count) for sum_and_count in zip(sums, counts, strict=True)]


def windows(ids: tuple[int, ...], length: int, stride: int) -> Iterator[TokenSequence]:
    """Windows of a text; `start` is the first token that a window scores."""
    if len(ids) < 2:
        return
    end = min(length, len(ids))
    yield TokenSequence(ids[:end], 1)
    while end < len(ids):
        done, end = end, min(end + stride, len(ids))
        begin = end - length
        yield TokenSequence(ids[begin:end], done - begin)


@dataclass
class _TrieNode:
    """A node of a trie: a prefix that some answers share."""

    children: dict[int, "_TrieNode"] = field(default_factory=dict)
    answer: int | None = None  # index of the answer that ends here


@torch.inference_mode()
def most_likely_answers(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    pad: int,
    batch_size: int,
    adapters: Sequence[int] | None = None,
    forward_context: ForwardContext = no_context,
) -> list[int]:
    """The answer with the highest probability after each prompt, by branch and bound on a trie.

    Exact, without running every answer: shared prefixes run once, and a prefix that is already
    less likely than the best complete answer is dropped, since probabilities only fall. A greedy
    descent through the allowed tokens gives the first bound.

    Args:
        model: a causal language model in evaluation mode.
        prompts: token ids, at least one each.
        answers: token ids, none a prefix of another (each ends with an end of text).
        pad: id of the padding token, added on the left (masked).
        batch_size: rows run together; up to twice as many where answers branch.
        adapters: index of each prompt's adapter, where the model has several at once.
        forward_context: tells the model the adapter of each row.

    Returns:
        For each prompt an index into `answers`; of equally likely ones, the first.

    Raises:
        AmbiguousError: an answer is empty, a duplicate, or a prefix of another.
    """
    root = _build_trie(answers)
    best = [0] * len(prompts)
    depth = max(map(len, answers))
    # In the worst case every answer becomes a row with a copy of the prompt's keys and values.
    rows_per_batch = max(1, min(batch_size, 2 * batch_size // len(answers)))
    adapter_of = adapters or [0] * len(prompts)
    for batch_indices in length_sorted_batches(prompts, rows_per_batch, adapter_of):
        rows = [prompts[index] for index in batch_indices]
        row_adapters = [adapter_of[index] for index in batch_indices]
        decoder = BatchDecoder(model, rows, depth, pad, row_adapters, forward_context)
        first = decoder.logits().float().log_softmax(dim=-1)
        bounds = _greedy_scores(decoder.copy(), first, root)
        batch_answers = _best_answers(decoder, first, root, bounds)
        for index, answer in zip(batch_indices, batch_answers, strict=True):
            best[index] = answer
    return best


class AmbiguousError(ValueError):
    """Two answers of which one is a prefix of the other.

    Attributes:
        answers: their indices.
    """

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"answers {first} and {second}: one is a prefix of the other")
        self.answers = (first, second)


def _build_trie(answers: Sequence[Sequence[int]]) -> _TrieNode:
    root = _TrieNode()
    for index, ids in enumerate(answers):
        node = root
        for token in ids:
            node = node.children.setdefault(token, _TrieNode())
            if node.answer is not None:
                raise AmbiguousError(node.answer, index)
        if node.children or node is root:
            raise AmbiguousError(index, _answer_below(node, index))
        node.answer = index
    return root


def _answer_below(node: _TrieNode, default: int) -> int:
    """An answer whose path passes through this node."""
    while node.answer is None and node.children:
        node = next(iter(node.children.values()))
    return default if node.answer is None else node.answer


def _greedy_scores(decoder: BatchDecoder, logs: torch.Tensor, root: _TrieNode) -> list[float]:
    """Log-probability of the answer that each row reaches by its most likely allowed tokens."""
    nodes: list[_TrieNode] = [root] * len(logs)
    rows = list(range(len(logs)))
    sums = [0.0] * len(logs)
    while True:
        tokens = []
        for index, row in enumerate(rows):
            steps = logs[index, list(nodes[row].children)]
            token = list(nodes[row].children)[int(steps.argmax())]
            sums[row] += float(steps.max())
            nodes[row] = nodes[row].children[token]
            tokens.append(token)
        unfinished = [index for index, row in enumerate(rows) if nodes[row].children]
        if not unfinished:
            return sums
        decoder.append(torch.tensor(tokens, device=logs.device))
        decoder.select_rows(torch.tensor(unfinished, device=logs.device))
        rows = [rows[index] for index in unfinished]
        logs = decoder.logits().float().log_softmax(dim=-1)


#: A row, a node, and the log-probability of its prefix in that row.
_Branch = tuple[int, _TrieNode, float]


def _best_answers(
    decoder: BatchDecoder, logs: torch.Tensor, root: _TrieNode, lower_bounds: Sequence[float]
) -> list[int]:
    """The most likely answer of each row: extends all prefixes that can still win, in levels."""
    count = len(logs)
    best: list[tuple[float, int]] = [(float("-inf"), 0)] * count
    # The greedy scores come from another batch shape: their last bits may differ.
    bounds = [value - 1e-3 for value in lower_bounds]
    branches: list[_Branch] = [(row, root, 0.0) for row in range(count)]
    while branches:
        parents: list[int] = []
        tokens: list[int] = []
        children: list[_Branch] = []
        for index, (row, node, total) in enumerate(branches):
            ids = list(node.children)
            for token, step in zip(ids, logs[index, ids].tolist(), strict=True):
                child, value = node.children[token], total + step
                if value < bounds[row]:
                    continue
                if child.answer is not None:
                    if (value, -child.answer) > (best[row][0], -best[row][1]):
                        best[row] = (value, child.answer)
                    bounds[row] = max(bounds[row], value)
                else:
                    children.append((row, child, value))
                    parents.append(index)
                    tokens.append(token)
        if not children:
            break
        decoder.select_rows(torch.tensor(parents, device=logs.device))
        decoder.append(torch.tensor(tokens, device=logs.device))
        logs = decoder.logits().float().log_softmax(dim=-1)
        branches = children
    return [answer for _, answer in best]
