"""Loads, freezes and fingerprints one base model, quantised or not; finds its transformer blocks.

Every mistake of the user (no such folder, a model that cannot have this head, no tokenizer, hub
unreachable, not enough memory) is a `UserError` of one line. Checksums are taken while no adapter
is attached.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
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

#: Values of each weight that `quick_checksum` samples.
_SAMPLES: Final = 64


def checksum(model: nn.Module) -> str:
    """SHA-256 over name, type, shape and every byte of all weights, buffers included.

    Quantised weights count with their scales and code books.

    Returns:
        64 hex digits; the same on every machine and device.
    """
    digest = hashlib.sha256()
    for name, tensor in _tensors(model):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(_bytes(tensor.detach()).cpu().numpy().tobytes())
    return digest.hexdigest()


def quick_checksum(model: nn.Module) -> str:
    """SHA-256 over the names and 64 evenly spaced values of each weight; a few milliseconds.

    Merging an adapter, also with rounding after unmerging, changes nearly every value of a matrix,
    so a sample detects it.
    """
    digest = hashlib.sha256()
    samples: dict[torch.device, list[torch.Tensor]] = {}
    for name, tensor in _tensors(model):
        digest.update(name.encode())
        values = tensor.detach().reshape(-1)
        stride = max(1, values.numel() // _SAMPLES)
        samples.setdefault(values.device, []).append(_bytes(values[::stride][:_SAMPLES]))
    # One digest a device: bitsandbytes keeps some of an 8-bit layer's state on the CPU.
    for sample in samples.values():
        digest.update(torch.cat(sample).cpu().numpy().tobytes())
    return digest.hexdigest()


def _tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    seen: set[int] = set()
    for name, value in sorted(model.state_dict().items()):
        # Tied weights count once, as they are stored once.
        if isinstance(value, Tensor) and value.numel() and value.data_ptr() not in seen:
            seen.add(value.data_ptr())
            yield name, value


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1).contiguous().view(torch.uint8)


def is_4bit(layer: nn.Module) -> bool:
    """Whether a layer is bitsandbytes' `Linear4bit`."""
    # By name, since bitsandbytes is slow to import and needed for 4-bit layers alone.
    name, module = type(layer).__name__, type(layer).__module__
    return name == "Linear4bit" and module.startswith("bitsandbytes.")


def dequantized_weight(layer: nn.Module) -> Tensor:
    """The dequantised weight of a 4-bit layer, shape (out, in), in its compute dtype."""
    from bitsandbytes.functional import dequantize_4bit

    weight: Any = layer.weight
    full: Tensor = dequantize_4bit(weight.data, weight.quant_state)
    return full.to(compute_dtype(layer))


def compute_dtype(layer: nn.Module) -> torch.dtype:
    """The precision in which a 4-bit layer computes."""
    weight: Any = layer.weight
    dtype: torch.dtype = getattr(layer, "compute_dtype", None) or weight.quant_state.dtype
    return dtype


def keep_4bit_layout(model: nn.Module) -> None:
    """Makes a model's 4-bit layers compute alike on every CPU, in scoring as in training.

    On a CPU with AVX512-BF16, bitsandbytes 0.50 repacks the weights at the first forward pass in
    evaluation mode: scales are permanently rounded to bfloat16, layers narrower than a block fail,
    and no gradient passes through such a layer in training afterwards.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


T = TypeVar("T")

_BUILTIN: Final = "builtin:"
#: Torch's types by the names that sweeps give them.
DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class BaseModel:
    """One frozen base model, shared by all trials of a process.

    Attributes:
        name: `model.name` of the sweep.
        model: in evaluation mode, no weight requiring a gradient.
        tokenizer: has a pad token.
        device: the model's device.
        fingerprint: SHA-256 of the weights and the tokenizer as loaded, 64 hex digits.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    fingerprint: str

    @property
    def context(self) -> int | None:
        """Maximal tokens of a text, or None where the model's configuration does not say."""
        length = getattr(self.model.config, "max_position_embeddings", None)
        return int(length) - _reserved_positions(self.model) if length else None


class ModelSource(NamedTuple):
    """Where a model is loaded from.

    Attributes:
        path: folder or hub id, as `from_pretrained` takes it.
        keywords: further arguments of `from_pretrained` (`gguf_file`, `revision`).
        local: whether it is on this machine.
    """

    path: str
    keywords: dict[str, Any]
    local: bool


def _reserved_positions(model: PreTrainedModel) -> int:
    """Positions that no token can have: RoBERTa counts from the position after the padding's."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            return 0 if module.padding_idx is None else int(module.padding_idx) + 1
    return 0


def load(
    settings: ModelSettings, threads: int | None = None, head: Head = GENERATION
) -> BaseModel:
    """Loads a base model, freezes it and computes its fingerprint.

    Args:
        settings: which model, in which precision; `auto` must be resolved before.
        threads: torch threads of this process, or None to leave them as they are.
        head: the model's head; a new one starts at zero.

    Raises:
        UserError: it cannot be loaded; the message says why.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    source = resolve_model(settings)
    with _quiet(expected=head != GENERATION):
        config = load_config(settings, head)
        tokenizer = _tokenizer(settings, source)
        model = _model(settings, source, config, head)
    freeze(model)
    _set_pad_token(tokenizer, settings.name)
    return BaseModel(settings.name, model, tokenizer, _device(), fingerprint(model, tokenizer))


def fingerprint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 over all weights and everything that determines tokenization; 64 hex digits."""
    if tokenizer.is_fast:
        vocabulary = tokenizer.backend_tokenizer.to_str()
    else:
        vocabulary = repr(sorted(tokenizer.get_vocab().items()))
    ids = tokenizer("a", add_special_tokens=True)["input_ids"]
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    text = "\n".join([checksum(model), vocabulary, repr(ids), repr(special)])
    return hashlib.sha256(text.encode()).hexdigest()


def start_token(base: BaseModel) -> tuple[int, ...]:
    """The start token, where the tokenizer adds it to a text or declares that it should."""
    tokenizer = base.tokenizer
    start_id = tokenizer.bos_token_id
    if start_id is None:
        return ()
    ids = tokenizer("a", add_special_tokens=True)["input_ids"]
    added = ids[:1] == [start_id] or getattr(tokenizer, "add_bos_token", False)
    return (int(start_id),) if added else ()


def freeze(model: PreTrainedModel) -> None:
    """Sets evaluation mode, with no weight requiring a gradient."""
    model.requires_grad_(False)
    model.train(False)


def resolve_model(settings: ModelSettings) -> ModelSource:
    """Finds a model by `builtin:` name, GGUF file, folder or hub id.

    Raises:
        UserError: there is no such embedded model, file or folder.
    """
    name = settings.name
    if name.startswith(_BUILTIN):
        builtin_name = name.removeprefix(_BUILTIN)
        if builtin_name not in embedded.names():
            hint = did_you_mean(builtin_name, embedded.names())
            raise UserError(f"model.name: no embedded model '{builtin_name}'; {hint}")
        return ModelSource(str(embedded.path(builtin_name)), {}, local=True)
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
    source = resolve_model(settings)
    if head != GENERATION and "gguf_file" in source.keywords:
        raise UserError(f"model.name: {settings.name}: a new head needs a folder, no .gguf file")
    if source.local and not source.keywords and not (Path(source.path) / "config.json").is_file():
        raise UserError(f"model.name: {settings.name}: no config.json in this folder")
    config: PretrainedConfig = _with_user_errors(
        settings, source, lambda: AutoConfig.from_pretrained(source.path, **source.keywords)
    )
    reason = token_classifier.why_no_head(config, head)
    if reason is not None:
        raise UserError(f"model.name: {settings.name} {reason}")
    token_classifier.put_labels(config, head)
    return config


def load_tokenizer(settings: ModelSettings) -> PreTrainedTokenizerBase:
    """The tokenizer alone, without weights.

    Raises:
        UserError: there is none.
    """
    with _quiet(expected=False):
        return _tokenizer(settings, resolve_model(settings))


def _tokenizer(settings: ModelSettings, source: ModelSource) -> PreTrainedTokenizerBase:
    folder = Path(source.path)
    names = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
    is_folder = source.local and "gguf_file" not in source.keywords
    if is_folder and not any((folder / name).is_file() for name in names):
        raise UserError(f"model.name: {settings.name}: no tokenizer in this folder")
    return _with_user_errors(
        settings, source, lambda: AutoTokenizer.from_pretrained(source.path, **source.keywords)
    )


def _model(
    settings: ModelSettings, source: ModelSource, config: PretrainedConfig, head: Head
) -> PreTrainedModel:
    dtype = DTYPES[settings.dtype]
    attention, device = settings.attention, _device()
    keywords: dict[str, Any] = {"dtype": dtype, "attn_implementation": attention}
    keywords |= source.keywords
    # A new head is trained, so it is not quantised; None leaves the choice to bitsandbytes.
    unquantized = None if head == GENERATION else list(token_classifier.NAMES)
    if settings.quantization == "nf4":
        keywords["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            llm_int8_skip_modules=unquantized,
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    elif settings.quantization == "int8":
        keywords["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            llm_int8_skip_modules=unquantized, load_in_8bit=True
        )
    if settings.quantization != "none":
        keywords["device_map"] = {"": device}
    if head != GENERATION or (settings.quantization == "none" and "gguf_file" not in keywords):
        keywords["config"] = config

    def load_weights() -> PreTrainedModel:
        model = token_classifier.load(settings.name, source.path, head, keywords)
        keep_4bit_layout(model)
        return model if settings.quantization != "none" else model.to(device)  # type: ignore[arg-type]

    return _with_user_errors(settings, source, load_weights)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _set_pad_token(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    # Padding is masked or follows the answer, so any existing token will do; a new one would need
    # a larger embedding.
    if tokenizer.pad_token_id is not None:
        return
    for token in (tokenizer.eos_token, tokenizer.unk_token, tokenizer.bos_token):
        if token is not None:
            tokenizer.pad_token = token
            return
    raise UserError(f"model.name: {name}: its tokenizer has neither pad, eos, unk nor bos token")


def _with_user_errors(settings: ModelSettings, source: ModelSource, action: Callable[[], T]) -> T:
    """Runs an action of Transformers; its errors become a `UserError` of one line."""
    try:
        return action()
    except ImportError as error:
        raise UserError(f"model: {settings.name} needs a package: {_first_line(error)}") from error
    except (OSError, ValueError, RuntimeError, KeyError, MemoryError, TypeError) as error:
        if is_out_of_memory(error):
            message = (
                "not enough memory; try quantization: nf4, dtype: bfloat16 or a smaller model"
            )
        elif not source.local and isinstance(error, OSError):
            message = (
                "neither a local folder nor available from the model hub; give a folder, or check "
                f"name, revision and network ({_first_line(error)})"
            )
        else:
            message = f"cannot be loaded: {_first_line(error)}"
        raise UserError(f"model.name: {settings.name}: {message}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


@contextmanager
def _quiet(expected: bool) -> Iterator[None]:
    """Hides Transformers' progress bars and, with a new head, its warning of missing weights."""
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


@contextmanager
def replaced_forwards(
    modules: Iterable[nn.Module], forwards: Iterable[Callable[..., Any]]
) -> Iterator[None]:
    """Has each of some modules run another `forward` inside the context."""
    before = [(module, module.__dict__.get("forward")) for module in modules]
    try:
        for (module, _), forward in zip(before, forwards, strict=True):
            module.forward = forward
        yield
    finally:
        for module, previous in before:
            module.__dict__.pop("forward", None)
            if previous is not None:
                module.forward = previous


def transformer_blocks(model: PreTrainedModel) -> list[nn.ModuleList]:
    """The outermost module lists of a model: its stacks of transformer blocks.

    Lists inside a numbered block are left out, such as the sub-layers of T5's blocks.
    """
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        and not any(part.isdigit() for part in name.split("."))
    ]
