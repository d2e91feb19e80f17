"""Where configurations differ: by example, by length, by what was seen in training, by confusion.

A description of the texts that were scored, not a test: nothing here is corrected or compared with
a margin.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from harness.analysis.recommendation import recommend
from harness.analysis.scores import baselines, cached_per_study, complete, score_from_rows, shots

if TYPE_CHECKING:
    from harness.results import StudyResults

#: Number of groups of inputs by length, of about equal size.
_GROUPS = 4


class ComparedConfigurations(NamedTuple):
    """Who is looked at.

    Attributes:
        stage: whose trials.
        split: the split that they were scored on.
        chief: key of the pick, or of the best so far.
        rival: key of the best of the other finalists, or None.
        base: name of the base model's baseline with the most worked examples, or None.
        picked: whether the chief is the pick.
    """

    stage: str
    split: str
    chief: str
    rival: str | None
    base: str | None
    picked: bool

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, the chief first."""
        return tuple(name for name in (self.chief, self.rival, self.base) if name is not None)


@cached_per_study
def compared_configurations(results: StudyResults) -> ComparedConfigurations | None:
    """The configurations whose errors are compared; None where nothing was scored.

    The pick (without one, the best finalist; without a confirm stage, the best search trial),
    against the best of the others and against the base model.
    """
    advice = recommend(results)
    chief = advice.pick or advice.best
    if chief is None:
        return None
    confirmed = not advice.comparison.empty or advice.seeds > 0
    stage, split = ("confirm", "test") if confirmed else ("search", "validation")
    if complete(results, stage).query("key == @key", local_dict={"key": chief["key"]}).empty:
        return None
    rivals = advice.comparison[advice.comparison["key"] != chief["key"]]
    order = (results.objective.sign * rivals["value"]).sort_values(ascending=False).index
    rival = str(rivals.loc[order[0], "key"]) if len(order) else None
    base_models = [name for name in baselines(results, split) if shots(name) is not None]
    base = max(base_models, key=lambda name: shots(name) or 0, default=None)
    key, picked = str(chief["key"]), advice.pick is not None
    return ComparedConfigurations(stage, split, key, rival, base, picked)


def rows_of(results: StudyResults, who: ComparedConfigurations, name: str) -> pd.DataFrame:
    """Rows of `StudyResults.examples` or `.baselines` of one of them, with `seed`."""
    if name == who.base:
        rows = results.baselines
        return rows[(rows["name"] == name) & (rows["split"] == who.split)].assign(seed=-1)
    trials = complete(results, who.stage)
    seeds = trials[trials["key"] == name].set_index("number")["seed"]
    rows = results.examples
    rows = rows[rows["trial"].isin(seeds.index) & (rows["split"] == who.split)]
    return rows.assign(seed=rows["trial"].map(seeds).astype(int))


def by_example(results: StudyResults, who: ComparedConfigurations) -> pd.DataFrame:
    """The objective of each example, mean over seeds.

    Returns:
        Index the example, a column for each of `who.names`; more is better whatever the metric.
    """
    merits = {}
    columns = list(results.objective.columns)
    for name in who.names:
        rows = rows_of(results, who, name)
        values = results.objective.value(rows[columns].to_numpy(dtype=float))
        merit = pd.Series(results.objective.sign * values, index=rows["example"].astype(str))
        merits[name] = merit.groupby(level=0).mean()
    return pd.DataFrame(merits, columns=list(who.names)).rename_axis("example")


def largest_differences(table: pd.DataFrame, better: str, worse: str, count: int) -> list[str]:
    """Up to `count` examples on which one column of `by_example` leads another by most.

    The largest lead comes first.
    """
    gap = table[better] - table[worse]
    ahead = gap[(gap > 0) & np.isfinite(gap)].to_frame("gap").reset_index()
    order = ahead.sort_values(["gap", "example"], ascending=[False, True])
    return [str(name) for name in order["example"].head(count)]


def by_length(results: StudyResults, who: ComparedConfigurations) -> pd.DataFrame:
    """Scores by the length of the input.

    Returns:
        group, low and high (words), examples, then the objective of each of `who.names`; groups
        of about equally many examples, shortest first. Empty where lengths are not known.
    """
    columns = ["group", "low", "high", "examples", *who.names]
    texts = results.texts
    if texts is None or texts.passages.empty:
        return pd.DataFrame(columns=columns)
    words = texts.passages.set_index(texts.passages["example"].astype(str))["words"].astype(int)
    edges = np.unique(np.quantile(words, np.linspace(0, 1, _GROUPS + 1)))
    # Where all have one length, they are one group.
    pairs = list(itertools.pairwise(edges)) or [(edges[0], edges[0])]
    rows = []
    for group, (low, high) in enumerate(pairs):
        first = group == 0
        inside = words[(words >= low if first else words > low) & (words <= high)]
        if inside.empty:
            continue
        scores = []
        for name in who.names:
            selected = rows_of(results, who, name)
            selected = selected[selected["example"].astype(str).isin(inside.index)]
            scores.append(score_from_rows(selected, results.objective))
        rows.append((group + 1, int(inside.min()), int(inside.max()), len(inside), *scores))
    return pd.DataFrame(rows, columns=columns)


def confusions(results: StudyResults, who: ComparedConfigurations) -> pd.DataFrame:
    """Labels that the chief missed, and what it predicted instead.

    Returns:
        label, instead (empty for nothing), count (a seed), share (of all occurrences of
        the label); most frequent first.
    """
    columns = ["label", "instead", "count", "share"]
    if results.texts is None or results.texts.answers.empty:
        return pd.DataFrame(columns=columns)
    rows = results.texts.answers
    rows = rows[rows["who"] == who.chief]
    seeds = max(1, rows["seed"].nunique())
    labels = rows[rows["outcome"] != "spurious"].groupby("label").size()
    missed = rows[rows["outcome"] == "missed"]
    counts = missed.groupby(["label", "instead"]).size().rename("count").reset_index()
    counts["share"] = counts["count"] / counts["label"].map(labels)
    counts["count"] = counts["count"] / seeds
    order = counts.sort_values(["count", "label", "instead"], ascending=[False, True, True])
    return order.reset_index(drop=True)[columns]


def by_seen_in_training(results: StudyResults, who: ComparedConfigurations) -> pd.DataFrame:
    """Recall of entities that were in the training split, and of those that were not.

    Returns:
        known, entities (in the texts), then the recall of each of `who.names`; empty for tasks
        without entities.
    """
    columns = ["known", "entities", *who.names]
    if results.texts is None or results.texts.answers.empty:
        return pd.DataFrame(columns=columns)
    rows = results.texts.answers
    rows = rows[(rows["outcome"] != "spurious") & rows["known"].notna()]
    recalls = []
    for known in (True, False):
        part = rows[rows["known"] == known]
        if part.empty:
            continue
        right = part.assign(right=part["outcome"] == "found").groupby("who")["right"].mean()
        first = part[part["who"] == who.chief]
        count = len(first) / max(1, first["seed"].nunique())
        recall = [float(right.get(name, np.nan)) for name in who.names]
        recalls.append((known, round(count), *recall))
    return pd.DataFrame(recalls, columns=columns)
