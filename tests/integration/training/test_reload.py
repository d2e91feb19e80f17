"""Every variant goes home as a standard PEFT folder: a fresh process, without us, reads it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.adapters import attach
from harness.config.variants import VARIANTS
from harness.models.base_model import BaseModel
from tests.unit.adapters.test_attach import IDS, attached, config, logits, stir

NAMES = [*VARIANTS.names(), "dora+lora_plus", "rslora+pissa", "dora+pissa", "dora+eva"]

READER = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
ids = torch.tensor(json.loads(sys.argv[2]))
found = {}
for name, (base, folder) in json.loads(sys.argv[1]).items():
    model = AutoModelForCausalLM.from_pretrained(base)
    adapted = PeftModel.from_pretrained(model, folder).eval()
    with torch.no_grad():
        found[name] = adapted(input_ids=ids).logits.tolist()
assert "harness" not in sys.modules
print("FOUND " + json.dumps(found))
"""


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
def test_a_fresh_process_reads_each_variants_folder(
    base: BaseModel, model_folder: Path, tmp_path: Path
) -> None:
    trained, places = {}, {}
    for name in NAMES:
        with attached(base, config(name)) as adapter:
            stir(base)
            trained[name] = logits(base)
            folder = attach.save_adapter(adapter, tmp_path / name / "adapter")
        # LoftQ's adapters belong to a base of their own.
        bases = [file for file in folder.parent.iterdir() if file.name.startswith("base-")]
        places[name] = [str(bases[0] if bases else model_folder), str(folder)]
    done = subprocess.run(
        [sys.executable, "-c", READER, json.dumps(places), json.dumps(IDS.tolist())],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    found = json.loads(line.removeprefix("FOUND "))
    assert sorted(found) == sorted(NAMES)
    for name in NAMES:
        torch.testing.assert_close(torch.tensor(found[name]), trained[name], rtol=1e-5, atol=1e-5)
