"""`pick`: the recommendation of a study, as text or JSON; `sweep` prints it at its end, too."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import options

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from harness.analysis.recommendation import Recommendation
    from harness.costs import Constraint
    from harness.results import StudyResults


def pick(
    study: options.Study,
    results: options.Results = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    cost: Annotated[
        str | None, typer.Option(help="pick the cheapest by parameters, train_seconds, ...")
    ] = None,
    prefer: Annotated[
        list[str] | None,
        typer.Option(
            help="only configurations that satisfy a constraint, such as memory<8GB or "
            "parameters<1M; repeatable"
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="print every step from the trials to the verdict")
    ] = False,
) -> None:
    """Print which configuration to use, and how sure that is."""
    import json

    from rich.console import Console

    from harness.costs import COSTS
    from harness.errors import UserError, did_you_mean
    from harness.storage.records import read_study

    study_results = read_study(study, results)
    if cost is not None and cost not in COSTS:
        raise UserError(f"--cost {cost}: {did_you_mean(cost, COSTS)}")
    bounds = _parse_bounds(prefer or [])
    if as_json:
        body = recommendation_json(study_results, cost, bounds, explain)
        print(json.dumps(body, indent=2, default=float))
        return
    console = Console()
    if explain:
        print_explanation(study_results, console, cost, bounds)
    print_recommendation(study_results, console, cost, bounds)
    if explain:
        print_claims(study_results, console)


def _parse_bounds(texts: Sequence[str]) -> "list[Constraint]":
    from harness.costs import parse_constraint
    from harness.errors import UserError

    try:
        return [parse_constraint(text) for text in texts]
    except UserError as error:
        raise UserError(f"--prefer: {error}") from None


def recommendation_json(
    results: "StudyResults", cost: str | None, bounds: "Sequence[Constraint]", explained: bool
) -> dict[str, Any]:
    """The recommendation as plain values, for `print_recommendation`'s arguments.

    If `explained`, `chain` has the steps from trials to verdict.
    """
    import json

    from harness.analysis import claim_tests
    from harness.analysis.claim_tests import evaluate_claims
    from harness.analysis.explanation import explain
    from harness.analysis.recommendation import recommend
    from harness.report.snippets import snippet_for

    verdict = recommend(results, cost, bounds)
    chain = (step._asdict() for step in explain(results, cost, bounds)) if explained else ()
    claims = claim_tests.claims_table(results, evaluate_claims(results))
    return {
        "study": results.name,
        "metric": results.objective.name,
        "margin": results.objective.margin,
        "outcome": verdict.outcome,
        "pick": dict(verdict.pick) if verdict.pick is not None else None,
        "score": verdict.score._asdict() if verdict.score is not None else None,
        "best": dict(verdict.best) if verdict.best is not None else None,
        "evidence": verdict.evidence,
        "comparison": json.loads(verdict.comparison.to_json(orient="records")),
        "indistinguishable": list(verdict.indistinguishable),
        "confidence_set": list(verdict.confidence_set),
        "not_supported": list(verdict.not_supported),
        "dropped": list(results.attributes.get("dropped", ())),
        "more_seeds": verdict.more_seeds,
        "cost": verdict.cost,
        "prefer": list(verdict.prefer),
        "left_out": list(verdict.left_out),
        "seeds": verdict.seeds,
        "examples": verdict.examples,
        "seed_sd": verdict.seed_sd,
        "claims": json.loads(claims.to_json(orient="records")),
        **({"chain": list(chain)} if explained else {}),
        "lora_config": snippet_for(results, verdict.pick) if verdict.pick is not None else None,
    }


def print_recommendation(
    results: "StudyResults",
    console: "Console",
    cost: str | None = None,
    prefer: "Sequence[Constraint]" = (),
) -> "Recommendation":
    """Prints pick, score, evidence, comparison and the configuration to paste.

    Args:
        results: the study.
        console: where to print.
        cost: by what the pick is to be the cheapest; the sweep's by default.
        prefer: constraints in addition to the sweep's own.
    """
    from harness.analysis.formatting import metric_format
    from harness.analysis.recommendation import recommend
    from harness.analysis.wording import baselines_sentence, more_seeds
    from harness.report.snippets import add_seeds, snippet_for

    verdict = recommend(results, cost, prefer)
    scores = metric_format(results.objective)

    say = partial(options.say, console)
    # A study that confirmed nothing has the outcome `none`, which as a word alone says little.
    nothing = "no recommendation (nothing was confirmed)"
    say(f"\n{results.name}: {nothing if verdict.outcome == 'none' else verdict.outcome}")
    say(verdict.evidence)
    if verdict.score is not None:
        value = scores.show(verdict.score.value)
        interval = scores.interval(verdict.score.low, verdict.score.high)
        say(f"test score {value} (95 % CI {interval}) {scores.unit}")
    if not verdict.comparison.empty:
        console.print(_comparison_table(results, verdict))
    if baselines := baselines_sentence(results):
        say(baselines)
    if verdict.indistinguishable:
        reference = "best" if verdict.pick is None else "pick"
        names = "; ".join(verdict.indistinguishable)
        say(f"statistically indistinguishable from the {reference}: {names}")
    if verdict.more_seeds:
        say(f"about {more_seeds(verdict.more_seeds)} would decide it")
        if command := add_seeds(results, verdict.more_seeds):
            say(f"beyond the planned looks, therefore exploratory: {command}")
    for sentence in verdict.not_supported:
        say(f"limitation: {sentence}")
    if verdict.pick is not None:
        say("\n" + snippet_for(results, verdict.pick))
    elif verdict.best is not None:
        say("\nno pick; this has the best mean so far, which is not a recommendation:\n")
        say(snippet_for(results, verdict.best))
    return verdict


def print_explanation(
    results: "StudyResults",
    console: "Console",
    cost: str | None = None,
    prefer: "Sequence[Constraint]" = (),
) -> None:
    """Prints every step from the numbers of trials to the verdict."""
    from harness.analysis.explanation import explain

    for number, step in enumerate(explain(results, cost, prefer), 1):
        options.say(console, f"\n{number}. {step.title}")
        for line in step.lines:
            options.say(console, f"   {line}")


def print_claims(results: "StudyResults", console: "Console") -> None:
    """Prints what the study says of common rules of thumb, one a line."""
    from harness.analysis import claim_tests
    from harness.analysis.claim_tests import evaluate_claims
    from harness.report.snippets import claim_advice

    findings = evaluate_claims(results)
    say = partial(options.say, console)
    say("\nClaims (rules of thumb), 95 % confidence intervals, validation split")
    for finding in findings:
        numbers = [
            claim_tests.comparison_text(results, contrast) for contrast in finding.comparisons
        ]
        missing = claim_tests.missing_data_message(results, finding)
        say(f"{finding.verdict}: {finding.claim.sentence} [{'; '.join(numbers or [missing])}]")
    for line in claim_advice(results, findings):
        say(line)


def _comparison_table(results: "StudyResults", verdict: "Recommendation") -> "Table":
    from rich.table import Table

    from harness.analysis.formatting import metric_format

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
