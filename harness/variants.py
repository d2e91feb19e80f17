"""One entry for each LoRA variant: what it is, what PEFT and the optimiser must be told.

A variant does not know which engines exist: an engine reads its keywords and traits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from harness.registry import Registry


@dataclass(frozen=True)
class Variant:
    """A way to parametrise a low-rank update.

    Attributes:
        name: what a sweep calls it.
        summary: what it changes, in one line.
        source: the paper, as arXiv identifier.
        peft: keywords of `peft.LoraConfig` beside rank, alpha, dropout and targets.
        optimiser: traits for the optimiser; `b_rate_ratio` is the rate of B over that of A.
        root_scale: the update is scaled by alpha/sqrt(rank) instead of alpha/rank.
    """

    name: str
    summary: str
    source: str
    peft: Mapping[str, Any] = field(default_factory=dict)
    optimiser: Mapping[str, float] = field(default_factory=dict)
    root_scale: bool = False

    def scale(self, rank: int, alpha: float) -> float:
        """The factor on B·A: alpha/rank (Hu et al. 2021), rsLoRA alpha/sqrt(rank) (eq. 4)."""
        return float(alpha / rank**0.5) if self.root_scale else alpha / rank


VARIANTS: Final[Registry[Variant]] = Registry("variant")

for _variant in (
    Variant(
        "lora",
        "a low-rank update B·A beside each frozen weight, scaled by alpha/rank",
        "arXiv:2106.09685",
    ),
    Variant(
        "rslora",
        "LoRA scaled by alpha/sqrt(rank), so that high ranks still learn",
        "arXiv:2312.03732",
        peft={"use_rslora": True},
        root_scale=True,
    ),
    Variant(
        "dora",
        "LoRA on the direction of each weight, with a trained magnitude for each output",
        "arXiv:2402.09353",
        peft={"use_dora": True},
    ),
    Variant(
        "lora_plus",
        "LoRA whose B learns 16 times faster than its A",
        "arXiv:2402.12354",
        # The paper's section 5 recommends a ratio of about 2^4.
        optimiser={"b_rate_ratio": 16.0},
    ),
):
    VARIANTS.add(_variant.name, _variant)
