"""A picked configuration as Python to paste: `peft.LoraConfig(...)`.

Knows the names PEFT uses, nothing of pages, studies or models. Imports no PEFT: it writes text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.results import StudyResults


def lora_config(
    pick: Mapping[str, Any],
    modules: Mapping[str, Sequence[str]],
    traits: Mapping[str, Mapping[str, Any]] | None,
) -> str:
    """The configuration as Python that makes it.

    Args:
        pick: variant, rank, alpha, dropout, target_modules and learning_rate.
        modules: module names of each group of target modules; a group that is not in it is read
            as module names joined by `+`.
        traits: `peft` (keywords of `LoraConfig`) and `optimiser` (`b_rate_ratio`) of the
            variant; None where nobody noted them.

    Returns:
        Python source, ending in a newline.
    """
    keywords: dict[str, Any] = {
        "r": int(pick["rank"]),
        "lora_alpha": _plain(float(pick["alpha"])),
        "lora_dropout": _plain(float(pick["dropout"])),
        "target_modules": _modules(str(pick["target_modules"]), modules),
        "bias": "none",
        "task_type": "CAUSAL_LM",
    }
    lines = []
    if traits is None:
        lines.append(f"# add the keywords that variant {pick['variant']!r} needs")
    keywords.update((traits or {}).get("peft", {}))
    lines += ["from peft import LoraConfig", "", "config = LoraConfig("]
    lines += [f"    {name}={_literal(value)}," for name, value in keywords.items()]
    lines += [")", f"learning_rate = {float(pick['learning_rate'])!r}"]
    ratio = (traits or {}).get("optimiser", {}).get("b_rate_ratio")
    if ratio is not None:
        lines.append(f"# LoRA+: train the B matrices at learning_rate * {_plain(float(ratio))},")
        lines.append("# as peft.optimizers.create_loraplus_optimizer does")
    return "\n".join(lines) + "\n"


def config_of(results: StudyResults, pick: Mapping[str, Any]) -> str:
    """The configuration as Python, with the module names and traits that the study noted."""
    traits = (results.attributes.get("variants") or {}).get(str(pick["variant"]))
    return lora_config(pick, results.attributes.get("modules") or {}, traits)


def _modules(group: str, modules: Mapping[str, Sequence[str]]) -> list[str]:
    return list(modules.get(group, group.split("+")))


def _literal(value: Any) -> str:
    # Python's own repr, with the double quotes that formatters prefer.
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, list):
        return "[" + ", ".join(_literal(one) for one in value) + "]"
    return repr(value)


def _plain(value: float) -> int | float:
    return int(value) if value.is_integer() else value
