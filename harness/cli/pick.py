"""`pick`: the recommendation of a study, as text or JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import options

if TYPE_CHECKING:
    from harness.costs import Constraint
    from harness.results import StudyResults


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("pick", help="Print which configuration to use, and how sure that is.")(pick)


def pick(
    study: options.Study,
    results: options.Results = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
    cost: Annotated[
        str | None, typer.Option(help="pick the cheapest by parameters, train_seconds, ...")
    ] = None,
    prefer: Annotated[
        list[str] | None, typer.Option(help="only what keeps a bound: memory<8GB, parameters<1M")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="the whole chain from trials to verdict")
    ] = False,
) -> None:
    """Prints the recommendation."""
    import json

    from rich.console import Console

    from harness.cli.outcome import print_claims, print_explained, print_outcome
    from harness.costs import COSTS
    from harness.errors import UserError, did_you_mean
    from harness.storage.records import read_study

    found = read_study(study, results)
    if cost is not None and cost not in COSTS:
        raise UserError(f"--cost {cost}: {did_you_mean(cost, COSTS)}")
    bounds = _bounds(prefer or [])
    if as_json:
        print(json.dumps(_body(found, cost, bounds, explain), indent=2, default=float))
        return
    console = Console()
    if explain:
        print_explained(found, console, cost, bounds)
    print_outcome(found, console, cost, bounds)
    if explain:
        print_claims(found, console)


def _bounds(texts: Sequence[str]) -> "list[Constraint]":
    from harness.costs import parse_constraint
    from harness.errors import UserError

    try:
        return [parse_constraint(text) for text in texts]
    except UserError as error:
        raise UserError(f"--prefer: {error}") from None


def _body(
    found: "StudyResults", cost: str | None, bounds: "Sequence[Constraint]", explained: bool
) -> dict[str, Any]:
    """The recommendation for programs."""
    import json

    from harness.analysis import claim_tests
    from harness.analysis.claim_tests import evaluate_claims
    from harness.analysis.explanation import explain
    from harness.analysis.recommendation import recommend
    from harness.report.snippets import snippet_for

    verdict = recommend(found, cost, bounds)
    chain = [step._asdict() for step in explain(found, cost, bounds)] if explained else None
    claims = claim_tests.claims_table(found, evaluate_claims(found))
    return {
        "study": found.name,
        "metric": found.objective.name,
        "margin": found.objective.margin,
        "outcome": verdict.outcome,
        "pick": dict(verdict.pick) if verdict.pick is not None else None,
        "score": verdict.score._asdict() if verdict.score is not None else None,
        "best": dict(verdict.best) if verdict.best is not None else None,
        "evidence": verdict.evidence,
        "comparison": json.loads(verdict.comparison.to_json(orient="records")),
        "indistinguishable": list(verdict.indistinguishable),
        "confidence_set": list(verdict.confidence_set),
        "not_supported": list(verdict.not_supported),
        "dropped": list(found.attributes.get("dropped", ())),
        "more_seeds": verdict.more_seeds,
        "cost": verdict.cost,
        "prefer": list(verdict.prefer),
        "left_out": list(verdict.left_out),
        "seeds": verdict.seeds,
        "examples": verdict.examples,
        "seed_sd": verdict.seed_sd,
        "claims": json.loads(claims.to_json(orient="records")),
        **({} if chain is None else {"chain": chain}),
        "lora_config": snippet_for(found, verdict.pick) if verdict.pick is not None else None,
    }
