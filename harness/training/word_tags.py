"""The tags of tokens whose words say one thing each. Knows numbers only.

A word is outside, begins an entity or goes on with one: of these the likeliest is taken, with the
probabilities of all its tokens. So no entity begins or ends inside a word.
"""

from collections.abc import Sequence

import numpy as np

from harness.entity_tags import OUTSIDE


def read(said: np.ndarray, words: Sequence[int], labels: Sequence[str]) -> list[str]:
    """One tag a token, the tokens of a word read together.

    A word that begins an entity says `B-` at its first token and `I-` at all others; one that goes
    on says `I-`, one outside `O` at all. A word of one token has its likeliest tag.

    Args:
        said: log-probability of each tag at each token, shape (tokens, tags).
        words: the first token of each word, see `harness.entity_tags.words`.
        labels: what the tags are called; each `B-` has its `I-`.
    """
    if not len(said):
        return []
    starts = np.asarray(words)
    number = {label: place for place, label in enumerate(labels)}
    # What a tag is called behind the first token of a word that it was said of.
    onwards = [number[_onwards(label)] for label in labels]
    said = said.astype(np.float64)
    later = np.add.reduceat(said, starts, axis=0) - said[starts]
    best = (said[starts] + later[:, onwards]).argmax(axis=1)
    found: list[str] = []
    for tag, size in zip(best, np.diff([*words, len(said)]), strict=True):
        found += [labels[tag]] + [_onwards(labels[tag])] * (int(size) - 1)
    return found


def _onwards(label: str) -> str:
    return label if label == OUTSIDE else f"I-{label.partition('-')[2]}"
