"""Writes the model card of a built base model from the log that the build left.

Run as `python -m harness.embedded.card DIR --processes 2`, with the options of the build.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from harness.embedded import schedule
from harness.embedded.corpus import FRAMES, MIXED
from harness.embedded.vocabulary import CONDITIONS, MEDICATIONS, PROCEDURES

#: What the build writes while it runs, one JSON object a line.
LOG = "log.jsonl"
_COMMAND = "python -m harness.embedded.build --out DIR"
_CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [llama, tiny, synthetic-data]
---

# tiny: the embedded base model of harness

A Llama of {parameters:.2f} million parameters, trained from nothing on text that this project
generates. It is there so that a search over LoRA settings can be tried, tested and measured on a
laptop CPU, without a download. It is no model for use on anybody's text, least of all a patient's.

| | |
|---|---|
| layout | `LlamaForCausalLM`: hidden {hidden_size}, {num_hidden_layers} layers, \
{num_attention_heads} heads, MLP {intermediate_size}, tied embeddings |
| adapters fit | `q_proj` `k_proj` `v_proj` `o_proj` `gate_proj` `up_proj` `down_proj` |
| tokenizer | byte-level BPE, {vocab_size:,} tokens, upper case kept; a blank belongs to the word \
after it, each digit and each mark is a token of its own |
| context | trained up to {longest} tokens; positions go to {max_position_embeddings:,} |
| file | float16, {megabytes:.1f} MB |
| trained on | {tokens:.1f} million tokens in {steps:,} steps, every document new |
| took | {minutes:.0f} minutes on a machine with 2 CPU cores that others used as well \
({processes} of one thread, float32) |
| licence | Apache-2.0, weights and generator |

## How it was made

    {command}

Nothing is decided by the clock: the same command on the same kind of machine gives the same
bytes. Rows are {lengths} tokens long, one after the other. Muon trains the block
matrices (0.02) and AdamW the rest (0.003); both rates are held for 35 % of the tokens and then
fall as a cosine to 3 %.

The corpus has no real text. It is drawn from {frames} sentence frames, {medications} drug,
{conditions} illness and {procedures} examination names (`harness/embedded/vocabulary.py` lists
them all) and words that a generator invents. Documents by kind: {mix}.

- Copying comes first: repeated words, keys with values, lists, marked words, other notations.
- Then spans by label: three to six worked examples under one set of labels in many formats. In
  four of ten the labels mean nothing, so they can be learnt from the examples alone.
- A little prose: clinical notes and short dialogues.

It has not seen the tasks that come with harness: other frames, other label words, another format,
and none of the names that these tasks hold out.

## What it can do

On documents of the generator with a seed of their own, from the last line of `{log}`, which the
command above writes. Each answer is scored with the right prompt before it; it is exact if every
token of it would be written.

| | |
|---|---|
| second copy of invented words, tokens right | {copy_accuracy:.3f} |
| loss on their first and second sight | {first_loss:.2f} and {copy_loss:.3f} |
| episodes of worked examples, answer tokens right | {episode_tokens:.3f} |
| episodes, answers exact | {episode_exact:.3f} |
| questions by label, answers exact | {questions_exact:.3f} |
| lines drawn from clinical notes, exact | {note_exact:.3f} |

Over the run:

| million tokens | loss on a second copy | copies right | episode tokens right | exact |
|---|---|---|---|---|
{course}

## What it cannot do

It knows no facts and no language beyond its frames. It follows no instruction. Shown worked
examples of labels it has never met, it answers in their form but often takes the wrong span. It
reads nothing longer than its context, and everything but ASCII is strange to it. What it says of
drugs, doses and illnesses is noise.
"""


def write(folder: Path, seed: int, tokens: int, processes: int) -> None:
    """Writes README.md into `folder`, where the model and its log are.

    `seed`, `tokens` and `processes` are those that the build was given.

    Raises:
        FileNotFoundError: the folder has no model or no log.
    """
    lines = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    config = json.loads((folder / "config.json").read_text())
    last = lines[-1]
    weights = (folder / "model.safetensors").stat().st_size
    total = sum(MIXED.values())
    facts = {
        **config,
        **{name: value for name, value in last.items() if name != "tokens"},
        "parameters": weights / 2e6,
        "megabytes": weights / 1e6,
        "longest": max(stage.length for stage in schedule.STAGES),
        "tokens": last["tokens"] / 1e6,
        "steps": last["step"],
        "minutes": last["seconds"] / 60,
        "processes": "one process" if processes == 1 else f"{processes} processes",
        "command": f"{_COMMAND} --seed {seed} --tokens {tokens} --processes {processes}",
        "lengths": ", ".join(f"{stage.length}" for stage in schedule.STAGES),
        "frames": len(FRAMES),
        "medications": len(MEDICATIONS),
        "conditions": len(CONDITIONS),
        "procedures": len(PROCEDURES),
        "mix": ", ".join(
            f"{kind.replace('_', ' ')} {100 * share / total:.0f} %"
            for kind, share in MIXED.items()
        ),
        "log": LOG,
        "course": "\n".join(_row(line) for line in _thinned(lines)),
    }
    (folder / "README.md").write_text(_CARD.format(**facts))


def _thinned(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """About eight looks, the last one included."""
    every = max(1, len(lines) // 8)
    return [line for place, line in enumerate(lines) if (len(lines) - 1 - place) % every == 0]


def _row(line: dict[str, Any]) -> str:
    return (
        f"| {line['tokens'] / 1e6:.1f} | {line['copy_loss']:.3f} | {line['copy_accuracy']:.3f} "
        f"| {line['episode_tokens']:.3f} | {line['episode_exact']:.3f} |"
    )


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m harness.embedded.card")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=20_000_000)
    given = parser.parse_args()
    write(given.folder, given.seed, given.tokens, given.processes)


if __name__ == "__main__":
    main()
