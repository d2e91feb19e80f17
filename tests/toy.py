"""A model, a tokenizer and a task small enough to train in a test; all of them the real types."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.tasks.task import Task
from harness.tasks.task import load_task as load_task_from

SPECIAL = ("<pad>", "<s>", "</s>")
LABELS = ("MED", "DOSE")


def tokenizer(marks_start: bool = True) -> PreTrainedTokenizerFast:
    """One token for each byte, and three special ones."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *letters))}
    inner = Tokenizer(models.BPE(vocabulary, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    if marks_start:
        inner.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def llama_config(**changes: object) -> LlamaConfig:
    """Two layers of width 32, with two query heads on one key head."""
    settings: dict[str, object] = {
        "vocab_size": len(tokenizer()),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 256,
        "initializer_range": 0.15,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": True,
    }
    return LlamaConfig(**(settings | changes))


def save_model(folder: Path, seed: int = 0) -> Path:
    """A random Llama with its tokenizer, as `from_pretrained` takes it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(llama_config())
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


NOTES = {
    "train": (
        ("Takes Xarel 5 mg.", "MED:Xarel", "DOSE:5 mg"),
        ("On Lasix now.", "MED:Lasix"),
        ("No drugs.",),
        ("Give Advil 20 mg, then Lasix.", "MED:Advil", "DOSE:20 mg", "MED:Lasix"),
        ("Had 7 mg of Zocor.", "DOSE:7 mg", "MED:Zocor"),
        ("Well.",),
        ("Stop Zocor.", "MED:Zocor"),
        ("Advil 9 mg daily.", "MED:Advil", "DOSE:9 mg"),
        ("Xarel was stopped.", "MED:Xarel"),
        ("Only 3 mg.", "DOSE:3 mg"),
    ),
    "validation": (
        ("Takes Advil 5 mg.", "MED:Advil", "DOSE:5 mg"),
        ("Nothing today.",),
        ("Stop Xarel.", "MED:Xarel"),
        ("Had 8 mg of Bumex.", "DOSE:8 mg", "MED:Bumex"),
        ("On Zocor and on Advil now, both.", "MED:Zocor", "MED:Advil"),
    ),
    "test": (
        ("Give Bumex 20 mg.", "MED:Bumex", "DOSE:20 mg"),
        ("Had Lasix.", "MED:Lasix"),
        ("Fine.",),
    ),
}


def save_task(folder: Path, max_new_tokens: int = 24) -> Path:
    """A task of two labels: ten training notes, five for validation, three for the test."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, notes in NOTES.items():
        rows = []
        for number, (text, *entities) in enumerate(notes):
            spans = []
            for label, surface in (entity.split(":") for entity in entities):
                start = text.index(surface)
                spans.append({"start": start, "end": start + len(surface), "label": label})
            rows.append(json.dumps({"id": f"{split}-{number}", "text": text, "entities": spans}))
        (folder / f"{split}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (folder / "task.yaml").write_text(
        "name: toy\nsummary: two labels\nlabels: [MED, DOSE]\ndata: {folder: .}\n"
        f'prompt: "N: {{text}}\\nE:"\nmax_new_tokens: {max_new_tokens}\nmetrics: [entity_f1]\n'
        "objective: {metric: entity_f1, direction: maximize, margin: 0.02}\n",
        encoding="utf-8",
    )
    return folder


def load_task(folder: Path, max_new_tokens: int = 24) -> Task:
    """The toy task, written to `folder`."""
    return load_task_from(f"{save_task(folder, max_new_tokens)}/")


PROSE = ("The", "patient", "was", "seen", "and", "went", "home", "today", "again", "fine")


def load_prose(folder: Path) -> Task:
    """Twelve texts of two to nine words a split, scored by perplexity; written to `folder`."""
    for split in ("train", "validation", "test"):
        rows = [
            {"id": f"{split}-{n}", "text": " ".join(PROSE[: 2 + n % 8]) + f" {split} {n}."}
            for n in range(12)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "task.yaml").write_text(
        "name: prose\nsummary: x\nkind: text\ndata: {folder: .}\nmetrics: [perplexity]\n"
        "objective: {metric: perplexity, direction: minimize, margin: 0.5}\n"
    )
    return load_task_from(f"{folder}/")


def load_choices(folder: Path) -> Task:
    """Twelve texts a split, each of one of four classes; written to `folder`."""
    for split in ("train", "validation", "test"):
        rows = [
            {
                "id": f"{split}-{n}",
                "input": f"{PROSE[n % 4]} {PROSE[4 + n % 5]}",
                "output": ("inner", "inset", "outer", "ounce")[n % 4],
            }
            for n in range(12)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "task.yaml").write_text(
        'name: choices\nsummary: x\nkind: choice\nprompt: "{input}\\n"\ndata: {folder: .}\n'
        "metrics: [accuracy]\n"
        "objective: {metric: accuracy, direction: maximize, margin: 0.05}\n"
    )
    return load_task_from(f"{folder}/")
