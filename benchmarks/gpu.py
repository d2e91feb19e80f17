"""On a GPU: what several adapters in one step save, and how near a step comes to plain products.

    python -m benchmarks.gpu [--shapes 135M,1B] [--slots 1,2,4,8,16,32] [--repeats 5] [--out FILE]

Random bfloat16 bases of the shapes of SmolLM2-135M and Llama 3.2 1B take the examples of
`ner_medical`, four a step and adapter, rank 16 on all linear layers. One PEFT adapter after the
other (`SequentialTrainer`) is held against packs of 1 to 32, with the batched products that a GPU
gets and with the parts slot by slot. All take turns in each repeat; told are medians of clock
time, the device waited for. Operations are those of the base alone: two a weight and token
forwards, two backwards, twice that for the head's answers.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final
from unittest import mock

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from benchmarks.fewer import fewer
from benchmarks.stepping import PackedSteps, SequentialSteps, Steps
from benchmarks.trials_report import machine
from harness.config import sweep
from harness.config.settings import ModelSettings
from harness.models import base_model
from harness.models.base_model import BaseModel
from harness.tasks.task import load_task_for
from harness.training.packed import layers as kernels
from harness.training.packed.layers import LoopKernel
from harness.training.sequential import make_tokens
from harness.trial import TrialConfig

SHAPES: Final[dict[str, dict[str, Any]]] = {
    "135M": {
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
    "1B": {
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
}
_WARM_UP: Final = 2
_SIDE: Final = 8192


def made(shape: str, device: torch.device) -> BaseModel:
    """A random base with the embedded base's words."""
    words = base_model.load(ModelSettings(name="builtin:tiny"), 1).tokenizer
    ids: dict[str, Any] = {
        "pad_token_id": int(words.pad_token_id),
        "eos_token_id": int(words.eos_token_id),
    }
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        model: Any = LlamaForCausalLM(
            LlamaConfig(**SHAPES[shape], **ids, tie_word_embeddings=True)
        )
    model = model.to(torch.bfloat16)
    base_model.freeze(model)
    return BaseModel(shape, model, words, device, "")


def peak(device: torch.device) -> float:
    """Teraflops a second of one large product in bfloat16."""
    left, right = (
        torch.randn(_SIDE, _SIDE, device=device, dtype=torch.bfloat16) for _ in range(2)
    )
    seconds = [timed(lambda: left @ right, 10) for _ in range(5)]
    return float(2 * _SIDE**3 / median(seconds) / 1e12)


def timed(work: Callable[[], Any], times: int) -> float:
    """Seconds by the clock of one of so many calls, the device waited for."""
    wait()
    start = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return (time.perf_counter() - start) / times


def wait() -> None:
    """Until the device has done what it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextmanager
def slot_by_slot() -> Iterator[None]:
    """Has packs go through adapters one after the other meanwhile."""
    with mock.patch.object(kernels, "kernel_for", return_value=LoopKernel()):
        yield


class Bench:
    """One base and its task.

    Args:
        shape: of `SHAPES`.
        given: the command line.
    """

    def __init__(self, shape: str, given: argparse.Namespace) -> None:
        """Makes the base."""
        self._given = given
        settings = sweep.load_sweep("ner_medical", [])
        self._training = settings.training
        self._task = fewer(load_task_for(settings), "train", settings.training.batch_size)
        self._base = made(shape, torch.device(given.device))
        layers = self._base.model.model.layers
        self._weights = sum(each.numel() for each in layers.parameters() if each.ndim == 2)

    def all(self) -> dict[str, Any]:
        """Every way in turns."""
        ways: list[tuple[str, int]] = [("sequential", 1)]
        ways += [("batched", count) for count in self._given.slots]
        ways += [("slot by slot", count) for count in self._given.slots if count > 1]
        found: dict[str, list[dict[str, float]]] = {}
        for repeat in range(self._given.repeats):
            for way, slots in ways:
                told = self._one(way, slots)
                found.setdefault(f"{way}, {slots}", []).append(told)
                print(repeat, way, slots, told, flush=True)
        return {
            name: {part: median(each[part] for each in readings) for part in readings[0]}
            for name, readings in found.items()
        }

    def _one(self, way: str, slots: int) -> dict[str, float]:
        configs = [
            TrialConfig("lora", 16, 32.0, self._given.dropout, "all_linear", 1e-4, seed)
            for seed in range(slots)
        ]
        if self._base.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        steps = self._steps(way, configs)
        with closing(steps):
            for _ in range(_WARM_UP):
                steps.step()
            wait()
            ready = time.perf_counter() - start
            seconds = timed(steps.step, self._given.steps)
        tokens = self._tokens() * slots
        gpu = self._base.device.type == "cuda"
        return {
            "ready_s": ready,
            "step_ms": 1e3 * seconds,
            "ms_an_adapter": 1e3 * seconds / slots,
            "tokens_s": tokens / seconds,
            "tflops": 4 * self._weights * tokens / seconds / 1e12,
            "gib": torch.cuda.max_memory_allocated() / 2**30 if gpu else 0.0,
        }

    def _steps(self, way: str, configs: list[TrialConfig]) -> Steps:
        if way == "sequential":
            return SequentialSteps(self._base, self._task, self._training, configs[0])
        if way == "batched":
            return PackedSteps(self._base, self._task, self._training, configs)
        with slot_by_slot():
            return PackedSteps(self._base, self._task, self._training, configs)

    def _tokens(self) -> int:
        made = make_tokens(self._base, self._task, self._training).training()
        return sum(len(one.ids) for one in made.sequences)


def markdown(found: dict[str, Any]) -> str:
    """A block for LOG.md."""
    lines = [", ".join(f"{name} {value}" for name, value in found["machine"].items()), ""]
    lines += [f"One product of {_SIDE} x {_SIDE} in bfloat16: {found['peak']:.0f} TFLOP/s", ""]
    lines += [
        "| base | way | adapters | step ms | ms an adapter | of sequential | tokens/s "
        "| base's TFLOP/s | peak GiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for shape, cases in found["shapes"].items():
        alone = cases["sequential, 1"]["ms_an_adapter"]
        for name, told in cases.items():
            way, slots = name.split(", ")
            lines.append(
                f"| {shape} | {way} | {slots} | {told['step_ms']:.1f} "
                f"| {told['ms_an_adapter']:.2f} | {alone / told['ms_an_adapter']:.2f} "
                f"| {told['tokens_s']:,.0f} | {told['tflops']:.1f} | {told['gib']:.2f} |"
            )
    return "\n".join(lines)


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shapes", type=lambda text: text.split(","), default=list(SHAPES))
    parser.add_argument(
        "--slots",
        type=lambda text: [int(each) for each in text.split(",")],
        default=[1, 2, 4, 8, 16, 32],
    )
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, help="a file for all figures, as JSON")
    return parser.parse_args(words)


def main() -> None:
    """Measures and tells."""
    given = arguments()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU here; --device cpu only shows that this runs")
    told = machine()
    if given.device == "cuda":
        told["gpu"] = torch.cuda.get_device_name()
    found: dict[str, Any] = {"machine": told, "peak": peak(torch.device(given.device))}
    found["shapes"] = {}
    for shape in given.shapes:
        found["shapes"][shape] = Bench(shape, given).all()
        if given.out is not None:
            given.out.write_text(json.dumps(found, indent=1))
        print(markdown(found), flush=True)


if __name__ == "__main__":
    main()
