"""Rules of thumb from LoRA guides as hypotheses that a study can test: one entry each.

Each names the comparisons that test it, the range of values at which it holds and the one at which
it fails; `harness.analysis.judging` reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from harness.analysis.arms import CENTRE, FULL, Arm


class Range(NamedTuple):
    """A stretch of values, both ends in it."""

    low: float = -math.inf
    high: float = math.inf

    def covers(self, low: float, high: float) -> bool:
        """Whether an interval lies within."""
        return low >= self.low and high <= self.high


class Comparison(NamedTuple):
    """One arm against another.

    Attributes:
        of: the arm.
        to: what it is held against.
        unit: `margins` (the difference, better being more, in multiples of the task's margin),
            `percent` (the gain over `to` in percent of `to`'s score), or `share` (in percent of
            `to`'s score; of its gain over the base where scores have no nought, such as
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
        sentence: as guides put it.
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
        if self.fails is None:
            outside = high < self.holds.low or low > self.holds.high
        else:
            outside = self.fails.covers(low, high)
        return "contradicted" if outside else "not decided"


def _fixed(*comparisons: Comparison) -> Callable[[Mapping[str, Any]], Sequence[Comparison]]:
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
_ONE: Final = 1.0

CLAIMS: Final[tuple[Claim, ...]] = (
    Claim(
        "alpha_2r",
        "alpha = 2r is a good default",
        "Raschka 2023, Practical Tips for Finetuning LLMs Using LoRA",
        "no other alpha is better by more than the margin; contradicted if one is",
        Range(low=-_ONE),
        Range(high=-_ONE),
        _fixed(
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
        Range(-_ONE, _ONE),
        None,
        _fixed(Comparison({"rank": 16}, {"rank": 32})),
    ),
    *(
        Claim(
            f"{targets}_share",
            f"{said} {'gets' if targets in {'q', 'all_linear'} else 'get'} {share} % of full "
            "fine-tuning",
            _GUIDES,
            f"{low:g} % or more of full fine-tuning's score"
            + (f", and {high:g} % at most" if math.isfinite(high) else "")
            + "; contradicted outside",
            Range(low, high),
            None,
            _fixed(Comparison({"target_modules": targets}, FULL, "share")),
        )
        for targets, said, share, low, high in (
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
        Range(high=_ONE),
        Range(low=_ONE),
        _fixed(Comparison({"target_modules": "all_linear"}, {"target_modules": "attention"})),
    ),
    Claim(
        "dora_adds",
        "DoRA adds 1 to 3 %",
        "Liu et al. 2024, arXiv:2402.09353, tables 1 to 3",
        "1 % of LoRA's score or more; contradicted if less",
        Range(low=1.0),
        Range(high=1.0),
        _fixed(Comparison({"variant": "dora"}, {"variant": "lora"}, "percent")),
    ),
    Claim(
        "rslora_high_rank",
        "rsLoRA helps at high rank",
        "Kalajdzievski 2023, arXiv:2312.03732",
        "better than LoRA at the highest rank; contradicted if not by more than the margin",
        Range(low=0.0),
        Range(high=_ONE),
        _high_rank,
    ),
    Claim(
        "lora_full",
        "LoRA reaches 95 to 99 % of full fine-tuning",
        _GUIDES,
        "95 % of full fine-tuning's score or more; contradicted if less",
        Range(low=95.0),
        Range(high=95.0),
        _fixed(Comparison({"variant": "lora"}, FULL, "share")),
    ),
    Claim(
        "rate_2e-4",
        "a learning rate of about 2e-4",
        "Dettmers et al. 2023, arXiv:2305.14314, appendix B; the default of many guides",
        "not worse than the tuned rate by more than the margin; contradicted if it is",
        Range(low=-_ONE),
        Range(high=-_ONE),
        _fixed(Comparison({"variant": "lora", "learning_rate": 2e-4}, {"variant": "lora"})),
    ),
    Claim(
        "dropout",
        "dropout of 0.05 to 0.1 prevents overfitting",
        "Dettmers et al. 2023, arXiv:2305.14314, appendix B",
        "better with dropout 0.1 than without; contradicted if not by more than the margin",
        Range(low=0.0),
        Range(high=_ONE),
        _fixed(Comparison({"dropout": 0.1}, {"dropout": 0.0})),
    ),
    Claim(
        "qlora_free",
        "QLoRA costs no quality",
        "Dettmers et al. 2023, arXiv:2305.14314, section 4",
        "a base in 4 bits is worse by the margin at most; contradicted if by more",
        Range(low=-_ONE),
        Range(high=-_ONE),
        _fixed(),
        "--set model.quantization=nf4 --study {study}-nf4",
    ),
    Claim(
        "three_epochs",
        "three epochs are enough",
        "Unsloth's LoRA hyperparameters guide: 1 to 3 epochs",
        "training on gains the margin at most; contradicted if more",
        Range(high=_ONE),
        Range(low=_ONE),
        _epochs,
        "--set training.epochs=6 --study {study}-epochs --claims",
    ),
)
