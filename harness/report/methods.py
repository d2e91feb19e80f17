"""A paragraph of methods ready for a paper, and what it cites: what this study did, no more.

Works that a study rests on, as BibTeX; a methods paragraph cites them by key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from harness.analysis.bootstrap import RESAMPLES
from harness.analysis.formatting import BY_COST
from harness.analysis.recommendation import recommend
from harness.analysis.scores import complete

if TYPE_CHECKING:
    from harness.results import StudyResults


class Work(NamedTuple):
    """One entry.

    Attributes:
        kind: of BibTeX, such as `article`.
        short: as a sentence cites it: `Hu et al. 2022`.
        fields: of BibTeX.
    """

    kind: str
    short: str
    fields: dict[str, str]


def _paper(short: str, author: str, title: str, year: int, arxiv: str) -> Work:
    fields = {"author": author, "title": title, "year": str(year)}
    fields |= {"eprint": arxiv, "archivePrefix": "arXiv"}
    return Work("misc", short, fields)


#: Of variants, by arXiv identifier: what a variant names as its source.
PAPERS: Final = {
    "2106.09685": _paper(
        "Hu et al. 2022",
        "Hu, Edward J. and Shen, Yelong and Wallis, Phillip and Allen-Zhu, Zeyuan and Li, Yuanzhi "
        "and Wang, Shean and Wang, Lu and Chen, Weizhu",
        "{LoRA}: Low-Rank Adaptation of Large Language Models",
        2022,
        "2106.09685",
    ),
    "2312.03732": _paper(
        "Kalajdzievski 2023",
        "Kalajdzievski, Damjan",
        "A Rank Stabilization Scaling Factor for Fine-Tuning with {LoRA}",
        2023,
        "2312.03732",
    ),
    "2402.12354": _paper(
        "Hayou et al. 2024",
        "Hayou, Soufiane and Ghosh, Nikhil and Yu, Bin",
        "{LoRA}+: Efficient Low Rank Adaptation of Large Models",
        2024,
        "2402.12354",
    ),
    "2402.09353": _paper(
        "Liu et al. 2024",
        "Liu, Shih-Yang and Wang, Chien-Yi and Yin, Hongxu and Molchanov, Pavlo and Wang, "
        "Yu-Chiang Frank and Cheng, Kwang-Ting and Chen, Min-Hung",
        "{DoRA}: Weight-Decomposed Low-Rank Adaptation",
        2024,
        "2402.09353",
    ),
    "2303.10512": _paper(
        "Zhang et al. 2023",
        "Zhang, Qingru and Chen, Minshuo and Bukharin, Alexander and Karampatziakis, Nikos and "
        "He, Pengcheng and Cheng, Yu and Chen, Weizhu and Zhao, Tuo",
        "{AdaLoRA}: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning",
        2023,
        "2303.10512",
    ),
    "2404.02948": _paper(
        "Meng et al. 2024",
        "Meng, Fanxu and Wang, Zhaohui and Zhang, Muhan",
        "{PiSSA}: Principal Singular Values and Singular Vectors Adaptation of Large Language "
        "Models",
        2024,
        "2404.02948",
    ),
    "2310.08659": _paper(
        "Li et al. 2023",
        "Li, Yixiao and Yu, Yifan and Liang, Chen and He, Pengcheng and Karampatziakis, Nikos and "
        "Chen, Weizhu and Zhao, Tuo",
        "{LoftQ}: {LoRA}-Fine-Tuning-Aware Quantization for Large Language Models",
        2023,
        "2310.08659",
    ),
    "2406.01775": _paper(
        "Buyukakyuz 2024",
        r"B{\"u}y{\"u}kaky{\"u}z, Kerim",
        "{OLoRA}: Orthonormal Low-Rank Adaptation of Large Language Models",
        2024,
        "2406.01775",
    ),
    "2308.03303": _paper(
        "Zhang et al. 2023b",
        "Zhang, Longteng and Zhang, Lin and Shi, Shaohuai and Chu, Xiaowen and Li, Bo",
        "{LoRA-FA}: Memory-efficient Low-rank Adaptation for Large Language Models Fine-tuning",
        2023,
        "2308.03303",
    ),
    "2310.11454": _paper(
        "Kopiczko et al. 2023",
        "Kopiczko, Dawid J. and Blankevoort, Tijmen and Asano, Yuki M.",
        "{VeRA}: Vector-based Random Matrix Adaptation",
        2023,
        "2310.11454",
    ),
    "2410.07170": _paper(
        "Paischer et al. 2024",
        "Paischer, Fabian and Hauzenberger, Lukas and Schmied, Thomas and Alkin, Benedikt and "
        "Deisenroth, Marc Peter and Hochreiter, Sepp",
        "One Initialization to Rule them All: Fine-tuning via Explained Variance Adaptation",
        2024,
        "2410.07170",
    ),
    "2305.14314": _paper(
        "Dettmers et al. 2023",
        "Dettmers, Tim and Pagnoni, Artidoro and Holtzman, Ari and Zettlemoyer, Luke",
        "{QLoRA}: Efficient Finetuning of Quantized {LLMs}",
        2023,
        "2305.14314",
    ),
}
#: Of the program and its statistics, by key.
WORKS: Final = {
    "akiba2019optuna": Work(
        "inproceedings",
        "Akiba et al. 2019",
        {
            "author": "Akiba, Takuya and Sano, Shotaro and Yanase, Toshihiko and Ohta, Takeru and "
            "Koyama, Masanori",
            "title": "Optuna: A Next-generation Hyperparameter Optimization Framework",
            "booktitle": "Proceedings of the 25th {ACM} {SIGKDD} International Conference on "
            "Knowledge Discovery and Data Mining",
            "year": "2019",
        },
    ),
    "bergstra2011tpe": Work(
        "inproceedings",
        "Bergstra et al. 2011",
        {
            "author": "Bergstra, James and Bardenet, R{\\'e}mi and Bengio, Yoshua and K{\\'e}gl, "
            "Bal{\\'a}zs",
            "title": "Algorithms for Hyper-Parameter Optimization",
            "booktitle": "Advances in Neural Information Processing Systems 24",
            "year": "2011",
        },
    ),
    "mangrulkar2022peft": Work(
        "misc",
        "Mangrulkar et al. 2022",
        {
            "author": "Mangrulkar, Sourab and Gugger, Sylvain and Debut, Lysandre and Belkada, "
            "Younes and Paul, Sayak and Bossan, Benjamin",
            "title": "{PEFT}: State-of-the-art Parameter-Efficient Fine-Tuning methods",
            "howpublished": "GitHub, huggingface/peft",
            "year": "2022",
        },
    ),
    "hsu1984best": Work(
        "article",
        "Hsu 1984",
        {
            "author": "Hsu, Jason C.",
            "title": "Constrained Simultaneous Confidence Intervals for Multiple Comparisons with "
            "the Best",
            "journal": "The Annals of Statistics",
            "volume": "12",
            "number": "3",
            "pages": "1136--1144",
            "year": "1984",
        },
    ),
    "hansen2011mcs": Work(
        "article",
        "Hansen et al. 2011",
        {
            "author": "Hansen, Peter R. and Lunde, Asger and Nason, James M.",
            "title": "The Model Confidence Set",
            "journal": "Econometrica",
            "volume": "79",
            "number": "2",
            "pages": "453--497",
            "year": "2011",
        },
    ),
    "kim1987spending": Work(
        "article",
        "Kim and DeMets 1987",
        {
            "author": "Kim, Kyungmann and DeMets, David L.",
            "title": "Design and Analysis of Group Sequential Tests Based on the Type {I} Error "
            "Spending Rate Function",
            "journal": "Biometrika",
            "volume": "74",
            "number": "1",
            "pages": "149--154",
            "year": "1987",
        },
    ),
    "owen2007pigeonhole": Work(
        "article",
        "Owen 2007",
        {
            "author": "Owen, Art B.",
            "title": "The Pigeonhole Bootstrap",
            "journal": "The Annals of Applied Statistics",
            "volume": "1",
            "number": "2",
            "pages": "386--411",
            "year": "2007",
        },
    ),
    "obuchowski1995readers": Work(
        "article",
        "Obuchowski and Rockette 1995",
        {
            "author": "Obuchowski, Nancy A. and Rockette, Howard E.",
            "title": "Hypothesis Testing of Diagnostic Accuracy for Multiple Readers and Multiple "
            "Tests: An {ANOVA} Approach with Dependent Observations",
            "journal": "Communications in Statistics - Simulation and Computation",
            "volume": "24",
            "number": "2",
            "pages": "285--308",
            "year": "1995",
        },
    ),
}


def key_of(arxiv: str) -> str:
    """The key of a paper: `hu2022`, from its authors and year."""
    short = PAPERS[arxiv].short
    first, *_, year = short.split()
    return f"{first.lower()}{year}_{arxiv.replace('.', '')}"


def entry(key: str, work: Work) -> str:
    """An entry as BibTeX has it."""
    lines = [f"  {name} = {{{value}}}," for name, value in work.fields.items()]
    return "\n".join([f"@{work.kind}{{{key},", *lines, "}"])


def bibliography(keys: Iterable[str], papers: Iterable[str]) -> str:
    """Entries of works and papers, in this order, each once."""
    found = {key: WORKS[key] for key in keys}
    found |= {key_of(name): PAPERS[name] for name in papers}
    return "\n\n".join(entry(key, work) for key, work in found.items())


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
    found = recommend(results)
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
