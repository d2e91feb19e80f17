"""`pick`: the recommendation of a study, as text or JSON."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options as opt


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("pick", help="Print which configuration to use, and how sure that is.")(pick)


def pick(
    study: opt.Study,
    results: opt.Results = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="the whole chain from trials to verdict")
    ] = False,
) -> None:
    """Prints the recommendation."""
    import json

    from rich.console import Console

    from harness.analysis import claim_words
    from harness.analysis.explanation import explain as explained
    from harness.analysis.judging import judge
    from harness.analysis.recommendation import recommend
    from harness.cli.outcome import print_claims, print_explained, print_outcome
    from harness.report.snippet import config_of
    from harness.storage.records import read_study

    found = read_study(study, results)
    if not as_json:
        console = Console()
        if explain:
            print_explained(found, console)
        print_outcome(found, console)
        if explain:
            print_claims(found, console)
        return
    verdict = recommend(found)
    comparison = json.loads(verdict.comparison.to_json(orient="records"))
    body = {
        "study": found.name,
        "metric": found.objective.name,
        "margin": found.objective.margin,
        "outcome": verdict.outcome,
        "pick": dict(verdict.pick) if verdict.pick is not None else None,
        "score": verdict.score._asdict() if verdict.score is not None else None,
        "best": dict(verdict.best) if verdict.best is not None else None,
        "evidence": verdict.evidence,
        "comparison": comparison,
        "indistinguishable": list(verdict.indistinguishable),
        "not_supported": list(verdict.not_supported),
        "dropped": list(found.attributes.get("dropped", ())),
        "more_seeds": verdict.more_seeds,
        "seeds": verdict.seeds,
        "examples": verdict.examples,
        "seed_sd": verdict.seed_sd,
        "confidence_set": list(verdict.confidence_set),
        "claims": json.loads(claim_words.table(found, judge(found)).to_json(orient="records")),
        **({"chain": [step._asdict() for step in explained(found)]} if explain else {}),
        "lora_config": config_of(found, verdict.pick) if verdict.pick is not None else None,
    }
    print(json.dumps(body, indent=2, default=float))
