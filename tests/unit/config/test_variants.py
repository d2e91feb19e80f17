import re

import pytest

from harness.config.variants import VARIANTS, resolve_variant, why_untrainable
from harness.errors import UserError


@pytest.mark.parametrize("name", VARIANTS.names())
def test_a_variant_says_what_it_is_and_where_it_comes_from(name: str) -> None:
    variant = VARIANTS.get(name)
    assert variant.name == name
    assert variant.summary
    assert not variant.summary.endswith(".")
    assert re.fullmatch(r"arXiv:\d{4}\.\d{5}|https://\S+", variant.source)
    assert variant.proofs
    assert set(variant.excludes) <= set(VARIANTS.names())


def test_the_scale_is_the_papers() -> None:
    assert VARIANTS.get("lora").scale(4, 8.0) == 2.0
    assert VARIANTS.get("rslora").scale(4, 8.0) == 4.0
    # AdaLoRA divides by the rank it starts with, 1.5 times the one it ends with.
    assert VARIANTS.get("adalora").rank_at_start(8) == 12
    assert VARIANTS.get("adalora").scale(8, 24.0) == 2.0
    assert VARIANTS.get("adalora").rank_at_start(1) == 2


def test_variants_can_be_joined() -> None:
    both = resolve_variant("dora+lora_plus")
    assert both.name == "dora+lora_plus"
    assert both.peft == {"use_dora": True}
    assert both.optimizer == {"b_rate_ratio": 16.0}
    assert set(both.proofs) == {"starts_as_base", "b_zero", "scale", "magnitude", "b_faster"}
    start = resolve_variant("rslora+pissa")
    assert start.peft == {"use_rslora": True, "init_lora_weights": "pissa"}
    assert (start.method, start.root_scale, start.bases) == ("decomposed", True, ("none",))
    # PiSSA's B is not zero at first, whatever it is joined with.
    assert set(start.proofs) == {"starts_as_base", "scale", "decomposed"}
    assert resolve_variant("lora+loftq").proofs == ("scale", "less_error")


def test_a_joined_variant_has_the_class_and_remark_of_the_part_with_a_method() -> None:
    for name in ("dora+eva", "eva+dora"):
        assert (resolve_variant(name).peft_class, resolve_variant(name).snippet_remark[:3]) == (
            "LoraConfig",
            "EVA",
        )
        assert resolve_variant(name).packable
    for name in ("adalora+lora_plus", "lora_plus+adalora"):
        assert resolve_variant(name).peft_class == "AdaLoraConfig"
        assert not resolve_variant(name).packable


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("dorra", "unknown variant 'dorra'; did you mean 'dora'"),
        ("lora+dorra", "unknown variant 'dorra'"),
        ("dora+dora", "has a part twice"),
        ("adalora+dora", "adalora cannot be joined with dora: its layers have no magnitude"),
        ("dora+adalora", "adalora cannot be joined with dora"),
        ("adalora+loftq", "both define"),
        ("pissa+olora", "both define"),
        ("orthogonal+eva", "both define"),
        ("vera+lora_plus", "vera cannot be joined with lora_plus: it trains no B"),
        ("rslora+dora+adalora", "cannot be joined with"),
        ("qlora", "model.quantization: nf4"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(name: str, told: str) -> None:
    with pytest.raises(UserError) as refused:
        resolve_variant(name)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_ranks_and_quantised_bases_may_rule_a_variant_out() -> None:
    assert why_untrainable(resolve_variant("orthogonal"), (2, 8), "none") is None
    told = why_untrainable(resolve_variant("orthogonal"), (8, 7), "none")
    assert told == "variant orthogonal needs even ranks, but space.rank has 7"
    for name in ("pissa", "olora", "loftq", "rslora+pissa"):
        assert "needs model.quantization: none, not nf4" in (
            why_untrainable(resolve_variant(name), (8,), "nf4") or ""
        )
        assert why_untrainable(resolve_variant(name), (8,), "none") is None
    assert why_untrainable(resolve_variant("dora"), (7,), "nf4") is None
    told = why_untrainable(resolve_variant("rslora+dora"), (7,), "int8") or ""
    assert "needs model.quantization: none or nf4, not int8" in told
