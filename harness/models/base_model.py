"""Loads one frozen base model, quantised or not, once for a process.

Knows nothing of tasks and trials. Every fault of the user's (no such folder, not a model for this
head, no tokenizer, hub out of reach, no memory) is a `UserError` of one line.

Fingerprints of a model's weights: a full one, and a cheap one to take after each trial.

Knows nothing of adapters: take them while none is attached.

Keeps 4-bit weights as they are. Knows bitsandbytes' layers, nothing of harness's settings.

The lists of blocks that a transformer is made of. Knows modules, nothing of adapters.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from harness import embedded
from harness.config.settings import GENERATION, Head, ModelSettings
from harness.errors import UserError, did_you_mean
from harness.models import token_classifier
from harness.models.memory import is_out_of_memory

_SAMPLES: Final = 64


def checksum(model: nn.Module) -> str:
    """SHA-256 over name, type, shape and every byte of all weights, buffers included.

    Quantised weights count with what is needed to read them (scales, code books).

    Returns:
        64 hex digits; the same on every machine and device.
    """
    digest = hashlib.sha256()
    for name, tensor in _tensors(model):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(_bytes(tensor.detach()).cpu().numpy().tobytes())
    return digest.hexdigest()


def quick_checksum(model: nn.Module) -> str:
    """SHA-256 over the names and 64 evenly spaced numbers of each weight; a few milliseconds.

    Any update by an adapter (merging, also with rounding after unmerging) touches nearly every
    number of a matrix, so that the sample shows it.
    """
    digest = hashlib.sha256()
    samples: dict[torch.device, list[torch.Tensor]] = {}
    for name, tensor in _tensors(model):
        digest.update(name.encode())
        flat = tensor.detach().reshape(-1)
        stride = max(1, flat.numel() // _SAMPLES)
        samples.setdefault(flat.device, []).append(_bytes(flat[::stride][:_SAMPLES]))
    # bitsandbytes keeps some of what reads 8-bit weights on the processor.
    for each in samples.values():
        digest.update(torch.cat(each).cpu().numpy().tobytes())
    return digest.hexdigest()


def _tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    seen: set[int] = set()
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, torch.Tensor) and value.numel():
            if value.data_ptr() in seen:  # tied weights
                continue
            seen.add(value.data_ptr())
            yield name, value


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1).contiguous().view(torch.uint8)


#: By name, for the package is slow to import and needed for such layers alone.
_CLASS = "Linear4bit"


def is_4bit(layer: nn.Module) -> bool:
    """Whether a layer is bitsandbytes' own of 4-bit weights."""
    kind = type(layer)
    return kind.__name__ == _CLASS and kind.__module__.startswith("bitsandbytes.")


def dequantized_weight(layer: nn.Module) -> Tensor:
    """The weights that a 4-bit layer stands for, shape (out, in), in what it computes in."""
    from bitsandbytes.functional import dequantize_4bit

    weight: Any = layer.weight
    full: Tensor = dequantize_4bit(weight.data, weight.quant_state)
    return full.to(compute_dtype(layer))


def compute_dtype(layer: nn.Module) -> torch.dtype:
    """The precision of a 4-bit layer's products."""
    weight: Any = layer.weight
    found: torch.dtype = getattr(layer, "compute_dtype", None) or weight.quant_state.dtype
    return found


def keep_4bit_layout(model: nn.Module) -> None:
    """Has a model's 4-bit layers compute alike on every processor, in scoring as in training.

    On one with AVX512-BF16, bitsandbytes 0.50 lays the weights out anew at the first forward pass
    in evaluation mode: scales are rounded to bfloat16 for good, layers narrower than a block fail,
    and no gradient comes through such a layer in training afterwards.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


T = TypeVar("T")

_BUILTIN: Final = "builtin:"
_DTYPES: Final = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True)
class BaseModel:
    """One frozen base, shared by all trials of a process.

    Attributes:
        name: what the sweep calls it.
        model: in evaluation mode, no weight requiring a gradient.
        tokenizer: has a pad token.
        device: where the model lies.
        fingerprint: SHA-256 of the weights and the tokenizer as loaded, 64 hex digits.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    fingerprint: str

    @property
    def context(self) -> int | None:
        """Tokens the model was made for, or None where its configuration does not say."""
        length = getattr(self.model.config, "max_position_embeddings", None)
        return int(length) - _kept_back(self.model) if length else None


class ModelSource(NamedTuple):
    """Where a model is.

    Attributes:
        path: folder or hub id, as `from_pretrained` takes it.
        keywords: what `from_pretrained` needs beside it (`gguf_file`, `revision`).
        local: whether it is on this machine.
    """

    path: str
    keywords: dict[str, Any]
    local: bool


def _kept_back(model: PreTrainedModel) -> int:
    """Positions that no token of a text can have: RoBERTa counts from behind the padding's."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            return 0 if module.padding_idx is None else int(module.padding_idx) + 1
    return 0


def load(
    settings: ModelSettings, threads: int | None = None, head: Head = GENERATION
) -> BaseModel:
    """Loads a base model, freezes it and takes its fingerprint.

    Args:
        settings: which model, in which precision; `auto` has to be settled before.
        threads: torch threads of this process, or None to leave them as they are.
        head: what stands on it; a new one is zero.

    Raises:
        UserError: it cannot be loaded; says why.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    place = resolve_model(settings)
    with _quiet(expected=head != GENERATION):
        config = load_config(settings, head)
        tokenizer = _tokenizer(settings, place)
        model = _model(settings, place, config, head)
    freeze(model)
    _choose_pad(tokenizer, settings.name)
    return BaseModel(settings.name, model, tokenizer, _device(), fingerprint(model, tokenizer))


def fingerprint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 over all weights and all that decides how a text becomes tokens; 64 hex digits."""
    parts = [
        checksum(model),
        tokenizer.backend_tokenizer.to_str()
        if tokenizer.is_fast
        else repr(sorted(tokenizer.get_vocab().items())),
        repr(tokenizer("a", add_special_tokens=True)["input_ids"]),
        repr((tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def start_token(base: BaseModel) -> tuple[int, ...]:
    """The start token, where the tokenizer puts it before a text or declares that it should."""
    tokenizer = base.tokenizer
    start = tokenizer.bos_token_id
    if start is None:
        return ()
    marked = tokenizer("a", add_special_tokens=True)["input_ids"]
    if marked[:1] == [start] or getattr(tokenizer, "add_bos_token", False):
        return (int(start),)
    return ()


def freeze(model: PreTrainedModel) -> None:
    """Evaluation mode, and no weight asks for a gradient."""
    model.requires_grad_(False)
    model.train(False)


def resolve_model(settings: ModelSettings) -> ModelSource:
    """Finds a model by `builtin:` name, GGUF file, folder or hub id.

    Raises:
        UserError: there is no such embedded model, file or folder.
    """
    name = settings.name
    if name.startswith(_BUILTIN):
        short = name.removeprefix(_BUILTIN)
        if short not in embedded.names():
            hint = did_you_mean(short, embedded.names())
            raise UserError(f"model.name: no embedded model '{short}'; {hint}")
        return ModelSource(str(embedded.path(short)), {}, local=True)
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise UserError(f"model.name: {name}: no such GGUF file")
        return ModelSource(str(path.parent), {"gguf_file": path.name}, local=True)
    if path.is_dir():
        return ModelSource(str(path), {}, local=True)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise UserError(
            f"model.name: {name}: no such folder; give builtin:tiny, a folder, a .gguf file or "
            "a hub id such as owner/name"
        )
    keywords = {"revision": settings.revision} if settings.revision else {}
    return ModelSource(name, keywords, local=False)


def load_config(settings: ModelSettings, head: Head = GENERATION) -> PretrainedConfig:
    """The configuration alone, without weights.

    Raises:
        UserError: there is none, or it is not one of a model with such a head.
    """
    place = resolve_model(settings)
    if head != GENERATION and "gguf_file" in place.keywords:
        raise UserError(f"model.name: {settings.name}: a new head needs a folder, no .gguf file")
    if place.local and not place.keywords and not (Path(place.path) / "config.json").is_file():
        raise UserError(f"model.name: {settings.name}: no config.json in this folder")
    config: PretrainedConfig = _told(
        settings, place, lambda: AutoConfig.from_pretrained(place.path, **place.keywords)
    )
    refused = token_classifier.why_no_head(config, head)
    if refused is not None:
        raise UserError(f"model.name: {settings.name} {refused}")
    token_classifier.put_labels(config, head)
    return config


def load_tokenizer(settings: ModelSettings) -> PreTrainedTokenizerBase:
    """The tokenizer alone, without weights.

    Raises:
        UserError: there is none.
    """
    with _quiet(expected=False):
        return _tokenizer(settings, resolve_model(settings))


def _tokenizer(settings: ModelSettings, place: ModelSource) -> PreTrainedTokenizerBase:
    folder = Path(place.path)
    names = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
    plain = place.local and "gguf_file" not in place.keywords
    if plain and not any((folder / name).is_file() for name in names):
        raise UserError(f"model.name: {settings.name}: no tokenizer in this folder")
    return _told(
        settings, place, lambda: AutoTokenizer.from_pretrained(place.path, **place.keywords)
    )


def _model(
    settings: ModelSettings, place: ModelSource, config: PretrainedConfig, head: Head
) -> PreTrainedModel:
    dtype = _DTYPES[settings.dtype]
    keywords: dict[str, Any] = {
        "dtype": dtype,
        "attn_implementation": settings.attention,
        **place.keywords,
    }
    device = _device()
    # A head that is new is trained, so it stays whole; None is bitsandbytes' own choice.
    whole = None if head == GENERATION else list(token_classifier.NAMES)
    if settings.quantization == "nf4":
        keywords["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            llm_int8_skip_modules=whole,
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    elif settings.quantization == "int8":
        keywords["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            llm_int8_skip_modules=whole, load_in_8bit=True
        )
    if settings.quantization != "none":
        keywords["device_map"] = {"": device}
    if head != GENERATION or (settings.quantization == "none" and "gguf_file" not in keywords):
        keywords["config"] = config

    def build() -> PreTrainedModel:
        model = token_classifier.load(settings.name, place.path, head, keywords)
        keep_4bit_layout(model)
        return model if settings.quantization != "none" else model.to(device)  # type: ignore[arg-type]

    return _told(settings, place, build)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _choose_pad(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    # Padding is masked or lies behind the answer, so any token of the vocabulary will do;
    # a new one would need a larger embedding.
    if tokenizer.pad_token_id is not None:
        return
    for token in (tokenizer.eos_token, tokenizer.unk_token, tokenizer.bos_token):
        if token is not None:
            tokenizer.pad_token = token
            return
    raise UserError(f"model.name: {name}: its tokenizer has neither pad, eos, unk nor bos token")


def _told(settings: ModelSettings, place: ModelSource, action: Callable[[], T]) -> T:
    """Runs an action of Transformers; its errors become one line for the user."""
    try:
        return action()
    except ImportError as error:
        raise UserError(f"model: {settings.name} needs a package: {_line(error)}") from error
    except (OSError, ValueError, RuntimeError, KeyError, MemoryError, TypeError) as error:
        if is_out_of_memory(error):
            told = "not enough memory; try quantization: nf4, dtype: bfloat16 or a smaller model"
        elif not place.local and isinstance(error, OSError):
            told = (
                "neither a folder here nor to be had from the model hub; give a folder, or check "
                f"name, revision and network ({_line(error)})"
            )
        else:
            told = f"cannot be loaded: {_line(error)}"
        raise UserError(f"model.name: {settings.name}: {told}") from error


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


@contextmanager
def _quiet(expected: bool) -> Iterator[None]:
    """Keeps Transformers' progress bars off the terminal, and what is expected of a new head."""
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if expected:
        logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def transformer_blocks(model: PreTrainedModel) -> list[nn.ModuleList]:
    """Lists of modules that no other list holds, such as T5's blocks hold their layers."""
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        and not any(part.isdigit() for part in name.split("."))
    ]
