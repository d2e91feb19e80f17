"""A small encoder with a WordPiece tokenizer, and the toy task with a head that tags tokens."""

import string
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from harness.tasks.task import Task
from harness.tasks.task import load_task as load_task_from
from tests import toy

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("takes", "on", "now", "no", "drugs", "give", "then", "had", "of", "well", "stop", "mg")


def tokenizer() -> PreTrainedTokenizerFast:
    """A few words, else letters: names of medicines fall into many parts."""
    letters = (*string.ascii_lowercase, *string.digits, *string.punctuation)
    tokens = (*SPECIAL, *WORDS, *letters, *(f"##{letter}" for letter in letters))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", None, [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def bert_config(**changes: object) -> BertConfig:
    """Two layers of width 32."""
    settings: dict[str, object] = {
        "vocab_size": len(tokenizer()),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.15,
        "pad_token_id": 0,
    }
    return BertConfig(**(settings | changes))


def save_encoder(folder: Path, seed: int = 0) -> Path:
    """A random BERT without any head, as `from_pretrained` takes it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertModel(bert_config())
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def save_task(folder: Path) -> Path:
    """The toy task, its entities tagged instead of written."""
    toy.save_task(folder)
    file = folder / "task.yaml"
    lines = file.read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith(("prompt:", "metrics:"))]
    lines += ["head: token_classification", "metrics: [entity_f1, span_f1_strict]"]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def load_task(folder: Path) -> Task:
    """The toy task with a head, written to `folder`."""
    return load_task_from(f"{save_task(folder)}/")
