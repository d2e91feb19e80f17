"""A real sweep that is small: two steps a trial, a few notes; all stages, all parts real."""

import sys
from pathlib import Path

SETTINGS = (
    "search.trials=4",
    # With random trials only, a slot's draw depends on its name and not on earlier results.
    "search.startup=4",
    "space.rank=[2,4]",
    "space.target_modules=[qv, all_linear]",
    "space.variant=[lora]",
    "space.dropout=[0.0, 0.1]",
    "space.alpha_ratio=[2]",
    "ablation.factors={rank: [2, 4], target_modules: [qv, all_linear]}",
    "ablation.pairs=[]",
    "ablation.rates=2",
    "ablation.seeds=2",
    "ablation.max_cells=3",
    "confirmation={looks: [2], max_configurations: 2}",
    "baselines={shots: [0], full: false}",
    "training.steps=3",
    "training.readings=1",
    "training.reading_examples=4",
)
STUDY = "ner_medical"


def arguments(folder: Path, workers: int = 2, *more: str) -> list[str]:
    """Command-line arguments; results and reports are written to `folder`."""
    words = ["sweep", STUDY, "--limit", "8"]
    for setting in SETTINGS:
        words += ["--set", setting]
    words += ["--workers", str(workers), "--set", "threads=1", *more]
    return [*words, "--results", str(folder / "results"), "--reports", str(folder / "reports")]


def command(folder: Path, workers: int = 2, *more: str) -> list[str]:
    """The command line that runs the sweep in a process of its own."""
    return [sys.executable, "-m", "harness", *arguments(folder, workers, *more)]
