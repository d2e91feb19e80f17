"""Rules of thumb from LoRA guides as hypotheses that a study can test: one entry each.

Each entry has the comparisons that test it, the range of values that supports it and the one that
contradicts it; `harness.analysis.claim_tests` evaluates them. Compared are cells of the ablation,
full fine-tuning and the base model, on validation, with the same seeds and examples for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from harness.analysis.scores import baselines, complete, reduce_statistics, score_array, shots

if TYPE_CHECKING:
    from harness.aggregates import Array
    from harness.analysis.scores import ScoreArray
    from harness.results import StudyResults


#: An arm of a comparison: levels by factor, where they differ from the incumbent's, such as
#: `{"target_modules": "q"}`.
Arm = Mapping[str, Any]

FULL: Final[Arm] = {"full": "all weights"}
BASE: Final[Arm] = {"base": "no adapter"}
#: The incumbent's own cell, at its tuned rate.
CENTRE: Final[Arm] = {}

#: Attribute under which each addition of seeds for claims is recorded, followed by its number.
SEED_ADDITION: Final = "claim_seeds."

_SPLIT: Final = "validation"
_CONFIG: Final = ("variant", "rank", "alpha", "dropout", "target_modules", "extras", "budget")


class ClaimData(NamedTuple):
    """All arms that a study has.

    Attributes:
        names: of the arms: keys of cells, `full`, `base`.
        statistics: shape (arms, seeds, examples, W), NaN for a missing training.
    """

    names: tuple[str, ...]
    statistics: Array


def claim_data(results: StudyResults) -> ClaimData | None:
    """Cells, full fine-tuning and the base on the examples that all have; None without cells."""
    arrays = [(stage, _score_array(results, stage)) for stage in ("ablate", "claim", "full")]
    present = [(stage, array) for stage, array in arrays if array is not None]
    if not present or present[0][0] == "full":
        return None
    base_rows = _base_statistics(results)
    shared = set.intersection(*(set(array.examples) for _, array in present))
    examples = sorted(shared & set(base_rows) if base_rows else shared)
    if not examples:
        return None
    seeds = sorted({seed for _, array in present for seed in array.seeds})
    statistics: dict[str, Array] = {}
    for stage, array in present:
        names = ("full",) if stage == "full" else array.keys
        for name, arm in zip(names, _align(array, seeds, examples), strict=False):
            # A cell of the ablation may have further seeds from the claims' stage.
            existing = statistics.get(name, arm)
            statistics[name] = np.where(np.isnan(existing), arm, existing)
    if base_rows:
        # The base model has no training seed: its statistics are the same for each.
        base = np.array([base_rows[name] for name in examples])[None]
        statistics["base"] = np.repeat(base, len(seeds), axis=0)
    return ClaimData(tuple(statistics), np.stack([*statistics.values()]))


def _score_array(results: StudyResults, stage: str) -> ScoreArray | None:
    try:
        return score_array(results, stage, _SPLIT)
    except ValueError:
        return None


def _align(array: ScoreArray, seeds: list[int], examples: list[str]) -> Array:
    """A score array's statistics at these seeds and examples."""
    position = {name: index for index, name in enumerate(array.examples)}
    rows = array.statistics[:, :, [position[name] for name in examples]]
    aligned = np.full((len(array.keys), len(seeds), *rows.shape[2:]), np.nan)
    for index, seed in enumerate(array.seeds):
        aligned[:, seeds.index(seed)] = rows[:, index]
    return aligned


def _base_statistics(results: StudyResults) -> dict[str, Array]:
    """Statistics of the base model with the fewest worked examples, by example."""
    baseline = next(iter(baselines(results, _SPLIT)), "")
    if shots(baseline) is None:
        return {}
    rows = results.baselines
    rows = rows[(rows["split"] == _SPLIT) & (rows["name"] == baseline)].drop_duplicates("example")
    statistics = rows[list(results.objective.columns)].to_numpy(dtype=float)
    values = reduce_statistics(statistics, results.objective)
    return dict(zip(map(str, rows["example"]), values, strict=True))


def arm_name(results: StudyResults, arm: Arm) -> str | None:
    """The name of an arm in `ClaimData`; None if the study has no such arm."""
    if arm == FULL:
        return "full" if len(complete(results, "full")) else None
    if arm == BASE:
        return "base"
    cell = arm_cell(results, arm)
    return None if cell is None else str(cell["key"])


def arm_cell(results: StudyResults, arm: Arm) -> Mapping[str, Any] | None:
    """The cell of an arm at its tuned rate, if it has a complete trial; None for the base."""
    if arm == FULL:
        full_cells: Sequence[Mapping[str, Any]] = results.attributes.get("full") or ()
        return full_cells[0] if full_cells else None
    centre = results.attributes.get("incumbent")
    if not centre or arm == BASE:
        return None
    config, rate = arm_config({**centre, "budget": 1.0}, arm), arm.get("learning_rate")
    scored = {*complete(results, "ablate")["key"], *complete(results, "claim")["key"]}
    cells: tuple[Mapping[str, Any], ...] = tuple(results.attributes.get("cells") or ())
    for cell in (*cells, *claim_cells(results)):
        cell_config = cell["config"]
        if cell["key"] not in scored or (cell["factor"] == "learning_rate") != (rate is not None):
            continue
        same = all(_same(cell_config.get(name), config.get(name)) for name in _CONFIG)
        if same and (rate is None or math.isclose(float(cell["rate"]), float(rate))):
            return cell
    return None


def claim_cells(results: StudyResults) -> tuple[Mapping[str, Any], ...]:
    """Cells that were trained for claims alone, at their tuned rates."""
    return tuple(results.attributes.get("claimed") or ())


def seed_additions(attributes: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All additions of seeds, the first one first: `configs`, and seeds `from` and `to`."""
    names = [name for name in attributes if name.startswith(SEED_ADDITION)]
    return [attributes[name] for name in sorted(names, key=lambda n: int(n.rpartition(".")[2]))]


def arm_config(config: Mapping[str, Any], arm: Arm) -> dict[str, Any]:
    """A configuration with an arm's levels; alpha keeps its ratio to the rank."""
    levels = dict(config)
    ratio = float(levels["alpha"]) / float(levels["rank"])
    for factor, level in arm.items():
        if factor == "alpha_ratio":
            ratio = float(level)
        else:
            levels[factor] = level
    levels["alpha"] = ratio * float(levels["rank"])
    return levels


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, int | float) and isinstance(second, int | float):
        return math.isclose(first, second)
    return (first or "") == (second or "")


class Range(NamedTuple):
    """A closed range of values."""

    low: float = -math.inf
    high: float = math.inf

    def covers(self, low: float, high: float) -> bool:
        """Whether an interval lies within."""
        return low >= self.low and high <= self.high


class Comparison(NamedTuple):
    """One arm against another.

    Attributes:
        of: the arm.
        to: what it is compared with.
        unit: `margins` (the difference, better being more, in multiples of the task's margin),
            `percent` (the gain over `to` in percent of `to`'s score), or `share` (in percent of
            `to`'s score; of its gain over the base where scores have no zero, such as
            perplexity) or `gain` (always of its gain over the base).
        required: without it the claim has no data.
    """

    of: Arm
    to: Arm
    unit: str = "margins"
    required: bool = True


@dataclass(frozen=True)
class Claim:
    """A rule of thumb.

    Attributes:
        name: short name.
        sentence: as guides state it.
        source: where it comes from.
        rule: when it counts as supported and when as contradicted, in words.
        holds: values, in the unit of the comparisons, at which it holds.
        fails: values at which it does not; None for all at which it does not hold.
        comparisons: what tests it, from the study's frozen sweep; none where no trial of this
            study could.
        otherwise: arguments of a command that makes a study that could, if this one cannot.
    """

    name: str
    sentence: str
    source: str
    rule: str
    holds: Range
    fails: Range | None
    comparisons: Callable[[Mapping[str, Any]], Sequence[Comparison]]
    otherwise: str = ""

    def verdict(self, low: float, high: float) -> str:
        """What one comparison's interval says: supported, contradicted or not decided."""
        if math.isnan(low) or math.isnan(high) or (math.isinf(high - low) and high == -low):
            return "not decided"
        if self.holds.covers(low, high):
            return "supported"
        outside = high < self.holds.low or low > self.holds.high
        fails = outside if self.fails is None else self.fails.covers(low, high)
        return "contradicted" if fails else "not decided"


def _always(*comparisons: Comparison) -> Callable[[Mapping[str, Any]], Sequence[Comparison]]:
    return lambda _: comparisons


def _top_rank(sweep: Mapping[str, Any]) -> int:
    """The highest rank of the space, 32 at least."""
    return max([*map(int, (sweep.get("space") or {}).get("rank") or ()), 32])


def _high_rank(sweep: Mapping[str, Any]) -> Sequence[Comparison]:
    rank = _top_rank(sweep)
    return (Comparison({"variant": "rslora", "rank": rank}, {"variant": "lora", "rank": rank}),)


def _highest(sweep: Mapping[str, Any]) -> Sequence[Comparison]:
    return (Comparison({"rank": 8}, {"rank": _top_rank(sweep)}, "gain"),)


def _epochs(sweep: Mapping[str, Any]) -> Sequence[Comparison]:
    # A share of the steps is a shorter training with a schedule of its own.
    epochs = float((sweep.get("training") or {}).get("epochs") or 0.0)
    if epochs < 4.5:
        return ()
    return (Comparison(CENTRE, {"budget": round(3 / epochs, 6)}),)


_GUIDES: Final = "practitioners' guides, without a measurement"
#: The task's margin, in multiples of itself.
_MARGIN: Final = 1.0

CLAIMS: Final[tuple[Claim, ...]] = (
    Claim(
        "alpha_2r",
        "alpha = 2r is a good default",
        "Raschka 2023, Practical Tips for Finetuning LLMs Using LoRA",
        "no other alpha is better by more than the margin; contradicted if one is",
        Range(low=-_MARGIN),
        Range(high=-_MARGIN),
        _always(
            Comparison({"alpha_ratio": 2.0}, {"alpha_ratio": 1.0}),
            Comparison({"alpha_ratio": 2.0}, {"alpha_ratio": 4.0}),
            Comparison({"alpha_ratio": 2.0}, {"alpha_ratio": 0.5}, required=False),
        ),
    ),
    Claim(
        "r8_99",
        "r = 8 gets 99 % of the gain",
        _GUIDES + "; small ranks are enough in Hu et al. 2021, arXiv:2106.09685, section 7.2",
        "at least 98 % of the gain of the highest rank over the base; contradicted below",
        Range(low=98.0),
        Range(high=98.0),
        _highest,
    ),
    Claim(
        "r16_r32",
        "r = 16 and r = 32 do not differ",
        "rank does not matter in Dettmers et al. 2023, arXiv:2305.14314, section 4",
        "they differ by the margin at most; contradicted if by more",
        Range(-_MARGIN, _MARGIN),
        None,
        _always(Comparison({"rank": 16}, {"rank": 32})),
    ),
    *(
        Claim(
            f"{targets}_share",
            f"{subject} {'gets' if targets in {'q', 'all_linear'} else 'get'} {share} % of full "
            "fine-tuning",
            _GUIDES,
            f"{low:g} % or more of full fine-tuning's score"
            + (f", and {high:g} % at most" if math.isfinite(high) else "")
            + "; contradicted outside",
            Range(low, high),
            None,
            _always(Comparison({"target_modules": targets}, FULL, "share")),
        )
        for targets, subject, share, low, high in (
            ("q", "q alone", 70, 65.0, 75.0),
            ("qv", "q and v", 90, 85.0, 95.0),
            ("qkv", "q, k and v", 95, 92.0, 98.0),
            ("all_linear", "adapting all linear layers", 99, 98.0, math.inf),
        )
    ),
    Claim(
        "attention_enough",
        "attention is enough, the MLP adds little",
        "the attention-only adapters of Hu et al. 2021, arXiv:2106.09685, section 4.2",
        "all linear layers gain the margin at most; contradicted if more",
        Range(high=_MARGIN),
        Range(low=_MARGIN),
        _always(Comparison({"target_modules": "all_linear"}, {"target_modules": "attention"})),
    ),
    Claim(
        "dora_adds",
        "DoRA adds 1 to 3 %",
        "Liu et al. 2024, arXiv:2402.09353, tables 1 to 3",
        "1 % of LoRA's score or more; contradicted if less",
        Range(low=1.0),
        Range(high=1.0),
        _always(Comparison({"variant": "dora"}, {"variant": "lora"}, "percent")),
    ),
    Claim(
        "rslora_high_rank",
        "rsLoRA helps at high rank",
        "Kalajdzievski 2023, arXiv:2312.03732",
        "better than LoRA at the highest rank; contradicted if not by more than the margin",
        Range(low=0.0),
        Range(high=_MARGIN),
        _high_rank,
    ),
    Claim(
        "lora_full",
        "LoRA reaches 95 to 99 % of full fine-tuning",
        _GUIDES,
        "95 % of full fine-tuning's score or more; contradicted if less",
        Range(low=95.0),
        Range(high=95.0),
        _always(Comparison({"variant": "lora"}, FULL, "share")),
    ),
    Claim(
        "rate_2e-4",
        "a learning rate of about 2e-4",
        "Dettmers et al. 2023, arXiv:2305.14314, appendix B; the default of many guides",
        "not worse than the tuned rate by more than the margin; contradicted if it is",
        Range(low=-_MARGIN),
        Range(high=-_MARGIN),
        _always(Comparison({"variant": "lora", "learning_rate": 2e-4}, {"variant": "lora"})),
    ),
    Claim(
        "dropout",
        "dropout of 0.05 to 0.1 prevents overfitting",
        "Dettmers et al. 2023, arXiv:2305.14314, appendix B",
        "better with dropout 0.1 than without; contradicted if not by more than the margin",
        Range(low=0.0),
        Range(high=_MARGIN),
        _always(Comparison({"dropout": 0.1}, {"dropout": 0.0})),
    ),
    Claim(
        "qlora_free",
        "QLoRA costs no quality",
        "Dettmers et al. 2023, arXiv:2305.14314, section 4",
        "a base in 4 bits is worse by the margin at most; contradicted if by more",
        Range(low=-_MARGIN),
        Range(high=-_MARGIN),
        _always(),
        "--set model.quantization=nf4 --study {study}-nf4",
    ),
    Claim(
        "three_epochs",
        "three epochs are enough",
        "Unsloth's LoRA hyperparameters guide: 1 to 3 epochs",
        "training longer gains at most the margin; contradicted if more",
        Range(high=_MARGIN),
        Range(low=_MARGIN),
        _epochs,
        "--set training.epochs=6 --study {study}-epochs --claims",
    ),
)
