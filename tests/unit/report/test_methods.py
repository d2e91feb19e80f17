"""The paragraph for a paper says what this study did; its bibliography has what it cites."""

import dataclasses
import re

from harness.analysis.recommendation import recommend
from harness.config.variants import VARIANTS
from harness.report.methods import bibliography, methods, papers, references
from harness.report.section import template_source
from harness.results import StudyResults


def shorts(bibtex: str) -> set[str]:
    """The short names of all entries."""
    return {references()[key].shorthand for key in re.findall(r"@\w+\{([^,]+),", bibtex)}


def test_what_is_cited_and_what_is_listed_are_the_same(full: StudyResults) -> None:
    found = methods(full)
    cited = {
        one
        for inside in re.findall(r"\(([^()]*\d{4}b?(?:; [^()]*\d{4}b?)*)\)", found.text)
        for one in inside.split("; ")
    }
    assert cited == shorts(found.bibtex)


def test_its_numbers_are_the_study_s(full: StudyResults) -> None:
    text = methods(full).text
    trials = full.trials
    searched = trials[(trials["stage"] == "search") & trials["duplicate_of"].isna()]
    assert f"{len(searched)} configurations were searched" in text
    assert f"{(searched['state'] == 'pruned').sum()} of them were pruned" in text
    ablated = trials.query("stage == 'ablate' and state == 'complete'")
    assert f"{ablated['key'].nunique()} configurations, the learning rate tuned" in text
    assert f"among {full.sweep['ablation']['rates']}" in text
    found = recommend(full)
    assert f"up to {found.seeds} further seeds" in text
    assert f"({found.examples} examples)" in text
    assert full.objective.margin_text in text
    assert "looks at 5 and 10 seeds" in text
    assert text.endswith(f"Outcome: {found.evidence}")


def test_it_says_nothing_of_stages_that_did_not_run(
    searched: StudyResults, one: StudyResults, empty: StudyResults
) -> None:
    found = methods(searched)
    assert "were searched" in found.text
    assert "fresh seeds" not in found.text
    assert "test split" not in found.text
    assert "Hsu 1984" not in found.text
    assert "hsu1984best" not in found.bibtex
    assert "were searched" in methods(one).text
    assert methods(empty) == ("", "")


def test_a_random_search_and_a_quantised_base_are_named(full: StudyResults) -> None:
    sweep = dict(full.sweep, search={"sampler": "random"})
    sweep["model"] = {"name": "x", "quantization": "nf4"}
    found = methods(dataclasses.replace(full, sweep=sweep))
    assert "Bergstra" not in found.text
    assert "random search in Optuna (Akiba et al. 2019)" in found.text
    assert "Dettmers et al. 2023" in found.text
    assert "QLoRA" in found.bibtex


def test_every_variant_with_a_paper_can_be_cited() -> None:
    for name in VARIANTS.names():
        for paper in re.findall(r"arXiv:([\d.]+)", VARIANTS.get(name).source):
            assert paper in papers(), name


def test_every_entry_of_the_file_is_read() -> None:
    source = template_source("references.bib")
    keys = re.findall(r"^@\w+\{([^,]+),$", source, re.MULTILINE)
    assert [*references()] == keys
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[a-z0-9_]+", key) for key in keys)
    fields = sum(len(work.fields) + 1 for work in references().values())
    assert fields == len(re.findall(r"^  \w+ = ", source, re.MULTILINE))
    for work in references().values():
        assert {"author", "title", "year"} <= work.fields.keys()
        assert work.fields["year"] in work.shorthand


def test_a_bibliography_has_each_entry_once_and_closes_all_braces() -> None:
    text = bibliography([*references(), *references()])
    assert text.count("@") == len(references())
    assert text.count("{") == text.count("}")
    assert "shorthand" not in text
    assert bibliography(["hsu1984best"]).startswith(
        "@article{hsu1984best,\n  author = {Hsu, Jason C.},"
    )
