"""A picked configuration as Python to paste, and the commands that rerun and read a study.

The Python is text that uses PEFT's class of the variant; nothing here imports PEFT.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from harness.analysis.claims import seed_additions
from harness.analysis.verdict import current_look

if TYPE_CHECKING:
    from harness.analysis.claim_tests import ClaimResult
    from harness.results import StudyResults


#: PEFT's class and the remark by adapter method, for studies made before `Variant.peft_class` and
#: `Variant.snippet_remark` were recorded with a study. A new variant needs no entry here.
_BEFORE_RECORDED: Final = {
    "adalora": (
        "AdaLoraConfig",
        "AdaLoRA: total_step is the number of your steps, of which 15 % are before ranks fall and "
        "45 % after;\ncall model.base_model.update_and_allocate(step) after each "
        "optimizer.step(), before zero_grad",
    ),
    "decomposed": (
        "LoraConfig",
        "the base's weights change when this is put on: to take the adapter to the untouched "
        "base, save\nit with path_initial_model_for_weight_conversion",
    ),
    "eva": (
        "LoraConfig",
        "EVA: call peft.initialize_lora_eva_weights(model, dataloader) before training, with "
        "EvaConfig(rho=1.0)",
    ),
    "loftq": (
        "LoraConfig",
        "LoftQ: the adapter belongs to a base rounded to 4 bits, saved beside the study's "
        "adapters",
    ),
    "vera": ("VeraConfig", ""),
}
#: Settings of the training, which a configuration of PEFT cannot hold.
_TRAINING = ("optimizer", "compute_dtype", "gradient_checkpointing")


def lora_config(
    pick: Mapping[str, Any],
    modules: Mapping[str, Sequence[str]],
    traits: Mapping[str, Any] | None,
    head: Mapping[str, Any] | None = None,
) -> str:
    """The configuration as Python that makes it.

    Args:
        pick: variant, rank, alpha, dropout, target_modules and learning_rate.
        modules: module names of each group of target modules; a group that is not in it is read
            as module names joined by `+`.
        traits: of the variant: `peft` (keywords of the configuration), `optimiser`
            (`b_rate_ratio`), `peft_class`, `snippet_remark`, `frozen` weights and `initial_rank`;
            None where the study has not recorded them.
        head: the new head on the base, where the task has one: `module`, `labels`, `task_type`.

    Returns:
        Python source, ending in a newline.
    """
    recorded, extras = traits or {}, _extras(pick)
    peft_class, remark = _class_and_remark(recorded)
    keywords = _keywords(peft_class, pick, recorded) | {
        "target_modules": _modules(str(pick["target_modules"]), extras.get("layers"), modules),
        "bias": extras.get("bias", "none"),
        "task_type": (head or {}).get("task_type", "CAUSAL_LM"),
    }
    saved = extras["modules_to_save"].split(",") if "modules_to_save" in extras else []
    if head is not None:
        saved.append(str(head["module"]))
    if saved:
        keywords["modules_to_save"] = saved
    if "rank_pattern" in extras:
        pairs = (part.split(":") for part in extras["rank_pattern"].split(","))
        keywords["rank_pattern"] = {module: int(rank) for module, rank in pairs}
    lines = []
    if traits is None:
        lines.append(f"# add the keywords that variant {pick['variant']!r} needs")
    keywords.update(recorded.get("peft", {}))
    lines += [f"from peft import {peft_class}", "", f"config = {peft_class}("]
    lines += [f"    {name}={_literal(value)}," for name, value in keywords.items()]
    lines += [")", f"learning_rate = {float(pick['learning_rate'])!r}"]
    ratio = recorded.get("optimiser", {}).get("b_rate_ratio") and extras.get(
        "b_rate_ratio", recorded["optimiser"]["b_rate_ratio"]
    )
    if ratio is not None:
        lines.append(f"# LoRA+: train the B matrices at learning_rate * {_plain(float(ratio))},")
        lines.append("# as peft.optimizers.create_loraplus_optimizer does")
    lines += [f"# {line}" for line in _remarks(remark, recorded.get("frozen") or ())]
    if head is not None:
        lines.append("# the base: AutoModelForTokenClassification.from_pretrained(...,")
        lines.append(f"#     id2label={_literal(dict(enumerate(head['labels'])))})")
    trained = [f"{name} {extras[name]}" for name in _TRAINING if name in extras]
    if trained:
        lines.append(f"# trained with {', '.join(trained)}")
    return "\n".join(lines) + "\n"


def _keywords(
    peft_class: str, pick: Mapping[str, Any], traits: Mapping[str, Any]
) -> dict[str, Any]:
    """The keywords by which a class of PEFT takes rank, alpha and dropout."""
    rank, dropout = int(pick["rank"]), _plain(float(pick["dropout"]))
    if peft_class == "VeraConfig":
        return {"r": rank, "vera_dropout": dropout}
    scale = {"lora_alpha": _plain(float(pick["alpha"])), "lora_dropout": dropout}
    if peft_class == "AdaLoraConfig":
        initial_rank = max(rank, round(float(traits.get("initial_rank", 1.0)) * rank))
        # The number of steps is the trial's; whoever trains longer puts in their own.
        steps = {"total_step": 1000, "tinit": 150, "tfinal": 450}
        return {"init_r": initial_rank, "target_r": rank, **scale, **steps}
    return {"r": rank, **scale}


def _class_and_remark(traits: Mapping[str, Any]) -> tuple[str, str]:
    """The variant's class of PEFT and its remark, as the study recorded them."""
    if "peft_class" in traits:
        return str(traits["peft_class"]), str(traits.get("snippet_remark") or "")
    return _BEFORE_RECORDED.get(str(traits.get("kind")), ("LoraConfig", ""))


def _remarks(remark: str, frozen: Sequence[str]) -> list[str]:
    """What a configuration alone cannot say."""
    return remark.splitlines() + [
        f"{name} is not trained: set requires_grad_(False) on it" for name in frozen
    ]


def snippet_for(results: StudyResults, pick: Mapping[str, Any]) -> str:
    """The configuration as Python, with the module names and traits that the study recorded."""
    traits = (results.attributes.get("variants") or {}).get(str(pick["variant"]))
    attributes = results.attributes
    return lora_config(pick, attributes.get("modules") or {}, traits, attributes.get("head"))


def _modules(group: str, layers: str | None, modules: Mapping[str, Sequence[str]]) -> list[str]:
    name = f"{group} in {layers}" if layers else group
    return list(modules.get(name, group.split("+")))


def _extras(pick: Mapping[str, Any]) -> dict[str, str]:
    pairs = (part.partition("=") for part in str(pick.get("extras") or "").split())
    return {name: value for name, _, value in pairs}


def _literal(value: Any) -> str:
    # Python's own repr, with the double quotes that formatters prefer.
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, dict):
        pairs = (f"{_literal(key)}: {_literal(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    return repr(value)


def _plain(value: float) -> int | float:
    return int(value) if value.is_integer() else value


#: Options of `sweep` that name the folders of studies and reports, and other verbs with them.
_FOLDER_OPTIONS = {"--results": ("pick", "report"), "--reports": ("report",)}


def rerun_command(results: StudyResults) -> str:
    """The command that reruns this study, or resumes it."""
    command = results.provenance.get("command")
    return str(command) if command else f"python -m harness sweep {shlex.quote(results.name)}"


def commands(results: StudyResults) -> tuple[str, ...]:
    """The same, then those that print its recommendation and rewrite its report."""
    first = rerun_command(results)
    places = dict(_folder_options(first))
    read = (
        shlex.join(
            ["python", "-m", "harness", verb, results.name]
            + [
                word
                for option, value in places.items()
                if verb in _FOLDER_OPTIONS[option]
                for word in (option, value)
            ]
        )
        for verb in ("pick", "report")
    )
    return (first, *read)


def add_seeds(results: StudyResults, count: int) -> str | None:
    """The command that adds seeds beyond the looks; None while a look is still to come."""
    looks = (results.sweep.get("confirmation") or {}).get("looks") or []
    if not looks or current_look(results).seeds < int(looks[-1]):
        return None
    return f"{rerun_command(results)} --add-seeds {count}"


def claim_advice(results: StudyResults, claim_results: Sequence[ClaimResult]) -> list[str]:
    """Commands that would decide open claims, and a warning where seeds were added.

    Args:
        results: the study.
        claim_results: from `harness.analysis.claim_tests.evaluate_claims`.
    """
    lines = []
    if any(result.verdict == "not decided" for result in claim_results):
        lines.append(
            f"To decide open claims, add seeds: {rerun_command(results)} --claims --add-seeds 3 "
            "(exploratory, as results have been seen)"
        )
    if seed_additions(results.attributes):
        lines.append("Seeds were added after a look: verdicts on them are exploratory.")
    return lines


def _folder_options(command: str) -> list[tuple[str, str]]:
    try:
        words = shlex.split(command)
    except ValueError:  # a quotation mark that was typed and kept as it was
        words = command.split()
    options = []
    for index, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in _FOLDER_OPTIONS and equals:
            options.append((option, value))
        elif option in _FOLDER_OPTIONS and index + 1 < len(words):
            options.append((option, words[index + 1]))
    return options
