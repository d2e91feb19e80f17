"""The model card: figures come from the log and the config, none is left open."""

import json
from pathlib import Path

import pytest

from harness.embedded.recipe import quality

_LOOK = {
    "step": 250, "tokens": 768_000, "seconds": 120.0, "first_loss": 6.1, "copy_loss": 5.7,
    "copy_accuracy": 0.03, "episode_tokens": 0.1, "episode_exact": 0.0, "questions_exact": 0.2,
    "note_exact": 0.1,
}  # fmt: skip
_CONFIG = {
    "hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 6,
    "intermediate_size": 512, "vocab_size": 2000, "max_position_embeddings": 1024,
}  # fmt: skip


def test_the_card_says_what_the_log_says(tmp_path: Path) -> None:
    looks = [
        {**_LOOK, "step": step, "copy_accuracy": step / 10_000} for step in range(250, 5000, 250)
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(look) for look in looks))
    (tmp_path / "config.json").write_text(json.dumps(_CONFIG))
    (tmp_path / "model.safetensors").write_bytes(b"0" * 4000)
    quality.write_model_card(tmp_path, seed=3, tokens=1_000_000, processes=1)
    text = (tmp_path / "README.md").read_text()
    assert "license: apache-2.0" in text
    assert "--seed 3 --tokens 1000000 --processes 1" in text
    assert "0.475" in text
    assert "{" not in text


def test_no_log_no_card(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        quality.write_model_card(tmp_path, seed=0, tokens=1, processes=1)
