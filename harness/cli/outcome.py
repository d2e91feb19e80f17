"""Prints a recommendation: for `sweep` at its end, and for `pick`."""

from rich.console import Console
from rich.table import Table

from harness.analysis.recommendation import Recommendation, recommend
from harness.report.snippet import config_of
from harness.results import StudyResults


def print_outcome(results: StudyResults, console: Console) -> Recommendation:
    """Prints pick, score, evidence, comparison and the configuration to paste."""
    verdict = recommend(results)
    scale, unit = results.objective.scale, results.objective.unit

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    say(f"\n{results.name}: {verdict.outcome}")
    say(verdict.evidence)
    if verdict.score is not None:
        low, high = verdict.score.low * scale, verdict.score.high * scale
        say(
            f"test score {verdict.score.value * scale:.1f} "
            f"(95 % CI {low:.1f} to {high:.1f}) {unit}"
        )
    if not verdict.comparison.empty:
        console.print(_table(results, verdict))
    if verdict.indistinguishable:
        chief = "best" if verdict.pick is None else "pick"
        say(f"cannot be told apart from the {chief}: {'; '.join(verdict.indistinguishable)}")
    if verdict.more_seeds:
        say(f"about {verdict.more_seeds} more seeds would decide it")
    for sentence in verdict.not_supported:
        say(f"not supported: {sentence}")
    if verdict.pick is not None:
        say("\n" + config_of(results, verdict.pick))
    elif verdict.best is not None:
        say("\nno pick; the best mean so far, not shown to be the best:\n")
        say(config_of(results, verdict.best))
    return verdict


def _table(results: StudyResults, verdict: Recommendation) -> Table:
    scale = results.objective.scale
    table = Table(title=f"finalists, test, {results.objective.unit}", title_justify="left")
    for column in ("configuration", "parameters", "score", "95 % CI", "to the best", "verdict"):
        table.add_column(column)
    for row in verdict.comparison.to_dict("records"):
        table.add_row(
            f"{row['variant']} r={row['rank']} alpha={row['alpha']:g} {row['target_modules']} "
            f"lr={row['learning_rate']:.2g}",
            f"{row['parameters']:,.0f}",
            f"{row['value'] * scale:.1f}",
            f"{row['low'] * scale:.1f} to {row['high'] * scale:.1f}",
            f"{row['difference_to_best'] * scale:+.1f}",
            str(row["verdict"]),
        )
    return table
