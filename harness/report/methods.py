"""A paragraph of methods ready for a paper, and what it cites: what this study did, no more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.analysis.bootstrap import RESAMPLES
from harness.analysis.naming import BY_COST
from harness.analysis.scores import complete
from harness.report.findings import recommendation
from harness.report.references import PAPERS, WORKS, bibliography

if TYPE_CHECKING:
    from harness.results import StudyResults

_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{5})")
_LORA = "2106.09685"
_QLORA = "2305.14314"


class Methods(NamedTuple):
    """What a paper can take over.

    Attributes:
        text: sentences with citations in brackets; empty where nothing has run.
        bibtex: the entries that they cite.
    """

    text: str
    bibtex: str


def methods(results: StudyResults) -> Methods:
    """The paragraph of a study and its bibliography."""
    if complete(results, "search").empty and complete(results, "ablate").empty:
        return Methods("", "")
    works = {"mangrulkar2022peft": None}
    papers = dict.fromkeys([_LORA, *_papers(results)])
    sentences = [_adapted(results)]
    sentences += _searched(results, works)
    sentences += _ablated(results)
    sentences += _confirmed(results, works)
    return Methods(" ".join(sentences), bibliography(works, papers))


def _cite(*names: str) -> str:
    return f"({'; '.join(PAPERS[n].short if n in PAPERS else WORKS[n].short for n in names)})"


def _papers(results: StudyResults) -> list[str]:
    """Of the variants that were trained, and of a quantised base."""
    noted: Mapping[str, Any] = results.attributes.get("variants") or {}
    used = {str(name) for name in results.trials["variant"]}
    found = [
        name
        for variant, traits in noted.items()
        if variant in used
        for name in _ARXIV.findall(str(traits.get("source", "")))
    ]
    model = results.sweep.get("model")
    if isinstance(model, Mapping) and model.get("quantization") == "nf4":
        found.append(_QLORA)
    return [name for name in found if name in PAPERS]


def _adapted(results: StudyResults) -> str:
    model, packages = results.sweep.get("model"), results.provenance.get("packages") or {}
    name = model.get("name") if isinstance(model, Mapping) else model
    version = f" {packages['peft']}" if "peft" in packages else ""
    others = [name for name in dict.fromkeys(_papers(results)) if name != _LORA]
    variants = f", and its variants {_cite(*others)}," if others else ""
    return (
        f"The frozen base {name} was adapted to the task {results.sweep.get('task')} with "
        f"low-rank adapters {_cite(_LORA)}{variants} through PEFT{version} "
        f"{_cite('mangrulkar2022peft')}; scores are {results.objective.name}."
    )


def _searched(results: StudyResults, works: dict[str, None]) -> list[str]:
    rows = results.trials[results.trials["stage"] == "search"]
    rows = rows[rows["duplicate_of"].isna()]
    if rows.empty:
        return []
    search = results.sweep.get("search") or {}
    works |= {"akiba2019optuna": None}
    by = f"Optuna {_cite('akiba2019optuna')} at random"
    if search.get("sampler", "tpe") == "tpe":
        works |= {"bergstra2011tpe": None}
        cited = _cite("akiba2019optuna", "bergstra2011tpe")
        by = f"Optuna's tree-structured Parzen estimator {cited}"
    ended = int((rows["state"] == "pruned").sum())
    early = f"; {ended} of them were ended early" if ended else ""
    return [f"{len(rows)} configurations were searched on the validation split by {by}{early}."]


def _ablated(results: StudyResults) -> list[str]:
    rows = complete(results, "ablate")
    if rows.empty:
        return []
    rates = (results.sweep.get("ablation") or {}).get("rates")
    tuned = f", the learning rate tuned for each of them among {rates}," if rates else ""
    cells, seeds = rows["key"].nunique(), int(rows.groupby("key")["seed"].nunique().max())
    return [
        f"Around the best one factors were varied one at a time: {cells} configurations{tuned} "
        f"were trained with {seeds} fresh seeds each, shared by all."
    ]


def _confirmed(results: StudyResults, works: dict[str, None]) -> list[str]:
    rows = complete(results, "confirm")
    found = recommendation(results)
    if rows.empty or not found.examples:
        return []
    settings = results.sweep.get("confirmation") or {}
    looks = [int(look) for look in settings.get("looks") or ()]
    alpha = 100 * float(settings.get("alpha", 0.05))
    kept = {"hsu1984best", "kim1987spending", "owen2007pigeonhole", "obuchowski1995readers"}
    works |= dict.fromkeys([name for name in WORKS if name in kept])
    said = [
        f"{rows['key'].nunique()} finalists were trained with up to {found.seeds} further seeds "
        f"and scored on the test split ({found.examples} examples), which was used for nothing "
        "else.",
        f"Intervals of differences come from {RESAMPLES:,} resamples of the examples, shared by "
        "all configurations, with the part of the seeds drawn from their pooled spread as "
        "estimated anew in each draw "
        f"{_cite('owen2007pigeonhole', 'obuchowski1995readers')}.",
        f"The rule was to pick the configuration with the least {BY_COST[found.cost]} whose "
        "simultaneous lower bound against the best of the others "
        f"{_cite('hsu1984best')} excludes a difference of more than "
        f"{results.objective.margin_told}, a margin laid down beforehand, at an error of "
        f"{alpha:g} % for all looks together"
        + (
            f", spent over looks at {_listed(looks)} seeds {_cite('kim1987spending')}."
            if looks
            else "."
        ),
    ]
    if found.prefer:
        said.append(f"Only configurations with {' and '.join(found.prefer)} took part.")
    if found.confidence_set:
        works |= {"hansen2011mcs": None}
        said.append(
            "Those that may be the best are given as a model confidence set "
            f"{_cite('hansen2011mcs')}."
        )
    return [*said, f"Outcome: {found.evidence}"]


def _listed(numbers: list[int]) -> str:
    *head, last = map(str, numbers)
    return f"{', '.join(head)} and {last}" if head else last
