"""A small seeded study, compared with the record of it that lies beside this file.

It guards against changes that nobody meant: whoever moves code about must get the same study.
A change that is meant to move scores records it anew, in the commit that moves them:

    OMP_NUM_THREADS=1 python -m tests.e2e.test_golden_study

Which trials are run (stage, configuration, seed, order) has to be equal everywhere. Losses and
scores are rounded differently by other processors and releases of torch, which choose other
kernels: they have to be equal to the last bit where both are those of the record, and elsewhere
within bounds that are 25 times what a change of kernel was seen to do.
"""

import hashlib
import json
import platform
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import torch

from harness import cli
from harness.results import StudyResults
from harness.storage.records import read_study

pytestmark = pytest.mark.slow

RECORD: Final = Path(__file__).with_name("golden_study.json")
STUDY: Final = "ner_medical"
#: All stages, LoRA and DoRA, with dropout and without. The engine is named, so that nothing is
#: chosen by timing.
SETTINGS: Final = (
    "threads=1",
    "engine.kind=sequential",
    "search.trials=3",
    "search.startup=3",
    "space.variant=[lora, dora]",
    "space.rank=[2, 4]",
    "space.alpha_ratio=[2]",
    "space.target_modules=[qv, all_linear]",
    "space.dropout=[0.0, 0.1]",
    "ablation.factors={variant: [lora, dora], rank: [2, 4]}",
    "ablation.pairs=[]",
    "ablation.rates=2",
    "ablation.seeds=2",
    "ablation.max_cells=2",
    "confirmation={looks: [2], max_configurations: 2}",
    "baselines={shots: [0], full: false}",
    "training.steps=10",
    "training.readings=1",
    "training.reading_examples=4",
)
#: Relative, of a mean loss over five steps. Kernels of AVX-512, AVX2 and SSE4 were 4e-6 apart.
LOSS_BOUND: Final = 1e-4
#: Absolute, of an F1 over 16 notes. No kernel moved one; a single entity more or less is 0.03.
SCORE_BOUND: Final = 0.04


def run_study(folder: Path) -> StudyResults:
    """Runs the study as a user does."""
    words = ["sweep", STUDY, "--limit", "16", "--workers", "1"]
    for setting in SETTINGS:
        words += ["--set", setting]
    words += ["--results", str(folder / "results"), "--reports", str(folder / "reports")]
    assert cli.run(words) == 0
    return read_study(STUDY, folder / "results")


def kernels() -> dict[str, str]:
    """What decides on the kernels that products are made with, and so on the last bits."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    first = {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    names = ("model name", "cpu family", "model", "stepping", "cache size", "flags")
    return {
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "processor": first.get("model name", platform.processor()),
        "details": hashlib.sha256(repr([first.get(x) for x in names]).encode()).hexdigest()[:16],
    }


def summarize(results: StudyResults) -> dict[str, Any]:
    """The study as plain values: its trials, their losses, and a digest of all they wrote."""
    losses = results.measurements.groupby("trial")["loss"].apply(list)
    columns = ["number", "stage", "key", "seed", "state", "value", "test"]
    trials = [
        {name: None if value != value else value for name, value in row.items()}  # NaN
        | {"losses": losses.get(row["number"], [])}
        for row in results.trials[columns].to_dict("records")
    ]
    written = results.examples.sort_values(["trial", "split", "example"])
    texts = written[["trial", "split", "example", "prediction"]].to_csv(index=False)
    return {
        "kernels": kernels(),
        "trials": trials,
        "predictions": hashlib.sha256(texts.encode()).hexdigest()[:16],
    }


def differences(study: Mapping[str, Any], record: Mapping[str, Any], exact: bool) -> list[str]:
    """What differs between a study and the record of one, a line for each."""
    lines = []
    names = ("number", "stage", "key", "seed", "state")
    rows, recorded = (
        [[trial[x] for x in names] for trial in x["trials"]] for x in (study, record)
    )
    if rows != recorded:
        return [f"trials {rows}, recorded {recorded}"]
    loss_bound, score_bound = (0.0, 0.0) if exact else (LOSS_BOUND, SCORE_BOUND)
    for trial, before in zip(study["trials"], record["trials"], strict=True):
        scores = [trial["value"], trial["test"]] == [
            None if x is None else pytest.approx(x, rel=0, abs=score_bound)
            for x in (before["value"], before["test"])
        ]
        losses = trial["losses"] == pytest.approx(before["losses"], rel=loss_bound, abs=0)
        if not (scores and losses):
            lines.append(f"{trial}, recorded {before}")
    if exact and study["predictions"] != record["predictions"]:
        lines.append(f"predictions {study['predictions']}, recorded {record['predictions']}")
    return lines


@pytest.mark.usefixtures("workers_here")
def test_the_study_is_the_recorded_one(tmp_path: Path) -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    study = json.loads(json.dumps(summarize(run_study(tmp_path))))
    assert differences(study, record, exact=study["kernels"] == record["kernels"]) == []


def test_the_comparison_sees_what_matters_and_lets_rounding_pass() -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert differences(record, record, exact=True) == []

    def altered(number: int, **changes: object) -> dict[str, Any]:
        trials = [trial | changes if trial["number"] == number else trial for trial in trials_]
        return record | {"trials": trials}

    trials_ = record["trials"]
    losses, value = trials_[0]["losses"], trials_[0]["value"]
    rounded = altered(0, losses=[loss * (1 + 1e-5) for loss in losses])
    assert differences(rounded, record, exact=False) == []
    assert differences(rounded, record, exact=True)
    for other in (
        altered(0, losses=[loss * 1.01 for loss in losses]),
        altered(0, losses=losses[:1]),
        altered(0, value=value + 0.1),
        altered(0, key="another"),
        altered(len(trials_) - 1, seed=7),
        record | {"trials": trials_[:-1]},
    ):
        assert differences(other, record, exact=False)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        recorded = summarize(run_study(Path(scratch)))
    RECORD.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
