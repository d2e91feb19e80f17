"""A methods paragraph ready for a paper, and the works that it cites, as BibTeX.

It states what this study did. The works are in `templates/references.bib`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from harness.analysis.bootstrap import RESAMPLES
from harness.analysis.formatting import COST_NAMES
from harness.analysis.recommendation import recommend
from harness.analysis.scores import complete
from harness.report.section import template_source

if TYPE_CHECKING:
    from harness.results import StudyResults

_ENTRY: Final = re.compile(r"^@(\w+)\{(\w+),\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD: Final = re.compile(r"^  (\w+) = \{(.*)\},$", re.MULTILINE)
_ARXIV: Final = re.compile(r"arXiv:(\d{4}\.\d{5})")
_LORA: Final = "hu2022_210609685"
_QLORA: Final = "dettmers2023_230514314"
#: Behind intervals and verdict of every confirm stage.
_STATISTICS: Final = (
    "hsu1984best",
    "kim1987spending",
    "owen2007pigeonhole",
    "obuchowski1995readers",
)


class Work(NamedTuple):
    """One entry of a bibliography.

    Attributes:
        type: of BibTeX, such as `article`.
        shorthand: as a sentence cites it: `Hu et al. 2022`.
        fields: of BibTeX, in order.
    """

    type: str
    shorthand: str
    fields: Mapping[str, str]


class Methods(NamedTuple):
    """What a paper can take over.

    Attributes:
        text: sentences with citations in brackets; empty where nothing has run.
        bibtex: the entries that they cite.
    """

    text: str
    bibtex: str


@functools.cache
def references() -> Mapping[str, Work]:
    """The works of `references.bib` by key."""
    works = {}
    for entry_type, key, body in _ENTRY.findall(template_source("references.bib")):
        fields = dict(_FIELD.findall(body))
        works[key] = Work(entry_type, fields.pop("shorthand"), fields)
    return works


@functools.cache
def papers() -> Mapping[str, str]:
    """Keys of works by arXiv identifier, which is what a variant states as its source."""
    return {
        work.fields["eprint"]: key for key, work in references().items() if "eprint" in work.fields
    }


def bibliography(keys: Iterable[str]) -> str:
    """Entries as BibTeX has them, in this order, each once."""
    entries = []
    for key in dict.fromkeys(keys):
        work = references()[key]
        lines = [f"  {name} = {{{value}}}," for name, value in work.fields.items()]
        entries.append("\n".join([f"@{work.type}{{{key},", *lines, "}"]))
    return "\n\n".join(entries)


def methods(results: StudyResults) -> Methods:
    """The paragraph of a study and its bibliography."""
    if complete(results, "search").empty and complete(results, "ablate").empty:
        return Methods("", "")
    cited = {"mangrulkar2022peft": None}
    sentences = [_training_sentence(results)]
    sentences += _search_sentences(results, cited)
    sentences += _ablation_sentences(results)
    sentences += _confirmation_sentences(results, cited)
    return Methods(" ".join(sentences), bibliography([*cited, _LORA, *_variant_papers(results)]))


def _cite(*keys: str) -> str:
    return f"({'; '.join(references()[key].shorthand for key in keys)})"


def _variant_papers(results: StudyResults) -> list[str]:
    """Of the variants that were trained, and of a quantised base model."""
    traits: Mapping[str, Any] = results.attributes.get("variants") or {}
    trained = {str(name) for name in results.trials["variant"]}
    identifiers = [
        identifier
        for variant, recorded in traits.items()
        if variant in trained
        for identifier in _ARXIV.findall(str(recorded.get("source", "")))
    ]
    keys = [papers()[identifier] for identifier in identifiers if identifier in papers()]
    model = results.sweep.get("model")
    if isinstance(model, Mapping) and model.get("quantization") == "nf4":
        keys.append(_QLORA)
    return keys


def _training_sentence(results: StudyResults) -> str:
    model, packages = results.sweep.get("model"), results.provenance.get("packages") or {}
    name = model.get("name") if isinstance(model, Mapping) else model
    version = f" {packages['peft']}" if "peft" in packages else ""
    keys = [key for key in dict.fromkeys(_variant_papers(results)) if key != _LORA]
    variants = f", and its variants {_cite(*keys)}," if keys else ""
    return (
        f"The frozen base model {name} was adapted to the task {results.sweep.get('task')} with "
        f"low-rank adapters {_cite(_LORA)}{variants} through PEFT{version} "
        f"{_cite('mangrulkar2022peft')}; scores are {results.objective.name}."
    )


def _search_sentences(results: StudyResults, cited: dict[str, None]) -> list[str]:
    rows = results.trials[results.trials["stage"] == "search"]
    rows = rows[rows["duplicate_of"].isna()]
    if rows.empty:
        return []
    search = results.sweep.get("search") or {}
    cited |= {"akiba2019optuna": None}
    method = f"random search in Optuna {_cite('akiba2019optuna')}"
    if search.get("sampler", "tpe") == "tpe":
        cited |= {"bergstra2011tpe": None}
        citation = _cite("akiba2019optuna", "bergstra2011tpe")
        method = f"Optuna's tree-structured Parzen estimator {citation}"
    count = int((rows["state"] == "pruned").sum())
    pruned = f"; {count} of them {'was' if count == 1 else 'were'} pruned" if count else ""
    return [
        f"{len(rows)} configurations were searched on the validation split by {method}{pruned}."
    ]


def _ablation_sentences(results: StudyResults) -> list[str]:
    rows = complete(results, "ablate")
    if rows.empty:
        return []
    rates = (results.sweep.get("ablation") or {}).get("rates")
    tuned = f", the learning rate tuned for each of them among {rates}," if rates else ""
    cells, seeds = rows["key"].nunique(), int(rows.groupby("key")["seed"].nunique().max())
    return [
        f"One factor at a time was varied around the best one: {cells} configurations{tuned} "
        f"were trained with {seeds} fresh seeds each, the same for all."
    ]


def _confirmation_sentences(results: StudyResults, cited: dict[str, None]) -> list[str]:
    rows = complete(results, "confirm")
    advice = recommend(results)
    if rows.empty or not advice.examples:
        return []
    settings = results.sweep.get("confirmation") or {}
    looks = [int(look) for look in settings.get("looks") or ()]
    alpha = 100 * float(settings.get("alpha", 0.05))
    cited |= dict.fromkeys(_STATISTICS)
    spending = ""
    if looks:
        spending = f", spent over looks at {_listed(looks)} seeds {_cite('kim1987spending')}"
    sentences = [
        f"{rows['key'].nunique()} finalists were trained with up to {advice.seeds} further seeds "
        f"and scored on the test split ({advice.examples} examples), which was not used "
        "otherwise.",
        f"Confidence intervals of differences come from {RESAMPLES:,} resamples of the examples, "
        "the same for all configurations, and from the variance over seeds, pooled over "
        "configurations and re-estimated in each resample "
        f"{_cite('owen2007pigeonhole', 'obuchowski1995readers')}.",
        f"The rule was to pick the configuration with the least {COST_NAMES[advice.cost]} whose "
        "simultaneous lower bound against the best of the others "
        f"{_cite('hsu1984best')} excludes a difference of more than "
        f"{results.objective.margin_text}, a margin declared in advance, at an error probability "
        f"of {alpha:g} % for all looks together{spending}.",
    ]
    if advice.prefer:
        sentences.append(f"Only configurations with {' and '.join(advice.prefer)} took part.")
    if advice.confidence_set:
        cited |= {"hansen2011mcs": None}
        sentences.append(
            "Configurations that could be the best are reported as a model confidence set "
            f"{_cite('hansen2011mcs')}."
        )
    return [*sentences, f"Outcome: {advice.evidence}"]


def _listed(numbers: list[int]) -> str:
    *head, last = map(str, numbers)
    return f"{', '.join(head)} and {last}" if head else last
