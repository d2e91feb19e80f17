"""The registry of LoRA variants: PEFT keywords, optimizer settings and proofs of each.

Names joined by `+` (`dora+lora_plus`) mean both at once, where that is possible.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from harness.errors import UserError
from harness.registry import Registry


@dataclass(frozen=True)
class Variant:
    """A parametrization of a low-rank update.

    Attributes:
        name: in a sweep.
        summary: what it changes, in one line.
        source: the paper, as arXiv identifier.
        peft: keywords of PEFT's configuration beside rank, alpha, dropout and targets.
        optimizer: its settings; `b_rate_ratio` is the learning rate of B over that of A.
        root_scale: the update is scaled by alpha/sqrt(rank) instead of alpha/rank.
        method: how the adapter is attached, initialized and saved; key of
            `harness.adapters.adapter.ADAPTERS`.
        frozen: adapter weights that are not trained, by PEFT's name (`lora_A`).
        initial_rank: rank at the start as a multiple of the configured rank.
        even_rank: whether it needs an even rank.
        bases: values of `model.quantization` that it can be trained on.
        proofs: run-time checks that it is what its name says; `harness.adapters.proofs.PROOFS`.
        excludes: variants that it cannot be joined with, and why.
        peft_class: PEFT's configuration class: `LoraConfig`, `VeraConfig` or `AdaLoraConfig`.
        snippet_remark: what its PEFT configuration alone does not do; lines of text.
        packable: whether several can be trained at once (`harness.training.packed`).
    """

    name: str
    summary: str
    source: str
    peft: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Mapping[str, float] = field(default_factory=dict)
    root_scale: bool = False
    method: str = "lora"
    frozen: tuple[str, ...] = ()
    initial_rank: float = 1.0
    even_rank: bool = False
    bases: tuple[str, ...] = ("none", "nf4", "int8")
    proofs: tuple[str, ...] = ("starts_as_base", "b_zero", "scale")
    excludes: Mapping[str, str] = field(default_factory=dict)
    peft_class: str = "LoraConfig"
    snippet_remark: str = ""
    packable: bool = True

    def rank_at_start(self, rank: int) -> int:
        """The rank of each layer before pruning."""
        return max(rank, round(self.initial_rank * rank))

    def scale(self, rank: int, alpha: float) -> float:
        """The factor on B·A: alpha/rank (Hu et al. 2021), rsLoRA alpha/sqrt(rank) (eq. 4).

        AdaLoRA's is alpha over the rank at the start.
        """
        return float(alpha / rank**0.5) if self.root_scale else alpha / self.rank_at_start(rank)


VARIANTS: Final[Registry[Variant]] = Registry("variant")


def _decomposed(name: str, summary: str, source: str) -> Variant:
    """A variant whose A and B start as a part of the frozen weight."""
    return Variant(
        name,
        summary,
        source,
        peft={"init_lora_weights": name},
        method="decomposed",
        bases=("none",),
        proofs=("starts_as_base", "scale", "decomposed"),
        excludes={"lora_fa": "a frozen A would keep the weight's own directions"},
        snippet_remark="the base's weights change when this is put on: to take the adapter to the "
        "untouched base, save\nit with path_initial_model_for_weight_conversion",
    )


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
        bases=("none", "nf4"),
        proofs=("starts_as_base", "b_zero", "scale", "magnitude"),
    ),
    Variant(
        "lora_plus",
        "LoRA whose B learns 16 times faster than its A",
        "arXiv:2402.12354",
        # The paper's section 5 recommends a ratio of about 2^4.
        optimizer={"b_rate_ratio": 16.0},
        proofs=("starts_as_base", "b_zero", "scale", "b_faster"),
    ),
    Variant(
        "adalora",
        "starts at 1.5 times the rank and prunes to it where the update matters least",
        "arXiv:2303.10512",
        method="adalora",
        initial_rank=1.5,  # The paper's section 4.1 (budget schedule): 1.5 times the final budget.
        proofs=("starts_as_base", "scale", "ranks_pruned"),
        excludes={
            "rslora": "its scale is alpha over the rank it starts with",
            "dora": "its layers have no magnitude",
        },
        peft_class="AdaLoraConfig",
        snippet_remark="AdaLoRA: total_step is the number of your steps, of which 15 % are before "
        "ranks fall and 45 % after;\ncall model.base_model.update_and_allocate(step) after "
        "each optimizer.step(), before zero_grad",
        packable=False,
    ),
    _decomposed(
        "pissa",
        "A and B start as the largest singular directions of the weight, the rest is frozen",
        "arXiv:2404.02948",
    ),
    _decomposed(
        "olora",
        "A and B start as the first columns of the weight's QR decomposition",
        "arXiv:2406.01775",
    ),
    Variant(
        "orthogonal",
        "A and B both start non-zero, with orthogonal rows that cancel each other",
        "https://datta0.github.io/posts/rethink-lora-init/",
        peft={"init_lora_weights": "orthogonal"},
        even_rank=True,
        bases=("none",),
        proofs=("starts_as_base", "scale", "cancelling"),
    ),
    Variant(
        "loftq",
        "the base is rounded to 4 bits, and A and B start where they undo most of the rounding",
        "arXiv:2310.08659",
        method="loftq",
        bases=("none",),
        proofs=("scale", "less_error"),
        excludes={"dora": "the magnitudes would be those of the weights before rounding"},
        snippet_remark="LoftQ: the adapter belongs to a base rounded to 4 bits, saved beside the "
        "study's adapters",
        packable=False,
    ),
    Variant(
        "lora_fa",
        "LoRA whose A stays as it was drawn; only B is trained",
        "arXiv:2308.03303",
        frozen=("lora_A",),
        proofs=("starts_as_base", "b_zero", "scale", "a_frozen"),
        excludes={"lora_plus": "the rate of B is a multiple of the rate of A, and A has none"},
    ),
    Variant(
        "vera",
        "random A and B shared by all layers, with a trained vector on each side",
        "arXiv:2310.11454",
        method="vera",
        proofs=("starts_as_base", "vectors_only"),
        excludes={
            "lora_plus": "it trains no B",
            "lora_fa": "it trains neither A nor B",
            "rslora": "it has no scale",
            "dora": "it has no magnitude",
        },
        peft_class="VeraConfig",
        packable=False,
    ),
    Variant(
        "eva",
        "A starts as the main directions of each layer's inputs on the training data",
        "arXiv:2410.07170",
        peft={"init_lora_weights": "eva"},
        method="eva",
        proofs=("starts_as_base", "b_zero", "scale", "from_activations"),
        snippet_remark="EVA: call peft.initialize_lora_eva_weights(model, dataloader) before "
        "training, with EvaConfig(rho=1.0)",
    ),
):
    VARIANTS.add(_variant.name, _variant)

#: Full fine-tuning: not a LoRA variant, but a baseline for all of them.
FULL: Final = Variant(
    "full",
    "all weights are trained, without an adapter",
    "",
    method="full",
    bases=("none",),
    proofs=("all_trained",),
    packable=False,
)


class RelatedMethod(NamedTuple):
    """A method that is not a variant here: advice on how to get it, paper, run-time check."""

    advice: str
    source: str
    proof: str


RELATED_METHODS: Final = {
    "qlora": RelatedMethod(
        "a quantised base, not a variant: write model.quantization: nf4, with any variant here "
        "that does not round or decompose the base itself",
        "arXiv:2305.14314",
        "quantised",
    ),
}


def resolve_variant(name: str, variants: Registry[Variant] = VARIANTS) -> Variant:
    """The variant of a name such as `lora`; `dora+lora_plus` means both at once.

    Raises:
        UserError: a name is unknown, or the variants cannot be joined.
    """
    if name == FULL.name and name not in variants:
        return FULL
    parts = [part.strip() for part in name.split("+")]
    for part in parts:
        if part in RELATED_METHODS and part not in variants:
            raise UserError(f"{part} is {RELATED_METHODS[part].advice}")
    if len(set(parts)) < len(parts):
        raise UserError(f"variant '{name}' has a part twice")
    joined = variants.get(parts[0])
    for part in parts[1:]:
        joined = _join_variants(joined, variants.get(part))
    return joined


def why_untrainable(variant: Variant, ranks: tuple[int, ...], quantization: str) -> str | None:
    """Why a variant cannot be trained at these ranks and `model.quantization`, or None."""
    odd = [rank for rank in ranks if rank % 2]
    if variant.even_rank and odd:
        return f"variant {variant.name} needs even ranks, but space.rank has {odd[0]}"
    if quantization not in variant.bases:
        reasons = {"loftq": "rounds the base itself", "decomposed": "takes the weights apart"}
        why = reasons.get(variant.method, "does not go with such layers in PEFT")
        return (
            f"variant {variant.name} {why}: it needs model.quantization: "
            f"{' or '.join(variant.bases)}, not {quantization}"
        )
    return None


def _join_variants(first: Variant, second: Variant) -> Variant:
    variants = (first, second)
    name = f"{first.name}+{second.name}"
    for variant, partner in ((first, second), (second, first)):
        for part in partner.name.split("+"):
            if part in variant.excludes:
                raise UserError(
                    f"variant '{name}': {variant.name} cannot be joined with {part}: "
                    f"{variant.excludes[part]}"
                )
    methods = [variant.method for variant in variants if variant.method != "lora"]
    initialized = [variant for variant in variants if "init_lora_weights" in variant.peft]
    if len(methods) > 1 or len(initialized) > 1:
        raise UserError(
            f"variant '{name}': both define the adapter's parametrization or its initialization"
        )
    # With any other initialization than LoRA's, B does not start at zero.
    shared = {"b_zero", "starts_as_base"}
    proofs = tuple(
        proof
        for proof in dict.fromkeys((*first.proofs, *second.proofs))
        if proof not in shared or all(proof in variant.proofs for variant in variants)
    )
    return replace(
        first,
        name=name,
        summary=f"{first.summary}; {second.summary}",
        source=f"{first.source}, {second.source}",
        peft={**first.peft, **second.peft},
        optimizer={**first.optimizer, **second.optimizer},
        root_scale=first.root_scale or second.root_scale,
        method=methods[0] if methods else "lora",
        frozen=tuple(dict.fromkeys((*first.frozen, *second.frozen))),
        initial_rank=max(first.initial_rank, second.initial_rank),
        even_rank=first.even_rank or second.even_rank,
        bases=tuple(base for base in first.bases if base in second.bases),
        proofs=proofs,
        excludes={**first.excludes, **second.excludes},
        # At most one of the two has a method, and so a class and a remark, of its own.
        peft_class=second.peft_class if first.method == "lora" else first.peft_class,
        snippet_remark=first.snippet_remark or second.snippet_remark,
        packable=first.packable and second.packable,
    )
