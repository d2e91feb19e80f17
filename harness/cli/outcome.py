"""Prints a recommendation: for `sweep` at its end, and for `pick`."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from harness.analysis import claim_tests
from harness.analysis.claim_tests import evaluate_claims
from harness.analysis.explanation import explain
from harness.analysis.formatting import metric_format
from harness.analysis.recommendation import Recommendation, recommend
from harness.analysis.wording import baselines_sentence, more_seeds
from harness.costs import Constraint
from harness.report.snippets import add_seeds, claim_advice, snippet_for
from harness.results import StudyResults


def print_outcome(
    results: StudyResults,
    console: Console,
    cost: str | None = None,
    prefer: Sequence[Constraint] = (),
) -> Recommendation:
    """Prints pick, score, evidence, comparison and the configuration to paste.

    Args:
        results: the study.
        console: where.
        cost: what the pick is to be the cheapest by; the sweep's by default.
        prefer: bounds to keep beside the sweep's own.
    """
    verdict = recommend(results, cost, prefer)
    scores = metric_format(results.objective)

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    say(f"\n{results.name}: {verdict.outcome}")
    say(verdict.evidence)
    if verdict.score is not None:
        interval = scores.interval(verdict.score.low, verdict.score.high)
        say(f"test score {scores.show(verdict.score.value)} (95 % CI {interval}) {scores.unit}")
    if not verdict.comparison.empty:
        console.print(_table(results, verdict))
    if without := baselines_sentence(results):
        say(without)
    if verdict.indistinguishable:
        chief = "best" if verdict.pick is None else "pick"
        say(f"cannot be told apart from the {chief}: {'; '.join(verdict.indistinguishable)}")
    if verdict.more_seeds:
        say(f"about {more_seeds(verdict.more_seeds)} would decide it")
        if command := add_seeds(results, verdict.more_seeds):
            say(f"beyond the looks laid down, so exploratory: {command}")
    for sentence in verdict.not_supported:
        say(f"not supported: {sentence}")
    if verdict.pick is not None:
        say("\n" + snippet_for(results, verdict.pick))
    elif verdict.best is not None:
        say("\nno pick; the best mean so far, not shown to be the best:\n")
        say(snippet_for(results, verdict.best))
    return verdict


def print_explained(
    results: StudyResults,
    console: Console,
    cost: str | None = None,
    prefer: Sequence[Constraint] = (),
) -> None:
    """Prints the chain from trial numbers to the verdict."""
    for number, step in enumerate(explain(results, cost, prefer), 1):
        console.print(f"\n{number}. {step.title}", highlight=False, markup=False)
        for line in step.lines:
            console.print(f"   {line}", highlight=False, soft_wrap=True, markup=False)


def print_claims(results: StudyResults, console: Console) -> None:
    """Prints what the study says of common rules of thumb."""
    console.print("\nrules of thumb, 95 % intervals, validation split", highlight=False)
    for finding in evaluate_claims(results):
        told = [claim_tests.comparison_text(results, one) for one in finding.comparisons]
        said = "; ".join(told or [claim_tests.missing_data_message(results, finding)])
        line = f"{finding.verdict}: {finding.claim.sentence} [{said}]"
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    for line in claim_advice(results, evaluate_claims(results)):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _table(results: StudyResults, verdict: Recommendation) -> Table:
    scores = metric_format(results.objective)
    table = Table(title=f"finalists, test, {scores.unit}", title_justify="left")
    for column in ("configuration", "parameters", "score", "95 % CI", "to the best", "verdict"):
        table.add_column(column)
    for row in verdict.comparison.to_dict("records"):
        table.add_row(
            f"{row['variant']} r={row['rank']} alpha={row['alpha']:g} {row['target_modules']} "
            f"lr={row['learning_rate']:.2g}",
            f"{row['parameters']:,.0f}",
            scores.show(row["value"]),
            scores.interval(row["low"], row["high"]),
            scores.gap(row["difference_to_best"]),
            str(row["verdict"]),
        )
    return table
