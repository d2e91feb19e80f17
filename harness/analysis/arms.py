"""What claims compare: cells of the ablation, full fine-tuning and the bare base, in one table.

An arm is told by what differs from the incumbent, such as `{"target_modules": "q"}`. Scores are on
validation; seeds and examples are the same for all arms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from harness.analysis.scores import baselines, complete, kept, panel, shots

if TYPE_CHECKING:
    from harness.aggregates import Array
    from harness.analysis.scores import Cube
    from harness.results import StudyResults

#: An arm: levels by factor, as they differ from the incumbent's.
Arm = Mapping[str, Any]

FULL: Final[Arm] = {"full": "all weights"}
BASE: Final[Arm] = {"base": "no adapter"}
#: The incumbent's own cell, at its tuned rate.
CENTRE: Final[Arm] = {}

#: Each addition of seeds to what claims compare is written down under this and its number.
ADDED: Final = "claim_seeds."

_SPLIT: Final = "validation"
_CONFIG: Final = ("variant", "rank", "alpha", "dropout", "target_modules", "extras", "budget")


class Bench(NamedTuple):
    """All arms that a study has.

    Attributes:
        names: of the arms: keys of cells, `full`, `base`.
        statistics: shape (arms, seeds, examples, W), NaN for a missing training.
    """

    names: tuple[str, ...]
    statistics: Array


def bench(results: StudyResults) -> Bench | None:
    """Cells, full fine-tuning and the base on the examples that all have; None without cells."""
    found = [(stage, _panel(results, stage)) for stage in ("ablate", "claim", "full")]
    there = [(stage, cube) for stage, cube in found if cube is not None]
    if not there or there[0][0] == "full":
        return None
    bare = _bare(results)
    known = [cube.examples for _, cube in there] + ([tuple(bare)] if bare else [])
    examples = sorted(set.intersection(*map(set, known)))
    if not examples:
        return None
    seeds = sorted({seed for _, cube in there for seed in cube.seeds})
    parts: dict[str, Array] = {}
    for stage, cube in there:
        values = _on(cube, seeds, examples)
        for name, own in zip(("full",) if stage == "full" else cube.keys, values, strict=False):
            before = parts.get(name)
            # A cell of the ablation may have further seeds from the claims' stage.
            parts[name] = own if before is None else np.where(np.isnan(before), own, before)
    if bare:
        own = np.array([bare[name] for name in examples])[None]
        # It has no seed: it is the same beside each.
        parts["base"] = np.repeat(own, len(seeds), axis=0)
    return Bench(tuple(parts), np.stack([*parts.values()]))


def _panel(results: StudyResults, stage: str) -> Cube | None:
    try:
        return panel(results, stage, _SPLIT)
    except ValueError:
        return None


def _on(cube: Cube, seeds: list[int], examples: list[str]) -> Array:
    """A cube's statistics at these seeds and examples."""
    place = {name: at for at, name in enumerate(cube.examples)}
    rows = cube.statistics[:, :, [place[name] for name in examples]]
    found = np.full((len(cube.keys), len(seeds), *rows.shape[2:]), np.nan)
    for at, seed in enumerate(cube.seeds):
        found[:, seeds.index(seed)] = rows[:, at]
    return found


def _bare(results: StudyResults) -> dict[str, Array]:
    """Statistics of the bare base with the fewest worked examples, by example."""
    first = next(iter(baselines(results, _SPLIT)), "")
    if shots(first) is None:
        return {}
    rows = results.baselines
    rows = rows[(rows["split"] == _SPLIT) & (rows["name"] == first)].drop_duplicates("example")
    values = kept(rows[list(results.objective.columns)].to_numpy(dtype=float), results.objective)
    return dict(zip(map(str, rows["example"]), values, strict=True))


def name_of(results: StudyResults, arm: Arm) -> str | None:
    """What an arm is called on the bench; None if the study has no such arm.

    Args:
        results: the study.
        arm: see above.
    """
    if arm == FULL:
        return "full" if len(complete(results, "full")) else None
    if arm == BASE:
        return "base"
    cell = cell_of(results, arm)
    return None if cell is None else str(cell["key"])


def cell_of(results: StudyResults, arm: Arm) -> Mapping[str, Any] | None:
    """The cell of an arm at its tuned rate, if it has a complete trial; None for the base.

    Args:
        results: the study.
        arm: see above.
    """
    if arm == FULL:
        noted: Sequence[Mapping[str, Any]] = results.attributes.get("full") or ()
        return noted[0] if noted else None
    centre = results.attributes.get("incumbent")
    if not centre or arm == BASE:
        return None
    wanted, fixed = moved({**centre, "budget": 1.0}, arm), arm.get("learning_rate")
    scored = {*complete(results, "ablate")["key"], *complete(results, "claim")["key"]}
    cells: tuple[Mapping[str, Any], ...] = tuple(results.attributes.get("cells") or ())
    for cell in (*cells, *claimed(results)):
        own = cell["config"]
        if cell["key"] not in scored or (cell["factor"] == "learning_rate") != (fixed is not None):
            continue
        same = all(_same(own.get(name), wanted.get(name)) for name in _CONFIG)
        if same and (fixed is None or math.isclose(float(cell["rate"]), float(fixed))):
            return cell
    return None


def claimed(results: StudyResults) -> tuple[Mapping[str, Any], ...]:
    """Cells that were trained for claims alone, at their tuned rates."""
    return tuple(results.attributes.get("claimed") or ())


def added(attributes: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All additions of seeds, the first one first: `configs`, and seeds `from` and `to`."""
    found = {
        int(name.removeprefix(ADDED)): value
        for name, value in attributes.items()
        if name.startswith(ADDED)
    }
    return [found[number] for number in sorted(found)]


def moved(config: Mapping[str, Any], arm: Arm) -> dict[str, Any]:
    """A configuration with an arm's levels; alpha goes along with the rank."""
    found = dict(config)
    ratio = float(found["alpha"]) / float(found["rank"])
    for factor, level in arm.items():
        if factor == "alpha_ratio":
            ratio = float(level)
        else:
            found[factor] = level
    found["alpha"] = ratio * float(found["rank"])
    return found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other)
    return (one or "") == (other or "")
