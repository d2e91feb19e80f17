"""Loads one frozen base model, quantised or not, once for a process.

Knows nothing of tasks and trials. Every fault of the user's (no such folder, not a causal language
model, no tokenizer, hub out of reach, no memory) is a `UserError` of one line.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from harness import embedded
from harness.errors import UserError, did_you_mean
from harness.models.checksums import checksum
from harness.models.memory import ran_out
from harness.settings import ModelSettings

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
        return int(length) if length else None


class Location(NamedTuple):
    """Where a model is.

    Attributes:
        path: folder or hub id, as `from_pretrained` takes it.
        keywords: what `from_pretrained` needs beside it (`gguf_file`, `revision`).
        local: whether it is on this machine.
    """

    path: str
    keywords: dict[str, Any]
    local: bool


def load(settings: ModelSettings, threads: int | None = None) -> BaseModel:
    """Loads a base model, freezes it and takes its fingerprint.

    Args:
        settings: which model, in which precision.
        threads: torch threads of this process, or None to leave them as they are.

    Raises:
        UserError: it cannot be loaded; says why.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    place = locate(settings)
    with _quiet():
        config = load_config(settings)
        tokenizer = _tokenizer(settings, place)
        model = _model(settings, place, config)
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


def freeze(model: PreTrainedModel) -> None:
    """Evaluation mode, and no weight asks for a gradient."""
    model.requires_grad_(False)
    model.train(False)


def locate(settings: ModelSettings) -> Location:
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
        return Location(str(embedded.path(short)), {}, local=True)
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise UserError(f"model.name: {name}: no such GGUF file")
        return Location(str(path.parent), {"gguf_file": path.name}, local=True)
    if path.is_dir():
        return Location(str(path), {}, local=True)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise UserError(
            f"model.name: {name}: no such folder; give builtin:tiny, a folder, a .gguf file or "
            "a hub id such as owner/name"
        )
    keywords = {"revision": settings.revision} if settings.revision else {}
    return Location(name, keywords, local=False)


def load_config(settings: ModelSettings) -> PretrainedConfig:
    """The configuration alone, without weights.

    Raises:
        UserError: there is none, or it is not one of a causal language model.
    """
    place = locate(settings)
    if place.local and not place.keywords and not (Path(place.path) / "config.json").is_file():
        raise UserError(f"model.name: {settings.name}: no config.json in this folder")
    config: PretrainedConfig = _told(
        settings, place, lambda: AutoConfig.from_pretrained(place.path, **place.keywords)
    )
    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    classes = {each for value in known.values() for each in _as_tuple(value)}
    made_for = tuple(config.architectures or ())
    if config.model_type not in known or (made_for and not classes.intersection(made_for)):
        told = ", ".join(made_for) or config.model_type
        raise UserError(f"model.name: {settings.name} is not a causal language model ({told})")
    return config


def _as_tuple(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def load_tokenizer(settings: ModelSettings) -> PreTrainedTokenizerBase:
    """The tokenizer alone, without weights.

    Raises:
        UserError: there is none.
    """
    with _quiet():
        return _tokenizer(settings, locate(settings))


def _tokenizer(settings: ModelSettings, place: Location) -> PreTrainedTokenizerBase:
    folder = Path(place.path)
    names = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
    plain = place.local and "gguf_file" not in place.keywords
    if plain and not any((folder / name).is_file() for name in names):
        raise UserError(f"model.name: {settings.name}: no tokenizer in this folder")
    return _told(
        settings, place, lambda: AutoTokenizer.from_pretrained(place.path, **place.keywords)
    )


def _model(settings: ModelSettings, place: Location, config: PretrainedConfig) -> PreTrainedModel:
    dtype = _DTYPES[settings.dtype]
    keywords: dict[str, Any] = {
        "dtype": dtype,
        "attn_implementation": settings.attention,
        **place.keywords,
    }
    device = _device()
    if settings.quantization == "nf4":
        keywords["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    elif settings.quantization == "int8":
        keywords["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_8bit=True
        )
    if settings.quantization != "none":
        keywords["device_map"] = {"": device}
    elif "gguf_file" not in keywords:
        keywords["config"] = config

    def build() -> PreTrainedModel:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(place.path, **keywords)
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


def _told(settings: ModelSettings, place: Location, action: Callable[[], T]) -> T:
    """Runs an action of Transformers; its errors become one line for the user."""
    try:
        return action()
    except ImportError as error:
        raise UserError(f"model: {settings.name} needs a package: {_line(error)}") from error
    except (OSError, ValueError, RuntimeError, KeyError, MemoryError, TypeError) as error:
        if ran_out(error):
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
def _quiet() -> Iterator[None]:
    """Keeps Transformers' progress bars off the terminal."""
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
